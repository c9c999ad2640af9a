"""Answers that stand in their own questions.

>>> stands_in("the card is lost", "My card: The card is lost, I think."), stands_in("card", "cardboard")
(True, False)
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from evalharness.data.leaks import normal
from evalharness.doctor.drafts import Draft, placed
from evalharness.doctor.findings import BrokenRow, Case, Finding, SeenRow, Side

_SHORTEST = 4
"""Characters; "no" and "42" stand in many questions by chance."""
_FEW = 0.05
"""Share of a side's rows up to which nothing is said."""


def stands_in(answer: str, question: str) -> bool:
    """Whether the whole answer stands in the question, between other words; case, punctuation and space do not count."""
    plain = normal(answer)
    return len(plain) >= _SHORTEST and f" {plain} " in f" {normal(question)} "


class Contained:
    """A note on rows whose answer is in the question: right for extraction, a giveaway for anything else."""

    ids: tuple[str, ...] = ("target.in_input",)
    cheap = True

    def __init__(self) -> None:
        self._rows: dict[Side, array[int]] = {}
        self._all: dict[Side, int] = {}

    def see(self, row: SeenRow) -> None:
        if row.sample.targets:
            self._all[row.side] = self._all.get(row.side, 0) + 1
            if stands_in(row.sample.targets[0], row.sample.input):
                self._rows.setdefault(row.side, array("Q")).append(row.number)

    def broken(self, row: BrokenRow) -> None:
        """What is no sample has no answer."""

    def findings(self, case: Case) -> Iterator[Finding]:
        drafts = []
        for side, rows in self._rows.items():
            share = len(rows) / self._all[side]
            if share > _FEW:
                found = f"in {len(rows):,} {side} rows ({share:.0%}) the answer stands in the question"
                fix = "Fine where it is to be found there; otherwise take it out of the question"
                pairs = [(number, None) for number in rows]
                drafts.append(Draft("target.in_input", "note", len(rows), found, fix, pairs, shown="answers", figures={"share": share}))
        yield from placed(drafts, case)
