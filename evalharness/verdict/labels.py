"""What people said about the arms' answers, beside what the judge said: arrays for the correction, and agreement.

>>> found = people(view, "judge")                                                                     # doctest: +SKIP
>>> found.arms["tuned"].label.shape, found.annotators                                                 # doctest: +SKIP
((400,), ('ada', 'bob'))

A label belongs to a question (rubric and scale), not to a judge: another judge model keeps the labels. Where several
people labelled an answer their mean counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evalharness.protocols import Floats
from evalharness.store import Labelled
from evalharness.verdict.view import View

Flags = npt.NDArray[np.bool_]


class Read(NamedTuple):
    """One label as it lies in the arrays; `judged` is the judge's value of the same answer, NaN where it has none."""

    item: int
    repeat: int
    annotator: str
    value: float
    judged: float


@dataclass(frozen=True, slots=True, eq=False)
class Human:
    """One arm. (n,) arrays over the view's items, in the metric's own unit and direction."""

    label: Floats
    """The mean label of the item's labelled answers; NaN where nobody labelled one."""
    judged_there: Floats
    """The judge's mean on exactly those answers."""
    judged: Floats
    """The judge's mean on all the item's answers; the worst value counts where it failed or there is no answer."""
    answered: Flags
    """Whether every answer to the item is there and has a text."""
    reads: tuple[Read, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The labels of one metric's question. `against` is the arm that pairs are compared with, None for single answers."""

    question: str
    against: str | None
    arms: Mapping[str, Human]
    marks: Mapping[str, npt.NDArray[np.object_]]
    """arm -> (n, repeats) hashes of its answers' texts."""

    @property
    def annotators(self) -> tuple[str, ...]:
        """Everybody who labelled something, by name."""
        return tuple(sorted({read.annotator for human in self.arms.values() for read in human.reads}))

    @property
    def labelled(self) -> tuple[str, ...]:
        """The arms that have labels."""
        return tuple(label for label, human in self.arms.items() if human.reads)

    def same(self, arms: Sequence[str]) -> Flags:
        """(n,) whether all of these arms gave the same texts to an item: then there is no difference to label."""
        first, *others = (self.marks[arm] for arm in arms)
        found = _whole(first)
        for each in others:
            found &= np.asarray(each == first, np.bool_).all(axis=1)
        return found


def concerns(view: View, metric: str) -> bool:
    """Whether people have to do with the metric: it is a judge, or somebody labelled for it."""
    measure = view.measure(metric)
    return measure.asks or measure.question in view.store.questions()


def people(view: View, metric: str) -> People:
    """The labels on the view's arms; read from the store once."""
    if metric not in view.people:
        view.people[metric] = _read(view, metric)
    return view.people[metric]


def _read(view: View, metric: str) -> People:
    measure = view.measure(metric)
    labels = [each.label for each in view.contenders]
    arm_ids = [each.arm.arm_id for each in view.contenders]
    by_arm: dict[str, list[Labelled]] = {}
    for each in view.store.labels_on(measure.question, list(dict.fromkeys(arm_ids)), view.dataset.dataset_id):
        by_arm.setdefault(each.arm_id, []).append(each)
    texts = {label: view.answers(label) for label in labels}
    marks = {label: found.marks for label, found in texts.items()}
    against = measure.against if measure.against in labels else None
    wanted = texts[against].output_ids if against is not None else None
    arms = {
        label: _tie(view, marks[label], metric)
        if label == against
        else _human(view, label, metric, by_arm.get(arm_id, []), marks[label], wanted)
        for label, arm_id in zip(labels, arm_ids, strict=True)
    }
    return People(measure.question, against, arms, marks)


def _tie(view: View, marks: npt.NDArray[np.object_], metric: str) -> Human:
    """The arm that others are compared with: beside itself it is a tie, known without asking."""
    middle = np.full(view.n, sum(view.measure(metric).row.range) / 2)
    return Human(middle, middle, middle, _whole(marks))


def _human(
    view: View, arm: str, metric: str, found: Sequence[Labelled], marks: npt.NDArray[np.object_], others: npt.NDArray[np.object_] | None
) -> Human:
    measure, place = view.measure(metric), {sample_id: i for i, sample_id in enumerate(view.ids)}
    values = view.values(arm, metric)
    worst = measure.row.range[0 if measure.sign > 0 else 1]
    filled = np.where(np.isnan(values), worst, values)
    reads = []
    for each in found:
        item = place.get(each.sample_id, -1)
        fits = item >= 0 and each.repeat < view.repeats
        if fits and each.label.other_output_id == ("" if others is None else others[item, each.repeat]):
            reads.append(Read(item, each.repeat, each.label.annotator, each.label.value, float(values[item, each.repeat])))
    label, there = _means(reads, filled)
    answered = _whole(marks)
    return Human(np.where(answered, label, np.nan), there, filled.mean(axis=1), answered, tuple(reads))


def _means(reads: Sequence[Read], judged: Floats) -> tuple[Floats, Floats]:
    """(n,) mean label over answers (each the mean of its annotators), and the judge's mean on the same answers."""
    answers: dict[tuple[int, int], list[float]] = {}
    for read in reads:
        answers.setdefault((read.item, read.repeat), []).append(read.value)
    items: dict[int, list[tuple[float, float]]] = {}
    for (item, repeat), values in answers.items():
        items.setdefault(item, []).append((float(np.mean(values)), float(judged[item, repeat])))
    label, there = np.full(len(judged), np.nan), judged.mean(axis=1)
    for item, pairs in items.items():
        label[item], there[item] = np.mean(pairs, axis=0)
    return label, there


def _whole(marks: npt.NDArray[np.object_]) -> Flags:
    """(n,) the items all of whose answers have a text."""
    return np.asarray(np.asarray(marks != "", np.bool_).all(axis=1), np.bool_)
