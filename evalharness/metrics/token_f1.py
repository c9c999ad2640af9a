"""Token F1: words that the answer and the target share, after SQuAD's normalisation.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "Where?")], ["the Eiffel Tower", "Paris"])
>>> TokenF1().score(sample, Reply("o1", "At the Eiffel tower.", "stop"))
(0.8,)
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import ClassVar

from evalharness import metrics, protocols
from evalharness.metrics import PerSample
from evalharness.records import Reply, Sample

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TokenF1Options(protocols.Options):
    """`articles: false` keeps a, an and the: for other languages than English."""

    articles: bool = True
    """Leave English articles out, as SQuAD does."""


class TokenF1(PerSample):
    """F1 over the words of answer and best target, 0 to 1, by the official SQuAD 2.0 script (Rajpurkar et al. 2016, 2018)."""

    Options: ClassVar[type[protocols.Options]] = TokenF1Options
    name = "token_f1"
    options: TokenF1Options

    def __init__(self, options: TokenF1Options | None = None) -> None:
        super().__init__(options or TokenF1Options())

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """The best of the targets; where either side has no word left, 1 if both have none."""
        answer = self._words(metrics.text_of(reply))
        return (max(_f1(answer, self._words(target)) for target in metrics.targets_of(sample, self.name)),)

    def _words(self, text: str) -> list[str]:
        text = text.lower().translate(_PUNCTUATION)
        return (_ARTICLES.sub(" ", text) if self.options.articles else text).split()


def _f1(answer: list[str], target: list[str]) -> float:
    if not answer or not target:
        return float(answer == target)
    shared = (Counter(answer) & Counter(target)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(answer), shared / len(target)
    return 2 * precision * recall / (precision + recall)
