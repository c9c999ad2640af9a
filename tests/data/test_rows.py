from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest

from evalharness.data.files import Faults, Row
from evalharness.data.rows import field_names, has_answer_name, sample_of, split_group
from evalharness.errors import DataError
from evalharness.records import Message, Sample
from evalharness.spec import DataSpec


def spec(**parts: Any) -> DataSpec:
    return DataSpec.model_validate({"test": "t.jsonl", **parts})


def take(values: dict[str, Any], *, strict: bool = True, **parts: Any) -> Sample:
    faults = Faults()
    sample = sample_of(Row(values, "t.jsonl", 7), spec(**parts), faults, strict=strict)
    faults.check()
    assert sample is not None
    return sample


def complaint(values: dict[str, Any], **parts: Any) -> str:
    with pytest.raises(DataError) as caught:
        take(values, **parts)
    return str(caught.value)


ANSWER = {"role": "assistant", "content": "4"}


@pytest.mark.parametrize(
    "values",
    [
        {"input": "2+2?", "target": "4"},
        {"prompt": "2+2?", "completion": "4"},
        {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}]}, ANSWER]},
        {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
        {"conversations": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]},
    ],
)
def test_all_dialects_make_the_same_sample(values: dict[str, Any]) -> None:
    sample = take(values)
    assert (sample.messages, sample.targets, sample.source) == ((Message("user", "2+2?"),), ("4",), "t.jsonl:7")
    assert sample.id == "03b9d583f0b586fb6cd27f18"


def test_a_chats_last_turn_is_the_target_and_the_system_turn_stays() -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    sample = take({"messages": [{"role": role, "content": text} for role, text in turns], "id": 5})
    assert sample.messages == tuple(Message(role, text) for role, text in turns[:-1])
    assert (sample.targets, sample.input, dict(sample.fields)) == (("d",), "c", {"id": "5"})


def test_a_sharegpt_talk_with_a_system_turn_under_another_name() -> None:
    turns = [("system", "s"), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")]
    sample = take({"talk": [{"from": who, "value": text, "weight": 1} for who, text in turns], "id": 5}, fields={"conversations": "talk"})
    roles = ["system", "user", "assistant", "user"]
    assert [(message.role, message.content) for message in sample.messages] == list(zip(roles, "sabc", strict=True))
    assert (sample.targets, dict(sample.fields)) == (("d",), {"id": "5"})


def test_renamed_columns() -> None:
    sample = take({"text": "q", "label": "a", "k": "x", "lang": "de"}, fields={"input": "text", "target": "label", "id": "k"})
    assert (sample.input, sample.targets, dict(sample.fields)) == ("q", ("a",), {"id": "x", "lang": "de"})


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"input": "q", "target": ["a", "", None, "b"]}, {}),
        ({"input": "q", "t1": "a", "t2": "", "t3": "b"}, {"fields": {"target": ["t1", "t2", "t3"]}}),
    ],
)
def test_several_targets_from_a_list_or_from_columns(values: dict[str, Any], parts: dict[str, Any]) -> None:
    assert take(values, **parts).targets == ("a", "b")


def test_columns_become_text_fields_but_answers_do_not() -> None:
    values = {
        "input": "q", "target": "a", "id": 3, "share": 0.5, "yes": True, "none": None, "list": ["ž", 1],
        "day": datetime.date(2024, 5, 1), "price": decimal.Decimal("1.50"),
    }  # fmt: skip
    assert dict(take(values).fields) == {
        "id": "3", "share": "0.5", "yes": "true", "none": "", "list": '["ž", 1]', "day": "2024-05-01", "price": "1.50",
    }  # fmt: skip


def test_numbers_are_answers_too() -> None:
    assert take({"input": 2, "target": 4}).targets == ("4",)


def test_cluster_and_slices() -> None:
    values = {"input": "q", "target": "a", "doc": 12, "lang": "de", "channel": None}
    sample = take(values, cluster="doc", slices=["lang", "channel", "target"])
    assert (sample.cluster, dict(sample.slices)) == ("12", {"lang": "de", "channel": "", "target": "a"})


def test_only_held_out_rows_need_cluster_and_slices() -> None:
    bare = {"input": "q", "target": "a"}
    sample = take(bare, strict=False, cluster="doc", slices=["lang"])
    assert (sample.cluster, dict(sample.slices)) == (None, {"lang": ""})
    assert "there is no 'doc'" in complaint(bare, cluster="doc")
    assert "there is no 'lang'" in complaint(bare, slices="lang")
    assert "'doc' is empty" in complaint({**bare, "doc": ""}, cluster="doc")


