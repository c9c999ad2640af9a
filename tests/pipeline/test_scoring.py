"""Outputs are scored many at once where a metric can, and come to the same scores as one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evalharness.metrics.exact_match import ExactMatch
from evalharness.metrics.sacrebleu import Bleu, Chrf
from evalharness.pipeline.generating import TOGETHER
from evalharness.pipeline.scoring import Scorer
from evalharness.records import Message, Output, Reply, Sample
from tests.pipeline.conftest import SUITE, Workspace, rows

WORDS = ["the", "cat", "sat", "on", "a", "mat", ",", "and", "nobody", "minded", "the", "cat", "."]


class Counting(ExactMatch):
    """Says how often it was asked, and for how many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def score_many(self, samples: Any, replies: Any) -> Any:
        self.asked.append(len(samples))
        return super().score_many(samples, replies)


def pairs(n: int, seed: int = 0) -> list[tuple[Sample, Output]]:
    rng, found = np.random.default_rng(seed), []
    for i in range(n):
        target = " ".join(rng.choice(WORDS, rng.integers(1, 12)))
        text = target if i % 3 == 0 else " ".join(rng.choice(WORDS, rng.integers(0, 12)))
        sample = Sample.of([Message("user", f"item {i}")], [target])
        found.append((sample, Output(f"o{i}", "arm", "d", sample.id, 0, Reply(f"o{i}", text, "stop"), "run")))
    return found


@pytest.mark.parametrize("metric", [ExactMatch(), Bleu(), Chrf()])
@pytest.mark.parametrize("failed", [(), (0, 17)])
def test_many_at_once_are_scored_as_one_by_one_to_the_last_bit(metric: Any, failed: tuple[int, ...]) -> None:
    scorer, some = Scorer([metric]), pairs(100)
    for i in failed:
        sample, output = some[i]
        some[i] = (sample, replace(output, reply=Reply(output.output_id, None, "error", error="timed out")))
    (key,) = scorer.metrics
    assert scorer.many(key, some) == [score for pair in some for score in scorer.score(*pair)]


def test_one_answer_that_is_too_much_for_a_metric_costs_the_others_nothing() -> None:
    class Touchy(Counting):
        def score_many(self, samples: Any, replies: Any) -> Any:
            if any(reply.text == "boom" for reply in replies):
                raise ValueError("boom")
            return super().score_many(samples, replies)

    some, metric = pairs(20), Touchy()
    some[5] = (some[5][0], replace(some[5][1], reply=Reply("o5", "boom", "stop")))
    scorer = Scorer([metric])
    (key,) = scorer.metrics
    found = scorer.many(key, some)
    assert [score.error for score in found if score.error] == ["exact_match: ValueError: boom"]
    assert found[5].stats == metric.failed(some[5][0])
    assert [score.value for score in found[:5]] == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_answers_are_scored_in_groups_while_they_come_and_when_a_metric_is_new(workspace: Workspace, monkeypatch: Any) -> None:
    asked: list[int] = []
    usual = ExactMatch.score_many

    def counted(self: ExactMatch, samples: Any, replies: Any) -> Any:
        asked.append(len(samples))
        return usual(self, samples, replies)

    monkeypatch.setattr(ExactMatch, "score_many", counted)
    n = TOGETHER + 36
    workspace.write("data/test.jsonl", rows([f"test {i}" for i in range(n)], str.upper))
    alone = ("candidates:\n  tuned: {train: files}\n", "")
    workspace.suite(SUITE, alone, ("[exact_match, bleu]", "[bleu]"), ("{metric: exact_match, margin: 0.02}", "{metric: bleu, margin: 1}"))
    workspace.run()
    assert asked == []
    workspace.suite(SUITE, alone)
    assert workspace.run().tally.scored == 2 * n
    assert asked == [n, n], "two arms, each at once"
    workspace.suite(SUITE, alone, ("doubles.py:Echo/echo", "doubles.py:Echo/lower"))
    asked.clear()
    assert workspace.run().tally.asked == n
    assert asked == [TOGETHER, 36]
