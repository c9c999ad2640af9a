"""From a view to the statistics' evidence: one place where all verdicts and leaderboards get their intervals.

Which interval answers for which metric is decided by `evalharness.stats`. Values are oriented here: higher is better,
also of a metric that counts errors.

>>> gains(view, ["tuned"], "few-shot", "exact_match", 0.95)["tuned"].interval(0.95).method           # doctest: +SKIP
'Tango'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalharness import stats
from evalharness.protocols import Floats
from evalharness.stats import Evidence, Interval
from evalharness.verdict.view import Rows, View


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Evidence about minus a number: of errors, fewer are better."""

    inner: Evidence

    @property
    def estimate(self) -> float:
        return -self.inner.estimate

    @property
    def se(self) -> float:
        return self.inner.se

    @property
    def units(self) -> int:
        return self.inner.units

    @property
    def method(self) -> str:
        return self.inner.method

    def interval(self, level: float) -> Interval:
        return self.inner.interval(level).mirrored()

    def p_below(self, x: float) -> float:
        return self.inner.p_above(-x)

    def p_above(self, x: float) -> float:
        return self.inner.p_below(-x)


def scores(view: View, arms: Sequence[str], metric: str, level: float, rows: Rows | None = None) -> dict[str, Evidence]:
    """arm -> evidence of its own oriented score, on all items or those in `rows`; for intervals at up to `level`."""
    measure, options = _options(view, metric, level, rows)
    found = stats.score_evidence([_cut(view.stats(arm, metric), rows) for arm in arms], measure, **options)
    if measure.sign < 0:
        found = [Mirrored(each) for each in found]
    return dict(zip(arms, found, strict=True))


def gains(view: View, arms: Sequence[str], reference: str, metric: str, level: float, rows: Rows | None = None) -> dict[str, Evidence]:
    """arm -> evidence of its paired difference from `reference`, positive where the arm is better."""
    measure, options = _options(view, metric, level, rows)
    tried = [_cut(view.stats(arm, metric), rows) for arm in arms]
    found = stats.difference_evidence(tried, _cut(view.stats(reference, metric), rows), measure, **options)
    return dict(zip(arms, found, strict=True))


def comparison(view: View, arm: str, other: str, metric: str, level: float, rows: Rows | None = None) -> stats.Comparison:
    """All that the statistics say of one arm against another."""
    measure, options = _options(view, metric, level, rows)
    mine, others = (_cut(view.stats(label, metric), rows) for label in (arm, other))
    return stats.compare(mine, others, measure, **options)


def differences(view: View, arm: str, other: str, metric: str) -> Floats:
    """(n,) oriented difference of each item's own value, missing outputs at their worst."""
    measure, _ = _options(view, metric, 0.95, None)
    mine, others = (stats.outcomes(view.stats(label, metric), measure).worst for label in (arm, other))
    one = np.ones(view.n)
    return measure.sign * (measure.finish(mine, one) - measure.finish(others, one))


def _options(view: View, metric: str, level: float, rows: Rows | None) -> tuple[stats.Measure, dict[str, Any]]:
    measure = view.measure(metric)
    worst, best = (None if end is None else _cut(end, rows) for end in view.extremes(metric))
    row = measure.row
    described = stats.Measure(row.kind, row.range, row.higher_is_better, measure.finish, worst, best)
    clusters = None if view.clusters is None else _cut(view.clusters, rows)
    return described, {"clusters": clusters, "level": level, "seed": view.seed}


def _cut(values: Any, rows: Rows | None) -> Any:
    return values if rows is None else values[rows]
