"""Several tests at once: adjusted p-values of Bonferroni, Holm and Benjamini-Hochberg, and the level for K candidates.

>>> holm([0.01, 0.04, 0.03]).round(2)
array([0.03, 0.06, 0.06])
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evalharness.stats.interval import Floats, alpha_of


def bonferroni_level(level: float, count: int) -> float:
    """The level of each of `count` intervals that hold together at `level`: 1 - (1 - level)/count."""
    return 1.0 - alpha_of(level) / max(1, count)


def bonferroni(p: npt.ArrayLike) -> Floats:
    """Adjusted p-values m·p_i, at most 1: reject where adjusted <= alpha (family-wise error)."""
    values = _valid(p)
    return np.minimum(1.0, len(values) * values)


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values: max over j <= i of (m - j + 1)·p_(j), at most 1 (family-wise error, any dependence).

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    values = _valid(p)
    order = np.argsort(values, kind="stable")
    scaled = np.arange(len(values), 0, -1) * values[order]
    return _restored(np.minimum(1.0, np.maximum.accumulate(scaled)), order)


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Benjamini-Hochberg adjusted p-values: min over j >= i of m/j·p_(j) (false discovery rate, independent tests).

    Source: Benjamini & Hochberg 1995, JRSS B 57:289-300.
    """
    values = _valid(p)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    return _restored(np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1]), order)


def _valid(p: npt.ArrayLike) -> Floats:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values must be a list of numbers between 0 and 1")
    return values


def _restored(adjusted: Floats, order: npt.NDArray[np.intp]) -> Floats:
    restored = np.empty_like(adjusted)
    restored[order] = adjusted
    return restored
