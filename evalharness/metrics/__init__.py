"""Metrics: per-sample statistics that sum, and a function that finishes the sum. Plug-ins; see `protocols.Metric`.

A metric may also have `score_many(samples, replies) -> (n, k) array`, the same statistics for many replies at once
where that is faster; `score_all` uses it. And `why(sample, reply) -> str | None`, words that are stored with the score.

>>> from evalharness.metrics.exact_match import ExactMatch
>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "2+2?")], ["4"])
>>> score_all(ExactMatch(), [sample], [Reply("o1", " 4\\n", "stop")])
array([[1.]])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from evalharness import protocols
from evalharness.errors import DataError, Problem
from evalharness.protocols import Floats, Metric
from evalharness.records import Reply, Sample


@runtime_checkable
class ScoresMany(Protocol):
    """The optional fast path of a metric."""

    def score_many(self, samples: Sequence[Sample], replies: Sequence[Reply]) -> Floats:
        """(n, k) statistics: row i is score(samples[i], replies[i]), for replies that have a text."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A metric that has more to say than a number."""

    def why(self, sample: Sample, reply: Reply) -> str | None:
        """What is wrong with a reply that has a text, in a line; None if there is nothing to say."""
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


class PerSample:
    """The short way to a metric of your own: give `score`, and the number is the mean over all samples.

    A failed answer counts `range[0]` (`range[1]` where lower is better). Raise `version` when `score` changes, so that
    stored scores are made anew; override what differs.

    >>> class Short(PerSample):
    ...     "Share of answers below 80 characters."
    ...     def score(self, sample, reply):
    ...         return (float(len(reply.text) < 80),)
    >>> Short().name
    'short'
    """

    Options: ClassVar[type[protocols.Options]] = protocols.Options
    version = "1"
    higher_is_better = True
    range = (0.0, 1.0)
    kind: Literal["binary", "mean", "corpus"] = "mean"

    def __init__(self, options: protocols.Options | None = None) -> None:
        self.options = options or self.Options()

    @property
    def name(self) -> str:
        """The class's name in lower case."""
        return type(self).__name__.lower()

    def identity(self) -> dict[str, object]:
        """Name, version and options."""
        return {"name": self.name, "version": self.version, "options": self.options.model_dump(mode="json")}

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """The value of one reply that has a text, as a tuple of one number."""
        raise TypeError(f"{type(self).__name__} has no score(self, sample, reply)")

    def failed(self, sample: Sample) -> tuple[float, ...]:
        """The worst value."""
        return (self.range[0 if self.higher_is_better else 1],)

    def perfect(self, sample: Sample) -> tuple[float, ...]:
        """The best value."""
        return (self.range[1 if self.higher_is_better else 0],)

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """The mean."""
        return mean(sums, n)
