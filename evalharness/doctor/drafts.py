"""Findings by row number, and the places that they name: rows of several findings are read again in one go.

>>> list(placed([Draft("leak.exact", "error", "2 rows ...", "Take them out", pairs=((7, 93),))], case))   # doctest: +SKIP
[Finding(rule='leak.exact', ..., worst=(Place(source='train.jsonl:8', excerpt='Where is my card?', other='test.jsonl:3'),))]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evalharness.data.leaks import normal, squeezed
from evalharness.doctor.findings import MOST_PLACES, Case, Finding, Place, SeenRow, Severity
from evalharness.doctor.secrets import excerpt


@dataclass(frozen=True, slots=True)
class Draft:
    """A finding before its rows are read. `pairs` are (row, the row it clashes with or None), worst first.

    `about` are all rows that it speaks of: the first ones of the pairs, unless given. `clashes` are all that those clash with, likewise.

    `shown` beside the question: its answer and the other row's, or both questions. `remove` are the rows that may be taken out.
    """

    rule: str
    severity: Severity
    count: int
    found: str
    fix: str
    pairs: Sequence[tuple[int, int | None]] = ()
    remove: Sequence[int] = ()
    about: Sequence[int] | None = None
    clashes: Sequence[int] | None = None
    shown: Literal["question", "answers", "both"] = "question"
    allowed: str | None = None
    figures: Mapping[str, float | int | str] = field(default_factory=dict)


def placed(drafts: Iterable[Draft], case: Case) -> Iterator[Finding]:
    """The findings, with files, lines and excerpts."""
    made = list(drafts)
    numbers = {number for draft in made for pair in draft.pairs[:MOST_PLACES] for number in pair if number is not None}
    rows = {row.number: row for row in case.read(numbers)} if numbers else {}
    for draft in made:
        worst = tuple(_place(rows[a], rows.get(-1 if b is None else b), draft) for a, b in draft.pairs[:MOST_PLACES] if a in rows)
        about = tuple(sorted({number for number, _ in draft.pairs}) if draft.about is None else draft.about)
        met = (other for _, other in draft.pairs if other is not None) if draft.clashes is None else draft.clashes
        clashes = tuple(sorted(set(met)))
        yield Finding(
            draft.rule, draft.severity, draft.count, draft.found, draft.fix, worst, tuple(draft.remove), draft.allowed, draft.figures,
            about, clashes,
        )  # fmt: skip


def _place(row: SeenRow, other: SeenRow | None, draft: Draft) -> Place:
    shown, there = excerpt(row.sample.input), other.sample.source if other else ""
    if draft.shown == "both" and other is not None:
        return Place(row.sample.source, f"{shown} ↔ {excerpt(other.sample.input)}", there)
    if draft.shown == "answers":
        shown += f" → {_answer(row)}" + (f" (there: {_asked(other, row)}{_answer(other)})" if other is not None else "")
    return Place(row.sample.source, shown, there)


def _asked(other: SeenRow, row: SeenRow) -> str:
    """The other row's question, if it is not the same."""
    same = squeezed(normal(other.sample.input)) == squeezed(normal(row.sample.input))
    return "" if same else f"{excerpt(other.sample.input)} → "


def _answer(row: SeenRow) -> str:
    return excerpt(row.sample.targets[0], 60) if row.sample.targets else ""
