from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.doctor.broken import IDS, kind
from evalharness.doctor.encoding import is_garbled, mended
from evalharness.doctor.format import Format
from evalharness.doctor.turns import out_of_turn
from evalharness.records import Message
from evalharness.spec import DataSpec
from tests.doctor.workspace import by_rule, lines, look, pairs, suite

SPEC = DataSpec.model_validate({"test": "t.jsonl"})


def turns(*roles: str, content: Any = "text") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role in roles]}


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (None, "format.unreadable"),
        (turns("user", "bot"), "format.roles"),
        (turns("user", "system", "assistant"), "format.roles"),
        (turns("system", "assistant"), "format.roles"),
        ({"messages": [{"content": "a"}]}, "format.roles"),
        (turns("user"), "format.answer"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}, "format.answer"),
        (turns("user", "assistant", content=" "), "format.answer"),
        ({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}]}, "format.empty"),
        ({"messages": []}, "format.empty"),
        ({"messages": "text"}, "format.schema"),
        ({"messages": ["text"]}, "format.schema"),
        (turns("user", "assistant", content={"a": 1}), "format.schema"),
        (turns("user", "assistant", content="\0"), "format.text"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "format.answer"),
        ({"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "b"}]}, "format.empty"),
        ({"conversations": [{"from": "robot", "value": "a"}, {"from": "gpt", "value": "b"}]}, "format.roles"),
        ({"conversations": "text"}, "format.schema"),
        ({"input": "a"}, "format.answer"),
        ({"input": "a", "target": None}, "format.answer"),
        ({"input": "a", "target": ["", None]}, "format.answer"),
        ({"input": " ", "target": "b"}, "format.empty"),
        ({"target": "b"}, "format.schema"),
        ({"input": {"a": 1}, "target": "b"}, "format.schema"),
        ({"input": "\ud800", "target": "b"}, "format.text"),
        ({"prompt": "", "completion": "b"}, "format.empty"),
    ],
)
def test_what_is_wrong_with_a_row(values: dict[str, Any] | None, rule: str) -> None:
    assert kind(values, SPEC) == rule


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda x: st.lists(x, max_size=2) | st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), x),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["messages", "conversations", "input", "target", "prompt", "completion"]), _JSON))
def test_any_row_has_a_kind(values: dict[str, Any]) -> None:
    assert kind(values, SPEC) in IDS


def test_broken_rows_are_findings_with_file_and_line(tmp_path: Path) -> None:
    train = b'{"input": "a", "target": "b"}\n{"input": \n{"input": "", "target": "b"}\n{"input": "c"}\n[1]\n{"input": "d", "target": "e"}\n'
    loaded = suite(tmp_path, {"train.jsonl": train, "test.jsonl": pairs(("q", "x"))})
    seen = look(loaded, Format)
    found = {rule: findings[0] for rule, findings in by_rule(seen).items()}
    assert set(found) == {"format.unreadable", "format.empty", "format.answer"}
    assert lines(found["format.unreadable"]) == ["train.jsonl:2", "train.jsonl:5"]
    assert "not JSON" in found["format.unreadable"].worst[0].excerpt
    assert found["format.unreadable"].rows == (1, 4)
    assert all(each.severity == "error" for each in found.values())
    assert (dict(seen.rows), dict(seen.broken), seen.refuses) == ({"train": 2, "test": 1}, {"train": 4}, True)


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ("user", ""),
        ("user assistant user", ""),
        ("system user", ""),
        ("user user", "two user turns in a row (turn 1 and 2)"),
        ("assistant user", "the assistant speaks first"),
        ("system assistant user", "the assistant speaks first"),
        ("user assistant", "two assistant turns in a row (turn 2 and 3)"),
    ],
)
def test_turns_take_turns(roles: str, said: str) -> None:
    assert out_of_turn([Message(role, "x") for role in roles.split()], answered=True) == said


def chats(n: int, system: str | None) -> list[dict[str, Any]]:
    first = [{"role": "system", "content": system}] if system else []
    return [{"messages": [*first, {"role": "user", "content": f"{system} {k}"}, {"role": "assistant", "content": "a"}]} for k in range(n)]


def test_system_prompts_that_come_and_go(tmp_path: Path) -> None:
    train = [*chats(10, "Be brief."), *chats(2, None), *chats(1, "Be kind."), *chats(1, "Be good.")]
    found = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": chats(3, "Be brief.")}), Format))["format.system"]
    assert [(each.count, each.about) for each in found] == [(2, (10, 11)), (2, (12, 13))]
    assert "2 of 14 train rows have no system prompt" in found[0].found
    own = [chat for k in range(10) for chat in chats(1, f"Document {k}")]
    assert not look(suite(tmp_path, {"train.jsonl": own, "test.jsonl": own}), Format).findings


def test_files_that_mix_kinds_and_columns(tmp_path: Path) -> None:
    more = {**pairs(("x", "y"))[0], "note": "n"}
    files = {
        "train.jsonl": [*pairs(("a", "b"), ("c", "d")), {"prompt": "p", "completion": "c"}, *chats(1, None)],
        "test.jsonl": [*pairs(*((f"q {k}", "x") for k in range(40))), more],
    }
    found = by_rule(look(suite(tmp_path, files), Format))
    (mixed,), (columns,) = found["format.mixed"], found["format.columns"]
    assert (mixed.about, mixed.severity) == ((2, 3), "warning")
    assert "2 input and target, 1 prompt and completion, 1 chats" in mixed.found
    assert (columns.about, columns.severity) == ((44,), "note")
    assert "'note' added in 1" in columns.found


def test_columns_that_a_prompt_names_and_rows_lack(tmp_path: Path) -> None:
    rows = [{**row, "lang": "de"} for row in pairs(*((f"q {k}", "x") for k in range(120)))]
    del rows[110]["lang"]  # beyond the rows that reading a suite looks at
    arms = "prompt: 'Answer in {{ lang }}.'\nbaselines: {a: {model: local/embedded}}\n"
    (found,) = by_rule(look(suite(tmp_path, {"test.jsonl": rows}, more=arms), Format))["format.field"]
    assert (found.severity, found.about) == ("error", (110,))
    assert "'lang'" in found.found


@pytest.mark.parametrize("text", ["café", "naïve “quotes” — it’s", "Žluťoučký kůň", "日本語", "😀 ok", "½ £5", "Größe"])
@pytest.mark.parametrize("wrong", ["latin-1", "cp1252"])
def test_wrong_encodings_are_undone(text: str, wrong: str) -> None:
    try:
        garbled = text.encode().decode(wrong)
    except UnicodeDecodeError:
        pytest.skip("Windows-1252 has no such byte")
    assert is_garbled(garbled)
    assert mended(garbled) == text
    assert not is_garbled(text)
    assert mended(text) == text


@pytest.mark.parametrize(
    "text", ["SÃO PAULO", "À LA CARTE", "« Bonjour »", "Â", "10 °C", "Ärger", "İstanbul", "ÖÄÜ", "Café – crème…", "Đặng"]
)
def test_letters_of_real_languages_are_no_wrong_encoding(text: str) -> None:
    assert not is_garbled(text)


def test_garbled_rows_are_named(tmp_path: Path) -> None:
    test = pairs(("The cafÃ© is closed", "x"), ("fine", "x"), ("lost \ufffd", "x"))
    (found,) = by_rule(look(suite(tmp_path, {"test.jsonl": test}), Format))["format.encoding"]
    assert (found.count, found.about, lines(found)) == (2, (0, 2), ["test.jsonl:1", "test.jsonl:3"])
    assert "1 of them can be mended" in found.found
