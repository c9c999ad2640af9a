"""BLEU, chrF and TER through sacrebleu: its own statistics of each reply, summed, and its own formula on the sums.

A corpus score equals `sacrebleu`'s to every printed digit. An output that failed counts as an empty one and also as a
wrong one of its reference's length, so that failing never pays: an empty line alone costs BLEU nothing in long output.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "Der Hund biss den Mann.")], ["The dog bit the man.", "The dog had bit the man."])
>>> bleu = Bleu()
>>> stats = np.array([bleu.score(sample, Reply("o1", "The dog bit the man.", "stop"))])
>>> round(float(bleu.finish(stats.sum(axis=0), np.array(1.0))), 2)
100.0
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from evalharness import metrics, protocols
from evalharness.errors import ConfigError
from evalharness.metrics.ngrams import matched_ngrams
from evalharness.protocols import Floats
from evalharness.records import Reply, Sample

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as Library

BATCH = 10_000
REMEMBERED = 4096
"""Items whose references BLEU keeps counted: every arm is scored on the same ones."""
Tokenizer = Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab"]


class Sacrebleu:
    """What BLEU, chrF and TER share: statistics by sacrebleu's own functions, references per sample, the signature."""

    version = "1"
    higher_is_better = True
    range = (0.0, 100.0)
    kind: Literal["binary", "mean", "corpus"] = "corpus"
    name: str
    options: protocols.Options
    _library: Library

    def identity(self) -> dict[str, object]:
        """`signature` is sacrebleu's, without the number of references, which belongs to the samples."""
        signature = "|".join(part for part in self.signature(0).split("|") if not part.startswith("nrefs:"))
        return {"name": self.name, "version": self.version, "options": self.options.model_dump(), "signature": signature}

    def signature(self, references: int | None) -> str:
        """sacrebleu's full signature for samples that all have so many references (None: they differ)."""
        self._library.num_refs = -1 if references is None else references
        return str(self._library.get_signature())

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """The statistics of one reply, all of the sample's targets as references."""
        return self._stats(metrics.text_of(reply), metrics.targets_of(sample, self.name))

    def perfect(self, sample: Sample) -> tuple[float, ...]:
        """The statistics of the target that scores best as an answer: the longest."""
        targets = metrics.targets_of(sample, self.name)
        return self._stats(max(targets, key=len), targets)

    def _stats(self, text: str, targets: Sequence[str]) -> tuple[float, ...]:
        library = self._library
        found = library._compute_segment_statistics(library._preprocess_segment(text), self._references(tuple(targets)))
        return tuple(map(float, found))

    def _references(self, targets: tuple[str, ...]) -> dict[str, Any]:
        """What the library counts in the references before it sees an answer."""
        library = self._library
        found: dict[str, Any] = library._extract_reference_info([library._preprocess_segment(target) for target in targets])
        return found


class BleuOptions(protocols.Options):
    """sacrebleu's own options and defaults; `smooth_value` None is the method's default (floor 0.1, add-k 1)."""

    shorthand: ClassVar[str | None] = "tokenize"

    tokenize: Tokenizer = "13a"
    lowercase: bool = False
    smooth_method: Literal["exp", "floor", "add-k", "none"] = "exp"
    smooth_value: float | None = Field(default=None, ge=0)
    max_ngram_order: int = Field(default=4, ge=1, le=9)
    effective_order: bool = False


