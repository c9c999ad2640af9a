"""A recipe's own interval: what training it again with another seed would give, from three seeds or more.

>>> found = recipe_interval([0.10, 0.14, 0.12], [0.02, 0.02, 0.02], units=400, level=0.95)
>>> round(found.estimate, 2), round(found.low, 3), round(found.high, 3)
(0.12, 0.073, 0.167)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalharness.stats import Interval
from evalharness.verdict.evidence import gains
from evalharness.verdict.records import interval_json
from evalharness.verdict.view import View
from evalharness.verdict.wording import Unit, several

FEWEST_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Recipe:
    """Trainings that differ only in their seed, and the gain that the recipe gives on average."""

    name: str
    labels: tuple[str, ...]
    gain: Interval

    def as_json(self) -> dict[str, Any]:
        """The recipe with its interval, plain."""
        return {"candidate": self.name, "seeds": list(self.labels), "difference": interval_json(self.gain)}

    def sentence(self, unit: Unit) -> str:
        """ "The recipe tuned over 3 seeds: +4.0 points (95% 1.2 to 6.8), seed variance included."."""
        over = several(len(self.labels), "seed")
        return f"The recipe {self.name} over {over}: {unit.measured(self.gain)}, seed variance included."


def recipes(view: View, metric: str, reference: str, level: float) -> list[Recipe]:
    """Every candidate of the suite with three or more scored seeds."""
    found = []
    scored = {each.label for each in view.scored}
    for name, spec in (view.suite.candidates if view.suite is not None else {}).items():
        labels = [label for seed in spec.seeds if (label := f"{name} (seed {seed})") in scored]
        if len(labels) >= FEWEST_SEEDS:
            each = gains(view, labels, reference, metric, level).values()
            units = min(evidence.units for evidence in each)
            gain = recipe_interval([e.estimate for e in each], [e.se for e in each], units, level)
            found.append(Recipe(name, tuple(labels), gain))
    return found


def recipe_interval(estimates: Sequence[float], errors: Sequence[float], units: int, level: float) -> Interval:
    """t interval of the mean gain over S seeds, where both the seed and the items could have been others.

    se² = s²/S + mean(se_i²), s² the variance between seeds and se_i each seed's standard error over the items:
    conservative, since s² holds some of the items' noise too. Degrees of freedom by Satterthwaite (1946) from S - 1
    and units - 1.
    """
    from scipy.special import stdtrit

    between = float(np.var(estimates, ddof=1)) / len(estimates)
    within = float(np.mean(np.square(errors)))
    middle, square = math.fsum(estimates) / len(estimates), between + within
    parts = between**2 / (len(estimates) - 1) + within**2 / max(1, units - 1)
    freedom = square**2 / parts if parts > 0 else float(units - 1)
    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(square)
    return Interval(middle, middle - half, middle + half, "seeds and items", level)
