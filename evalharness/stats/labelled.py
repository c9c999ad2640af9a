"""A judge's opinions on all items corrected by human labels on some, where some values are known without asking anybody.

PPI++ (see `corrected.py`) is about items that all have the same chance of a label. Held-out sets have more structure:
where two arms gave the same text the difference is 0 without a label; where an answer is missing it is as bad (or good)
as can be; items of one stratum are labelled more often than those of another; clusters vary together. All that is
one stratified sum, whose variance is the sum of squares of what each item (or cluster) moves the estimate by:

    estimate = Σ_h N_h/N · (mean_L(y - λf) + λ·mean_U(f)) + Σ_known k/N        L labelled, U not, in stratum h

Without known values, strata and clusters it is `ppi_evidence`, number by number.

>>> rng = np.random.default_rng(0)
>>> truth = (rng.random(1000) < 0.6).astype(float)
>>> judge = np.where(rng.random(1000) < 0.1, 1 - truth, truth) * 0.94 + 0.06
>>> labels = np.where(np.arange(1000) < 150, truth, np.nan)
>>> found = labelled_evidence(labels, judge)
>>> found.labels, found.method, bool(abs(found.estimate - 0.6) < 0.06)
(150, 'PPI++', True)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evalharness.stats.interval import Evidence, Floats, Interval, alpha_of, by_unit
from evalharness.stats.means import StudentT
from evalharness.stats.rates import Wilson


@dataclass(frozen=True, slots=True)
class Labelled:
    """Evidence on a mean from human labels and judge opinions; `labels` items are labelled, `sampling` is the part of
    se² that more labels make smaller (the rest is that of the items themselves)."""

    inner: Evidence
    labels: int
    sampling: float
    strength: float
    """λ: 0 if the labels alone say it, 1 if the judge's opinion counts in full."""
    plain: float
    """The mean of the labels as they are."""

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
        return self.inner.method

    def interval(self, level: float) -> Interval:
        return self.inner.interval(level)

    def p_below(self, x: float) -> float:
        return self.inner.p_below(x)

    def p_above(self, x: float) -> float:
        return self.inner.p_above(x)

    def labels_needed(self, gap: float, level: float) -> int | None:
        """Labelled items that show with 80% chance that the truth lies above the estimate less `gap`; None if none can."""
        wanted = (gap / float(ndtri(1 - alpha_of(level) / 2) + ndtri(0.8))) ** 2 if gap > 0 else 0.0
        left = wanted - (self.inner.se**2 - self.sampling)
        return math.ceil(self.labels * self.sampling / left) if left > 0 and self.sampling > 0 else None


@dataclass(frozen=True, slots=True)
class Stretched:
    """Evidence on a share, stretched to a score between `low` and `low` + `width`."""

    inner: Wilson
    low: float
    width: float
    method: str

    @property
    def estimate(self) -> float:
        return self.low + self.width * self.inner.estimate

    @property
    def se(self) -> float:
        return self.width * self.inner.se

    @property
    def units(self) -> int:
        return self.inner.units

    def interval(self, level: float) -> Interval:
        found = self.inner.interval(level)
        low, high = (self.low + self.width * end for end in (found.low, found.high))
        return Interval(self.estimate, low, high, self.method, level)

    def p_below(self, x: float) -> float:
        return self.inner.p_below((x - self.low) / self.width)

    def p_above(self, x: float) -> float:
        return self.inner.p_above((x - self.low) / self.width)


def within(found: Labelled, low: float, high: float) -> Labelled:
    """The same evidence on a score from `low` to `high`, with ends that know of these limits: Wilson's interval for as many
    items as would give this standard error. Near a limit, where few labels say that something is wrong, estimate ± z·se
    is far too sure of itself. Source: Korn & Graubard 1998 (Survey Methodology 24), with Wilson's interval.
    """
    width, inner = high - low, found.inner
    share = min(1.0, max(0.0, (inner.estimate - low) / width))
    labelled = min(1.0, max(0.0, (found.plain - low) / width))
    units = labelled * (1 - labelled) * (width / inner.se) ** 2 if inner.se > 0 else 0.0
    n = round(units) if units >= 1 else found.labels
    shifts = (0.0, 0.0)
    if isinstance(inner, StudentT):
        shifts = ((inner.low_mean - inner.estimate) / width, (inner.high_mean - inner.estimate) / width)
    least, most = (min(1.0, max(0.0, share + shift)) * n for shift in shifts)
    return replace(found, inner=Stretched(Wilson(share, least, most, n), low, width, inner.method))


@dataclass(frozen=True, slots=True)
class _Stratum:
    """Items of one stratum (positions): labelled, and not."""

    labelled: npt.NDArray[np.intp]
    rest: npt.NDArray[np.intp]

    @property
    def size(self) -> int:
        return len(self.labelled) + len(self.rest)


