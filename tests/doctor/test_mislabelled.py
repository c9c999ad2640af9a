from __future__ import annotations

import csv
import importlib.util
import random
from pathlib import Path

import pytest

from evalharness.doctor.mislabelled import Mislabelled, Suspects, suspects
from tests.doctor.seen import examine, rows

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the project")
needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the extra check is not installed")


def banking(labels: int | None = None) -> tuple[list[str], list[str]]:
    with (SHARED / "banking77" / "train.csv").open() as file:
        pairs = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    kept = sorted({label for _, label in pairs})[:labels]
    return [text for text, label in pairs if label in kept], [label for _, label in pairs if label in kept]


def flip(labels: list[str], n: int, seed: int) -> tuple[list[str], set[int]]:
    """The labels with n of them exchanged for another one, and which."""
    rng, names, spoilt = random.Random(seed), sorted(set(labels)), list(labels)
    rows = rng.sample(range(len(labels)), n)
    for i in rows:
        spoilt[i] = rng.choice([name for name in names if name != labels[i]])
    return spoilt, set(rows)


@needs_shared
@needs_sklearn
def test_flipped_labels_of_a_part_of_banking77_come_first() -> None:
    texts, labels = banking(12)
    spoilt, flipped = flip(labels, 40, 1)
    found = suspects(texts, spoilt)
    first = {each.row for each in found.rows[:40]}
    assert len(first & flipped) >= 32
    listed = {each.row for each in found.rows[: found.confident]}
    assert len(listed & flipped) >= 34
    assert found.looked == len(texts)
    right = [each for each in found.rows[:40] if each.row in flipped and each.predicted == labels[each.row]]
    assert len(right) >= 28


@pytest.mark.slow
@needs_shared
@needs_sklearn
def test_flipped_labels_of_banking77(capsys: pytest.CaptureFixture[str]) -> None:
    """200 of 10,003 labels flipped. Other rows that come first are not all false alarms: some labels there are disputed."""
    import time

    texts, labels = banking()
    spoilt, flipped = flip(labels, 200, 0)
    began = time.process_time()
    found = suspects(texts, spoilt)
    seconds = time.process_time() - began
    at_200 = len({each.row for each in found.rows[:200]} & flipped)
    listed = len({each.row for each in found.rows[: found.confident]} & flipped)
    with capsys.disabled():
        print(f"\nbanking77, 200 flipped labels: at k = 200 precision and recall {at_200 / 200:.1%};", end=" ")
        print(f"{found.confident} listed, precision {listed / found.confident:.1%}, recall {listed / 200:.1%}; {seconds:.1f} s CPU")
    assert at_200 >= 160
    assert listed >= 170
    assert seconds < 60


@needs_sklearn
def test_the_order_of_rows_changes_nothing() -> None:
    rng = random.Random(5)
    texts = [f"{'cat purr meow' if k % 2 else 'dog bark woof'} {rng.choice('abcdefgh')} {k % 50}" for k in range(200)]
    labels = ["cat" if k % 2 else "dog" for k in range(200)]
    labels[7] = "dog"
    order = list(range(200))
    rng.shuffle(order)
    found, again = suspects(texts, labels), suspects([texts[i] for i in order], [labels[i] for i in order])
    assert found.rows[0].row == 7
    assert [(order[each.row], each.predicted, each.own) for each in again.rows] == [(e.row, e.predicted, e.own) for e in found.rows]


@needs_sklearn
def test_the_rule_names_the_row_its_label_and_a_likelier_one() -> None:
    pairs = [(f"{'cat purr meow' if k % 2 else 'dog bark woof'} {k}", "cat" if k % 2 else "dog") for k in range(100)]
    pairs[10] = ("dog bark woof mail ada@mail.com", "cat")
    (found,) = examine(Mislabelled(), [*rows("train", pairs, start=5), *rows("test", [("dog", "cat")] * 9, start=200)])
    assert (found.rule, found.severity, found.count, found.rows) == ("target.mislabelled", "warning", 1, ())
    assert found.worst[0].source == "train.jsonl:11"
    assert found.worst[0].excerpt == "dog bark woof mail <EMAIL>"
    assert found.worst[0].other.startswith("'cat', rather 'dog' (")
    assert found.figures["looked"] == 100


@needs_sklearn
def test_clean_labels_and_rare_ones() -> None:
    pairs = [(f"{'cat purr meow' if k % 2 else 'dog bark woof'} {k}", "cat" if k % 2 else "dog") for k in range(100)]
    assert examine(Mislabelled(), rows("train", pairs)) == []
    assert examine(Mislabelled(), rows("train", [*pairs, ("dog bark woof", "rare")])) == []  # too few to judge it
    assert suspects(["a", "b"], ["x", "y"]).looked == 0
    assert suspects(["🙂 🙂"] * 60, ["x", "y"] * 30).looked == 0  # no words
    assert suspects([f"w{k}" for k in range(300)], ["x", "y"] * 150).looked == 0  # none that two texts have


def test_what_it_cannot_look_at_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = examine(Mislabelled(), rows("train", [(f"q{k}", f"answer {k}") for k in range(50)]))
    assert (found.severity, found.count) == ("note", 0)
    assert "free text" in found.found
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (found,) = examine(Mislabelled(), rows("train", [(f"q{k}", "ab"[k % 2]) for k in range(50)]))
    assert "scikit-learn is not installed" in found.found
    assert examine(Mislabelled(), rows("test", [("q", "a")])) == []


@needs_sklearn
def test_a_classifier_that_is_often_wrong_accuses_nobody() -> None:
    rng = random.Random(3)
    pairs = [(" ".join(rng.choices("abcdefghij", k=6)), rng.choice("xyz")) for _ in range(150)]
    (found,) = examine(Mislabelled(), rows("train", pairs))
    assert found.severity == "note"
    assert "of the rows only, so most of these are its own mistakes" in found.found


@needs_sklearn
def test_long_texts_of_many_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(texts: list[str], labels: list[str]) -> Suspects:
        seen.append(sum(map(len, texts)))
        return suspects(texts, labels)

    monkeypatch.setattr("evalharness.doctor.mislabelled.suspects", watched)
    monkeypatch.setattr("evalharness.doctor.mislabelled._ALL_CHARACTERS", 10_000)
    examine(Mislabelled(), rows("train", [("word " * 1000, "ab"[k % 2]) for k in range(100)]))
    assert seen == [10_000]
