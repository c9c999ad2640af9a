"""Intervals and tests for right/wrong scores: Wilson for one arm, Tango and McNemar for two arms on the same items.

>>> interval = tango(40, 20, 160)
>>> round(interval.low, 4), round(interval.high, 4)
(0.0309, 0.2181)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtr, ndtri

from evalharness.stats.interval import Floats, Interval, alpha_of

BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Wilson:
    """Evidence on a rate of n items: between `low` and `high` successes (they differ if outputs are missing).

    Wilson's score interval: the rates p with |k/n - p| <= z·sqrt(p(1-p)/n). Source: Wilson 1927, JASA 22:209-212.
    """

    estimate: float
    low: float
    high: float
    n: int
    method: str = "Wilson"

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.low <= self.high <= self.n:
            raise ValueError(f"{self.low} to {self.high} successes of {self.n} items")

    @property
    def se(self) -> float:
        return math.sqrt(self.estimate * (1 - self.estimate) / self.n)

    @property
    def units(self) -> int:
        return self.n

    def interval(self, level: float) -> Interval:
        z = float(-ndtri(alpha_of(level) / 2))
        low, high = _wilson_limit(self.low, self.n, -z), _wilson_limit(self.high, self.n, z)
        return Interval(self.estimate, low, high, self.method, level)

    def p_below(self, x: float) -> float:
        return float(ndtr(_wilson_score(self.high, self.n, x)))

    def p_above(self, x: float) -> float:
        return float(ndtr(-_wilson_score(self.low, self.n, x)))


def _wilson_score(successes: float, n: int, x: float) -> float:
    gap, spread = successes / n - x, math.sqrt(max(0.0, x * (1 - x)) / n)
    if spread > 0:
        return gap / spread
    return math.copysign(math.inf, gap) if gap else 0.0


def _wilson_limit(successes: float, n: int, z: float) -> float:
    rate, square = successes / n, z * z / n
    root = math.sqrt(square * (rate * (1 - rate) + square / 4))
    limit = (rate + square / 2 + math.copysign(root, z)) / (1 + square)
    if (successes == 0 and z < 0) or (successes == n and z > 0):
        return rate  # exact there; the formula leaves a rounding error
    return min(1.0, max(0.0, limit))


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Wilson score interval of a rate (proportion). Raises ValueError unless 0 <= successes <= n and n >= 1."""
    return Wilson(successes / max(n, 1), successes, successes, n).interval(level)


