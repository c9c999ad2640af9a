"""Inputs that differ in at most a tenth of their words: what `near_pairs` found, spread over all rows with those inputs.

>>> Near.of(Index(), [], []).rows(np.zeros(0, int), np.zeros(0, int), Index())
(array([], dtype=int64), array([], dtype=int64))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evalharness.doctor.conflicts import FIX as DECIDE
from evalharness.doctor.drafts import Draft
from evalharness.doctor.findings import Severity, Side
from evalharness.doctor.index import Index, Marks, Rows, has_labels, on

NEAR = 0.9
"""Share of the longer text's words that stay. Texts of fewer than 10 words are near only if they are equal."""


@dataclass(frozen=True, slots=True)
class Near:
    """Pairs of inputs by their marks, each pair both ways, and rows (by position) that a prompt's line is near to."""

    one: Marks
    other: Marks
    lines: tuple[tuple[int, str], ...]

    @staticmethod
    def of(index: Index, pairs: Iterable[tuple[int, int, float]], lines: Sequence[str]) -> Near:
        """`pairs` number the rows of the index and, after them, the lines of prompts."""
        n, between, told = len(index), [], []
        for i, j, score in pairs:
            if j < n:
                if score < 1:
                    between.append((i, j))
            elif i < n:
                told.append((i, lines[j - n]))
        table = np.asarray(between, np.intp).reshape(-1, 2)
        a, b = index.plain[table[:, 0]], index.plain[table[:, 1]]
        return Near(np.concatenate([a, b]), np.concatenate([b, a]), tuple(told))

    def rows(self, rows: Rows, others: Rows, index: Index) -> tuple[Rows, Rows]:
        """(row, other): each of the rows that is near to one of the others but equals none, and the first such one."""
        if not len(self.one) or not len(rows) or not len(others):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        values, first = np.unique(index.plain[others], return_index=True)
        at = np.minimum(np.searchsorted(values, self.other), len(values) - 1)
        hit = values[at] == self.other
        order = np.argsort(others[first[at[hit]]], kind="stable")
        one, place = self.one[hit][order], others[first[at[hit]]][order]
        keys, least = np.unique(one, return_index=True)
        here = np.searchsorted(keys, index.plain[rows]) if len(keys) else np.zeros(len(rows), np.intp)
        near = (here < len(keys)) & ~np.isin(index.plain[rows], values) if len(keys) else np.zeros(len(rows), bool)
        near[near] = keys[here[near]] == index.plain[rows][near]
        return rows[near], place[least[here[near]]]

    def earlier(self, rows: Rows, index: Index) -> tuple[Rows, Rows]:
        """(row, earlier row): rows near to an earlier one among themselves, each with the first of those."""
        if not len(self.one) or not len(rows):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        values, first = np.unique(index.plain[rows], return_index=True)
        a, b = (np.minimum(np.searchsorted(values, each), len(values) - 1) for each in (self.one, self.other))
        both = (values[a] == self.one) & (values[b] == self.other)
        later, earlier = rows[first[a[both]]], rows[first[b[both]]]
        later, earlier = later[earlier < later], earlier[earlier < later]
        order = np.lexsort((earlier, later))
        _, least = np.unique(later[order], return_index=True)
        return later[order][least], earlier[order][least]


def duplicates(index: Index, near: Near) -> Iterator[Draft]:
    """Rows of one side with nearly the same input and the same answer. Nothing is taken out: they may be meant."""
    for side in ("train", "dev", "test"):
        rows, first = near.earlier(on(index, side), index)
        same = index.target[rows] == index.target[first]
        rows, first = rows[same], first[same]
        if len(rows):
            differ = f"{len(rows):,} {side} {'row differs' if len(rows) == 1 else 'rows differ'}"
            found = f"{differ} from an earlier one in at most a tenth of the words"
            bad: Severity = "warning" if side == "test" else "note"
            yield Draft("duplicate.near", bad, len(rows), found, _FIX[side], _pairs(index, rows, first), shown="both")


_FIX: dict[Side, str] = {
    "train": "Look whether they are meant; many of a kind teach little more than one",
    "dev": "Look whether they are meant; they count nearly twice",
    "test": "Give rows that belong together one cluster (data.cluster), so that intervals are honest",
}


def conflicts(index: Index, near: Near) -> Iterator[Draft]:
    """Nearly the same input with another answer, where answers are labels."""
    if not has_labels(index):
        return
    later, first = near.earlier(np.flatnonzero(index.target != 0), index)
    other = index.target[later] != index.target[first]
    later, first = later[other], first[other]
    if len(later):
        n = len(later)
        differ, have = ("row differs", "has") if n == 1 else ("rows differ", "have")
        found = f"{n:,} {differ} from another one in at most a tenth of the words, and {have} another label"
        yield Draft("conflict.near", "note", n, found, DECIDE, _pairs(index, later, first), shown="answers")


def _pairs(index: Index, rows: Rows, others: Rows) -> list[tuple[int, int | None]]:
    return list(zip(index.number[rows].tolist(), index.number[others].tolist(), strict=True))
