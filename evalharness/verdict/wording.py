"""How verdicts say numbers: in points with one decimal, with the sign that people expect, never "equal".

>>> unit = Unit.of((0.0, 1.0))
>>> unit.value(0.6123), unit.gain(0.042), unit.better(0.019, 0.063)
('61.2', '+4.2', 'better by 1.9 to 6.3 points')
>>> Unit.of((1.0, 5.0)).better(-0.31, -0.12)
'worse by 0.12 to 0.31'
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evalharness.stats import Interval

UNCORRECTED = "judge opinion, not corrected"
"""Said of every number that rests on a model's opinions alone."""
NO_LABEL = "the same texts, nothing to label"
"""Said of a judge's number where no answer is left that could be judged differently."""


@dataclass(frozen=True, slots=True)
class Unit:
    """How a metric's numbers are shown: times `scale`, with so many decimals, called `word` ("points", or nothing)."""

    scale: float
    digits: int
    word: str

    @staticmethod
    def of(bounds: tuple[float, float]) -> Unit:
        """Points for ranges within -1..1 (times 100) and 0..100; the metric's own unit for any other range."""
        low, high = bounds
        if low >= -1 and high <= 1:
            return Unit(100.0, 1, "points")
        if low >= 0 and high == 100:
            return Unit(1.0, 1, "points")
        width = high - low
        return Unit(1.0, 2 if width <= 20 or math.isinf(width) else 1 if width <= 200 else 0, "")

    def value(self, value: float | None) -> str:
        """A score: "61.2"; "unknown" where there is none."""
        if value is None or math.isnan(value):
            return "unknown"
        return _number(value * self.scale, self.digits)

    def gain(self, value: float | None) -> str:
        """A difference with its sign: "+4.2", "−0.3", "0.0"."""
        if value is None or math.isnan(value):
            return "unknown"
        return ("+" if float(_bare(value * self.scale, self.digits)) > 0 else "") + self.value(value)

    def size(self, value: float) -> str:
        """A distance with its unit: "3.1 points"."""
        return f"{_small(abs(value) * self.scale, self.digits)} {self.word}".rstrip()

    def better(self, low: float, high: float) -> str:
        """What an interval of a difference shows: "better by 1.9 to 6.3 points", "worse by ..." or "no difference shown"."""
        if low > 0:
            return self._by("better", low, high)
        if high < 0:
            return self._by("worse", -high, -low)
        return "no difference shown"

    def shown(self, low: float, high: float) -> str:
        """`better`, with the interval where no difference is shown: "no difference shown (−1.2 to +3.4 points)"."""
        if low > 0 or high < 0:
            return self.better(low, high)
        return f"no difference shown ({self.gain(low)} to {self.gain(high)} {self.word}".rstrip() + ")"

    def measured(self, found: Interval) -> str:
        """A difference with its interval: "+4.2 points (95% 1.1 to 7.2)"."""
        gain = f"{self.gain(found.estimate)} {self.word}".rstrip()
        return f"{gain} ({percent(found.level)} {self.value(found.low)} to {self.value(found.high)})"

    def _by(self, word: str, least: float, most: float) -> str:
        return f"{word} by {_small(least * self.scale, self.digits)} to {_small(most * self.scale, self.digits)} {self.word}".rstrip()


def _bare(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else str(value)


def _number(value: float, digits: int) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = _bare(value, digits)
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _small(value: float, digits: int) -> str:
    """A positive number; one that would be rounded to 0 is said to be less than the last digit."""
    least = 10.0**-digits
    return f"<{least:.{digits}f}" if 0 < value < least / 2 else _number(value, digits)


def percent(level: float) -> str:
    """A level as people write it: 0.95 -> "95%", 0.98333 -> "98.3%"."""
    return f"{round(100 * level, 1):g}%"


def several(count: int, noun: str) -> str:
    """ "1 item", "1,200 items"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def about(count: int) -> str:
    """A planned number as people should read it: "about 2,000", rounded up to two digits."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return f"about {-(-count // unit) * unit:,}"


def listed(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1] if words else "") if part)
