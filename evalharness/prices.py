"""What services charge: a dated price book, user-overridable. A price that is not known is None, never 0.

The book is `prices.yaml` beside this file; every figure names its source and the day it was read there. A file
named by the environment variable EVALH_PRICES adds to it or replaces figures one by one (null takes one out), and a
trainer's or model's own `prices:` win over both.

>>> price("openai", "gpt-4.1-mini-2025-04-14").of_tokens(1_000_000, 0)
0.4
>>> price("openai", "a-model-nobody-priced").of_tokens(10, 10) is None
True
"""

from __future__ import annotations

import datetime
import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalharness.errors import ConfigError, Problem

BOOK = Path(__file__).with_name("prices.yaml")
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class Price(BaseModel):
    """What one model costs, in US dollars; None where nobody has said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd_per_million_input_tokens: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Prompt tokens."""
    usd_per_million_cached_tokens: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Prompt tokens that the service had cached; they count as input tokens where this is unknown."""
    usd_per_million_output_tokens: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Answer tokens, hidden reasoning included."""
    usd_per_million_training_tokens: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Trained tokens, all epochs."""
    usd_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """A running machine, deployment or endpoint."""
    source: str = ""
    """Where the figures were read."""
    date: datetime.date | None = None
    """When they were read there."""

    def of_tokens(self, prompt: int, completion: int, cached: int = 0) -> float | None:
        """Dollars for one answer; `cached` is the part of `prompt` that came from the service's cache."""
        into, out = self.usd_per_million_input_tokens, self.usd_per_million_output_tokens
        if into is None or out is None:
            return None
        kept = into if self.usd_per_million_cached_tokens is None else self.usd_per_million_cached_tokens
        return ((prompt - cached) * into + cached * kept + completion * out) / 1e6

    def of_training(self, tokens: int) -> float | None:
        """Dollars for `tokens` trained tokens, all epochs."""
        rate = self.usd_per_million_training_tokens
        return None if rate is None else tokens * rate / 1e6

    def of_hours(self, hours: float) -> float | None:
        """Dollars for so many hours."""
        return None if self.usd_per_hour is None else hours * self.usd_per_hour


def price(provider: str, model: str, own: Mapping[str, float] | None = None) -> Price:
    """The price of a provider's model: the book's figures, with the user's own over them.

    A dated snapshot (gpt-4o-2024-08-06) costs what its family does unless it has figures of its own; a tuned
    OpenAI model (ft:BASE:org:...) is looked up as ft:BASE. Raises ConfigError if `own` or a price file is wrong.
    """
    known = book().get(provider, {})
    names = [model]
    if model.startswith("ft:"):
        names.append(":".join(model.split(":")[:2]))
    names += [_SNAPSHOT.sub("", name) for name in names]
    found = next((known[name] for name in names if name in known), Price())
    return merge(found, own) if own else found


def merge(found: Price, own: Mapping[str, float]) -> Price:
    """`found` with the user's own figures over it. Raises ConfigError for a figure that is no price."""
    try:
        return Price.model_validate({**found.model_dump(), **own, "source": "your own prices"})
    except ValidationError as error:
        raise ConfigError(_problems("prices", error)) from None


def book() -> Mapping[str, Mapping[str, Price]]:
    """Provider -> model -> price: the packaged book, and the file that EVALH_PRICES names over it."""
    own = os.environ.get("EVALH_PRICES")
    return _read(Path(own)) if own else _read(None)


@functools.cache
def _read(own: Path | None) -> Mapping[str, Mapping[str, Price]]:
    entries: dict[str, dict[str, Price]] = {}
    for path in (BOOK, own):
        for provider, models in (_load(path) if path else {}).items():
            known = entries.setdefault(provider, {})
            known |= {model: _over(known.get(model, Price()), figures) for model, figures in models.items()}
    return entries


def _over(found: Price, figures: Price) -> Price:
    """`found` with the figures that another file gives; the source is that file's."""
    given = figures.model_dump(exclude_unset=True)
    return found.model_copy(update={"source": figures.source, "date": figures.date, **given})


def _load(path: Path) -> dict[str, dict[str, Price]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read as YAML: {error}", "Check EVALH_PRICES")]) from None
    shape = "Write provider: {model: {usd_per_million_input_tokens: 0.4, ...}}"
    if not isinstance(content, dict) or not all(isinstance(models, dict) for models in content.values()):
        raise ConfigError([Problem(str(path), "", "is no price book", shape)])
    prices: dict[str, dict[str, Price]] = {}
    problems: list[Problem] = []
    for provider, models in content.items():
        for model, figures in models.items():
            try:
                prices.setdefault(str(provider), {})[str(model)] = Price.model_validate(figures)
            except ValidationError as error:
                problems += _problems(f"{provider}.{model}", error, str(path))
    if problems:
        raise ConfigError(problems)
    return prices


def _problems(key: str, error: ValidationError, file: str = "") -> list[Problem]:
    known = ", ".join(name for name in Price.model_fields if name.startswith("usd"))
    return [
        Problem(file, ".".join([key, *map(str, one["loc"])]), f"{one['msg']}, found {one['input']!r}", f"Prices are {known}")
        for one in error.errors()
    ]
