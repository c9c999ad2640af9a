"""Outputs -> scores: every output gets one score per metric, the failed ones too.

>>> scorer = Scorer([("exact_match", ExactMatch(ExactMatch.Options()))])                              # doctest: +SKIP
>>> scorer.score(sample, output)[0].value                                                             # doctest: +SKIP
1.0
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TypeGuard, cast

import numpy as np

from evalharness.ids import digest
from evalharness.metrics import Explains
from evalharness.protocols import AskingMetric, Metric
from evalharness.records import Output, Sample, Score


class Scorer:
    """The suite's metrics that score by themselves. `metrics` maps a metric's id to the metric; judging.py has the others."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics: Mapping[str, Metric] = {metric_id(metric): metric for metric in metrics if not asks_a_model(metric)}

    def score(self, sample: Sample, output: Output) -> list[Score]:
        """One score per metric. A failed output, or a metric that raises, scores as the metric's worst and says why."""
        return [_score(metric_id, metric, sample, output) for metric_id, metric in self.metrics.items()]

    def missing(self, outputs: Iterable[Output], known: Container[str]) -> Iterator[tuple[str, Output]]:
        """(metric id, output) of the scores whose ids are not among the `known` ones."""
        for output in outputs:
            for key in self.metrics:
                if score_id(key, output) not in known:
                    yield key, output

    def one(self, key: str, sample: Sample, output: Output) -> Score:
        """The score of one output by the metric with this id."""
        return _score(key, self.metrics[key], sample, output)


def asks_a_model(metric: Metric) -> TypeGuard[AskingMetric]:
    """Whether the metric has to be asked, and costs calls."""
    return isinstance(metric, AskingMetric)


def metric_id(metric: Metric) -> str:
    """Hash of what decides the metric's number: name, version and options."""
    return digest(metric.identity())


def score_id(key: str, output: Output) -> str:
    """Hash of the metric and of what it sees of the output."""
    return digest([key, output.outcome_key])


def _score(key: str, metric: Metric, sample: Sample, output: Output) -> Score:
    stats, why, error = _stats(metric, sample, output)
    value = float(metric.finish(np.array(stats), np.array(1.0)))
    return Score(score_id(key, output), output.output_id, key, value, stats, why, error)


def _why(metric: Metric, sample: Sample, output: Output) -> str | None:
    explain: Explains | None = cast("Explains", metric) if hasattr(metric, "why") else None  # a tenth of isinstance's time
    return explain.why(sample, output.reply) if explain is not None else None


def _stats(metric: Metric, sample: Sample, output: Output) -> tuple[tuple[float, ...], str | None, str | None]:
    """The statistics of an output, what the metric says of them, and the error if output or metric failed; then they are the worst."""
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
