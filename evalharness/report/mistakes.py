"""Which mistakes an arm makes: labels taken for other ones, and fields of JSON that are wrong.

>>> found = Confusion("tuned", "macro_f1", ("refund", "delivery"), ((0, 0, 40), (0, 1, 7), (1, None, 2)))
>>> lines(found)
['refund taken for delivery: 7', 'delivery answered with no label: 2']
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from evalharness.errors import DataError
from evalharness.protocols import Floats
from evalharness.records import Reply, Sample
from evalharness.report.model import Confusion, FieldErrors, Report
from evalharness.store import Answer
from evalharness.verdict import View
from evalharness.verdict.wording import several

MOST_LINES = 5
"""Mistakes that a terminal is told of each arm."""
MOST_CLASSES = 25
"""A table of more classes than that is told by its most frequent mistakes alone."""


@runtime_checkable
class Confuses(Protocol):
    """A metric of labels that knows what was taken for what."""

    labels: tuple[str, ...]

    def confusion(self, samples: list[Sample], stats: Floats) -> npt.NDArray[np.int64]:
        """(C, C + 1) counts from the answers' own statistics; the last column is no label."""
        ...


@runtime_checkable
class FindsFaults(Protocol):
    """A metric that names the fields in which an answer is wrong."""

    def faults(self, sample: Sample, reply: Reply) -> list[str]:
        """The fields' names, each once."""
        ...


def confusions(view: View) -> Iterator[Confusion]:
    """Of every scored arm under every metric of labels, all answers to all items."""
    for name, measure in view.measures.items():
        plugin: object = measure.plugin
        if not isinstance(plugin, Confuses):
            continue
        labels = plugin.labels
        for arm in view.scored:
            stats = view.stats(arm.label, name)
            samples = [sample for sample in view.samples for _ in range(stats.shape[1])]
            table = plugin.confusion(samples, stats.reshape(-1, stats.shape[2]))
            pairs = zip(*np.nonzero(table), strict=True)
            counts = tuple((int(a), int(b) if b < len(labels) else None, int(table[a, b])) for a, b in pairs)
            yield Confusion(arm.label, name, labels, counts)


def field_errors(view: View) -> Iterator[FieldErrors]:
    """Of every scored arm under every metric of fields, its first answers."""
    for name, measure in view.measures.items():
        plugin: object = measure.plugin
        if not isinstance(plugin, FindsFaults):
            continue
        arm_ids = {arm.label: arm.arm.arm_id for arm in view.scored}
        answers = view.store.answers(list(arm_ids.values()), list(view.ids))
        for label, arm_id in arm_ids.items():
            wrong = Counter(field for sample in view.samples for field in _faults(plugin, sample, answers[arm_id]))
            ranked = sorted(wrong.items(), key=lambda each: (-each[1], each[0]))
            yield FieldErrors(label, name, view.n, tuple(ranked))


def _faults(plugin: FindsFaults, sample: Sample, answers: Mapping[str, Answer]) -> list[str]:
    answer = answers.get(sample.id)
    if answer is None or answer.text is None or answer.finish == "error":
        return ["no answer"]
    try:
        return plugin.faults(sample, Reply(sample.id, answer.text, "stop"))
    except DataError:  # its target is wrong, which its score tells as an error
        return ["nothing to compare with"]


def lines(found: Confusion | FieldErrors, most: int = MOST_LINES) -> list[str]:
    """The most frequent mistakes in words."""
    if isinstance(found, FieldErrors):
        return [f"{field} wrong in {several(count, 'answer')} of {found.n:,}" for field, count in found.fields[:most]]
    wrong = sorted((each for each in found.counts if each[0] != each[1]), key=lambda each: -each[2])
    return [_taken(found.labels, true, taken, count) for true, taken, count in wrong[:most]]


def _taken(labels: tuple[str, ...], true: int, taken: int | None, count: int) -> str:
    return f"{labels[true]} " + (f"taken for {labels[taken]}" if taken is not None else "answered with no label") + f": {count:,}"


def told(report: Report, most: int = MOST_LINES) -> Iterator[tuple[str, str, list[str]]]:
    """(arm, metric, the most frequent mistakes), best arm first; arms without a mistake are left out."""
    places = {row.arm: place for place, row in enumerate(report.rows)}
    found: list[Confusion | FieldErrors] = [*report.confusions, *report.field_errors]
    for each in sorted(found, key=lambda each: (each.metric != report.ranked_by, each.metric, places.get(each.arm, 0))):
        if mistakes := lines(each, most):
            yield each.arm, each.metric, mistakes


def table(found: Confusion) -> list[list[int]] | None:
    """(C, C + 1) counts, the last column no label; None for more than `MOST_CLASSES` classes."""
    if len(found.labels) > MOST_CLASSES:
        return None
    counts = np.zeros((len(found.labels), len(found.labels) + 1), np.int64)
    for true, taken, count in found.counts:
        counts[true, -1 if taken is None else taken] = count
    return [list(map(int, row)) for row in counts]
