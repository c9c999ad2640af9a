"""From a view to the statistics' evidence: one place where all verdicts and leaderboards get their intervals.

Which interval answers for which metric is decided by `evalharness.stats`. Values are oriented here: higher is better,
also of a metric that counts errors.

>>> gains(view, ["tuned"], "few-shot", "exact_match", 0.95)["tuned"].interval(0.95).method           # doctest: +SKIP
'Tango'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import evalharness.verdict.correcting as correcting
from evalharness import stats
from evalharness.protocols import Floats
from evalharness.stats import Evidence, Interval, Labelled
from evalharness.verdict.view import Board, Rows, View, level_of, reference_of
from evalharness.verdict.wording import NO_LABEL, UNCORRECTED, several


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


@dataclass(frozen=True, slots=True)
class Opinion:
    """Evidence from a judge's opinions alone: what it says of the judge is right, what it says of the arms may not be."""

    inner: Evidence

    @property
    def estimate(self) -> float:
        return self.inner.estimate

    @property
    def se(self) -> float:
        return self.inner.se

    @property
    def units(self) -> int:
        return self.inner.units

    @property
    def method(self) -> str:
        return f"{self.inner.method}, {UNCORRECTED}"

    def interval(self, level: float) -> Interval:
        return replace(self.inner.interval(level), method=self.method)

    def p_below(self, x: float) -> float:
        return self.inner.p_below(x)

    def p_above(self, x: float) -> float:
        return self.inner.p_above(x)


def said(evidence: Evidence) -> str:
    """What stands behind a judge's number: "judge opinion, not corrected", "corrected by labels on 50 items"; "" for other metrics."""
    if isinstance(evidence, Labelled) and not evidence.labels:
        return NO_LABEL
    if isinstance(evidence, Labelled):
        return f"corrected by labels on {several(evidence.labels, 'item')}"
    return UNCORRECTED if isinstance(evidence, Opinion) else ""


def scores(view: View, arms: Sequence[str], metric: str, level: float, rows: Rows | None = None) -> dict[str, Evidence]:
    """arm -> evidence of its own oriented score, on all items or those in `rows`; for intervals at up to `level`.

    Of a judge: corrected by human labels, or marked as its opinion.
    """
    found = _scores(view, arms, metric, level, rows)
    if not view.measure(metric).asks:
        return found
    return {arm: correcting.score(view, arm, metric, rows) or Opinion(found[arm]) for arm in arms}


def gains(view: View, arms: Sequence[str], reference: str, metric: str, level: float, rows: Rows | None = None) -> dict[str, Evidence]:
    """arm -> evidence of its paired difference from `reference`, positive where the arm is better; of a judge as in `scores`."""
    found = _gains(view, arms, reference, metric, level, rows)
    if not view.measure(metric).asks:
        return found
    return {arm: correcting.gain(view, arm, reference, metric, rows) or Opinion(found[arm]) for arm in arms}


def _scores(view: View, arms: Sequence[str], metric: str, level: float, rows: Rows | None) -> dict[str, Evidence]:
    if rows is None and _shares(view, arms, metric):
        usual = reference_of(view)
        board = _board(view, usual if _shares(view, [usual], metric) else arms[0], level)
        return {arm: board[metric][0][arm] for arm in arms}
    measure, options = _options(view, metric, level, rows)
    found = stats.score_evidence([_cut(view.stats(arm, metric), rows) for arm in arms], measure, **options)
    return _oriented(measure, arms, found)


def _gains(view: View, arms: Sequence[str], reference: str, metric: str, level: float, rows: Rows | None) -> dict[str, Evidence]:
    if rows is None and reference not in arms and _shares(view, [*arms, reference], metric):
        board = _board(view, reference, level)
        return {arm: board[metric][1][arm] for arm in arms}
    measure, options = _options(view, metric, level, rows)
    tried = [_cut(view.stats(arm, metric), rows) for arm in arms]
    found = stats.difference_evidence(tried, _cut(view.stats(reference, metric), rows), measure, **options)
    return dict(zip(arms, found, strict=True))


def _oriented(measure: stats.Measure, arms: Sequence[str], found: Sequence[Evidence]) -> dict[str, Evidence]:
    return dict(zip(arms, found if measure.sign > 0 else map(Mirrored, found), strict=True))


