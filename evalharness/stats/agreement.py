"""Agreement between annotators: Cohen's kappa for two, Krippendorff's alpha for any number with gaps.

>>> round(cohen_kappa(["yes", "no", "yes", "no"], ["yes", "no", "no", "no"]), 2)
0.5
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from evalharness.stats.interval import Floats

Scale = Literal["nominal", "ordinal", "interval", "ratio"]


def cohen_kappa(first: npt.ArrayLike, second: npt.ArrayLike, weights: Literal["linear", "quadratic"] | None = None) -> float:
    """Cohen's kappa of two annotators' labels (n,): 1 - Σ w·observed / Σ w·expected; NaN if both always give one label.

    w is 1 off the diagonal, or |i - j| or (i - j)² over the sorted labels. Sources: Cohen 1960, 1968.
    Raises ValueError for unequal or zero lengths.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(f"need two equally long lists of labels, found shapes {a.shape} and {b.shape}")
    labels, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    size = len(labels)
    table = np.bincount(codes[: len(a)] * size + codes[len(a) :], minlength=size * size).reshape(size, size) / len(a)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    cost = {None: (apart > 0).astype(np.float64), "linear": apart, "quadratic": apart**2}[weights]
    chance = float((cost * expected).sum())
    return 1.0 - float((cost * table).sum()) / chance if chance > 0 else float("nan")


def krippendorff_alpha(ratings: npt.ArrayLike, scale: Scale = "nominal") -> float:
    """Krippendorff's alpha of ratings (annotators, units), NaN where an annotator gave none; NaN if it is undefined.

    alpha = 1 - (n - 1)·Σ o_ck·δ²_ck / Σ n_c·n_k·δ²_ck over the coincidences o of pairs within units; δ is 1 for unequal
    (nominal), the ranks between c and k (ordinal), c - k (interval) or (c - k)/(c + k) (ratio).
    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"ratings must have shape (annotators, units), found {table.shape}")
    values = np.unique(table[~np.isnan(table)])
    counts = (table[:, :, None] == values).sum(axis=0).astype(np.float64)  # units x values
    counts = counts[counts.sum(axis=1) > 1]
    pairs = counts.sum(axis=1)
    coincidences = (counts / (pairs[:, None] - 1)).T @ counts - np.diag((counts / (pairs[:, None] - 1)).sum(axis=0))
    totals = coincidences.sum(axis=0)
    distance = _squared_distance(values, totals, scale)
    chance = float((np.outer(totals, totals) * distance).sum())
    return 1.0 - (totals.sum() - 1) * float((coincidences * distance).sum()) / chance if chance > 0 else float("nan")


def _squared_distance(values: Floats, totals: Floats, scale: Scale) -> Floats:
    if scale == "nominal":
        return 1.0 - np.eye(len(values))
    if scale == "ordinal":
        ranks = np.cumsum(totals) - totals / 2  # the distance is the ranks between, counting half of either end
        return np.asarray(np.subtract.outer(ranks, ranks) ** 2)
    gap = np.subtract.outer(values, values)
    if scale == "interval":
        return np.asarray(gap**2)
    total = np.add.outer(values, values)
    return np.divide(gap, total, out=np.zeros_like(gap), where=total != 0) ** 2