def labelled_evidence(
    labels: npt.ArrayLike,
    judged: npt.ArrayLike,
    *,
    judged_there: npt.ArrayLike | None = None,
    known: npt.ArrayLike | None = None,
    bounds: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    strata: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    span: float = math.inf,
    clip: tuple[float, float] = (-math.inf, math.inf),
    unmet: float = 0.0,
) -> Labelled:
    """PPI++ evidence on the mean of n items: `labels` (n,), NaN where there is none, and the judge's values (n,) of all.

    `judged_there` (n,) is the judge's value of what was labelled, where an item has more to it (one answer of several).
    `known` (n,) holds values that need no label, NaN elsewhere; `bounds` how low and how high each of them may be (they
    themselves if left out). `strata` (n,) are numbers: within one, every item without a known value has had the same
    chance of a label. `span` is how far one unseen value can lie from the others, `clip` what the mean can be. With
    clusters the variance is summed over them, and t with their number less 1 instead of the normal. `unmet` is the square of
    a value that few items have and that the labels may have missed: each stratum's variance is that of its labels and one
    such item more, as Agresti & Min 2005 (Biometrics 61) do for rare differences; 0 is PPI++ as published.
    Source: Angelopoulos, Duchi & Zrnic 2023 (arXiv 2311.01453), stratified by items.
    Raises ValueError for a stratum with fewer than 2 labels of which not all are labelled, or no items.
    """
    y, f = (np.asarray(x, dtype=np.float64) for x in (labels, judged))
    there = f if judged_there is None else np.asarray(judged_there, dtype=np.float64)
    fixed = np.full(len(y), np.nan) if known is None else np.asarray(known, dtype=np.float64)
    low, high = (fixed, fixed) if bounds is None else (np.asarray(end, dtype=np.float64) for end in bounds)
    parts = _strata(y, fixed, np.zeros(len(y)) if strata is None else np.asarray(strata))
    strength = _strength(y, there, f, parts)
    moved, sampled, estimate = _moved(y, there, f, fixed, parts, strength)
    more = sum((part.size / len(y) / len(part.labelled)) ** 2 * unmet for part in parts if len(part.rest))
    se, df, units = _spread(moved, more, y, clusters)
    sampling = float((sampled**2).sum()) + more
    chosen = [int(part) for stratum in parts for part in stratum.labelled]
    open_share = sum(stratum.size for stratum in parts) / len(y)
    alike = any(len(stratum.rest) for stratum in parts) and float(np.ptp(y[chosen])) <= 1e-12
    shift = (float(np.nansum(low - fixed)) / len(y), float(np.nansum(high - fixed)) / len(y))
    whole = all(not len(stratum.rest) for stratum in parts)
    inner = StudentT(
        estimate, estimate + shift[0], estimate + shift[1], se, df, units, estimate if alike or se == 0 else None,
        span * open_share if open_share else span, clip, "labels alone" if whole else "PPI++",
    )  # fmt: skip
    return Labelled(inner, len(chosen), sampling, strength, float(y[chosen].mean()) if chosen else estimate)


def _strata(y: Floats, fixed: Floats, codes: npt.NDArray[Any]) -> list[_Stratum]:
    if len(y) == 0:
        raise ValueError("need at least one item")
    is_open = np.isnan(fixed)
    found = []
    for code in np.unique(codes[is_open]):
        mine = is_open & (codes == code)
        stratum = _Stratum(np.flatnonzero(mine & ~np.isnan(y)), np.flatnonzero(mine & np.isnan(y)))
        if len(stratum.labelled) < 2 and len(stratum.rest):
            raise ValueError(f"need at least 2 labels in each stratum, found {len(stratum.labelled)} for {stratum.size} items")
        found.append(stratum)
    return found


def _strength(y: Floats, there: Floats, f: Floats, parts: list[_Stratum]) -> float:
    """λ, the weight that the judge earns: the one that makes the variance least, held in 0..1; one for all strata."""
    gain = cost = 0.0
    for stratum in parts:
        n, rest = len(stratum.labelled), len(stratum.rest)
        if not rest:
            continue
        mine, judge = y[stratum.labelled], there[stratum.labelled]
        square = stratum.size**2 / n
        gain += square * float(((mine - mine.mean()) * (judge - judge.mean())).mean())
        cost += square * (1 + n / rest) * float(np.concatenate([judge, f[stratum.rest]]).var(ddof=1))
    return min(1.0, max(0.0, gain / cost)) if cost > 0 else 0.0


def _moved(y: Floats, there: Floats, f: Floats, fixed: Floats, parts: list[_Stratum], strength: float) -> tuple[Floats, Floats, float]:
    """(n,) what each item moves the estimate by, (n,) the part of it that is due to labelling, and the estimate."""
    n = len(y)
    sampled, rest_part, middle = np.zeros(n), np.zeros(n), np.where(np.isnan(fixed), 0.0, fixed)
    for stratum in parts:
        weight = strength if len(stratum.rest) else 0.0
        corrected = y[stratum.labelled] - weight * there[stratum.labelled]
        mean = float(corrected.mean())
        sampled[stratum.labelled] = (corrected - mean) * stratum.size / n / len(corrected)
        if len(stratum.rest):
            judged = weight * f[stratum.rest]
            rest_part[stratum.rest] = (judged - judged.mean()) * stratum.size / n / len(judged)
            mean += float(judged.mean())
        middle[[*stratum.labelled, *stratum.rest]] = mean
    estimate = math.fsum(middle) / n
    return sampled + rest_part + (middle - estimate) / n, sampled, estimate


def _spread(moved: Floats, more: float, y: Floats, clusters: npt.ArrayLike | None) -> tuple[float, float, int]:
    """Standard error, degrees of freedom, and units with labels."""
    labelled = ~np.isnan(y)
    if clusters is None:
        return math.sqrt(math.fsum(moved**2) + more), math.inf, int(labelled.sum())
    groups = np.asarray(clusters)
    sums = by_unit(moved[:, None], groups)[0][:, 0]
    units = len(np.unique(groups[labelled]))
    return math.sqrt(math.fsum(sums**2) * len(sums) / max(1, len(sums) - 1) + more), float(max(1, units - 1)), units