def turns(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"text": "q", "label": "a"}, "t.jsonl:7: there is no 'input'. Columns: text, label."),
        ({"input": "q"}, "there is no 'target'"),
        ({"prompt": "q"}, "there is no 'completion'"),
        ({}, "Columns: none"),
        ({"input": " \n", "target": "a"}, "'input' is empty"),
        ({"input": "q", "target": ""}, "'target' is empty"),
        ({"input": "q", "target": None}, "'target' is empty"),
        ({"input": "q", "target": []}, "'target' is empty"),
        ({"input": "q", "target": {"a": 1}}, "'target' is an object, expected text"),
        ({"input": ["q"], "target": "a"}, "'input' is a list, expected text"),
        ({"input": "q", "target": [["a"]]}, "'target' is a list, expected text"),
        ({"input": "q\ud800", "target": "a"}, "half of a surrogate pair"),
        ({"input": "q\0", "target": "a"}, "NUL"),
        ({"input": "q", "target": "a", "blob": b"x"}, "'blob' is binary, expected text"),
        ({"messages": []}, "'messages' is empty"),
        ({"messages": "hi"}, "expected turns"),
        ({"messages": ["hi"]}, "'messages[0]' has no role"),
        (turns(("bot", "x")), "has the role 'bot'. Known: system, user, assistant"),
        (turns(("tool", "x")), "'messages[0]' is the result of a tool. Rows are texts"),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "'messages[0]' calls a tool instead of saying something",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "'messages[0].content' is a list, expected text"),
        (turns(("user", "q")), "the last turn is of the user"),
        (turns(("assistant", "a")), "no turn is of the user"),
        (turns(("user", "q"), ("system", "s"), ("assistant", "a")), "a system turn is not the first"),
        (turns(("user", None), ("assistant", "a")), "'messages[0].content' is empty"),
        (turns(("user", [{"type": "text"}]), ("assistant", "a")), "'messages[0].content' is a list"),
        ({"conversations": {}}, '\'conversations\' is empty, expected turns. A turn is {"from": "human", "value": "..."}'),
        ({"conversations": "hi"}, "'conversations' is a str, expected turns"),
        ({"conversations": ["hi"]}, "'conversations[0]' has no role"),
        ({"conversations": [{"from": 1, "value": "x"}]}, "'conversations[0]' has no role"),
        ({"conversations": [{"from": "observation", "value": "x"}]}, "has the role 'observation'. Known: human, gpt, system"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "is the result of a tool. Rows are texts"),
        ({"conversations": [{"from": "human"}, {"from": "gpt", "value": "x"}]}, "'conversations[0].value' is empty"),
        ({"conversations": [{"from": "human", "value": "x"}]}, "the last turn is of the user"),
        ({"input": "q", "target": "a", "\ud800": 1}, "half of a surrogate pair"),
        ({"input": "q", "target": "a", "meta": {"k": ["\ud800"]}}, "'meta' holds half of a surrogate pair"),
        ({"\ud800\x1b": 1}, "Columns: '\\ud800\\x1b'"),
    ],
)
def test_rows_that_are_no_samples(values: dict[str, Any], says: str) -> None:
    assert says in complaint(values)


def test_what_a_template_may_name() -> None:
    row = Row({"text": "q", "label": "a", "lang": "de"}, "t.csv", 2)
    mapped = spec(fields={"input": "text", "target": "label"})
    assert field_names(row, mapped) == {"input", "lang"}
    answers = {name for name in ("target", "label", "completion", "conversations", "lang", "input") if has_answer_name(name, mapped)}
    assert answers == {"target", "label", "completion", "conversations"}


def group(values: dict[str, Any], faults: Faults, by: str | None = None, **parts: Any) -> str | None:
    where = DataSpec.model_validate({"file": "t.jsonl", "split": {"test": 0.5, "by": by}, **parts})
    return split_group(Row(values, "t", 1), Sample.of([Message("user", "Q?")], ["a"]), where, faults)


def test_the_group_of_a_split() -> None:
    faults = Faults()
    values = {"user": 7, "doc": "d"}
    assert group(values, faults) == "q"
    assert group(values, faults, "user") == "7"
    assert group(values, faults, cluster="doc") == group(values, faults, "cluster", cluster="doc") == "d"
    assert group(values, faults, "user", cluster="doc") == "7"
    assert group(values, faults, "who", fields={"who": ["user"]}) == "7"
    faults.check()
    assert group({"input": "q"}, faults, "user") is None
    with pytest.raises(DataError, match="t:1: there is no 'user'"):
        faults.check()
