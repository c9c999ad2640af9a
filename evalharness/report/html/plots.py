"""Plots as inline SVG: no library, no script. Every plot is an image with a label that says what it shows.

>>> ticks(0.0, 1.0, 5)
[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDE, WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 440, 50, 14, 12, 34
"""Of a plot by itself, and of one of two side by side; then its margins. Units are those of the text's size."""
COLORS = 8


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high, about so many."""
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @staticmethod
    def over(values: Iterable[float], start: float, end: float, *, pad: float = 0.06, log: bool = False) -> Axis:
        """An axis with some room around the values."""
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        if log:
            return Axis(math.log10(low) - 0.15, math.log10(high) + 0.15, start, end, True)
        room = (high - low) * pad or abs(high) * pad or 0.05
        return Axis(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """The pixel of a value."""
        x = math.log10(value) if self.log else value
        return round(self.start + (x - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values on the axis."""
        if not self.log:
            return ticks(self.low, self.high, about)
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        return [value for value in found if self.low <= math.log10(value) <= self.high]


def bar(low: float, value: float, high: float, axis: Axis, label: str, kind: str = "") -> Markup:
    """One interval with its value, as wide as the table's cell."""
    left, middle, right = axis.at(low), axis.at(value), axis.at(high)
    zero = Markup('<line class="zero" x1="{0}" x2="{0}" y1="0" y2="20"/>').format(axis.at(0.0)) if axis.low < 0 < axis.high else ""
    opening = Markup('<svg class="bar {}" viewBox="0 0 200 20" preserveAspectRatio="none" role="img" aria-label="{}"><title>{}</title>')
    reach = Markup('<rect class="reach" x="{}" y="7" width="{}" height="6"/>').format(left, round(max(0.8, right - left), 1))
    mark = Markup('<rect class="value" x="{}" y="2" width="2" height="16"/>').format(round(middle - 1, 1))
    return opening.format(kind, label, label) + zero + reach + mark + Markup("</svg>")


def frame(height: int, x: Axis, y: Axis, names: tuple[str, str], say: tuple[Callable[[float], str], Callable[[float], str]]) -> Markup:
    """Grid lines and labels of a plot."""
    parts = []
    for value in y.ticks(4):
        at = y.at(value)
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(x.start, x.end, at, at))
        parts.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(x.start - 6, at + 4, say[1](value)))
    for value in x.ticks(6):
        parts.append(Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(x.at(value), height - 16, say[0](value)))
    parts.append(Markup('<text class="name" x="{}" y="{}" text-anchor="end">{}</text>').format(x.end, height - 2, names[0]))
    parts.append(Markup('<text class="name" x="2" y="10">{}</text>').format(names[1]))
    return Markup("").join(parts)


def svg(height: int, label: str, parts: Sequence[Markup], width: int = WIDTH) -> Markup:
    """The parts as one picture."""
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, label, Markup("").join(parts)
    )


def line(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """A line through pixels."""
    return Markup('<polyline class="{}" points="{}"/>').format(kind, " ".join(f"{x},{y}" for x, y in points))


def dot(x: float, y: float, kind: str, title: str, radius: float = 4.5) -> Markup:
    """A point with a tooltip."""
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(kind, x, y, radius, title)


def word(x: float, y: float, text: str, kind: str = "", width: int = WIDTH) -> Markup:
    """A label; it turns to the left near the right edge."""
    anchor, shift = ("end", -8) if x > width - 110 else ("start", 8)
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(kind, x + shift, y, anchor, escape(text))


def spread(wanted: Sequence[float], gap: float = 14.0) -> list[float]:
    """Label positions near the wanted ones, none closer to another than `gap`."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    found = list(wanted)
    for before, after in pairwise(order):
        found[after] = max(found[after], found[before] + gap)
    return found
