"""What can be answered, and how: labels with values by a key each, or a number of the metric's range.

>>> scale = Scale({"fail": 0.0, "pass": 1.0}, (0.0, 1.0))
>>> scale.keys, scale.read("p"), scale.read("pass"), scale.read("maybe")
({'f': 'fail', 'p': 'pass'}, 1.0, 1.0, None)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evalharness.verdict.measures import Measure

COMMANDS = {"s": "skip", "u": "undo", "n": "note", "q": "quit", "?": "rubric"}


@dataclass(frozen=True, slots=True)
class Scale:
    """Label -> value, lowest value first; empty where any number within `bounds` can be answered."""

    choices: Mapping[str, float]
    bounds: tuple[float, float]

    @staticmethod
    def of(measure: Measure) -> Scale:
        """What people can answer for this metric; in pairs: the first, the second, or a tie."""
        if measure.against is not None:
            low, high = measure.row.range
            return Scale({"first": high, "second": low, "tie": (low + high) / 2}, measure.row.range)
        return Scale(measure.choices, measure.row.range)

    @property
    def keys(self) -> dict[str, str]:
        """key -> label: the labels themselves if each is one character, else their first letters, else numbers from 1."""
        labels = list(self.choices)
        for keys in (
            [label.lower() for label in labels],
            [label[:1].lower() for label in labels],
            list(map(str, range(1, len(labels) + 1))),
        ):
            if all(len(key) == 1 for key in keys) and len(set(keys)) == len(keys) and not set(keys) & COMMANDS.keys():
                return dict(zip(keys, labels, strict=True))
        return {}

    @property
    def single_keys(self) -> bool:
        """Whether one key is an answer."""
        return bool(self.keys)

    def read(self, said: str) -> float | None:
        """The value of what was said: a key, a label (whatever its case), or a number; None if it is none of them."""
        text = said.strip()
        by_name = {label.casefold(): value for label, value in self.choices.items()}
        if text.lower() in self.keys:
            return self.choices[self.keys[text.lower()]]
        if text.casefold() in by_name:
            return by_name[text.casefold()]
        try:
            number = float(text)
        except ValueError:
            return None
        if self.choices:
            return number if number in self.choices.values() else None
        return number if math.isfinite(number) and self.bounds[0] <= number <= self.bounds[1] else None

    def label(self, value: float) -> str:
        """The value as people say it."""
        return next((label for label, known in self.choices.items() if known == value), f"{value:g}")

    @property
    def wanted(self) -> str:
        """What can be answered, in words: "fail or pass", "a number from 0 to 1"."""
        if not self.choices:
            return f"a number from {self.bounds[0]:g} to {self.bounds[1]:g}"
        *most, last = self.choices
        return f"{', '.join(most)} or {last}"
