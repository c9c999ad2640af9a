"""Rows that say the same within one side, letter by letter or up to case, punctuation and space.

>>> [draft.rule for draft in duplicates(Index())]
[]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evalharness.doctor.drafts import Draft
from evalharness.doctor.findings import Side
from evalharness.doctor.index import Index, Rows, on, repeats

IDS = ("duplicate.exact", "duplicate.normalised")
_HARM: dict[Side, str] = {
    "train": "what is repeated weighs more in training",
    "dev": "what is repeated counts more than once when the best candidate is picked",
    "test": "what is repeated counts more than once, and intervals come out too narrow",
}
_FIX = "Keep the first of each: evalh check SUITE --fix OUT writes copies without the others"


def duplicates(index: Index) -> Iterator[Draft]:
    """One finding a side and kind; a repeat has the same input and the same answer."""
    for side, harm in _HARM.items():
        rows = on(index, side)
        exact, exact_first = repeats((index.exact, index.target), rows)
        plain, plain_first = repeats((index.plain, index.target), rows)
        more = ~np.isin(plain, exact)
        yield from _draft(index, IDS[0], f"{{}} {side} {{}} an earlier row letter by letter: {harm}", exact, exact_first)
        kind = f"{{}} {side} {{}} an earlier row up to case, punctuation and space: {harm}"
        yield from _draft(index, IDS[1], kind, plain[more], plain_first[more])


def _draft(index: Index, rule: str, found: str, rows: Rows, first: Rows) -> Iterator[Draft]:
    if len(rows):
        numbers = index.number[rows].tolist()
        words = found.format(f"{len(rows):,}", "row repeats" if len(rows) == 1 else "rows repeat")
        yield Draft(rule, "warning", len(rows), words, _FIX, list(zip(numbers, index.number[first].tolist(), strict=True)), numbers)
