"""Scores and differences of a judge, corrected by human labels (PPI++); None where there are too few of them.

What needs no label: where two arms gave the same text their difference is 0; an item with a missing answer counts as
the whole range for or against its arm. The rest is estimated from the judge's opinions on all items and the labels on
some, with the uncertainty of both (`stats.labelled`). Values are oriented: higher is better.

>>> gain(view, "tuned", "few-shot", "judge").method                                                   # doctest: +SKIP
'PPI++'
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from evalharness.protocols import Floats
from evalharness.spec import FEWEST_LABELS
from evalharness.stats import Labelled, StudentT, labelled_evidence, mean_evidence, within
from evalharness.verdict.labels import Flags, People, people
from evalharness.verdict.view import Rows, View

TIE = "a tie by definition"
FEWEST_OPEN = 20
"""Of the labelled items so many at least must be ones that could differ: an interval needs a spread to be read off."""
FEWEST, SMALL = 5, 0.2
"""A stratum with fewer labels is taken together with the rest if it is no larger a share of the items than that."""


def gain(view: View, arm: str, reference: str, metric: str, rows: Rows | None = None) -> Labelled | None:
    """The arm's difference from `reference`, positive where the arm is better."""
    found, measure = people(view, metric), view.measure(metric)
    mine, other = found.arms[arm], found.arms[reference]
    answered = _answered(found, arm) & _answered(found, reference)
    width, sign = measure.width, measure.sign
    same = found.same([arm, reference])
    judged = sign * (mine.judged - other.judged)
    known = np.where(same, 0.0, np.where(answered, np.nan, judged))
    missing = np.where(answered, 0.0, width)
    both = ~np.isnan(mine.label - other.label)
    return _evidence(
        view, rows, both, sign * (mine.label - other.label), judged, sign * (mine.judged_there - other.judged_there),
        known, (np.where(answered, known, -missing), np.where(answered, known, missing)), None, width, (-width, width),
    )  # fmt: skip


def score(view: View, arm: str, metric: str, rows: Rows | None = None) -> Labelled | StudentT | None:
    """The arm's own score. Of an arm whose answers are those that it is compared with it is a tie, whoever judges."""
    found, measure = people(view, metric), view.measure(metric)
    mine, sign = found.arms[arm], measure.sign
    low, high = sorted(sign * end for end in measure.row.range)
    answered = _answered(found, arm)
    tie = found.same([arm, found.against]) if found.against is not None else np.zeros(view.n, np.bool_)
    known = np.where(tie, (low + high) / 2, np.where(answered, np.nan, low))
    if not (np.isnan(known) if rows is None else np.isnan(known[rows])).any():
        return _settled(known, np.where(answered, known, high), rows, (low, high))
    strata = found.same(found.labelled) if len(found.labelled) > 1 else np.zeros(view.n, np.bool_)
    evidence = _evidence(
        view, rows, ~np.isnan(mine.label), sign * mine.label, sign * mine.judged, sign * mine.judged_there,
        known, (known, np.where(answered, known, high)), strata, measure.width, (low, high),
    )  # fmt: skip
    return within(evidence, low, high) if evidence is not None else None


def _settled(least: Floats, most: Floats, rows: Rows | None, clip: tuple[float, float]) -> StudentT | None:
    """Nothing is open: what is known of every item, exact but for answers that are missing."""
    least, most = (least, most) if rows is None else (least[rows], most[rows])
    if not len(least):
        return None
    low, high = (math.fsum(values) / len(values) for values in (least, most))
    return StudentT(low, low, high, 0.0, math.inf, len(least), None, 0.0, clip, TIE)