def _shares(view: View, arms: Sequence[str], metric: str) -> bool:
    """Whether the arms' evidence comes from one bootstrap of all corpus metrics and all scored arms."""
    return view.measure(metric).row.kind == "corpus" and {each.label for each in view.scored}.issuperset(arms)


def _board(view: View, reference: str, level: float) -> dict[str, Board]:
    """metric -> scores and gains against `reference` of all scored arms, bootstrapped once for all corpus metrics."""
    level = _strictest(view, level)
    if (reference, level) not in view.boards:
        view.boards[reference, level] = _bootstrapped(view, reference, level)
    return view.boards[reference, level]


def _bootstrapped(view: View, reference: str, level: float) -> dict[str, Board]:
    names = [label for label, measure in view.measures.items() if measure.ready and measure.row.kind == "corpus"]
    return boards(view, [each.label for each in view.scored], reference, names, level)


def boards(
    view: View, arms: Sequence[str], reference: str, metrics: Sequence[str], level: float, rows: Rows | None = None
) -> dict[str, Board]:
    """metric -> scores of the arms and gains against `reference`, for several metrics at the price of one set of draws."""
    others = [arm for arm in arms if arm != reference]
    described = {name: _options(view, name, level, rows) for name in metrics}
    tables = [(described[name][0], [_cut(view.stats(arm, name), rows) for arm in [*others, reference]]) for name in metrics]
    if not tables:
        return {}
    found = stats.leaderboards(tables, **described[metrics[0]][1])
    return {
        name: (_oriented(described[name][0], [*others, reference], each.scores), dict(zip(others, each.differences, strict=True)))
        for name, each in zip(metrics, found, strict=True)
    }


def comparison(view: View, arm: str, other: str, metric: str, level: float, rows: Rows | None = None) -> stats.Comparison:
    """All that the statistics say of one arm against another."""
    measure, options = _options(view, metric, level, rows)
    options["level"] = level
    mine, others = (_cut(view.stats(label, metric), rows) for label in (arm, other))
    found = stats.compare(mine, others, measure, **options)
    if not view.measure(metric).asks:
        return found
    own, gain = scores(view, [arm, other], metric, level, rows), gains(view, [arm], other, metric, level, rows)[arm]
    found = replace(found, candidate=own[arm], baseline=own[other], evidence=gain)
    if not isinstance(gain, Labelled):
        return found
    p = min(1.0, 2 * min(gain.p_below(0.0), gain.p_above(0.0)))
    return replace(found, p=p, p_method=gain.method, visible=stats.visible_mean_difference(gain.se, gain.units, level))


def differences(view: View, arm: str, other: str, metric: str) -> Floats:
    """(n,) oriented difference of each item's own value, missing outputs at their worst."""
    measure, _ = _options(view, metric, 0.95, None)
    mine, others = (stats.outcomes(view.stats(label, metric), measure).worst for label in (arm, other))
    one = np.ones(view.n)
    return measure.sign * (measure.finish(mine, one) - measure.finish(others, one))


def value(view: View, arm: str, metric: str, rows: Rows | None = None) -> float:
    """The arm's score in the metric's own unit, missing outputs at their worst; without the price of an interval."""
    measure, _ = _options(view, metric, 0.95, rows)
    worst = stats.outcomes(_cut(view.stats(arm, metric), rows), measure).worst
    return float(measure.finish(worst.sum(axis=0), np.array(float(len(worst)))))


def _options(view: View, metric: str, level: float, rows: Rows | None) -> tuple[stats.Measure, dict[str, Any]]:
    measure = view.measure(metric)
    worst, best = (None if end is None else _cut(end, rows) for end in view.extremes(metric))
    row = measure.row
    described = stats.Measure(row.kind, row.range, row.higher_is_better, measure.finish, worst, best, measure.draws)
    clusters = None if view.clusters is None else _cut(view.clusters, rows)
    return described, {"clusters": clusters, "level": _strictest(view, level), "seed": view.seed}


def _strictest(view: View, level: float) -> float:
    """How many draws are made must not depend on who asks first: as many as the run's strictest intervals need."""
    return max(level, level_of(view))


def _cut(values: Any, rows: Rows | None) -> Any:
    return values if rows is None else values[rows]
