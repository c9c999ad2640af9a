"""What an answer took: cost, latency and length as metrics of their own, lower is better.

In YAML: `latency`, or with the most that one answer may count, `latency: 30`, `cost: {at_most: 0.05}`.
A mean over answers without a bound has no worst case, so an answer that failed or took more counts `at_most`.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "2+2?")], ["4"])
>>> Length().score(sample, Reply("o1", "It is 4.", "stop"))
(8.0,)
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from evalharness import metrics, protocols
from evalharness.metrics import PerSample
from evalharness.records import Reply, Sample


class BoundedOptions(protocols.Options):
    """The most that one answer counts."""

    at_most: float = Field(gt=0, allow_inf_nan=False)


class Bounded(PerSample):
    """A mean from 0 to `at_most`, lower is better; a subclass says how much one reply is (`measured`)."""

    higher_is_better = False
    needs_targets = False

    def __init__(self, options: BoundedOptions) -> None:
        super().__init__(options)
        self.range = (0.0, options.at_most)

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Raises ValueError where nobody knows: unknown is not 0."""
        metrics.text_of(reply)
        found = self.measured(reply)
        if found is None:
            raise ValueError(f"nobody knows this answer's {self.name}: unknown is not 0")
        return (min(float(found), self.range[1]),)

    def measured(self, reply: Reply) -> float | None:
        """Of a reply that has a text; None if nobody knows."""
        raise TypeError(f"{type(self).__name__} has no measured(self, reply)")


class CostOptions(BoundedOptions):
    """The most that one answer counts."""

    shorthand: ClassVar[str | None] = "at_most"

    at_most: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """US dollars."""


class Cost(Bounded):
    """US dollars an answer, as the price book or the service says. Where no price is known, the answer is an error, not free."""

    Options: ClassVar[type[protocols.Options]] = CostOptions
    name = "cost"

    def __init__(self, options: CostOptions | None = None) -> None:
        super().__init__(options or CostOptions())

    def measured(self, reply: Reply) -> float | None:
        """The reply's cost."""
        return reply.cost_usd


class LatencyOptions(BoundedOptions):
    """The most that one answer counts."""

    shorthand: ClassVar[str | None] = "at_most"

    at_most: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    """Seconds."""


class Latency(Bounded):
    """Seconds from request to answer; where a model on this machine answers many at once, a batch's seconds over its items."""

    Options: ClassVar[type[protocols.Options]] = LatencyOptions
    name = "latency"

    def __init__(self, options: LatencyOptions | None = None) -> None:
        super().__init__(options or LatencyOptions())

    def measured(self, reply: Reply) -> float | None:
        """The reply's latency."""
        return reply.latency_s


class LengthOptions(BoundedOptions):
    """What is counted, and the most that one answer counts."""

    shorthand: ClassVar[str | None] = "unit"

    unit: Literal["characters", "words", "tokens"] = "characters"
    """`tokens` are the model's own, as it reports them."""
    at_most: float = Field(default=100_000.0, gt=0, allow_inf_nan=False)
    """In the unit."""


class Length(Bounded):
    """Length of an answer in characters, words or tokens."""

    Options: ClassVar[type[protocols.Options]] = LengthOptions
    name = "length"

    def __init__(self, options: LengthOptions | None = None) -> None:
        self.unit = (options := options or LengthOptions()).unit
        super().__init__(options)

    def measured(self, reply: Reply) -> float | None:
        """Counted in the reply's text, or the tokens that its model reports."""
        if self.unit == "tokens":
            return reply.completion_tokens
        text = metrics.text_of(reply)
        return len(text) if self.unit == "characters" else len(text.split())