def pairs(view: View, arm: str, reference: str, metric: str, rows: Rows | None = None) -> int:
    """Items that people labelled both answers of; where no item is left that could differ, equal texts count without a label."""
    found = people(view, metric)
    mine, other = found.arms[arm], found.arms[reference]
    known = found.same([arm, reference])
    is_open = _answered(found, arm) & _answered(found, reference) & ~known
    labelled = ~np.isnan(mine.label - other.label) & (is_open | known)
    if rows is not None:
        is_open, labelled, known = is_open & rows, labelled & rows, known & rows
    return int((labelled | known).sum() if not (is_open & ~labelled).any() else labelled.sum())


def answers(view: View, arm: str, metric: str, rows: Rows | None = None) -> int:
    """Items of which an answer of the arm is labelled."""
    labelled = ~np.isnan(people(view, metric).arms[arm].label)
    return int((labelled if rows is None else labelled & rows).sum())


def _answered(found: People, arm: str) -> Flags:
    """(n,) the items that the arm answered, in pairs those that both arms did."""
    mine = found.arms[arm].answered
    return mine if found.against is None else mine & found.arms[found.against].answered


def _evidence(
    view: View,
    rows: Rows | None,
    counted: Flags,
    y: Floats,
    judged: Floats,
    there: Floats,
    known: Floats,
    bounds: tuple[Floats, Floats],
    strata: Flags | None,
    width: float,
    clip: tuple[float, float],
) -> Labelled | None:
    chosen = np.ones(view.n, np.bool_) if rows is None else rows
    y, judged, there, known, low, high = (each[chosen] for each in (y, judged, there, known, *bounds))
    clusters = None if view.clusters is None else view.clusters[chosen]
    is_open = np.isnan(known)
    labelled = is_open & ~np.isnan(y)
    if not chosen.any() or not math.isfinite(width):
        return None
    if np.array_equal(is_open, labelled):
        return _whole(np.where(is_open, y, known), np.where(is_open, y, low), np.where(is_open, y, high), labelled, clusters, width, clip)
    count = int((counted[chosen] & (is_open | (low == high))).sum())
    if count < FEWEST_LABELS or int(labelled.sum()) < FEWEST_OPEN:
        return None
    layers = np.zeros(len(y), np.int64) if strata is None else _layers(strata[chosen], is_open, labelled)
    if layers is None:
        return None
    found = labelled_evidence(
        np.where(labelled, y, np.nan), judged, judged_there=there, known=known, bounds=(low, high),
        strata=layers, clusters=clusters, span=width, clip=clip, unmet=_unmet(y, judged, is_open) if strata is None else 0.0,
    )  # fmt: skip
    return replace(found, labels=count)


def _whole(
    values: Floats, low: Floats, high: Floats, labelled: Flags, clusters: npt.NDArray[np.int64] | None,
    width: float, clip: tuple[float, float],
) -> Labelled | None:  # fmt: skip
    """Nothing is left to a judge: people labelled whatever can differ."""
    if len(values) < FEWEST_LABELS:
        return None
    estimate = math.fsum(values) / len(values)
    inner = mean_evidence(low, high, clusters=clusters, span=width, clip=clip, estimate=estimate, method="t on labels")
    return Labelled(inner, int(labelled.sum()), 0.0, 0.0, float(values[labelled].mean()) if labelled.any() else estimate)


def _unmet(y: Floats, judged: Floats, is_open: Flags) -> float:
    """The square of a difference as large as those that there are: rare ones may all be among the items without a label."""
    found = np.where(np.isnan(y), judged, y)[is_open]
    differing = found[found != 0]
    return float((differing**2).mean()) if len(differing) else 0.0


def _layers(same: Flags, is_open: Flags, labelled: Flags) -> npt.NDArray[np.int64] | None:
    """Strata with enough labels each: answers that differ between arms are labelled more often than equal ones."""
    layers = same.astype(np.int64)
    for layer in (0, 1):
        mine = is_open & (layers == layer)
        if mine.any() and int((labelled & mine).sum()) < FEWEST:
            return np.zeros(len(same), np.int64) if mine.sum() <= SMALL * is_open.sum() else None
    return layers