class Bleu(Sacrebleu):
    """BLEU, 0 to 100 (Papineni et al. 2002; Post 2018). Statistics: answer length, reference length, matches and totals by order."""

    Options: ClassVar[type[protocols.Options]] = BleuOptions
    name = "bleu"

    def __init__(self, options: BleuOptions | None = None) -> None:
        """Raises ConfigError if the tokenizer needs a package that is not installed."""
        from sacrebleu.metrics.bleu import BLEU

        self.options: BleuOptions = options or BleuOptions()
        try:
            self._library = self._bleu = BLEU(force=True, **self.options.model_dump())
        except (ImportError, RuntimeError) as error:
            raise ConfigError(f"bleu: the tokenizer {self.options.tokenize!r} cannot start: {' '.join(str(error).split())}") from None
        self._tokens = lru_cache(REMEMBERED)(self._reference_tokens)
        self._references = lru_cache(REMEMBERED)(super()._references)  # type: ignore[method-assign]

    def score_many(self, samples: Sequence[Sample], replies: Sequence[Reply]) -> Floats:
        """(n, 2 + 2·order) statistics: sacrebleu's tokens, counted many answers at a time."""
        if len(samples) != len(replies):
            raise ValueError(f"{len(samples)} samples and {len(replies)} replies")
        parts = [self._many(samples[i : i + BATCH], replies[i : i + BATCH]) for i in range(0, len(samples), BATCH)]
        return np.concatenate(parts)

    def _many(self, samples: Sequence[Sample], replies: Sequence[Reply]) -> Floats:
        prepare, order = self._bleu._preprocess_segment, self.options.max_ngram_order
        answers = [prepare(metrics.text_of(reply)).split() for reply in replies]
        references = [self._tokens(metrics.targets_of(sample, self.name)) for sample in samples]
        length = np.array([len(answer) for answer in answers], dtype=np.float64)
        pairs = zip(answers, references, strict=True)
        closest = [self._bleu._get_closest_ref_len(len(answer), [len(each) for each in targets]) for answer, targets in pairs]
        total = np.maximum(length[:, None] - np.arange(order), 0.0)
        return np.column_stack([length, closest, matched_ngrams(answers, references, order), total])

    def _reference_tokens(self, targets: tuple[str, ...]) -> list[list[str]]:
        return [self._bleu._preprocess_segment(target).split() for target in targets]

    def failed(self, sample: Sample) -> tuple[float, ...]:
        """No answer (brevity penalty) and no match in as many n-grams as the longest target has (precision)."""
        targets = metrics.targets_of(sample, self.name)
        order = self.options.max_ngram_order
        full = max((self._stats(target, targets) for target in targets), key=lambda stats: stats[0])
        return (0.0, full[1], *[0.0] * order, *full[2 + order :])

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """(..., 2 + 2·order) sums -> (...) BLEU: brevity penalty times the geometric mean of the n-gram precisions."""
        order = self.options.max_ngram_order
        answer, reference = sums[..., 0], sums[..., 1]
        correct, total = sums[..., 2 : 2 + order], sums[..., 2 + order :]
        with np.errstate(divide="ignore", invalid="ignore"):
            precision, orders = self._precisions(correct, total)
            logs = np.where(np.arange(order) < orders[..., None], np.log(precision), 0.0)
            penalty = np.where(answer > 0, np.exp(np.minimum(0.0, 1 - reference / answer)), reference <= 0)
            return np.where(correct.any(axis=-1), penalty * np.exp(logs.sum(axis=-1) / orders), 0.0)

    def _precisions(self, correct: Floats, total: Floats) -> tuple[Floats, Floats]:
        """Smoothed precisions in percent (..., order), and how many orders count (...): as BLEU.compute_bleu."""
        method = self.options.smooth_method
        value = self._bleu.SMOOTH_DEFAULTS[method] or 0.0 if self.options.smooth_value is None else self.options.smooth_value
        if method == "add-k":
            added = np.where(np.arange(correct.shape[-1]) > 0, value, 0.0)
            correct, total = correct + added, total + added
        there = np.logical_and.accumulate(total > 0, axis=-1)
        none = there & (correct == 0)
        if there.all() and not none.any():  # as in nearly every sum of many answers: nothing to smooth, nothing left out
            return 100 * correct / total, np.full(total.shape[:-1], total.shape[-1])
        smoothed = np.zeros_like(correct)
        if method == "exp":
            smoothed = 0.5 ** np.cumsum(none, axis=-1)
        elif method == "floor":
            smoothed = np.full_like(correct, value)
        precision = np.where(there, 100 * np.where(none, smoothed, correct) / total, 0.0)
        orders = there.sum(axis=-1) if self.options.effective_order else np.full(total.shape[:-1], total.shape[-1])
        return precision, np.maximum(orders, 1)


