"""Numeric match: whether the answer's number is the target's, within a tolerance.

In YAML: `numeric`, `numeric: 0.01` (relative), `numeric: {absolute: 0.5, decimal: ",", units: {km: 1000, m: 1}}`.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "How much?")], ["1234.5"])
>>> Numeric(NumericOptions(relative=0.001)).score(sample, Reply("o1", "In all $1,234.49.", "stop"))
(1.0,)
>>> numbers("about −3,5·10^3 kg or 12 %", NumericOptions(decimal=",", units={"kg": 1000}))
[-3500000.0, 0.12]
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from evalharness import metrics, protocols
from evalharness.errors import DataError, Problem
from evalharness.metrics import PerSample
from evalharness.records import Reply, Sample

_SPACES = "\u00a0\u2009\u202f"  # no-break, thin and narrow no-break space; a plain space parts two numbers
_SHARES = {"%": 1e-2, "percent": 1e-2, "per cent": 1e-2, "‰": 1e-3}
_ONE = re.compile(r"[+\-−]?[0-9]+[.,][0-9]+")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


class NumericOptions(protocols.Options):
    """Which number is read, and how near is near enough: |answer - target| <= max(absolute, relative·|target|)."""

    shorthand: ClassVar[str | None] = "relative"

    relative: float = Field(default=1e-9, ge=0, lt=1)
    absolute: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    which: Literal["last", "first", "only"] = "last"
    """Which of an answer's numbers; with `only`, an answer with several different ones is wrong."""
    decimal: Literal[".", ","] = "."
    """The decimal mark; the other one parts thousands, as ', _ and narrow spaces do."""
    percent: Literal["share", "ignore"] = "share"
    """`share`: 12% is 0.12. `ignore`: 12% is 12."""
    units: dict[str, float] = Field(default_factory=dict)
    """What a unit right after a number multiplies it by, e.g. {km: 1000, m: 1}; other words after it are ignored."""

    @field_validator("units")
    @classmethod
    def _are_factors(cls, units: dict[str, float]) -> dict[str, float]:
        for unit, factor in units.items():
            if not unit.strip() or not math.isfinite(factor) or factor == 0:
                raise ValueError(f"the unit {unit!r} needs a name and a factor other than 0")
        return units


class Numeric(PerSample):
    """1 if the answer's number is near any target's, else 0; an answer without a number is wrong."""

    Options: ClassVar[type[protocols.Options]] = NumericOptions
    name = "numeric"
    options: NumericOptions
    kind: Literal["binary", "mean", "corpus"] = "binary"

    def __init__(self, options: NumericOptions | None = None) -> None:
        super().__init__(options or NumericOptions())

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Raises DataError if no target holds a number, or one is written with the other decimal mark."""
        answer = self._number(metrics.text_of(reply))
        texts = metrics.targets_of(sample, self.name)
        for text in texts:
            if len(numbers(text, self.options)) == 2 and _ONE.fullmatch(text.strip()):
                fix = f"The decimal mark is {self.options.decimal!r} here: write targets as answers are written, or set decimal"
                raise DataError([Problem(sample.source, "target", f"{text!r} would be two numbers", fix)])
        targets = [number for text in texts if (number := self._number(text)) is not None]
        if not targets:
            fix = "numeric compares numbers: see its options decimal and which"
            raise DataError([Problem(sample.source, "target", "holds no number", fix)])
        return (float(answer is not None and any(self._near(answer, target) for target in targets)),)

    def why(self, sample: Sample, reply: Reply) -> str | None:
        """Which number was read."""
        answer = self._number(metrics.text_of(reply))
        return "no number" if answer is None else f"read as {answer:.12g}"

    def _number(self, text: str) -> float | None:
        found = numbers(text, self.options)
        if not found or (self.options.which == "only" and len(set(found)) > 1):
            return None
        return found[0 if self.options.which == "first" else -1]

    def _near(self, answer: float, target: float) -> bool:
        return abs(answer - target) <= max(self.options.absolute, self.options.relative * abs(target))


def numbers(text: str, options: NumericOptions) -> list[float]:
    """Every number in the text, in order: signs, thousands, exponents (1e-3, 1.2×10^3, 10⁻³), percent and units read."""
    pattern = _pattern(options.decimal, tuple(sorted(options.units, key=len, reverse=True)))
    found = (_value(match, options) for match in pattern.finditer(text))
    return [value for value in found if math.isfinite(value)]


@lru_cache(maxsize=64)
def _pattern(decimal: str, units: tuple[str, ...]) -> re.Pattern[str]:
    thousands = f"[{_SPACES}'’_{',' if decimal == '.' else '.'}]"
    mark = re.escape(decimal)
    whole = rf"(?:[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+(?![0-9])|[0-9]+)(?:{mark}[0-9]+)?|{mark}[0-9]+"
    power = r"[eE](?P<e>[+\-−]?[0-9]+)|\s?[×·x*]\s?10(?:\^|\*\*)(?P<p>[+\-−]?[0-9]+)|\s?[×·x*]\s?10(?P<r>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)"
    words = [rf"{re.escape(word)}{_edge(word)}" for word in (*units, *_SHARES)]
    return re.compile(
        rf"(?<![0-9])(?:(?<![\w.,])(?P<sign>[+\-−]))?[$€£]?(?P<number>{whole})(?:{power})?(?:[ {_SPACES}]?(?P<unit>{'|'.join(words)}))?"
    )


def _edge(word: str) -> str:
    return r"(?!\w)" if word[-1].isalnum() else ""


def _value(match: re.Match[str], options: NumericOptions) -> float:
    other = "," if options.decimal == "." else "."
    digits = re.sub(rf"[{_SPACES}'’_{other}]", "", match["number"]).replace(options.decimal, ".")
    power = (match["e"] or match["p"] or (match["r"] or "0").translate(_RAISED)).replace("−", "-")
    value = float(f"{digits}e{power}") * (-1 if match["sign"] in ("-", "−") else 1)
    unit = match["unit"]
    if unit in options.units:
        return value * options.units[unit]
    return value * _SHARES[unit] if unit is not None and options.percent == "share" else value
