"""Exact match: 1 if the answer is one of the targets after normalisation, else 0.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "Capital of France?")], ["Paris"])
>>> options = ExactMatchOptions(ignore_case=True, extract="answer: *(.*)")
>>> ExactMatch(options).score(sample, Reply("o1", "Let me see. answer: PARIS", "stop"))
(1.0,)
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import chain, islice
from operator import eq
from typing import ClassVar, Literal, cast

import numpy as np
from pydantic import field_validator

from evalharness import metrics, protocols
from evalharness.protocols import Floats
from evalharness.records import Reply, Sample


@cache
def _punctuation() -> dict[int, None]:
    """Every character of Unicode's P categories, and ASCII's symbols ($+<=>^`|~), mapped to nothing."""
    symbols = {ord(character) for character in "$+<=>^`|~"}
    return dict.fromkeys(symbols | {code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "P"})


class ExactMatchOptions(protocols.Options):
    """How answers and targets are made comparable, in this order: unicode, extract (answers only), case, punctuation, strip.

    `extract` is a Python regular expression searched in the answer: its first group that took part counts, else the
    whole match; an answer without a match is wrong. It is checked when it is read, but Python's `re` has no time
    limit: nested repeats such as `(a+)+$` can take for ever on a long answer, so do not write those.
    """

    shorthand: ClassVar[str | None] = "extract"

    strip: bool = True
    ignore_case: bool = False
    ignore_punctuation: bool = False
    unicode: Literal["NFC", "NFKC"] | None = "NFKC"
    extract: str | None = None

    @field_validator("extract")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return pattern


class ExactMatch:
    """Right or wrong, by equality with any of the sample's targets; see `ExactMatchOptions`."""

    Options: ClassVar[type[protocols.Options]] = ExactMatchOptions
    name = "exact_match"
    version = "1"
    higher_is_better = True
    range = (0.0, 1.0)
    kind: Literal["binary", "mean", "corpus"] = "binary"

    def __init__(self, options: ExactMatchOptions | None = None) -> None:
        self.options = options or ExactMatchOptions()
        self._extract = re.compile(self.options.extract) if self.options.extract is not None else None

    def identity(self) -> dict[str, object]:
        return {"name": self.name, "version": self.version, "options": self.options.model_dump()}

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        return (float(self.score_many([sample], [reply])[0, 0]),)

    def score_many(self, samples: Sequence[Sample], replies: Sequence[Reply]) -> Floats:
        """(n, 1) statistics, over a million a second: whole lists go through each normalisation step at once."""
        answers = self._answers([reply.text for reply in replies], replies)
        accepted = [sample.targets for sample in samples]
        if () in accepted:
            accepted = [metrics.targets_of(sample, self.name) for sample in samples]
        counts = list(map(len, accepted))
        targets = self._normal(list(chain.from_iterable(accepted)))
        if len(counts) != len(answers):
            raise ValueError(f"{len(samples)} samples and {len(replies)} replies")
        if max(counts, default=1) == 1:
            right = list(map(eq, answers, targets))
        else:
            left = iter(targets)
            right = [answer in list(islice(left, count)) for answer, count in zip(answers, counts, strict=True)]
        return np.array(right, dtype=np.float64)[:, None]

    def failed(self, sample: Sample) -> tuple[float, ...]:
        return (0.0,)

    def perfect(self, sample: Sample) -> tuple[float, ...]:
        return (1.0,)

    def finish(self, sums: Floats, n: Floats) -> Floats:
        return metrics.mean(sums, n)

    def _answers(self, texts: list[str | None], replies: Sequence[Reply]) -> list[str | None]:
        """What is compared with the targets: the normal form of each text, None where `extract` finds nothing."""
        if None in texts:
            texts = [metrics.text_of(reply) for reply in replies]
        whole = cast("list[str]", texts)
        if self._extract is None:
            return cast("list[str | None]", self._normal(whole))
        found = [_part(self._extract.search(text)) for text in self._composed(whole)]
        kept = iter(self._normal([part for part in found if part is not None]))
        return [None if part is None else next(kept) for part in found]

    def _composed(self, texts: list[str]) -> list[str]:
        """The texts in the chosen Unicode form; ASCII is in every form already."""
        form = self.options.unicode
        if form is None or all(map(str.isascii, texts)):
            return texts
        return [text if text.isascii() else unicodedata.normalize(form, text) for text in texts]

    def _normal(self, texts: list[str]) -> list[str]:
        texts = self._composed(texts)
        if self.options.ignore_case:
            texts = self._composed([text.casefold() for text in texts])
        if self.options.ignore_punctuation:
            texts = [" ".join(text.translate(_punctuation()).split()) for text in texts]
        return list(map(str.strip, texts)) if self.options.strip else texts


def _part(match: re.Match[str] | None) -> str | None:
    """The first group that took part in the match, else the whole match."""
    if match is None:
        return None
    return next((group for group in match.groups() if group is not None), match.group())