class ChrfOptions(protocols.Options):
    """sacrebleu's own options and defaults; `beta` weighs recall beta² times as much as precision."""

    char_order: int = Field(default=6, ge=1, le=20)
    word_order: int = Field(default=0, ge=0, le=9)
    beta: int = Field(default=2, ge=0)
    lowercase: bool = False
    whitespace: bool = False
    eps_smoothing: bool = False


class Chrf(Sacrebleu):
    """chrF, 0 to 100 (Popović 2015); `word_order: 2` is chrF++. Statistics: (answer, reference, matching) n-grams by order."""

    Options: ClassVar[type[protocols.Options]] = ChrfOptions
    name = "chrf"

    def __init__(self, options: ChrfOptions | None = None) -> None:
        from sacrebleu.metrics.chrf import CHRF

        self.options: ChrfOptions = options or ChrfOptions()
        self._library = CHRF(**self.options.model_dump())
        vars(self._library)["_get_match_statistics"] = _matches  # over the class's own

    def failed(self, sample: Sample) -> tuple[float, ...]:
        """No match in as many n-grams as the longest target has: both recall and precision suffer."""
        targets = metrics.targets_of(sample, self.name)
        longest = self._stats(max(targets, key=len), targets)
        return tuple(0.0 if position % 3 == 2 else count for position, count in enumerate(longest))

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """(..., 3·orders) sums -> (...) chrF: F-beta of mean precision and mean recall over the n-gram orders."""
        counts = sums.reshape(*sums.shape[:-1], -1, 3)
        answer, reference, match = counts[..., 0], counts[..., 1], counts[..., 2]
        factor = float(self.options.beta**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(answer > 0, match / answer, 1e-16)
            recall = np.where(reference > 0, match / reference, 1e-16)
            if self.options.eps_smoothing:
                return np.asarray(100 * _f_score(precision, recall, factor, 1e-16).mean(axis=-1))
            both = (answer > 0) & (reference > 0)
            orders = np.maximum(both.sum(axis=-1), 1)
            precision, recall = (np.where(both, part, 0.0).sum(axis=-1) / orders for part in (precision, recall))
            return 100 * _f_score(precision, recall, factor, 0.0)


def _matches(answer: Counter[Any], reference: Counter[Any]) -> list[int]:
    """CHRF._get_match_statistics in two thirds of its time: how many n-grams of the answer, of the reference, of both."""
    matched, find = 0, reference.get
    for ngram, count in answer.items():
        other = find(ngram)
        if other is not None:
            matched += count if count < other else other
    return [answer.total() if reference else 0, reference.total(), matched]


def _f_score(precision: Floats, recall: Floats, factor: float, otherwise: float) -> Floats:
    below = factor * precision + recall
    return np.where(below > 0, (1 + factor) * precision * recall / below, otherwise)


class TerOptions(protocols.Options):
    """sacrebleu's own options and defaults."""

    normalized: bool = False
    no_punct: bool = False
    asian_support: bool = False
    case_sensitive: bool = False


class Ter(Sacrebleu):
    """Translation edit rate in percent, lower is better (Snover et al. 2006). Statistics: edits, mean reference length.

    Above 100 for answers longer than their reference.
    """

    Options: ClassVar[type[protocols.Options]] = TerOptions
    name = "ter"
    higher_is_better = False
    range = (0.0, math.inf)

    def __init__(self, options: TerOptions | None = None) -> None:
        from sacrebleu.metrics.ter import TER

        self.options: TerOptions = options or TerOptions()
        self._library = TER(**self.options.model_dump())

    def failed(self, sample: Sample) -> tuple[float, ...]:
        """As many edits as the longest target has words: a wrong answer of its length."""
        targets = metrics.targets_of(sample, self.name)
        longest = max(self._stats(target, [target])[1] for target in targets)
        return (longest, self._stats(targets[0], targets)[1])

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """(..., 2) sums -> (...) TER: 100 · edits / reference length; 100 for any answer to empty references."""
        edits, length = sums[..., 0], sums[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(100 * np.where(length > 0, edits / length, edits > 0))
