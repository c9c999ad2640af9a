from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.errors import ConfigError
from evalharness.reading.yamlfile import parse, read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("true", True), ("False", False), ("~", None), ("", None), ("null", None),
        ("010", 10), ("0x1F", 31), ("0o17", 15), ("-3", -3), ("+3", 3), ("1_000", "1_000"), ("1:30", "1:30"),
        ("1e-4", 0.0001), ("2.0E+3", 2000.0), (".5", 0.5), ("1.", 1.0), (".nan", ".nan"), (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"), ('"1"', "1"), ("'a: b'", "a: b"), ("[1, b]", [1, "b"]), ("!!str 1", "1"),
        ('"\\ud83d\\ude42 é"', "🙂 é"),
    ],
)  # fmt: skip
def test_scalars_as_yaml_1_2_reads_them(text: str, value: object) -> None:
    found = parse(f"k: {text}", "a.yaml")["k"]
    assert (found, type(found)) == (value, type(value))


def test_anchors_and_merges() -> None:
    assert parse("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", "a.yaml") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: {c: 1, c: 2}\na: 2", ["a.yaml: b.c: the key is there twice, in lines 2 and 2. Keep one",
                                        "a.yaml: a: the key is there twice, in lines 1 and 3. Keep one"]),
        ("a:\n  - {x: 1}\n  - {x: 1, x: 2}", ["a.yaml: a[1].x: the key is there twice, in lines 3 and 3. Keep one"]),
        ("a: {1: x, ~: y}", ['a.yaml:1: a: the key 1 is no text. Put it in quotes: "1"',
                             'a.yaml:1: a: the key ~ is no text. Put it in quotes: "~"']),
        ("? [a]\n: b", ['a.yaml:1: the key ... is no text. Put it in quotes: "..."']),
        ("a:\n\tb: 1", ["a.yaml:2: a tab indents the line. Indent by spaces"]),
        ("a: 1\n---\nb: 2", ["a.yaml:2: a second document begins ('---'). Keep one document to a file"]),
        ("- a", ["a.yaml: holds a list, expected keys with values. See the examples that `evalh init` writes"]),
        ("# nothing", ["a.yaml: is empty. See the examples that `evalh init` writes"]),
    ],
)  # fmt: skip
def test_told_in_plain_words(text: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "a.yaml")
    assert [str(problem) for problem in caught.value.problems] == told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1,", "a.yaml:1: is not YAML"),
        ("a: b: c", "a.yaml:1: is not YAML: mapping values are not allowed here, column 5"),
        ("a: 'b", "is not YAML"),
        ("a: *b", "undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "is not allowed"),
        ("a: !!binary aGk=", "is not allowed"),
        ("a: !own {}", "is not allowed"),
        ("a: !!int abc", "does not fit its tag"),
        ("a: !!bool abc", "does not fit its tag"),
        ("a: &a [*a]", "far too large"),
        ("a: " + "[" * 60 + "]" * 60, "far too large"),
        ("a: " + "[" * 500, "nested too deeply"),
        ("a: \x00", "special characters"),
        ('a: "\\ud83d"', "half of a surrogate pair"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "a.yaml")
    assert says in str(caught.value)


def test_aliases_that_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
    with pytest.raises(ConfigError, match="far too large"):
        parse("\n".join(lines), "a.yaml")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"a: 1\nb: \xff\n", "a.yaml:2: is not UTF-8"), (b"#" * 1_000_001, "a.yaml: has 1,000,001 bytes")],
)
def test_files_that_are_no_text(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_text(tmp_path / "a.yaml")
    assert says in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(tmp_path)


def test_a_byte_order_mark_is_taken_off(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert parse(read_text(tmp_path / "a.yaml"), "a.yaml") == {"a": 1}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text("abc:#-[]{}&*!|>'\"%@` \n0", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc 1:#", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), VALUES, min_size=1, max_size=3))
def test_what_is_written_with_quotes_is_read_back(value: dict[str, Any]) -> None:
    import json

    assert parse(json.dumps(value), "a.yaml") == value


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text("ab:-[]{}&*!|>'\"%@` \n\t01,?#~<", max_size=30))
def test_any_text_is_a_mapping_or_a_config_error(text: str) -> None:
    try:
        value: object = parse(text, "a.yaml")
    except ConfigError as error:
        value = dict.fromkeys(error.problems)
    assert isinstance(value, dict)
