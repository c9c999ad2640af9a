"""ROUGE through rouge-score: n-gram or longest-common-subsequence overlap with the best of the targets.

In YAML: `rouge` (ROUGE-L), `rouge: rouge2`, or with options `rouge: {which: rougeLsum, stemmer: true}`.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "What happened?")], ["The dog bit the man."])
>>> Rouge(RougeOptions(which="rouge1")).score(sample, Reply("o1", "The dog bit a man", "stop"))
(0.8000000000000002,)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal

from evalharness import metrics, protocols
from evalharness.errors import DataError, MissingExtra, Problem
from evalharness.metrics import PerSample
from evalharness.records import Reply, Sample

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


class RougeOptions(protocols.Options):
    """rouge-score's own choices. Its tokens are runs of a-z and 0-9, all else is left out: for other scripts use `words`."""

    shorthand: ClassVar[str | None] = "which"

    which: Literal["rouge1", "rouge2", "rougeL", "rougeLsum"] = "rougeL"
    """`rougeLsum` takes each line of an answer for a sentence."""
    part: Literal["fmeasure", "precision", "recall"] = "fmeasure"
    """Of the target with the best F-measure, as the library does it."""
    stemmer: bool = False
    """Porter's stemmer, for English."""
    tokenize: Literal["rouge", "words"] = "rouge"
    """`words`: runs of letters and digits of any script, in lower case."""


class Rouge(PerSample):
    """ROUGE, 0 to 1 (Lin 2004), as google-research's rouge-score computes it; a suite's number is the mean over samples."""

    Options: ClassVar[type[protocols.Options]] = RougeOptions
    name = "rouge"
    options: RougeOptions

    def __init__(self, options: RougeOptions | None = None) -> None:
        """Raises MissingExtra without rouge-score."""
        super().__init__(options or RougeOptions())
        words = Words() if self.options.tokenize == "words" else None
        self._scorer = _scorer(self.options.which, self.options.stemmer, words)

    def identity(self) -> dict[str, object]:
        """`signature` holds the library's version, too."""
        from importlib.metadata import version

        chosen = self.options
        stem = "yes" if chosen.stemmer else "no"
        signature = f"{chosen.which}|part:{chosen.part}|stem:{stem}|tok:{chosen.tokenize}|rouge-score:{version('rouge-score')}"
        return {**super().identity(), "signature": signature}

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """The best target's value. Raises DataError if no target has a token: every answer would get 0."""
        text, targets = metrics.text_of(reply), metrics.targets_of(sample, self.name)
        if not any(self._scorer._tokenizer.tokenize(target) for target in targets):
            fix = "rouge-score reads a-z and 0-9 only: write tokenize: words"
            raise DataError([Problem(sample.source, "target", "holds nothing that ROUGE takes for a word", fix)])
        found = self._scorer.score_multi(targets, text)[self.options.which]
        return (float(getattr(found, self.options.part)),)


class Words:
    """A tokenizer of the form that rouge-score takes."""

    def tokenize(self, text: str) -> list[str]:
        """Runs of letters and digits of any script, in lower case."""
        return re.findall(r"\w+", text.lower())


def _scorer(which: str, stemmer: bool, words: Words | None) -> RougeScorer:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ModuleNotFoundError:
        raise MissingExtra("rouge-score", "evaluate", "the metric 'rouge'") from None
    return RougeScorer([which], use_stemmer=stemmer, tokenizer=words)
