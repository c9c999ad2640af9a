"""What every metric must do. Subclass `MetricContract`, say how to make the metric, and its tests run on yours.

class TestMine(MetricContract):
    def make(self) -> Metric:
        return Mine(Mine.Options())
"""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from evalharness.ids import digest
from evalharness.metrics import score_all
from evalharness.protocols import Metric
from evalharness.records import Message, Reply, Sample

HOSTILE = ["", " ", "\x00\x1b[31mred", "\ud800", "‮abc", "<script>alert(1)</script>", "word " * 2000, "𝕳𝖊𝖑𝖑𝖔 ﬁ Å", "\n\n", "a" * 3000]


def item(text: str, *targets: str) -> tuple[Sample, Reply]:
    """A sample with these targets, and a reply with this text."""
    return Sample.of([Message("user", "question")], targets), Reply("o1", text, "stop")


class MetricContract:
    """Subclass, return the metric from `make`; override `pairs` if answers like these mean nothing to it."""

    target = "the dog bit the man"
    """What hostile answers are held against."""

    def make(self) -> Metric:
        raise NotImplementedError

    def pairs(self) -> list[tuple[Sample, Reply]]:
        """Samples with replies of every quality."""
        return [
            item("the dog bit the man", "the dog bit the man"),
            item("the dog bit a man yesterday", "the dog bit the man"),
            item("something else entirely", "the dog bit the man"),
            item("The dog had bitten a man.", "the dog bit the man", "The dog had bitten the man.", "A man was bitten"),
            item("", "the dog bit the man"),
            item("four", "4", "four"),
        ]

    @pytest.fixture
    def metric(self) -> Metric:
        return self.make()

    def test_is_a_metric(self, metric: Metric) -> None:
        assert isinstance(metric, Metric)
        assert metric.kind in ("binary", "mean", "corpus")
        assert metric.range[0] < metric.range[1]

    def test_identity_is_stable_json_with_name_and_version(self, metric: Metric) -> None:
        identity = metric.identity()
        assert digest(identity) == digest(self.make().identity())
        assert identity["name"] == metric.name
        assert identity["version"] == metric.version

    def test_unknown_options_are_refused(self, metric: Metric) -> None:
        with pytest.raises(ValidationError):
            metric.Options.model_validate({"no_such_option": 1})

    def test_statistics_are_finite_floats_of_one_length_and_repeatable(self, metric: Metric) -> None:
        lengths = set()
        for sample, reply in self.pairs():
            for stats in (metric.score(sample, reply), metric.failed(sample), metric.perfect(sample)):
                assert all(type(x) is float and np.isfinite(x) for x in stats)
                lengths.add(len(stats))
            assert metric.score(sample, reply) == metric.score(sample, reply)
        assert len(lengths) == 1

    def test_failed_is_worst_and_perfect_best(self, metric: Metric) -> None:
        sign = 1 if metric.higher_is_better else -1
        apart = []
        for sample, reply in self.pairs():
            rows = np.array([metric.failed(sample), metric.score(sample, reply), metric.perfect(sample)])
            worst, value, best = sign * metric.finish(rows, np.ones(3))
            assert worst <= value + 1e-9
            assert value <= best + 1e-9
            apart.append(worst < best)
        assert any(apart)

    def test_finish_is_vectorised_and_in_range(self, metric: Metric) -> None:
        stats = np.array([metric.score(sample, reply) for sample, reply in self.pairs()])
        sums = np.stack([np.cumsum(stats, axis=0), np.cumsum(stats[::-1], axis=0)])
        n = np.broadcast_to(np.arange(1.0, len(stats) + 1), sums.shape[:2])
        values = metric.finish(sums, n)
        assert values.shape == sums.shape[:2]
        for index in np.ndindex(*values.shape):
            assert values[index] == pytest.approx(float(metric.finish(sums[index], n[index])), rel=1e-12, abs=1e-12)
        assert (values >= metric.range[0] - 1e-9).all()
        assert (values <= metric.range[1] + 1e-9).all()

    def test_kind_tells_the_truth(self, metric: Metric) -> None:
        stats = np.array([metric.score(sample, reply) for sample, reply in self.pairs()])
        if metric.kind == "corpus":
            return
        assert float(metric.finish(stats.sum(axis=0), np.array(float(len(stats))))) == pytest.approx(stats[:, 0].mean())
        if metric.kind == "binary":
            assert set(np.unique(stats)) <= {0.0, 1.0}

    def test_many_at_once_are_the_same(self, metric: Metric) -> None:
        samples, replies = zip(*self.pairs(), strict=True)
        expected = np.array([metric.score(sample, reply) for sample, reply in self.pairs()])
        assert np.array_equal(score_all(metric, samples, replies), expected)

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_any_text_gets_a_score(self, metric: Metric, text: str) -> None:
        sample, reply = item(text, self.target)
        value = float(metric.finish(np.array(metric.score(sample, reply)), np.array(1.0)))
        assert metric.range[0] <= value <= metric.range[1]

    def test_a_reply_without_text_is_not_scored(self, metric: Metric) -> None:
        sample, _ = item("", self.target)
        with pytest.raises(ValueError, match="no text"):
            metric.score(sample, Reply("o1", None, "error", error="down"))
