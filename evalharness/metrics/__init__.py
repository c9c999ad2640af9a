"""Metrics: per-sample statistics that sum, and a function that finishes the sum. Plug-ins; see `protocols.Metric`.

A metric may also have `score_many(samples, replies) -> (n, k) array`, the same statistics for many replies at once
where that is faster; `score_all` uses it.

>>> from evalharness.metrics.exact_match import ExactMatch
>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "2+2?")], ["4"])
>>> score_all(ExactMatch(), [sample], [Reply("o1", " 4\\n", "stop")])
array([[1.]])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from evalharness.errors import DataError, Problem
from evalharness.protocols import Floats, Metric
from evalharness.records import Reply, Sample


@runtime_checkable
class ScoresMany(Protocol):
    """The optional fast path of a metric."""

    def score_many(self, samples: Sequence[Sample], replies: Sequence[Reply]) -> Floats:
        """(n, k) statistics: row i is score(samples[i], replies[i]), for replies that have a text."""
        ...


def score_all(metric: Metric, samples: Sequence[Sample], replies: Sequence[Reply]) -> Floats:
    """(n, k) statistics of n > 0 replies that have a text, by `score_many` where the metric has it."""
    if isinstance(metric, ScoresMany):
        return metric.score_many(samples, replies)
    return np.array([metric.score(sample, reply) for sample, reply in zip(samples, replies, strict=True)])


def mean(sums: Floats, n: Floats) -> Floats:
    """(..., k) sums and (...) counts -> (...): the mean of the first statistic, how most metrics finish."""
    return np.asarray(sums[..., 0] / n)


def text_of(reply: Reply) -> str:
    """The reply's text. Raises ValueError if it has none: such a reply counts as `failed`, it is not scored."""
    if reply.text is None:
        raise ValueError(f"output {reply.output_id} has no text to score")
    return reply.text


def targets_of(sample: Sample, metric: str) -> tuple[str, ...]:
    """The sample's targets. Raises DataError if it has none."""
    if not sample.targets:
        raise DataError([Problem(sample.source, "target", f"missing, and {metric} needs one", "Add a target or drop the metric")])
    return sample.targets
