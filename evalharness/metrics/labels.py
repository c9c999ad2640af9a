"""Labels: accuracy, and F1 averaged over the classes (a corpus metric) with its confusion matrix.

In YAML: `label_accuracy`, `macro_f1: [refund, delivery, other]`, `macro_f1: labels.txt` (a label a line),
`macro_f1: {labels: {file: data/train.csv, column: category}}`. Every class of the data has to be named, also a rare one.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "Where is my parcel?")], ["delivery"])
>>> f1 = MacroF1(LabelOptions(labels=("refund", "delivery")))
>>> f1.score(sample, Reply("o1", "Refund", "stop"))
(0.0, 0.0, 1.0, 0.0, 0.0, 1.0)
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationInfo, field_validator

from evalharness import metrics, protocols
from evalharness.errors import ConfigError, DataError, Problem
from evalharness.metrics import PerSample
from evalharness.protocols import Floats
from evalharness.records import Reply, Sample

_EDGES = " \t\r\n.,;:!?\"'`*()[]{}<>"


class LabelOptions(protocols.Options):
    """The labels, and how one is read from an answer. Case, white space and punctuation around a label never count."""

    shorthand: ClassVar[str | None] = "labels"

    labels: tuple[str, ...] = ()
    """All classes: a list, a text file with one a line, or {file: x.csv (or .jsonl), column: NAME}."""
    find: Literal["whole", "inside"] = "whole"
    """`inside`: the one label that the answer mentions as a whole word, none if it mentions several different ones."""

    @field_validator("labels", mode="before")
    @classmethod
    def _are_read(cls, value: object, info: ValidationInfo) -> object:
        root = info.context.get("root") if isinstance(info.context, Mapping) else None
        where = root if isinstance(root, Path) else Path.cwd()
        if isinstance(value, str):
            return _of_file(where / value, None)
        if isinstance(value, Mapping):
            if set(value) != {"file", "column"} or not all(isinstance(each, str) for each in value.values()):
                raise ValueError("expected {file: x.csv, column: NAME}")
            return _of_file(where / value["file"], value["column"])
        return tuple(value) if isinstance(value, list) else value

    @field_validator("labels")
    @classmethod
    def _differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        normal = [plain(label) for label in labels]
        if "" in normal:
            raise ValueError("a label is empty")
        if twice := next((label for label, known in zip(labels, normal, strict=True) if normal.count(known) > 1), None):
            raise ValueError(f"the label {twice!r} comes twice (case and punctuation around a label never count)")
        return labels


class LabelAccuracy(PerSample):
    """1 if the answer is a target's label, else 0; `labels` are needed only to find one `inside` an answer."""

    Options: ClassVar[type[protocols.Options]] = LabelOptions
    name = "label_accuracy"
    options: LabelOptions
    kind: Literal["binary", "mean", "corpus"] = "binary"

    def __init__(self, options: LabelOptions | None = None) -> None:
        """Raises ConfigError for `find: inside` without labels."""
        super().__init__(options or LabelOptions())
        self._reader = Reader(self.options)

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Raises DataError for a target that is none of the labels, where labels are given."""
        answer = self._reader.answer(metrics.text_of(reply))
        return (float(answer in [self._reader.target(sample, target) for target in metrics.targets_of(sample, self.name)]),)


class MacroF1(PerSample):
    """F1 of each class, averaged over those that occur among targets or answers (Sokolova & Lapalme 2009), 0 to 1.

    Statistics of C classes: C true positives, C false positives, C false negatives, one answer each. An answer that is
    no label misses its class and is no other's. A failed one misses its class and is a (C-1)th of every other's: a guess.
    Of several targets the first counts, unless the answer is another one.
    """

    Options: ClassVar[type[protocols.Options]] = LabelOptions
    name = "macro_f1"
    options: LabelOptions
    kind: Literal["binary", "mean", "corpus"] = "corpus"

    def __init__(self, options: LabelOptions) -> None:
        """Raises ConfigError for fewer than two labels."""
        if len(options.labels) < 2:
            raise ConfigError([Problem("", "labels", "macro_f1 needs all classes, two at least", "List them, or name a file of them")])
        super().__init__(options)
        self._reader = Reader(options)
        self.labels, self.classes = options.labels, len(options.labels)

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """(3·C,) what one answer adds. Raises DataError for a target that is none of the labels."""
        true, answer = self._pair(sample, reply)
        stats = np.zeros((3, self.classes))
        if true == answer:
            stats[0, true] = 1.0
        else:
            stats[2, true] = 1.0
            if answer is not None:
                stats[1, answer] = 1.0
        return tuple(stats.ravel().tolist())

    def failed(self, sample: Sample) -> tuple[float, ...]:
        """Its class missed, and as much harm to the others as a guess does."""
        stats = np.zeros((3, self.classes))
        stats[1] = 1.0 / (self.classes - 1)
        true = self._targets(sample)[0]
        stats[1, true], stats[2, true] = 0.0, 1.0
        return tuple(stats.ravel().tolist())

    def perfect(self, sample: Sample) -> tuple[float, ...]:
        """Its class found."""
        stats = np.zeros((3, self.classes))
        stats[0, self._targets(sample)[0]] = 1.0
        return tuple(stats.ravel().tolist())

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """(..., 3·C) sums -> (...) macro-F1; classes without target and answer are left out of the average."""
        right, wrong, missed = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, self.classes), -2, 0)
        below = 2 * right + wrong + missed
        there = below > 0
        f1 = np.divide(2 * right, below, out=np.zeros_like(below), where=there)
        return np.asarray(f1.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))

    def confusion(self, samples: Sequence[Sample], stats: Floats) -> npt.NDArray[np.int64]:
        """(C, C + 1) how many answers of each class (row) were taken for each (column); the last column is no label.

        `stats` (m, 3·C) are the answers' own, `samples` what they answer; NaN is an answer that failed, and no label.
        """
        right, wrong, missed = np.moveaxis(np.reshape(stats, (-1, 3, self.classes)), 1, 0)
        failed = np.isnan(right).any(axis=1)
        true = (np.nan_to_num(right) + np.nan_to_num(missed)).argmax(axis=1)
        true[failed] = [self._targets(samples[place])[0] for place in np.flatnonzero(failed).tolist()]
        answered = np.where(right == 1, right, wrong)
        taken = np.where(failed | ~(answered == 1).any(axis=1), self.classes, (answered == 1).argmax(axis=1))
        table = np.zeros((self.classes, self.classes + 1), np.int64)
        np.add.at(table, (true, taken), 1)
        return table

    def _pair(self, sample: Sample, reply: Reply) -> tuple[int, int | None]:
        """Class of the target that counts, and of the answer."""
        answer, targets = self._reader.answer(metrics.text_of(reply)), self._targets(sample)
        found = self._reader.numbers.get(answer) if answer is not None else None
        return (found if found in targets else targets[0]), found

    def _targets(self, sample: Sample) -> list[int]:
        return [self._reader.numbers[self._reader.target(sample, target)] for target in metrics.targets_of(sample, self.name)]


class Reader:
    """Finds labels in texts; `numbers` is each label's place."""

    def __init__(self, options: LabelOptions) -> None:
        self.numbers = {plain(label): number for number, label in enumerate(options.labels)}
        self._inside: re.Pattern[str] | None = None
        if options.find == "inside":
            if not self.numbers:
                raise ConfigError([Problem("", "find", "'inside' needs labels to look for", "List them, or name a file of them")])
            longest_first = sorted(self.numbers, key=len, reverse=True)
            self._inside = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")

    def answer(self, text: str) -> str | None:
        """The label that an answer gives, in its plain form; None if it gives none, or several."""
        text = plain(text)
        if self._inside is None:
            return text
        found = set(self._inside.findall(text))
        return found.pop() if len(found) == 1 else None

    def target(self, sample: Sample, text: str) -> str:
        """A target in its plain form. Raises DataError if it is none of the labels."""
        label = plain(text)
        if self.numbers and label not in self.numbers:
            raise DataError([Problem(sample.source, "target", f"{text!r} is none of the {len(self.numbers)} labels", "Name every class")])
        return label


def plain(label: str) -> str:
    """A label without case, and without white space and punctuation around it; runs of white space are one space."""
    return " ".join(label.strip(_EDGES).casefold().split())


def _of_file(path: Path, column: str | None) -> tuple[str, ...]:
    """A text file's lines, or the distinct values of a column of a CSV or JSONL file, sorted."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if column is None:
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        lines = (line for line in text.split("\n") if line.strip())
        rows: list[Any] = (
            list(csv.DictReader(io.StringIO(text, newline=""))) if path.suffix == ".csv" else [json.loads(line) for line in lines]
        )
        values = {row[column] for row in rows}
        if None in values:  # a short line, or null
            raise KeyError(column)
        return tuple(sorted(map(str, values)))
    except (KeyError, TypeError):
        raise ValueError(f"{path.name} has rows without {column!r}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"no labels in {path}: {error}") from None
