from __future__ import annotations

from collections import Counter

import numpy as np

from evalharness.doctor.targets import LabelTask, Targets, shift
from tests.doctor.seen import examine, rows


def labelled(side: str, counts: dict[str, int], start: int = 0) -> list:  # type: ignore[type-arg]
    return rows(side, [(f"q{label}{k}", label) for label, count in counts.items() for k in range(count)], start)


def test_equal_shares_have_no_findings() -> None:
    assert examine(Targets(), [*labelled("train", {"a": 90, "b": 60}), *labelled("test", {"a": 31, "b": 19}, 150)]) == []


def test_free_text_is_no_label_task() -> None:
    assert examine(Targets(), rows("train", [(f"q{k}", f"answer {k}") for k in range(100)])) == []
    task = LabelTask()
    for k in range(3000):
        task.add("train", (f"{k}",), "t:1")
    assert task.labels == []
    assert not task.counts


def test_labels_that_only_test_has() -> None:
    found = examine(Targets(), [*labelled("train", {"a": 50, "b": 50}), *labelled("test", {"a": 50, "b": 44, "c": 4, "d": 2}, 100)])
    (unseen,) = [each for each in found if each.rule == "target.unseen"]
    assert (unseen.severity, unseen.count, unseen.figures["labels"]) == ("warning", 6, 2)
    assert [(place.source, place.excerpt) for place in unseen.worst] == [("test.jsonl:95", "'c': 4 rows"), ("test.jsonl:99", "'d': 2 rows")]


def test_shifted_shares() -> None:
    few = examine(Targets(), [*labelled("train", {"a": 80, "b": 120}), *labelled("test", {"a": 60, "b": 60}, 200)])
    assert few == []  # 10 points apart are not beyond chance at this size
    found, *_ = examine(Targets(), [*labelled("train", {"a": 800, "b": 200}), *labelled("test", {"a": 100, "b": 200}, 1000)])
    assert (found.rule, found.severity) == ("target.shift", "warning")
    assert abs(float(found.figures["total_variation"]) - (0.8 - 1 / 3)) < 1e-9
    assert found.worst[0].excerpt == "'a': 80.0% of train, 33.3% of test"


def test_p_values_of_equal_distributions_are_uniform() -> None:
    rng = np.random.default_rng(1)
    small = 0
    for _ in range(200):
        train, test = (Counter(dict(enumerate(rng.multinomial(n, [0.5, 0.3, 0.2])))) for n in (300, 100))
        small += shift(Counter({str(k): int(v) for k, v in train.items()}), Counter({str(k): int(v) for k, v in test.items()}))[1] <= 0.1
    assert 8 <= small <= 34  # 20 expected; 99.9% of the binomial lies within


def test_majority() -> None:
    (found,) = examine(Targets(), [*labelled("train", {"a": 95, "b": 5}), *labelled("test", {"a": 95, "b": 5}, 100)])
    assert (found.rule, found.severity, found.count, found.figures) == ("target.majority", "warning", 95, {"share": 0.95})


def test_one_label_in_two_spellings() -> None:
    (found,) = examine(Targets(), labelled("train", {"card lost": 30, "Card_lost": 2, "other": 9}))
    assert (found.rule, found.count) == ("target.spelling", 2)
    assert (found.worst[0].excerpt, found.worst[0].other) == ("'Card_lost'", "'card lost' (train.jsonl:1)")
