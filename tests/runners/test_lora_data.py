"""Rows as passes: nothing lost, next to no padding, the same order for the same seed."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.causal import Example
from evalharness.errors import DataError
from evalharness.records import Message
from evalharness.runners.lora.data import PassCost, answer_tokens, collate, encode, passes, step_rows
from tests import tiny

FAST = settings(max_examples=80, deadline=None, derandomize=True)


def example(length: int, answer: int = 1) -> Example:
    return Example(tuple(range(length)), length - min(answer, length - 1), False)


def cost_of(groups: list[list[int]], rows: list[Example], overhead: float) -> float:
    return sum(len(group) * max(len(rows[i].ids) for i in group) + overhead for group in groups)


@FAST
@given(lengths=st.lists(st.integers(2, 60), min_size=1, max_size=9), overhead=st.floats(0, 50))
def test_no_split_of_the_sorted_rows_is_cheaper(lengths: list[int], overhead: float) -> None:
    rows = [example(n) for n in lengths]
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i].ids))
    splits = [[0, *[k + 1 for k in range(len(rows) - 1) if cuts >> k & 1], len(rows)] for cuts in range(2 ** (len(rows) - 1))]
    least = min(cost_of([order[a:b] for a, b in pairwise(split)], rows, overhead) for split in splits)
    assert cost_of(passes(rows, PassCost(overhead, 10_000, 10_000)), rows, overhead) == pytest.approx(least)


@FAST
@given(
    lengths=st.lists(st.integers(2, 60), min_size=1, max_size=30),
    overhead=st.floats(0, 1000),
    tokens=st.integers(1, 200),
    labels=st.integers(1, 40),
)
def test_every_row_is_in_one_pass_within_the_limits(lengths: list[int], overhead: float, tokens: int, labels: int) -> None:
    rows = [example(n, answer=n // 2) for n in lengths]
    found = passes(rows, PassCost(overhead, tokens, labels))
    assert sorted(i for group in found for i in group) == list(range(len(rows)))
    for group in found:
        if len(group) > 1:
            assert len(group) * max(len(rows[i].ids) for i in group) <= tokens
            assert answer_tokens([rows[i] for i in group]) <= labels


@FAST
@given(count=st.integers(1, 50), batch=st.integers(1, 20), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_an_epoch_sees_every_row_once(count: int, batch: int, seed: int, epoch: int) -> None:
    steps = math.ceil(count / batch)
    seen = [step_rows(count, batch, seed, epoch * steps + i) for i in range(steps)]
    assert sorted(row for rows in seen for row in rows) == list(range(count))
    assert all(len(rows) == batch for rows in seen[:-1])


def test_the_order_is_the_seeds_and_the_epochs() -> None:
    first = [step_rows(100, 10, 0, step) for step in range(20)]
    assert first == [step_rows(100, 10, 0, step) for step in range(20)]
    assert first[0] != step_rows(100, 10, 1, 0)
    assert first[0] != first[10]


def test_a_pass_marks_what_predicts_the_answers() -> None:
    made = collate([Example((5, 6, 7, 8), 2, False), Example((9, 3), 1, False)], "cpu")
    assert made.ids.tolist() == [[5, 6, 7, 8], [9, 3, 0, 0]]
    assert made.where.tolist() == [[False, True, True, False], [True, False, False, False]]
    assert made.labels.tolist() == [7, 8, 3]


def test_rows_that_cannot_be_learned_are_named_together() -> None:
    tokenizer = tiny.byte_tokenizer()
    short, long = (Message("user", "a"), Message("assistant", "b")), (Message("user", "a" * 99), Message("assistant", "b"))
    assert len(encode(tokenizer, [short, short], 60, "train")) == 2
    with pytest.raises(DataError) as caught:
        encode(tokenizer, [short, long, *[long] * 6], 60, "train")
    assert "train: row 2: its prompt alone fills max_length (60 tokens). Raise max_length" in str(caught.value)
    assert "and 2 more such rows" in str(caught.value)


def test_rows_that_the_template_refuses_are_named() -> None:
    tokenizer = tiny.byte_tokenizer("{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}a")
    with pytest.raises(DataError, match=r"dev: row 1: .*no system turns"):
        encode(tokenizer, [(Message("system", "x"), Message("assistant", "b"))], 60, "dev")
