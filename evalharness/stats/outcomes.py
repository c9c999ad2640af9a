"""What a metric's statistics mean, and one arm's statistics with its missing outputs at their worst and best.

>>> arm = outcomes([1.0, 0.0, np.nan, 1.0], Measure("binary"))
>>> float(arm.worst.mean()), float(arm.best.mean()), arm.missing_share
(0.5, 0.75, 0.25)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from evalharness.stats.interval import Finish, Floats

Kind = Literal["binary", "mean", "corpus"]


def mean(sums: Floats, n: Floats) -> Floats:
    """(..., k) sums and (...) counts -> (...): the mean of the first statistic."""
    return np.asarray(sums[..., 0] / n)


@dataclass(frozen=True, slots=True)
class Measure:
    """What the statistics of a metric mean: how they finish, their range, which way is better.

    `worst` and `best` are the statistics (items, k) that a missing output may have had; for binary and mean kinds they
    default to the ends of `range`. Corpus metrics and unbounded scores must give them if an output is missing. `draws` is
    how many bootstrap draws, and how many random swaps, a metric gets that is dear to finish; None: as many as any other.
    """

    kind: Kind
    range: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True
    finish: Finish = mean
    worst: Floats | None = None
    best: Floats | None = None
    draws: int | None = None

    @property
    def sign(self) -> int:
        return 1 if self.higher_is_better else -1

    @property
    def width(self) -> float:
        return self.range[1] - self.range[0]

    def ends(self, shape: tuple[int, int]) -> tuple[Floats, Floats]:
        """The (worst, best) statistics of each item, (items, k)."""
        if self.worst is not None and self.best is not None:
            return np.broadcast_to(self.worst, shape), np.broadcast_to(self.best, shape)
        if self.kind == "corpus" or not np.isfinite(self.range).all():
            raise ValueError("missing outputs of a corpus metric or an unbounded score need the worst and best statistics of each item")
        low, high = self.range if self.higher_is_better else self.range[::-1]
        return np.full(shape, low), np.full(shape, high)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One arm's statistics with missing outputs filled in: (items, k) at their worst and best; repeats averaged."""

    worst: Floats
    best: Floats
    missing: int
    repeats: int
    complete: npt.NDArray[np.bool_]

    def reordered(self, order: npt.NDArray[np.intp]) -> Outcomes:
        """The same with the items in another order."""
        worst = self.worst[order]
        best = worst if self.best is self.worst else self.best[order]
        return replace(self, worst=worst, best=best, complete=self.complete[order])

    @property
    def missing_share(self) -> float:
        return self.missing / (len(self.worst) * self.repeats)


def outcomes(stats: npt.ArrayLike, measure: Measure) -> Outcomes:
    """One arm's statistics (items,), (items, k) or (items, repeats, k), NaN where missing, with the gaps filled.

    Raises ValueError for no items, infinite values, or binary statistics other than 0 and 1.
    """
    cube = np.asarray(stats, dtype=np.float64)
    if cube.size == 0 or np.isinf(cube).any():
        raise ValueError(f"statistics must be finite, of at least one item; found shape {cube.shape}")
    cube = cube.reshape(len(cube), 1, -1) if cube.ndim < 3 else cube
    gaps = np.asarray(np.isnan(cube).any(axis=2))
    if measure.kind == "binary" and not np.isin(cube[~gaps], (0.0, 1.0)).all():
        raise ValueError("binary statistics must be 0 or 1")
    worst = best = cube.mean(axis=1)
    if gaps.any():
        fills = measure.ends((len(cube), cube.shape[2]))
        worst, best = (np.where(gaps[:, :, None], fill[:, None, :], cube).mean(axis=1) for fill in fills)
    return Outcomes(worst, best, int(gaps.sum()), cube.shape[1], np.asarray(~gaps.any(axis=1)))
