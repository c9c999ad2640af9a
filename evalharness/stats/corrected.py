"""Prediction-powered intervals: many judge opinions corrected by a few human labels (PPI++).

>>> rng = np.random.default_rng(0)
>>> truth = rng.random(2000) < 0.6
>>> judge = np.where(rng.random(2000) < 0.1, ~truth, truth) + 0.06     # noisy, and biased by 6 points
>>> corrected = ppi(truth[:200], judge[:200], judge[200:])
>>> bool(corrected.low < truth.mean() < corrected.high)
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from evalharness.stats.interval import Floats, Interval, alpha_of


@dataclass(frozen=True, slots=True)
class Normal:
    """Evidence with a normal sampling distribution: estimate ± z·se, held inside `clip`."""

    estimate: float
    se: float
    units: int
    clip: tuple[float, float] = (-math.inf, math.inf)
    method: str = "normal"

    def interval(self, level: float) -> Interval:
        half = float(-ndtri(alpha_of(level) / 2)) * self.se
        low, high = max(self.estimate - half, self.clip[0]), min(self.estimate + half, self.clip[1])
        return Interval(self.estimate, low, high, self.method, level)

    def p_below(self, x: float) -> float:
        return self._p(x - self.estimate)

    def p_above(self, x: float) -> float:
        return self._p(self.estimate - x)

    def _p(self, gap: float) -> float:
        if self.se == 0:
            return 0.0 if gap > 0 else 1.0
        return float(ndtr(-gap / self.se))


def ppi_evidence(
    labels: npt.ArrayLike,
    judged: npt.ArrayLike,
    judged_only: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    clip: tuple[float, float] = (-math.inf, math.inf),
) -> Normal:
    """PPI++ evidence on a mean: n human `labels`, the judge's values on the same items and on N items without label.

    mean(w·(y - λf)) + λ·mean(F), var = var(w·(y - λf))/n + λ²·var(F)/N, with λ = cov(y, f) / ((1 + n/N)·var(f, F)) held in
    0..1, which minimises it: a useless judge gets λ = 0 and leaves the labels alone. For the difference of two arms
    pass each item's differences (candidate minus baseline) of labels and of judge values. `weights` are inverse
    chances of being labelled, where labels were not drawn evenly; `judged_only` must stand for all items.
    Source: Angelopoulos, Duchi & Zrnic 2023 (arXiv 2311.01453).
    Raises ValueError below 2 labels or for unequal lengths.
    """
    y, f, rest = (np.asarray(x, dtype=np.float64) for x in (labels, judged, judged_only))
    if len(y) < 2 or y.shape != f.shape:
        raise ValueError(f"need at least 2 labels with the judge's value for each, found {len(y)} and {len(f)}")
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    w = w / w.mean()
    if len(rest) < 2:
        return Normal(float((w * y).mean()), float((w * y).std() / math.sqrt(len(y))), len(y), clip, "labels alone")
    strength = _strength(y, f, rest, w)
    corrected = w * (y - strength * f)
    estimate = float(corrected.mean() + strength * rest.mean())
    variance = corrected.var() / len(y) + strength**2 * rest.var() / len(rest)
    return Normal(estimate, math.sqrt(variance), len(y), clip, "PPI++")


def _strength(y: Floats, f: Floats, rest: Floats, w: Floats) -> float:
    """λ, the weight that the judge earns."""
    plain = (w * (y - f)).mean() + rest.mean()
    gradient, judged = w * (y - plain), w * (f - plain)
    covariance = ((gradient - gradient.mean()) * (judged - judged.mean())).mean()
    variance = np.concatenate([judged, rest - plain]).var(ddof=1)
    return float(np.clip(covariance / ((1 + len(y) / len(rest)) * variance), 0.0, 1.0)) if variance > 0 else 0.0


def ppi(labels: npt.ArrayLike, judged: npt.ArrayLike, judged_only: npt.ArrayLike, level: float = 0.95) -> Interval:
    """PPI++ interval of a mean (or, given differences, of a difference); see `ppi_evidence`."""
    return ppi_evidence(labels, judged, judged_only).interval(level)
