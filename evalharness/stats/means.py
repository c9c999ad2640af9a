"""Intervals and a test for means: t for one arm, t on paired differences for two, both robust to clusters.

>>> interval = paired_t([0.1, 0.3, -0.1, 0.2], bound=1.0)
>>> round(interval.estimate, 3), round(interval.low, 3)
(0.125, -0.147)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from evalharness.stats.interval import Floats, Interval, alpha_of, by_unit, unseen_alpha, unseen_half_width

EXACT_FLIPS = 14


@dataclass(frozen=True, slots=True)
class StudentT:
    """Evidence on a mean. Where some values are open (missing outputs), `low_mean` and `high_mean` are the means with
    all of them at their worst and best, and `se` is the largest standard error they can cause.

    `equal` is the one value that every item has or can have, if there is one: then the data show no spread, and the
    half width is `span`·(1 - alpha^(1/units)) instead of zero. `clip` holds the ends inside what is possible.
    """

    estimate: float
    low_mean: float
    high_mean: float
    se: float
    df: float
    units: int
    equal: float | None
    span: float
    clip: tuple[float, float]
    method: str

    def interval(self, level: float) -> Interval:
        alpha = alpha_of(level)
        low, high = self._limits(alpha)
        if self.equal is not None:
            half = unseen_half_width(self.units, alpha, self.span)
            low, high = min(low, self.equal - half), max(high, self.equal + half)
        low, high = max(low, self.clip[0]), min(high, self.clip[1])
        return Interval(self.estimate, low, high, self.method, level)

    def _limits(self, alpha: float) -> tuple[float, float]:
        if self.se == 0.0:
            return self.low_mean, self.high_mean
        if self.units < 2:
            return -math.inf, math.inf
        half = float(stdtrit(self.df, 1 - alpha / 2)) * self.se
        return self.low_mean - half, self.high_mean + half

    def p_below(self, x: float) -> float:
        return self._p(x - self.high_mean, x - self.equal if self.equal is not None else None)

    def p_above(self, x: float) -> float:
        return self._p(self.low_mean - x, self.equal - x if self.equal is not None else None)

    def _p(self, gap: float, equal_gap: float | None) -> float:
        """One-sided p from the distance between the data and x: the larger of what the two half widths say."""
        p = 0.0 if gap > 0 else 1.0
        if self.se > 0.0:
            p = float(stdtr(self.df, -gap / self.se)) if self.units > 1 else 1.0
        return p if equal_gap is None else max(p, unseen_alpha(self.units, equal_gap, self.span) / 2)


def mean_evidence(
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    span: float | None = None,
    clip: tuple[float, float] = (-math.inf, math.inf),
    estimate: float | None = None,
    method: str = "t",
) -> StudentT:
    """Evidence on the mean of n values, each known to lie in [low_i, high_i] (equal where it is known).

    mean ± t(1 - alpha/2; df)·se. Without clusters se² = Σ(x - mean)² / (n(n-1)) and df = n - 1. With C clusters
    se² = (C-1)/C Σ_g e_g² / n², e_g = Σ_{i in g}(x_i - mean) / (1 - n_g/n), the jackknife over clusters (CR3), and df
    is Bell & McCaffrey's. For clusters of equal size that is the usual C/(C-1) Σ(Σ e)²/n² with df = C - 1; the more
    unequal they are, the fewer: C - 1 would then err up to 10% of the time instead of 5%. Sources: Miller 2024
    (arXiv 2411.00640); Bell & McCaffrey 2002, Survey Methodology 28; MacKinnon, Nielsen & Webb 2023.
    With open values se takes the largest |e_g| that each unit can reach, so the interval contains every interval that
    the missing values could have given.
    `span` is how far a single unseen value can lie from the others at least; `clip` the possible values of the mean, and of
    each value: where all agree, the farther end of it counts if that is more.
    Raises ValueError for no values or values that are not finite.
    """
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if low.ndim != 1 or low.shape != high.shape or len(low) == 0:
        raise ValueError(f"need n > 0 values, found shapes {low.shape} and {high.shape}")
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("values must be finite")
    low_mean, high_mean = _mean(low), _mean(high)
    se, df, units = _largest_se(low, high, clusters)
    top, bottom = float(low.max()), float(high.min())
    equal = (top + bottom) / 2 if top - bottom <= _rounding(low, high) else None
    chosen = low_mean if estimate is None else estimate
    reach = math.inf if span is None else span
    if equal is not None:  # an unseen difference may lie at the other end: nearly twice a score's width from +1
        reach = max(reach, *(abs(end - equal) for end in clip if math.isfinite(end)), 0.0)
    return StudentT(chosen, low_mean, high_mean, se, df, units, equal, reach, clip, method)


def _mean(values: Floats) -> float:
    return math.fsum(values) / len(values)  # exactly rounded: the order of the rows cannot matter


def _rounding(low: Floats, high: Floats) -> float:
    """What counts as equal: 0.3 - 0.1 and 0.5 - 0.3 do."""
    return 1e-12 * float(max(np.abs(low).max(), np.abs(high).max()))


def _largest_se(low: Floats, high: Floats, clusters: npt.ArrayLike | None) -> tuple[float, float, int]:
    """Standard error, degrees of freedom and number of units."""
    n = len(low)
    centred, half = (low + high) / 2, (high - low) / 2
    sums, sizes = by_unit(np.column_stack([centred - _mean(centred), half]), clusters)
    units = len(sizes)
    if high.max() - low.min() <= _rounding(low, high):  # one value throughout: no spread to estimate
        return 0.0, units - 1.0, units
    if units < 2:
        return math.inf, 0.0, units
    share = sizes / n
    reach = sums[:, 1] * (1 - share) + share * (_mean(half) * n - sums[:, 1])
    error = (np.abs(sums[:, 0]) + reach) / (1 - share)
    return math.sqrt(math.fsum(error * error) * (units - 1) / units) / n, _degrees(share), units


def _degrees(share: Floats) -> float:
    """Bell & McCaffrey's degrees of freedom from the clusters' shares w of the items: 1 / tr(M²), where tr(M) = 1 and
    M = diag(a) - vv', a = w/(1-w), v² = w²/(1-w); C - 1 if all shares are equal."""
    a, square = share / (1 - share), share * share / (1 - share)
    return 1.0 / (math.fsum(a * a) - 2 * math.fsum(a * square) + math.fsum(square) ** 2)


