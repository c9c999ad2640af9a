"""The price of a change: training, serving, and when the one has paid for the other. Unknown stays unknown.

>>> Money.simple(3.10, 0.08, 0.20).sentence()
'Training 3.10 USD; serving −60% per 1,000 requests; pays back after 26,000 requests.'
>>> Money.simple(None, None, None).sentence()
'What training and serving cost is unknown.'

With a number of requests a month (`decide: {volume: N}`) hosting by the hour is counted with its idle hours, and the
day on which training has paid for itself is told, counted from the day of the run: asking later changes no byte.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Any

from evalharness.stats import Interval
from evalharness.verdict.costs import HOURS, Serving, serving
from evalharness.verdict.records import plain
from evalharness.verdict.view import View
from evalharness.verdict.wording import percent

ENDS = "shutdown_date"
"""The fact of a trained model that says when its base is switched off, as YYYY-MM-DD."""
DAYS = 365.25 / 12
"""Of a month."""
NEVER = 100 * 12
"""Months after which paying back is not worth a date."""


@dataclass(frozen=True, slots=True)
class Money:
    """US dollars; None where unknown. `volume` is requests a month, `day` the run's, `ends` the base model's last."""

    training: float | None
    candidate: Serving
    reference: Serving
    volume: int | None = None
    day: datetime.date | None = None
    ends: datetime.date | None = None
    names: tuple[str, str] = ("candidate", "reference")

    @staticmethod
    def simple(training: float | None, serving: float | None, reference: float | None) -> Money:
        """Prices per 1,000 requests that are known exactly, or not at all."""
        one, other = (None if each is None else Interval(each, each, each, "given", 0.95) for each in (serving, reference))
        return Money(training, Serving(one), Serving(other))

    @staticmethod
    def of(view: View, candidate: str, reference: str, *, volume: int | None = None, level: float = 0.95) -> Money:
        """What the store knows of the two arms' costs."""
        training = view.contender(candidate).training
        cost = training.cost_usd if training is not None else None
        mine, other = (serving(view, each, level) for each in (candidate, reference))
        return Money(cost, mine, other, volume, view.run.started.date(), ends(view, candidate), (candidate, reference))

    @property
    def months(self) -> float | None:
        """Until cheaper serving has paid for the training at this volume; inf if never, None if unknown."""
        if self.training is None or self.volume is None:
            return None
        mine, other = self.candidate.month(self.volume), self.reference.month(self.volume)
        if mine is None or other is None:
            return None
        return self.training / (other - mine) if mine < other else math.inf

    @property
    def pays_back_after(self) -> int | None:
        """Requests after which cheaper serving has paid for the training, to two digits; None if never or unknown.

        With hosting by the hour that depends on how many come in a month.
        """
        if self.candidate.hosting is not None or self.reference.hosting is not None:
            months = self.months
            return None if months is None or math.isinf(months) or self.volume is None else _rounded_up(months * self.volume)
        mine, other = self.candidate.per_1000(None), self.reference.per_1000(None)
        if self.training is None or mine is None or other is None or mine >= other:
            return None
        return _rounded_up(1000 * self.training / (other - mine))

    @property
    def pays_back_on(self) -> datetime.date | None:
        """The day on which training has paid for itself; None if unknown, never, or not before the base model is gone."""
        found = self._would_pay_back_on()
        return None if found is None or (self.ends is not None and found > self.ends) else found

    def _would_pay_back_on(self) -> datetime.date | None:
        if self.months is None or self.months > NEVER or self.day is None:
            return None
        return self.day + datetime.timedelta(days=math.ceil(self.months * DAYS))

    @property
    def cheaper_from(self) -> int | None:
        """Requests a month from which one machine by the hour is cheaper than the reference's price by answer; None if
        that is unknown, never (it cannot answer so many), or not the question."""
        hosting, price = self.candidate.hosting, self.reference.per_1000(None)
        if hosting is None or hosting.usd_per_hour is None or hosting.answers_per_hour is None or not price or self.reference.hosting:
            return None
        needed = 1000 * hosting.usd_per_hour * HOURS / price
        return _rounded_up(needed) if needed <= hosting.answers_per_hour * HOURS else None

    def as_json(self) -> dict[str, Any]:
        """The figures, plain."""
        day = self.pays_back_on
        volume = self.volume
        return {
            "training_usd": plain(self.training),
            "serving_usd_per_1000": plain(self.candidate.per_1000(volume)),
            "reference_serving_usd_per_1000": plain(self.reference.per_1000(volume)),
            "serving": self.candidate.as_json(),
            "reference_serving": self.reference.as_json(),
            "requests_per_month": volume,
            "usd_per_month": None if volume is None else plain(self.candidate.month(volume)),
            "reference_usd_per_month": None if volume is None else plain(self.reference.month(volume)),
            "pays_back_after_requests": self.pays_back_after,
            "pays_back_on": None if day is None else day.isoformat(),
            "base_model_ends": None if self.ends is None else self.ends.isoformat(),
            "cheaper_from_requests_per_month": self.cheaper_from,
        }

    def sentence(self) -> str:
        """ "Training 3.10 USD; serving −62% per 1,000 requests; pays back after 41,000 requests."."""
        parts = ["training: cost unknown" if self.training is None else f"training {self.training:,.2f} USD", self._serving()]
        if self.training is None and parts[1] == UNKNOWN:
            return "What training and serving cost is unknown."
        text = "; ".join([*parts, *self._pays_back()])
        return f"{text[0].upper()}{text[1:]}."

    def details(self) -> list[str]:
        """Each arm's own price with its interval, and the hours that are paid for."""
        told = zip(self.names, (self.candidate, self.reference), strict=True)
        lines = [f"{name} {_price(each)}" for name, each in told]
        return [f"Per 1,000 requests: {'; '.join(lines)}."] if any(UNSAID not in line for line in lines) else []

    def _serving(self) -> str:
        mine, other = (each.per_1000(self.volume) for each in (self.candidate, self.reference))
        at = f" at {self.volume:,} a month" if self.volume is not None and (self.candidate.hosting or self.reference.hosting) else ""
        if mine is None:
            return UNKNOWN
        if other is None:
            return f"serving {usd(mine)} per 1,000 requests{at}, the reference's cost unknown"
        if other == 0:
            return f"serving {usd(mine)} per 1,000 requests{at} against 0.00"
        change = round(100 * (mine / other - 1))
        return f"serving {change:+,d}% per 1,000 requests{at}".replace("-", "−")

    def _pays_back(self) -> list[str]:
        after, day, late = self.pays_back_after, self.pays_back_on, self._would_pay_back_on()
        if day is None and late is not None and self.training:
            return [f"does not pay back before its base model is switched off on {self.ends}"]
        if self.months is not None and self.months > NEVER:
            return ["never pays back at this volume"]
        if after is not None and after > 0:
            return [f"pays back after {after:,} requests" + (f", on {day}" if day is not None else "")]
        if self.candidate.hosting is not None and self.volume is None:
            found = self.cheaper_from
            return [f"cheaper from {found:,} requests a month on" if found is not None else "idle hours come on top: decide by a volume"]
        return []


