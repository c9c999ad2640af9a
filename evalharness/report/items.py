"""All items of a run with every arm's answer, compact enough to be searched in a browser.

>>> Items.of(view).as_dict()["arms"]                                                                  # doctest: +SKIP
['zero-shot', 'few-shot', 'tuned', 'overfit']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalharness.records import Sample
from evalharness.store import Answer
from evalharness.verdict import View, reference_of

MOST_ITEMS, MOST_CHARACTERS = 10_000, 24_000_000
"""A page holds so many items, and about so many characters of their texts."""
LONGEST_TEXT = 4_000
_MISSING = Answer(None, "missing", None)


@dataclass(frozen=True, slots=True)
class Items:
    """Items in file order: `rows` are [id, input, targets, slice values, [[text, outcome, characters left out, values] of each arm]].

    Outcomes are stop, length, error or missing; an error's text is the error. `total` counts the items of the run.
    """

    arms: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    reference: str = ""
    total: int = 0
    rows: tuple[list[Any], ...] = ()

    @staticmethod
    def of(view: View) -> Items:
        """The items of a run, those on which the arms differ most if there are too many."""
        arms = [each.label for each in view.scored]
        metrics = [label for label, measure in view.measures.items() if measure.ready]
        values = {(arm, metric): view.values(arm, metric)[:, 0] for arm in arms for metric in metrics}
        chosen = _chosen(view, arms, metrics, values)
        ids = [view.ids[i] for i in chosen]
        at = {sample_id: i for i, sample_id in enumerate(ids)}
        answers = view.store.answers([view.contender(arm).arm.arm_id for arm in arms], ids)
        texts = [answers[view.contender(arm).arm.arm_id] for arm in arms]
        scores = _scores(values, arms, metrics, chosen)
        samples = view.store.samples(view.dataset.dataset_id, ids)
        rows = [_row(sample, list(view.slices), texts, scores[at[sample.id]]) for sample in samples]
        return Items(tuple(arms), tuple(metrics), tuple(view.slices), reference_of(view), view.n, tuple(_within(rows)))

    def as_dict(self) -> dict[str, Any]:
        """Plain lists and strings."""
        return {name: getattr(self, name) for name in self.__slots__}


def _chosen(view: View, arms: Sequence[str], metrics: Sequence[str], values: Mapping[tuple[str, str], Any]) -> list[int]:
    if view.n <= MOST_ITEMS or not arms or not metrics:
        return list(range(min(view.n, MOST_ITEMS)))
    first = np.array([np.nan_to_num(values[arm, metrics[0]], nan=0.0) for arm in arms])
    spread = first.max(axis=0) - first.min(axis=0)
    return [int(i) for i in np.argsort(-spread, kind="stable")[:MOST_ITEMS]]


def _scores(values: Mapping[tuple[str, str], Any], arms: Sequence[str], metrics: Sequence[str], chosen: Sequence[int]) -> list[Any]:
    """(items, arms, metrics) each answer's values, None where there is none."""
    if not arms or not metrics:
        return [[[] for _ in arms] for _ in chosen]
    cube = np.array([[values[arm, metric][chosen] for metric in metrics] for arm in arms]).transpose(2, 0, 1)
    found = np.round(cube, 6).astype(np.object_)
    found[~np.isfinite(cube)] = None
    return list(found.tolist())


def _row(sample: Sample, slices: Sequence[str], texts: Sequence[Mapping[str, Answer]], scores: Sequence[Any]) -> list[Any]:
    answers = []
    for mine, known in zip(texts, scores, strict=True):
        answer = mine.get(sample.id, _MISSING)
        text, left = _cut(answer.error if answer.finish == "error" and answer.error else answer.text or "")
        answers.append([text, answer.finish, left, known])
    asked, _ = _cut(sample.input)
    return [
        sample.id,
        asked,
        "\n".join(_cut(target)[0] for target in sample.targets[:5]),
        [sample.slices.get(s, "") for s in slices],
        answers,
    ]


def _cut(text: str) -> tuple[str, int]:
    return (text, 0) if len(text) <= LONGEST_TEXT else (text[:LONGEST_TEXT], len(text) - LONGEST_TEXT)


def _within(rows: Sequence[list[Any]]) -> list[list[Any]]:
    """As many of the first rows as the page may hold characters."""
    room, kept = MOST_CHARACTERS, []
    for row in rows:
        room -= len(row[1]) + len(row[2]) + sum(len(answer[0]) for answer in row[4]) + 40 * (1 + len(row[4]))
        if room < 0:
            break
        kept.append(row)
    return kept
