"""A judge's options as a suite writes them: who judges, by which rubric, on which scale, alone or in pairs.

>>> JudgeOptions(model="openai/gpt-x", rubric="Is it polite?", scale="pass_fail").values
{'fail': 0.0, 'pass': 1.0}
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from evalharness import protocols
from evalharness.errors import ConfigError
from evalharness.prompts import Prompt, read_prompt, variables
from evalharness.spec import Use

_STEPS = re.compile(r"(\d{1,3})-(\d{1,3})")
POINTWISE = frozenset({"input", "output", "reference", "fields"})
PAIRWISE = frozenset({"input", "output_a", "output_b", "reference", "fields"})


class JudgeOptions(protocols.Options):
    """Who judges what, and how. A rubric may place `input`, `output` (in pairs `output_a`, `output_b`), `reference` and
    `fields.NAME` itself; what it does not place follows it.
    """

    shorthand: ClassVar[str | None] = "rubric"

    model: Use | None = None
    """The judge: any model that an arm could be, `openai/gpt-x` or {openai: {name: gpt-x, ...}}."""
    panel: tuple[Use, ...] = ()
    """Several judges, instead of one model."""
    rubric: str = Field(min_length=1)
    """What to judge by: a file, or the text itself."""
    scale: str | dict[str, float] | None = None
    """`1-5` (or other whole numbers), `pass_fail`, or labels with their values, e.g. {poor: 0, fair: 0.5, good: 1}."""
    reference: bool = False
    """Show the judge the sample's accepted answers."""
    against: str | None = None
    """Label of the arm whose answers to compare with: the judge picks the better of two."""
    orders: Literal["both", "one"] = "both"
    """Pairs only: ask with either answer first, or once, which one is first being drawn by hash."""
    combine: Literal["mean", "majority"] = "mean"
    """How a panel's values become one; the majority needs an odd number of judges."""
    max_tokens: int = Field(default=512, ge=16)
    """Longest answer of a judge, reason included."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 is greedy."""
    seed: int = Field(default=0, ge=0)
    """Sent where the service takes one."""
    structured: bool = True
    """Ask for JSON by schema; a service that refuses schemas is asked without."""
    name: str = Field(default="judge", pattern=r"^\w[\w.+-]{0,79}$")
    """What the suite calls this metric, where it has several judges."""

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    @field_validator("rubric")
    @classmethod
    def _is_read(cls, value: str, info: ValidationInfo) -> str:
        """The text of the rubric: a metric's identity must not depend on a file's name."""
        try:
            return read_prompt(value, _root_of(info.context)).text
        except ConfigError as error:
            raise ConfigError([replace(each, key=each.key or "rubric") for each in error.problems]) from None

    @field_validator("scale", mode="before")
    @classmethod
    def _is_a_scale(cls, value: object) -> object:
        if value is None or value == "pass_fail":
            return value
        if isinstance(value, Mapping):
            return _labels(value)
        steps = _STEPS.fullmatch(value) if isinstance(value, str) else None
        if steps is None or not 0 < int(steps[2]) - int(steps[1]) <= 100:
            raise ValueError(f"expected 1-5, pass_fail or labels with values, found {value!r}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> JudgeOptions:
        if (self.model is None) == (not self.panel):
            raise ValueError("need exactly one of 'model' and 'panel'")
        if self.against is not None and self.scale is not None:
            raise ValueError("'scale' beside 'against': of two answers the judge picks the better one")
        if self.combine == "majority" and len(self.panel) % 2 == 0:
            raise ValueError("the majority needs a panel with an odd number of judges")
        known = POINTWISE if self.against is None else PAIRWISE
        if unknown := sorted(variables(Prompt(self.rubric)) - known):
            raise ValueError(f"the rubric names {unknown[0]!r}; it may name {', '.join(sorted(known))}")
        return self

    def model_post_init(self, context: Any) -> None:
        """Remember the workspace, below which `path.py:Name` models are found."""
        self._root = _root_of(context)

    @property
    def root(self) -> Path:
        """The workspace."""
        return self._root

    @property
    def uses(self) -> tuple[Use, ...]:
        """The judges, at least one."""
        return self.panel or (self.model or "",)

    @property
    def values(self) -> dict[str, float]:
        """What a judge may answer, and what it is worth; in pairs A is the answer that is judged."""
        if self.against is not None:
            return {"A": 1.0, "tie": 0.5, "B": 0.0}
        if isinstance(self.scale, dict):
            return dict(self.scale)
        if self.scale == "pass_fail":
            return {"fail": 0.0, "pass": 1.0}
        low, _, high = (self.scale or "1-5").partition("-")
        return {str(step): float(step) for step in range(int(low), int(high) + 1)}


def _root_of(context: object) -> Path:
    found = context.get("root") if isinstance(context, Mapping) else None
    return found if isinstance(found, Path) else Path.cwd()


def _labels(scale: Mapping[object, object]) -> dict[str, float]:
    """Label -> value, lowest value first. YAML reads `yes` and `no` as booleans and 1 as a number: labels are text."""
    values: dict[str, float] = {}
    for label, value in scale.items():
        name = {True: "yes", False: "no"}[label] if isinstance(label, bool) else str(label)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"the label {name!r} needs a number for its value, found {value!r}")
        values[name] = float(value)
    if len(set(values.values())) < 2 or len({name.strip().casefold() for name in values}) < len(scale):
        raise ValueError("a scale needs two different labels with different values at least")
    return dict(sorted(values.items(), key=lambda item: item[1]))
