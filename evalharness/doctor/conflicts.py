"""The same question with different answers.

>>> [draft.rule for draft in conflicts(Index())]
[]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evalharness.doctor.drafts import Draft
from evalharness.doctor.findings import Severity
from evalharness.doctor.index import SIDES, Index, Rows, has_labels, repeats

IDS = ("conflict.same",)
FIX = "Decide which answer is right; where several are, list them all as targets of one row. Nothing is taken out by itself"


def conflicts(index: Index) -> Iterator[Draft]:
    """Rows of all sides whose normalised input occurs with another answer, too; each with the first row that answers otherwise."""
    asked = np.flatnonzero(index.target != 0)
    later, first = _otherwise(index, asked)
    if not len(later):
        return
    rows = np.flatnonzero(np.isin(index.plain, index.plain[later]) & (index.target != 0))
    inputs, test = len(np.unique(index.plain[later])), int(np.sum(index.side[rows] == SIDES.index("test")))
    found = f"{'1 input has' if inputs == 1 else f'{inputs:,} inputs have'} different answers in {len(rows):,} rows"
    if not has_labels(index):
        bad: Severity = "note"
        found += "; open questions may well have several"
    else:
        bad = "warning"
        found += f"; {test:,} of them {'is' if test == 1 else 'are'} held out, where no model can be right on all" if test else ""
    pairs = list(zip(index.number[later].tolist(), index.number[first].tolist(), strict=True))
    figures = {"inputs": inputs, "test_rows": test}
    yield Draft(IDS[0], bad, len(rows), found, FIX, pairs, about=index.number[rows].tolist(), shown="answers", figures=figures)


def _otherwise(index: Index, rows: Rows) -> tuple[Rows, Rows]:
    """(row, first): rows whose input an earlier row has, whose answer differs from that first row's; one row an answer."""
    again, first = repeats((index.plain,), rows)
    other = index.target[again] != index.target[first]
    again, first = again[other], first[other]
    repeated, _ = repeats((index.plain, index.target), again)
    kept = ~np.isin(again, repeated)
    return again[kept], first[kept]
