"""What an arm's answers cost: per 1,000 requests with an interval or, where a deployment must stay open, by the hour.

>>> Serving(None, Hosting(2.0, 3600.0)).per_1000(100_000)        # one machine for 730 hours, idle or not
14.6
>>> Serving(None, Hosting(2.0, 3600.0)).per_1000(None)           # while it answers
0.5555555555555556
>>> Serving(None, None).per_1000(None) is None                   # unknown, not free
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evalharness.stats import Interval, t_interval
from evalharness.verdict.records import interval_json, plain

if TYPE_CHECKING:
    from evalharness.store import Resource
    from evalharness.verdict.view import View

HOURS = 730
"""Of a month."""
EXACT = "every answer cost the same"
BUSY = "hosting by the hour as it was used here, start-up included"


@dataclass(frozen=True, slots=True)
class Hosting:
    """A deployment that costs whether it answers or not; None where unknown. `answers_per_hour` were seen while it was open,
    its start-up included: it can do more."""

    usd_per_hour: float | None
    answers_per_hour: float | None

    def month(self, volume: int) -> float | None:
        """US dollars a month for so many requests: whole machines, open all the time."""
        if self.usd_per_hour is None or self.answers_per_hour is None:
            return None
        return self.usd_per_hour * HOURS * max(1, math.ceil(volume / (self.answers_per_hour * HOURS)))

    @property
    def busy(self) -> float | None:
        """US dollars for 1,000 answers with no idle hour."""
        if self.usd_per_hour is None or self.answers_per_hour is None:
            return None
        return 1000 * self.usd_per_hour / self.answers_per_hour


@dataclass(frozen=True, slots=True)
class Serving:
    """What an arm's answers cost in US dollars: `answers` is per 1,000 requests like those of the test set, None where unknown."""

    answers: Interval | None
    hosting: Hosting | None = None

    def month(self, volume: int) -> float | None:
        """US dollars for so many requests a month, idle hosting included; None if unknown."""
        if self.hosting is not None:
            return self.hosting.month(volume)
        return None if self.answers is None else self.answers.estimate * volume / 1000

    def per_1000(self, volume: int | None) -> float | None:
        """US dollars for 1,000 requests at that volume a month; without one, hosting counts as never idle."""
        if self.hosting is None:
            return None if self.answers is None else self.answers.estimate
        if volume is None:
            return self.hosting.busy
        month = self.hosting.month(volume)
        return None if month is None else 1000 * month / volume

    def interval(self, volume: int | None, level: float) -> Interval | None:
        """`per_1000` with its interval; hosting by the hour is a price, so it has none but itself."""
        if self.hosting is None:
            return self.answers
        value = self.per_1000(volume)
        said = BUSY if volume is None else f"hosting open all month at {volume:,} requests"
        return None if value is None else Interval(value, value, value, said, level)

    def as_json(self) -> dict[str, Any]:
        """The figures, plain."""
        hosting = self.hosting
        return {
            "usd_per_1000": None if self.answers is None else interval_json(self.answers),
            "usd_per_hour": None if hosting is None else plain(hosting.usd_per_hour),
            "answers_per_hour": None if hosting is None else plain(hosting.answers_per_hour),
            "by_the_hour": hosting is not None,
        }


def serving(view: View, arm: str, level: float) -> Serving:
    """What the store knows of the arm's costs; the interval is over items, robust to clusters."""
    return Serving(_answers(view, arm, level), _hosting(view, arm))


def _answers(view: View, arm: str, level: float) -> Interval | None:
    """Per 1,000 requests; None if any answer's price is unknown or there are no answers."""
    arm_id = view.contender(arm).arm.arm_id
    if view.usage[arm_id].cost_usd == 0.0:
        return Interval(0.0, 0.0, 0.0, EXACT, level)
    usd = view.costs.get(arm_id)
    if usd is None:
        return None
    known = ~np.isnan(usd)
    items = known.any(axis=1)
    means = 1000 * np.where(known, usd, 0.0)[items].sum(axis=1) / known[items].sum(axis=1)
    if not len(means):
        return None
    if means.max() - means.min() <= 1e-9 * means.max():
        value = float(means.min())
        return Interval(value, value, value, EXACT, level)
    found = t_interval(means, level, None if view.clusters is None else view.clusters[items])
    return replace(found, low=max(0.0, found.low))


def _hosting(view: View, arm: str) -> Hosting | None:
    """By the deployment that answered most in an hour; None if none was ever opened for the arm's model."""
    each = view.contender(arm)
    opened = view.store.deployments(each.training.training_id) if each.training is not None else []
    used = [row for row in opened if row.state != "intent" and row.price_usd_per_hour != 0.0 and row.cost_usd != 0.0]
    if not used:
        return None
    pace = max((_pace(view, each.arm.arm_id, row) for row in used), default=0.0)
    return Hosting(used[-1].price_usd_per_hour, pace or None)


def _pace(view: View, arm_id: str, row: Resource) -> float:
    """Answers an hour while the deployment was open; 0.0 where nobody knows."""
    if row.closed is None or row.run_id is None or row.closed <= row.opened:
        return 0.0
    return view.store.answered_in(row.run_id, arm_id) * 3600 / (row.closed - row.opened).total_seconds()
