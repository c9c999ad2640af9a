"""Outputs -> scores: every output gets one score per metric, the failed ones too. Many at once where a metric can.

>>> scorer = Scorer([("exact_match", ExactMatch(ExactMatch.Options()))])                              # doctest: +SKIP
>>> scorer.score(sample, output)[0].value                                                             # doctest: +SKIP
1.0
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TypeGuard, cast

import numpy as np

from evalharness.ids import digest
from evalharness.metrics import Explains, score_all
from evalharness.protocols import AskingMetric, Metric
from evalharness.records import Output, Sample, Score


class Scorer:
    """The suite's metrics that score by themselves. `metrics` maps a metric's id to the metric; judging.py has the others."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics: Mapping[str, Metric] = {metric_id(metric): metric for metric in metrics if not asks_a_model(metric)}

    def score(self, sample: Sample, output: Output) -> list[Score]:
        """One score per metric. A failed output, or a metric that raises, scores as the metric's worst and says why."""
        return [score for key in self.metrics for score in self.many(key, [(sample, output)])]

    def missing(self, outputs: Iterable[Output], known: Container[str]) -> Iterator[tuple[str, Output]]:
        """(metric id, output) of the scores whose ids are not among the `known` ones."""
        for output in outputs:
            for key in self.metrics:
                if score_id(key, output) not in known:
                    yield key, output

    def many(self, key: str, pairs: Sequence[tuple[Sample, Output]]) -> list[Score]:
        """The scores of outputs by the metric with this id, in order; their number decides nothing but the time it takes."""
        metric = self.metrics[key]
        found = [_stats(metric, *pair) for pair in pairs] if (together := _together(metric, pairs)) is None else together
        values = _finished(metric, [stats for stats, _, _ in found])
        return [
            Score(score_id(key, output), output.output_id, key, value, stats, why, error)
            for (_, output), value, (stats, why, error) in zip(pairs, values, found, strict=True)
        ]


def asks_a_model(metric: Metric) -> TypeGuard[AskingMetric]:
    """Whether the metric has to be asked, and costs calls."""
    return isinstance(metric, AskingMetric)


def metric_id(metric: Metric) -> str:
    """Hash of what decides the metric's number: name, version and options."""
    return digest(metric.identity())


def score_id(key: str, output: Output) -> str:
    """Hash of the metric and of what it sees of the output."""
    return digest([key, output.outcome_key])


Found = tuple[tuple[float, ...], str | None, str | None]
"""Statistics of an output, what the metric says of them, and the error; with an error they are the worst."""


def _finished(metric: Metric, stats: Sequence[tuple[float, ...]]) -> list[float]:
    """Each output's own value."""
    if len({len(row) for row in stats}) != 1:
        return [float(metric.finish(np.array(row), np.array(1.0))) for row in stats]
    return [float(value) for value in metric.finish(np.array(stats), np.ones(len(stats)))]


def _together(metric: Metric, pairs: Sequence[tuple[Sample, Output]]) -> list[Found] | None:
    """By the metric's fast path; None if it has none, an answer is not there, or one of them is too much for it."""
    if len(pairs) < 2 or not hasattr(metric, "score_many") or any(output.reply.error is not None for _, output in pairs):
        return None
    try:
        found = score_all(metric, [sample for sample, _ in pairs], [output.reply for _, output in pairs])
        if not np.isfinite(found).all():
            return None
        return [(tuple(stats), _why(metric, *pair), None) for stats, pair in zip(found.tolist(), pairs, strict=True)]
    except Exception:  # row by row tells which answer it is, and what is wrong
        return None


def _why(metric: Metric, sample: Sample, output: Output) -> str | None:
    explain: Explains | None = cast("Explains", metric) if hasattr(metric, "why") else None  # a tenth of isinstance's time
    return explain.why(sample, output.reply) if explain is not None else None


def _stats(metric: Metric, sample: Sample, output: Output) -> Found:
    error = output.reply.error
    if error is None:
        try:
            stats = tuple(map(float, metric.score(sample, output.reply)))
            if np.isfinite(stats).all():
                return stats, _why(metric, sample, output), None
            error = f"{metric.name}: the statistics are {stats}"
        except Exception as caught:  # a metric is anybody's code: its failure is an outcome of this row, counted and shown
            error = f"{metric.name}: {type(caught).__name__}: {caught}"
    return tuple(map(float, metric.failed(sample))), None, error
