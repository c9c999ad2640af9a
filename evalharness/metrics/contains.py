"""Contains and regex: whether an answer holds a text, a target, or what a pattern describes; or must not hold it.

In YAML: `contains` (a target), `contains: [sorry, apolog]` (any of these), `regex: "^\\\\d{4}$"`.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "Capital of France?")], ["Paris"])
>>> Contains().score(sample, Reply("o1", "It is Paris, of course.", "stop"))
(1.0,)
>>> Regex(RegexOptions(pattern=r"as an AI", absent=True)).score(sample, Reply("o1", "Paris", "stop"))
(1.0,)
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from evalharness import metrics, protocols
from evalharness.metrics import PerSample
from evalharness.records import Reply, Sample


class ContainsOptions(protocols.Options):
    """What an answer has to hold."""

    shorthand: ClassVar[str | None] = "text"

    text: tuple[str, ...] = ()
    """One or several texts; the sample's targets if none is given."""
    all: bool = False
    """Every one of them, not just one."""
    ignore_case: bool = True
    words: bool = False
    """Whole words only: `art` is not in `party`."""
    absent: bool = False
    """The other way round: right if the answer does not hold it."""

    @field_validator("text", mode="before")
    @classmethod
    def _is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _says_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not text.strip() for text in value):
            raise ValueError("an empty text is in every answer")
        return value


class Contains(PerSample):
    """1 if the answer holds the text (or any target), else 0."""

    Options: ClassVar[type[protocols.Options]] = ContainsOptions
    name = "contains"
    options: ContainsOptions
    kind: Literal["binary", "mean", "corpus"] = "binary"

    def __init__(self, options: ContainsOptions | None = None) -> None:
        super().__init__(options or ContainsOptions())
        self.needs_targets = not self.options.text

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Compared without regard to white space around a text."""
        answer = metrics.text_of(reply)
        wanted = self.options.text or metrics.targets_of(sample, self.name)
        found = [self._holds(answer, text.strip()) for text in wanted]
        hit = all(found) if self.options.all else any(found)
        return (float(hit != self.options.absent),)

    def _holds(self, answer: str, text: str) -> bool:
        if self.options.ignore_case:
            answer, text = answer.casefold(), text.casefold()
        if not self.options.words:
            return text in answer
        return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", answer) is not None


class RegexOptions(protocols.Options):
    """A Python regular expression, checked when it is read. Python's `re` has no time limit: nested repeats such as
    `(a+)+$` can take for ever on a long answer, so do not write those.
    """

    shorthand: ClassVar[str | None] = "pattern"

    pattern: str = Field(min_length=1)
    ignore_case: bool = False
    whole: bool = False
    """The whole answer, white space around it aside, and not a part of it."""
    absent: bool = False
    """The other way round: right if nothing matches."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return pattern


class Regex(PerSample):
    """1 if the pattern matches the answer, else 0. `.` also matches line breaks, `^` and `$` every line's ends."""

    Options: ClassVar[type[protocols.Options]] = RegexOptions
    name = "regex"
    needs_targets = False
    options: RegexOptions
    kind: Literal["binary", "mean", "corpus"] = "binary"

    def __init__(self, options: RegexOptions) -> None:
        super().__init__(options)
        flags = re.DOTALL | re.MULTILINE | (re.IGNORECASE if options.ignore_case else 0)
        self._pattern = re.compile(options.pattern, flags)

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Needs no target."""
        answer = metrics.text_of(reply)
        found = self._pattern.fullmatch(answer.strip()) if self.options.whole else self._pattern.search(answer)
        return (float((found is not None) != self.options.absent),)