def t_interval(
    values: npt.ArrayLike,
    level: float = 0.95,
    clusters: npt.ArrayLike | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """t interval of the mean of one arm's values (n,), in their units; `bounds` is the range a value can have.

    Robust to clusters if `clusters` (n labels) is given; see `mean_evidence`.
    """
    return mean_evidence(values, values, clusters=clusters, span=bounds[1] - bounds[0], clip=bounds).interval(level)


def paired_t(
    differences: npt.ArrayLike,
    level: float = 0.95,
    clusters: npt.ArrayLike | None = None,
    bound: float | None = None,
) -> Interval:
    """t interval of the mean paired difference (candidate minus baseline) of n items; see `mean_evidence`.

    `bound` is the width of the score's range (1 for scores in 0..1). If all differences equal d the half width is
    (bound + |d|)·(1 - alpha^(1/n)), over clusters with 1/C, and infinite without a bound: never zero. An unseen
    difference can be as far from d as -bound or +bound is: three items of +1 are no proof.
    """
    clip = (-math.inf, math.inf) if bound is None else (-bound, bound)
    evidence = mean_evidence(differences, differences, clusters=clusters, span=bound, clip=clip, method="paired t")
    return evidence.interval(level)


def sign_flip(
    differences: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    trials: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided randomization p-value for a mean paired difference: each unit's sign is flipped at random.

    p = (1 + #{|Σ s_i d_i| >= |Σ d_i|}) / (1 + trials); with at most 14 non-zero units all 2^m sign patterns are
    enumerated and p is exact. Clusters flip as one. Source: Fisher 1935; Riezler & Maxwell 2005 (ACL workshop).
    """
    values = np.asarray(differences, dtype=np.float64).reshape(-1, 1)
    sums = by_unit(values, clusters)[0][:, 0]
    sizes = np.sort(np.abs(sums[sums != 0]))
    observed = abs(math.fsum(sums)) * (1 - 1e-12)
    if len(sizes) == 0:
        return 1.0
    if len(sizes) <= EXACT_FLIPS:
        patterns = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        return float(np.mean(np.abs(sizes.sum() - 2 * (patterns @ sizes)) >= observed))
    from evalharness.stats.resample import swap_sums

    (swapped,) = swap_sums([sizes[:, None]], trials, seed)
    hits = np.count_nonzero(np.abs(sizes.sum() - 2 * swapped[:, 0]) >= observed)
    return (1 + hits) / (1 + trials)