def tango_score(b: npt.ArrayLike, c: npt.ArrayLike, n: npt.ArrayLike, difference: npt.ArrayLike) -> Floats:
    """Tango's score statistic for the paired difference of two rates; broadcasts. Standard normal if `difference` is true.

    b: items that only the candidate has right; c: only the baseline; n: all items; d = difference.
    T(d) = (b - c - n·d) / sqrt(n(2q + d(1-d))), where q, the restricted estimate of P(only baseline right), is the
    root of 2n·q² + (-b - c + (2n - b + c)d)·q - c·d(1-d) = 0. Source: Tango 1998, Statistics in Medicine 17:891-908.
    """
    b, c, n, d = (np.asarray(x, dtype=np.float64) for x in (b, c, n, difference))
    linear = -b - c + (2 * n - b + c) * d
    constant = -c * d * (1 - d)
    root = np.sqrt(np.maximum(linear * linear - 8 * n * constant, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(linear > 0, -2 * constant / (linear + root), (root - linear) / (4 * n))
        gap = b - c - n * d
        spread = np.sqrt(np.maximum(n * (2 * q + d * (1 - d)), 0.0))
        score = np.where(spread > 0, gap / spread, np.sign(gap) * np.inf)
    return np.where((spread > 0) | (np.abs(gap) > 0), score, 0.0)


def tango_limits(b: npt.ArrayLike, c: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper ends of Tango's interval for arrays of counts; broadcasts (see `tango_score` for b, c, n).

    The ends solve T(d) = ±z by bisection (60 halvings: 2e-18), since T falls as d grows.
    """
    z = -ndtri(alpha_of(level) / 2)
    b, c, n = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (b, c, n)))
    target = np.array([z, -z]).reshape((2,) + (1,) * b.ndim)
    middle = (b - c) / n
    left = np.stack([np.full(b.shape, -1.0), middle])
    right = np.stack([middle, np.full(b.shape, 1.0)])
    for _ in range(BISECTIONS):
        half = (left + right) / 2
        above = tango_score(b, c, n, half) > target
        left, right = np.where(above, half, left), np.where(above, right, half)
    return left[0], right[1]


@dataclass(frozen=True, slots=True)
class Tango:
    """Evidence on the difference of two paired rates (candidate minus baseline) from discordant counts (b, c) of n items.

    `worst` counts missing outputs against the candidate and gives the lower end, `best` for it and gives the upper.
    The lower end falls and the upper rises with every item that moves from known to missing.
    """

    estimate: float
    worst: tuple[float, float]
    best: tuple[float, float]
    n: int
    method: str = "Tango"

    def __post_init__(self) -> None:
        if any(min(b, c) < 0 or b + c > self.n for b, c in (self.worst, self.best)) or self.n < 1:
            raise ValueError(f"discordant counts {self.worst} and {self.best} of {self.n} items")

    @property
    def discordance(self) -> float:
        """The share of items on which the two arms differ (missing outputs at their worst)."""
        return sum(self.worst) / self.n

    @property
    def se(self) -> float:
        return math.sqrt(max(0.0, self.discordance - self.estimate**2) / self.n)

    @property
    def units(self) -> int:
        return self.n

    def interval(self, level: float) -> Interval:
        low, high = tango_limits([self.worst[0], self.best[0]], [self.worst[1], self.best[1]], self.n, level)
        return Interval(self.estimate, float(low[0]), float(high[1]), self.method, level)

    def p_below(self, x: float) -> float:
        return float(ndtr(tango_score(*self.best, self.n, x)))

    def p_above(self, x: float) -> float:
        return float(ndtr(-tango_score(*self.worst, self.n, x)))


def tango(b: float, c: float, n: int, level: float = 0.95) -> Interval:
    """Tango's score interval for the paired difference of rates, (b - c) / n, in proportions.

    b: items that only the candidate has right; c: only the baseline; n: all items.
    Raises ValueError if the counts do not fit n. Source: Tango 1998, Statistics in Medicine 17:891-908.
    """
    return Tango((b - c) / max(n, 1), (b, c), (b, c), n).interval(level)


def mcnemar(b: int, c: int, kind: Literal["mid-p", "exact", "asymptotic", "corrected"] = "mid-p") -> float:
    """McNemar's two-sided p-value for discordant counts b and c (no difference: each is Binomial(b + c, 1/2)).

    exact = 2·P(X <= min(b, c)); mid-p = exact - P(X = min(b, c)); asymptotic: z = (b-c)/sqrt(b+c);
    corrected: |b-c| - 1. Source: Fagerland, Lydersen & Laake 2013, BMC Med Res Methodol 13:91 (mid-p recommended).
    """
    if b < 0 or c < 0:
        raise ValueError(f"discordant counts {b} and {c}")
    total, fewer = b + c, min(b, c)
    if total == 0 or (b == c and kind != "corrected"):
        return 1.0
    if kind in ("asymptotic", "corrected"):
        gap = max(0, abs(b - c) - (kind == "corrected"))
        return float(2 * ndtr(-gap / math.sqrt(total)))
    tail = float(bdtr(fewer, total, 0.5))
    point = tail - (float(bdtr(fewer - 1, total, 0.5)) if fewer else 0.0)
    return min(1.0, 2 * tail - (point if kind == "mid-p" else 0.0))


def mcnemar_midp(b: int, c: int) -> float:
    """McNemar's mid-p value, two-sided (see `mcnemar`)."""
    return mcnemar(b, c, "mid-p")
