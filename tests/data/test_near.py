from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.data.leaks import normal
from evalharness.data.near import near_pairs, word_edits

WORDS = [f"w{k}" for k in range(300)]
COMPOUNDS = [f"w{k}'s" for k in range(30)] + [f"up-to-w{k}" for k in range(30)]


def plain_edits(a: list[str], b: list[str]) -> int:
    """Levenshtein's distance by the whole table."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


def by_all_pairs(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    words = [normal(text).split() for text in texts]
    wholes = [text.split() for text in texts]

    def are_near(one: list[str], other: list[str]) -> bool:
        return bool(one and other) and plain_edits(one, other) <= (1 - threshold) * max(len(one), len(other)) + 1e-9

    found = set()
    for j in range(len(texts)):
        if words[j] in words[:j] and words[j]:
            found.add((words.index(words[j]), j))
            continue
        for i in range(j):
            if words[i] not in words[:i] and (are_near(words[i], words[j]) or are_near(wholes[i], wholes[j])):
                found.add((i, j))
    return found


def changed(words: list[str], edits: int, r: random.Random, among: list[str] = WORDS) -> list[str]:
    changed = list(words)
    for _ in range(edits):
        at, what = r.randrange(len(changed)), r.random()
        changed[at : at + 1] = [r.choice(among)] if what < 0.4 else [changed[at], r.choice(among)] if what < 0.7 else []
    return changed


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    r=st.randoms(use_true_random=False),
    longest=st.sampled_from([12, 14, 35, 120]),
    threshold=st.sampled_from([0.75, 0.85, 0.9, 0.95, 1.0]),
    among=st.sampled_from([WORDS, COMPOUNDS, WORDS[:60] + COMPOUNDS]),
)
def test_it_finds_the_pairs_that_comparing_all_finds(r: random.Random, longest: int, threshold: float, among: list[str]) -> None:
    first = [r.choices(among, k=r.randint(1, longest)) for _ in range(6)]
    more = [changed(words, r.randint(0, round(len(words) * (1.1 - threshold) + 1)), r, among) for words in first for _ in range(3)]
    texts = [" ".join(words) for words in (*first, *more)]
    r.shuffle(texts)
    found = list(near_pairs(texts, threshold))
    assert {(i, j) for i, j, _ in found} == by_all_pairs(texts, threshold)
    assert all(i < j and threshold - 1e-9 <= score <= 1 for i, j, score in found)
    assert [(j, i) for i, j, _ in found] == sorted((j, i) for i, j, _ in found)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12), st.integers(0, 12))
def test_word_edits_are_levenshteins(a: list[int], b: list[int], most: int) -> None:
    true = plain_edits([str(word) for word in a], [str(word) for word in b])
    assert word_edits(a, b, most) == (true if true <= most else None)


def test_equal_texts_are_paired_with_the_first_alone() -> None:
    assert list(near_pairs(["A b!", "c", "a  b", "A B", "", " ", "?", "?"])) == [(0, 2, 1.0), (0, 3, 1.0), (6, 7, 1.0)]
    assert list(near_pairs([])) == []


def test_texts_too_short_for_a_changed_word_have_to_be_equal() -> None:
    eight, nine = "a b c d e f g h", "a b c d e f g h i"
    assert list(near_pairs([eight, eight + " x"])) == []
    assert list(near_pairs([nine, nine + " x"])) == [(0, 1, 0.9)]


def test_a_word_with_an_apostrophe_or_a_hyphen_is_one_word_or_its_parts() -> None:
    text = "I would like to know why my top-up isn't here"
    assert list(near_pairs([text, text.replace("isn't", "was")])) == [(0, 1, 0.9)]
    assert list(near_pairs([text, text.replace("top-up", "$7.50")])) == [(0, 1, 0.9)]
    assert list(near_pairs([text + " yet", text.replace("top-up", "top up") + " now"])) == [(0, 1, 12 / 13)]
    assert list(near_pairs([text, text.replace("top-up isn't", "card was")])) == []
    address = "my mail a.b@c.example is on page one of two"  # four parts are no word
    assert list(near_pairs([address, address.replace("a.b@c.example", "x")])) == []
    signs = "a b c d e f g h i 你-好"  # each is a word anyway
    assert list(near_pairs([signs, signs.replace("你-好", "x")])) == []


@pytest.mark.parametrize("compounds", [0, 1, 2, 3])
def test_one_changed_word_of_ten_parts_is_found_however_they_are_joined(compounds: int) -> None:
    r = random.Random(compounds)
    rows = [r.choices(WORDS, k=10) for _ in range(400)]
    more = [[*words[:k], "new", *words[k + 1 :]] for words in rows for k in [r.randrange(10)]]
    joins = [["-" if 2 * k in r.sample(range(2, 10, 2), compounds) else " " for k in range(1, 11)] for _ in rows]
    texts = [
        "".join(part for pair in zip(words, join, strict=True) for part in pair) for words, join in zip(rows + more, 2 * joins, strict=True)
    ]
    assert {(i, j) for i, j, _ in near_pairs(texts)} >= {(k, 400 + k) for k in range(400)}


def test_a_form_letter_does_not_hide_what_is_near_in_it_nor_cost_the_square() -> None:
    r = random.Random(7)
    form = " ".join(r.choices(WORDS, k=60))
    texts = [f"{form} {' '.join(r.choices(WORDS, k=60))}" for _ in range(3000)]
    texts += [" ".join(changed(text.split(), 9, r)) for text in texts[:200]]
    assert {(i, j) for i, j, _ in near_pairs(texts)} >= {(k, 3000 + k) for k in range(200)}


def test_in_a_crowd_of_near_texts_each_has_near_others() -> None:
    r = random.Random(3)
    words = r.choices(WORDS, k=40)
    texts = [" ".join(changed(words, 1, r)) for _ in range(400)]
    pairs = list(near_pairs(texts))
    assert {k for i, j, _ in pairs for k in (i, j)} == set(range(400))
    assert len(pairs) < 150 * 400


def test_hostile_texts() -> None:
    assert list(near_pairs(["\ud800 " * 20, "\0" * 20, "x " * 5000, "x " * 5001, "\ud800 " * 21])) == [(2, 3, 5000 / 5001), (0, 4, 20 / 21)]


@pytest.mark.parametrize("threshold", [0.5, 1.1])
def test_thresholds_that_promise_nothing(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"expected 0\.7 to 1"):
        list(near_pairs([], threshold))
