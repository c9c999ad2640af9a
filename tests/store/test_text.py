"""Any text survives the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.records import Dataset, Message, Output, Reply, Sample
from evalharness.store import Store
from evalharness.store.text import decode, encode, from_json, to_json

ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
TRICKY = st.text(st.sampled_from(["\U0010fffd", "\ud800", "\udfff", "\U0010d800", "\U0010dfff", "\x00", "\x1b", "'", "a", "é"]), max_size=8)
DULL = settings(deadline=None, derandomize=True, max_examples=100)


@DULL
@given(ANY | TRICKY)
def test_encoding_is_utf8_and_reversible(text: str) -> None:
    encode(text).encode()
    assert decode(encode(text)) == text


@DULL
@given(ANY | TRICKY, ANY | TRICKY)
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert (encode(one) == encode(other)) == (one == other)


def test_ordinary_text_is_stored_as_it_is() -> None:
    text = "Grüße, 世界 \U0001f600\n\x00\x1b[31m"
    assert encode(text) == text


@DULL
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | ANY, lambda x: st.lists(x) | st.dictionaries(ANY, x), max_leaves=5
    )
)
def test_json_is_utf8_and_reversible(value: object) -> None:
    to_json(value).encode()
    assert from_json(to_json(value)) == value


def test_json_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(TypeError, match="Path is not JSON"):
        to_json({"path": Path("x")})


@pytest.mark.parametrize("kind", ["random", "tricky"])
def test_text_survives_the_file(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path / "s.duckdb")

    @settings(deadline=None, derandomize=True, max_examples=8)
    @given(st.lists(ANY if kind == "random" else TRICKY, min_size=1, max_size=20))
    def check(texts: list[str]) -> None:
        samples = [Sample.of([Message("user", text)], [text], fields={text: text}, occurrence=i) for i, text in enumerate(texts)]
        data = Dataset("any", "test", tuple(samples))
        store.put_dataset(data)
        assert store.dataset(data.id) == data
        replies = [Reply(f"o{i}", text, "error", error=text, raw=text) for i, text in enumerate(texts)]
        outputs = [Output(f"o{i}", "arm", data.id, sample.id, 0, replies[i], "run") for i, sample in enumerate(samples)]
        with store.writer() as writer:
            writer.put(*outputs)
        assert store.outputs("arm", data.id) == outputs

    check()


def test_a_line_of_a_megabyte_survives(tmp_path: Path) -> None:
    store, text = Store(tmp_path / "s.duckdb"), "é\x00" * 500_000 + "\ud800"
    data = Dataset("long", "test", (Sample.of([Message("user", "x")], [text]),))
    store.put_dataset(data)
    assert store.dataset(data.id) == data
    assert store.sql("SELECT target FROM samples")[1] == [(text,)]