UNKNOWN = "serving: cost unknown"
UNSAID = "unknown"


def ends(view: View, arm: str) -> datetime.date | None:
    """The day on which the arm's base model is switched off, where its training knows it."""
    training = view.contender(arm).training
    facts = training.model.facts if training is not None and training.model is not None else {}
    try:
        return datetime.date.fromisoformat(str(facts.get(ENDS)))
    except ValueError:
        return None


def usd(value: float) -> str:
    """Cents, or two digits below a dime."""
    return f"{value:,.2f} USD" if value >= 0.1 or value == 0 else f"{value:.2g} USD"


def _price(serving: Serving) -> str:
    if (hosting := serving.hosting) is not None:
        hour = UNSAID if hosting.usd_per_hour is None else f"{usd(hosting.usd_per_hour)} an hour, idle or not"
        pace = hosting.answers_per_hour
        return hour if pace is None else f"{hour} ({_two_digits(pace)} answers an hour were seen)"
    found = serving.answers
    if found is None:
        return UNSAID
    if found.high == found.low or math.isinf(found.high):
        return usd(found.estimate)
    return f"{usd(found.estimate)} ({percent(found.level)} {usd(found.low).removesuffix(' USD')} to {usd(found.high).removesuffix(' USD')})"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}"


def _rounded_up(requests: float) -> int:
    """To two digits."""
    unit = 10 ** max(0, math.floor(math.log10(requests)) - 1) if requests >= 1 else 1
    return math.ceil(round(requests / unit, 6)) * unit
