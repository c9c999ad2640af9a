"""Inputs that differ in at most a tenth of their words: what `near_pairs` found, spread over all rows with those inputs.

>>> Near.of(Index(), [], []).rows(np.zeros(0, int), np.zeros(0, int), Index(), "any")
(array([], dtype=int64), array([], dtype=int64))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalharness.doctor.conflicts import FIX as DECIDE
from evalharness.doctor.drafts import Draft
from evalharness.doctor.findings import Severity, Side
from evalharness.doctor.index import Index, Marks, Rows, has_labels, on, repeats

NEAR = 0.9
"""Share of the longer text's words that stay. Texts of fewer than 10 words are near only if they are equal."""

Answers = Literal["same", "other", "any"]


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

    def rows(self, rows: Rows, others: Rows, index: Index, answers: Answers, *, earlier: bool = False) -> tuple[Rows, Rows]:
        """(row, other): each of the rows that is near to one of the others, and the first such one.

        `answers` says whether the two must have the same answer or different ones. With `earlier` the other one comes before;
        rows that repeat an earlier one then stand aside.
        """
        if not len(self.one):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        mine = _members(index, _first(index, rows) if earlier else rows, self.one)
        theirs = _members(index, _first(index, others), self.other)
        found: dict[int, int] = {}
        for one, other in zip(self.one.tolist(), self.other.tolist(), strict=True):
            for row, target in mine.get(one, ()) if other in theirs else ():
                near = _fitting(theirs[other], target, answers)
                if near is not None and not (earlier and near >= row):
                    found[row] = min(near, found.get(row, near))
        order = sorted(found)
        return np.asarray(order, np.intp), np.asarray([found[row] for row in order], np.intp)


def _first(index: Index, rows: Rows) -> Rows:
    """The first row of each input and answer."""
    later, _ = repeats((index.plain, index.target), rows)
    return np.setdiff1d(rows, later)


def _members(index: Index, rows: Rows, marks: Marks) -> dict[int, list[tuple[int, int]]]:
    """Mark of an input -> (row, answer's mark) of the rows that have it, in order; for these marks only."""
    found: dict[int, list[tuple[int, int]]] = {}
    kept = np.sort(rows[np.isin(index.plain[rows], marks)])
    for row, plain, target in zip(kept.tolist(), index.plain[kept].tolist(), index.target[kept].tolist(), strict=True):
        found.setdefault(plain, []).append((row, target))
    return found


def _fitting(rows: list[tuple[int, int]], target: int, answers: Answers) -> int | None:
    """The first of the rows whose answer fits; each of them has another answer. No answer (0) may be the same one."""
    if answers == "any":
        return rows[0][0]
    if answers == "other":  # the first or the second one
        return next((row for row, each in rows[:2] if each != target), None)
    return next((row for row, each in rows if each in (target, 0)), None)


def duplicates(index: Index, near: Near) -> Iterator[Draft]:
    """Rows of one side with nearly the same input and the same answer. Nothing is taken out: they may be meant."""
    for side in ("train", "dev", "test"):
        rows, first = near.rows(on(index, side), on(index, side), index, "same", earlier=True)
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
    asked = np.flatnonzero(index.target != 0)
    later, first = near.rows(asked, asked, index, "other", earlier=True)
    if len(later):
        n = len(later)
        differ, have = ("row differs", "has") if n == 1 else ("rows differ", "have")
        found = f"{n:,} {differ} from another one in at most a tenth of the words, and {have} another label"
        yield Draft("conflict.near", "note", n, found, DECIDE, _pairs(index, later, first), shown="answers")


def _pairs(index: Index, rows: Rows, others: Rows) -> list[tuple[int, int | None]]:
    return list(zip(index.number[rows].tolist(), index.number[others].tolist(), strict=True))
