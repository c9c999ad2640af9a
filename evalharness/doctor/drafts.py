"""Findings by row number, and the places that they name: rows of several findings are read again in one go.

>>> list(placed([Draft("leak.exact", "error", "2 rows ...", "Take them out", pairs=((7, 93),))], case))   # doctest: +SKIP
[Finding(rule='leak.exact', ..., worst=(Place(source='train.jsonl:8', excerpt='Where is my card?', other='test.jsonl:3'),))]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evalharness.doctor.findings import MOST_PLACES, Case, Finding, Place, SeenRow, Severity
from evalharness.doctor.secrets import excerpt


@dataclass(frozen=True, slots=True)
class Draft:
    """A finding before its rows are read. `pairs` are (row, the row it clashes with or None), worst first.

    `answers` says that targets are shown beside the questions. `remove` are the rows that may be taken out.
    """

    rule: str
    severity: Severity
    count: int
    found: str
    fix: str
    pairs: Sequence[tuple[int, int | None]] = ()
    remove: Sequence[int] = ()
    answers: bool = False
    allowed: str | None = None
    figures: Mapping[str, float | int | str] = field(default_factory=dict)


def placed(drafts: Iterable[Draft], case: Case) -> Iterator[Finding]:
    """The findings, with files, lines and excerpts."""
    made = list(drafts)
    numbers = {number for draft in made for pair in draft.pairs[:MOST_PLACES] for number in pair if number is not None}
    rows = {row.number: row for row in case.read(numbers)} if numbers else {}
    for draft in made:
        worst = tuple(_place(rows[a], rows.get(-1 if b is None else b), draft) for a, b in draft.pairs[:MOST_PLACES] if a in rows)
        yield Finding(
            draft.rule, draft.severity, draft.count, draft.found, draft.fix, worst, tuple(draft.remove), draft.allowed, draft.figures
        )


def _place(row: SeenRow, other: SeenRow | None, draft: Draft) -> Place:
    shown = excerpt(row.sample.input)
    if not draft.answers:
        return Place(row.sample.source, shown, other.sample.source if other else "")
    there = f" (there: {_answer(other)})" if other else ""
    return Place(row.sample.source, f"{shown} → {_answer(row)}{there}", other.sample.source if other else "")


def _answer(row: SeenRow) -> str:
    return excerpt(row.sample.targets[0], 60) if row.sample.targets else ""
