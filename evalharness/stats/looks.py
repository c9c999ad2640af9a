"""Looking early without erring more: O'Brien and Fleming's levels for a gate that is read several times as items come in.

>>> [round(100 * level, 2) for level in obrien_fleming(4)]
[99.99, 99.58, 98.06, 95.71]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from evalharness.stats.interval import Floats, alpha_of


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the data: after `items` items, with intervals at `level`."""

    items: int
    level: float


def schedule(items: int, looks: int = 4, level: float = 0.95) -> list[Look]:
    """When to look and at which level: stop at the first look whose verdict is PASS or FAIL. See `obrien_fleming`."""
    return [Look(math.ceil(items * k / looks), at) for k, at in enumerate(obrien_fleming(looks, level), start=1)]


def obrien_fleming(looks: int = 4, level: float = 0.95) -> tuple[float, ...]:
    """The level of the interval at each of `looks` equally spaced looks, so that all of them together err 1 - level.

    O'Brien & Fleming's boundary z_k = C·sqrt(looks/k); C by recursive integration of the density of paths that stay
    inside (Armitage, McPherson & Rowe 1969). For 4 looks at 95%: C = 2.024. Source: O'Brien & Fleming 1979.
    """
    low, high = float(-ndtri(alpha_of(level) / 2)), 6.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _crossing(middle, looks) > alpha_of(level) else (low, middle)
    return tuple(1 - 2 * float(ndtr(-high * math.sqrt(looks / k))) for k in range(1, looks + 1))


def _crossing(constant: float, looks: int) -> float:
    """P(|S_k| >= constant·sqrt(looks) at some k <= looks) for a random walk S of standard normal steps."""
    edge = constant * math.sqrt(looks)
    nodes, weights = (edge * part for part in _legendre(96))
    step = np.exp(-(np.subtract.outer(nodes, nodes) ** 2) / 2) / math.sqrt(2 * math.pi)
    density = np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    for _ in range(looks - 1):
        density = step @ (weights * density)
    return 1.0 - float(weights @ density)


@lru_cache(maxsize=1)
def _legendre(points: int) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Legendre integration over -1..1."""
    return np.polynomial.legendre.leggauss(points)
