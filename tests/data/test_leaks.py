from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.data.leaks import find_leaks, input_key, joined, normal, refuse, squeezed
from evalharness.records import Message, Sample


def sample(text: str, source: str = "", *, before: tuple[Message, ...] = ()) -> Sample:
    return Sample.of([*before, Message("user", text)], ["x"], source=source)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my card?", "where is  my card"),
        ("Where's my card", "WHERE’S MY CARD!!"),
        ("straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("Ａ１", "a1"),
        ("a\u200bb", "ab"),
        ("a\u00a0b", "a\tb\n"),
        ("top-up", "top up"),
        ("e\u0301", "é"),
        ("I don't see it", "i dont see it"),
        ("It's a top-up", "its a topup"),
        ("It\u2019s a mail", "it s a e-mail".replace("e-", "")),
        ("rock'n'roll, 5 o'clock", "Rock n Roll 5 oclock"),
        ("U.S.A.", "u s a"),
        ("ABC-12", "abc 12"),
    ],
)
def test_the_same_to_a_reader(one: str, other: str) -> None:
    assert input_key(sample(one)) == input_key(sample(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("a", "b"), ("C++", "C"), ("$5", "€5"), ("?", "!"), ("resume", "résumé"), ("1.5", "15"), ("1 23", "12 3"), ("a1 b", "a 1b")],
        *[("c a t", "cat"), ("a b a b", "ab ab"), ("12 + 3", "1 + 23")],
    ],
)
def test_not_the_same(one: str, other: str) -> None:
    assert input_key(sample(one)) != input_key(sample(other))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("aé1你 -'.?$"), max_size=20))
def test_punctuation_is_deleted_or_replaced_alike(text: str) -> None:
    spaced = text.translate(str.maketrans("-'.?", "    "))
    assert squeezed(normal(text)) == squeezed(normal(spaced)) or not spaced.strip()
    assert joined(text).replace("-", " ") == normal(text) or not spaced.strip()
    letters = normal("".join(sign for sign in text if sign in "aé "))
    if max(map(len, letters.split()), default=0) > 1 and min(map(len, letters.split())) > 1:
        assert squeezed(letters) == letters.replace(" ", "")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_normal_is_settled_after_one_pass(text: str) -> None:
    assert normal(normal(text)) == normal(text)
    assert normal(f"  {text} \n") == normal(text)


def test_a_chats_key_is_the_whole_chat_without_the_system_turn() -> None:
    turn = Message("assistant", "Shall I?")
    assert input_key(sample("yes", before=(turn,))) != input_key(sample("yes"))
    assert input_key(sample("yes", before=(Message("system", "Be kind."),))) == input_key(sample("Yes."))


def test_every_leaked_row_is_found_with_its_first_held_out_row() -> None:
    learned = [sample("A!", "train:1"), sample("b", "train:2"), sample(" a", "train:3")]
    held_out = [sample("c", "test:1"), sample("a", "test:2"), sample("A", "test:3")]
    assert [(leak.learned.source, leak.held_out.source) for leak in find_leaks(learned, held_out)] == [
        ("train:1", "test:2"),
        ("train:3", "test:2"),
    ]
    assert find_leaks([], held_out) == find_leaks(learned, []) == []


def test_the_error_names_both_lines_and_counts() -> None:
    learned = [sample(f"q{k % 12} " + "long " * 30, f"train.csv:{k + 2}") for k in range(13)]
    held_out = [sample(f"Q{k} " + "long " * 30, f"test.csv:{k + 2}") for k in range(12)]
    lines = str(refuse(find_leaks(learned, held_out), "train", "test")).splitlines()
    assert lines[0].startswith("data.leaks: 13 of the train rows have the input of a test row (12 different inputs)")
    assert lines[1].startswith("train.csv:2 <-> test.csv:2: 'Q0 long")
    assert len(lines[1]) < 120
    assert (len(lines), lines[-1]) == (12, "... and 3 more")
