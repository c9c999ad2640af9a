"""An interval, and the evidence it is read from: every verdict and every p-value inverts one and the same interval.

>>> Interval(0.5, 0.4, 0.6, "Wilson", 0.95).low
0.4
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Finish = Callable[[Floats, Floats], Floats]
"""(..., k) summed statistics and (...) item counts -> (...) values; vectorised."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval at `level` (0.95 = 95%), in the units of what was measured (proportions stay proportions)."""

    estimate: float
    low: float
    high: float
    method: str
    level: float

    def mirrored(self) -> Interval:
        """The interval of the negated quantity: what swapping the two arms gives."""
        return Interval(-self.estimate, -self.high, -self.low, self.method, self.level)


class Evidence(Protocol):
    """Data about one number, from which an interval can be read at any level.

    `p_below(x)` is the one-sided p-value against "the truth is at least x", by inversion of the interval:
    `interval(level).high < x` exactly when `p_below(x) < (1 - level) / 2`. `p_above` is its mirror image.
    """

    @property
    def estimate(self) -> float: ...

    @property
    def se(self) -> float:
        """Standard error of the estimate, for planning."""
        ...

    @property
    def units(self) -> int:
        """Independent units (items, or clusters of them) that the estimate rests on."""
        ...

    @property
    def method(self) -> str: ...

    def interval(self, level: float) -> Interval: ...

    def p_below(self, x: float) -> float: ...

    def p_above(self, x: float) -> float: ...


def alpha_of(level: float) -> float:
    """1 - level. Raises ValueError unless 0 < level < 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, found {level}")
    return 1.0 - level


def unseen_half_width(units: int, alpha: float, bound: float) -> float:
    """Half width where all of `units` independent units agree: bound · (1 - alpha^(1/units)).

    A share of at most 1 - alpha^(1/units) of the population can have gone unseen (the exact binomial limit for
    zero events; "rule of three"), and each unseen unit can lie at most `bound` away. Infinite if bound is.
    """
    share = -math.expm1(math.log(alpha) / units)
    return bound * share


def unseen_alpha(units: int, distance: float, bound: float) -> float:
    """The alpha at which `unseen_half_width` equals `distance` (1 for distance <= 0): its inversion."""
    if distance <= 0.0 or math.isinf(bound):
        return 1.0
    return float(max(0.0, 1.0 - distance / bound) ** units)


def by_unit(values: Floats, clusters: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    """Sums (units, k) of the rows of values (n, k) within each independent unit, and the unit sizes (units,).

    Without clusters every row is its own unit. Raises ValueError if the lengths differ.
    """
    if clusters is None:
        return values, np.ones(len(values))
    labels = np.asarray(clusters)
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} cluster labels for {len(values)} rows")
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    parts = np.split(values[np.argsort(codes, kind="stable")], np.cumsum(sizes)[:-1])
    # exactly rounded sums: neither the order of the rows nor swapping the arms can change the last digit
    sums = np.array([[math.fsum(column) for column in part.T.tolist()] for part in parts])
    return sums, sizes.astype(np.float64)
