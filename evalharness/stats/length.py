"""Win rates that length does not buy: what the preference would be if both answers were equally long.

    logit P(win) = a + b·tanh((length - other's) / sd)          length-controlled win rate = 1 / (1 + exp(-a))

>>> rng = np.random.default_rng(0)
>>> longer = rng.normal(200.0, 100.0, 4000)                        # 200 characters longer on average, no better
>>> wins = rng.random(4000) < 1 / (1 + np.exp(-1.5 * np.tanh(longer / 100)))
>>> found = length_controlled(wins, 500 + longer, np.full(4000, 500.0))
>>> bool(wins.mean() > 0.7), bool(found.low < 0.5 < found.high)
(True, True)
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtri

from evalharness.stats.interval import Floats, Interval, alpha_of

_STEPS = 50
_PRIOR = 1.0
"""Precision of a normal prior on b: keeps it finite where length separates wins from losses."""


def length_controlled(
    preferences: npt.ArrayLike,
    lengths: npt.ArrayLike,
    other_lengths: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """The win rate at equal lengths, from each item's preference (1 win, 0.5 tie, 0 loss, anything between) and lengths.

    Logistic regression on the squashed length difference, as in length-controlled AlpacaEval without its term for how
    hard an instruction is (Dubois et al. 2024, arXiv 2404.04475); sandwich standard error, by cluster where given. Rows
    with NaN are left out, so give a failed judge's bounds beside it. Raises ValueError for no rows, unequal lengths of
    the arrays or preferences outside 0 to 1.
    """
    y, mine, other = (np.asarray(values, dtype=np.float64) for values in (preferences, lengths, other_lengths))
    if y.shape != mine.shape or y.shape != other.shape:
        raise ValueError(f"need as many lengths as preferences, found {len(y)}, {len(mine)} and {len(other)}")
    kept = ~np.isnan(y + mine + other)
    groups = None if clusters is None else np.asarray(clusters)[kept]
    y, gap = y[kept], (mine - other)[kept]
    if not len(y) or y.min() < 0 or y.max() > 1:
        raise ValueError("need preferences from 0 to 1, and one at least")
    design = np.column_stack([np.ones(len(y)), _squashed(gap)])
    weights = _fitted(design, y)
    se = _standard_error(design, y, weights, groups)
    half = float(-ndtri(alpha_of(level) / 2)) * se
    low, estimate, high = (float(expit(weights[0] + end)) for end in (-half, 0.0, half))
    return Interval(estimate, low, high, "length-controlled", level)


def _squashed(gap: Floats) -> Floats:
    """tanh of the difference in standard deviations: twenty times as long is not twenty times the bonus."""
    spread = float(gap.std())
    return np.tanh(gap / spread) if spread > 0 else np.zeros(len(gap))


def _fitted(design: Floats, y: Floats) -> Floats:
    """(a, b) by Newton's method. Half a win and half a loss at equal lengths are added, so that a stays finite."""
    weights = np.zeros(2)
    for _ in range(_STEPS):
        gradient, hessian = _slopes(design, y, weights)
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if float(np.abs(step).max()) < 1e-10:
            break
    return weights


def _slopes(design: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    p, start = expit(design @ weights), float(expit(weights[0]))
    gradient = design.T @ (y - p) - np.array([start - 0.5, _PRIOR * weights[1]])
    hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag([start * (1 - start), _PRIOR])
    return gradient, hessian


def _standard_error(design: Floats, y: Floats, weights: Floats, groups: npt.NDArray[np.generic] | None) -> float:
    """Of a, robust: ties and panels make preferences that are no coin flips. Where all agree, there is no spread to go by
    and the model's own error stands in."""
    _, hessian = _slopes(design, y, weights)
    bread = np.linalg.inv(hessian)
    if y.min() == y.max() and y[0] in (0.0, 1.0):
        return math.sqrt(float(bread[0, 0]))
    residuals = design * (y - expit(design @ weights))[:, None]
    if groups is not None:
        _, codes = np.unique(groups, return_inverse=True)
        residuals = np.column_stack([np.bincount(codes, residuals[:, k]) for k in range(2)])
    units = len(residuals)
    meat = residuals.T @ residuals * (units / max(1, units - 1))
    return math.sqrt(float((bread @ meat @ bread)[0, 0]))
