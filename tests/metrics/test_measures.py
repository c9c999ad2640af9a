from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from evalharness import registry
from evalharness.metrics.measures import Cost, CostOptions, Latency, LatencyOptions, Length, LengthOptions
from evalharness.protocols import Metric
from evalharness.records import Output, Reply, Sample
from tests.metrics.contract import HOSTILE, MetricContract, item


class TestLength(MetricContract):
    def make(self) -> Metric:
        return Length()


class TestWords(MetricContract):
    def make(self) -> Metric:
        return Length(LengthOptions(unit="words", at_most=20))


class Measured(MetricContract):
    """Replies that took something."""

    def pairs(self) -> list[tuple[Sample, Reply]]:
        return [
            (sample, replace(reply, cost_usd=0.001 * number, latency_s=0.5 * number))
            for number, (sample, reply) in enumerate(super().pairs())
        ]

    def test_any_text_gets_a_score(self, metric: Metric) -> None:  # type: ignore[override]
        for text in HOSTILE:
            sample, reply = item(text, self.target)
            (value,) = metric.score(sample, replace(reply, cost_usd=0.25, latency_s=0.25))
            assert value == 0.25


class TestCost(Measured):
    def make(self) -> Metric:
        return Cost()


class TestLatency(Measured):
    def make(self) -> Metric:
        return Latency(LatencyOptions(at_most=2))


SAMPLE, ANSWER = item("It is 4.", "4")
ANSWER = replace(ANSWER, cost_usd=0.002, latency_s=1.5, completion_tokens=5)


def test_each_measures_its_own() -> None:
    assert Cost().score(SAMPLE, ANSWER) == (0.002,)
    assert Latency().score(SAMPLE, ANSWER) == (1.5,)
    assert [Length(LengthOptions(unit=unit)).score(SAMPLE, ANSWER) for unit in ("characters", "words", "tokens")] == [
        (8.0,),
        (3.0,),
        (5.0,),
    ]


def test_free_is_zero_and_unknown_is_an_error() -> None:
    """Trap: an arm without a known price must not win on cost."""
    assert Cost().score(SAMPLE, replace(ANSWER, cost_usd=0.0)) == (0.0,)
    unknown = replace(ANSWER, cost_usd=None, latency_s=None, completion_tokens=None)
    for metric in (Cost(), Latency(), Length(LengthOptions(unit="tokens"))):
        with pytest.raises(ValueError, match=r"nobody knows this answer's .*: unknown is not 0"):
            metric.score(SAMPLE, unknown)


def test_unknown_cost_is_an_outcome_that_counts_the_most() -> None:
    from evalharness.pipeline.scoring import Scorer

    output = Output("o1", "arm", "data", SAMPLE.id, 0, replace(ANSWER, cost_usd=None), "run")
    (score,) = Scorer([Cost(CostOptions(at_most=0.05))]).score(SAMPLE, output)
    assert score.value == 0.05
    assert "nobody knows this answer's cost" in str(score.error)


def test_more_than_the_most_counts_as_the_most() -> None:
    metric = Latency(LatencyOptions(at_most=1))
    assert metric.score(SAMPLE, ANSWER) == metric.failed(SAMPLE) == (1.0,)
    assert metric.range == (0.0, 1.0)


def test_bare_values() -> None:
    assert registry.options(Latency, 30) == LatencyOptions(at_most=30)
    assert registry.options(Cost, 0.05) == CostOptions(at_most=0.05)
    assert registry.options(Length, "words") == LengthOptions(unit="words")
    with pytest.raises(ValidationError):
        CostOptions(at_most=0)
