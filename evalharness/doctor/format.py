"""What is wrong with rows as rows: broken ones, mixed kinds, turns out of order, texts of a wrong encoding.

>>> "format.unreadable" in Format().ids
True
"""

from __future__ import annotations

from collections.abc import Iterator

from evalharness.doctor import broken, schemas, turns
from evalharness.doctor.broken import Broken
from evalharness.doctor.drafts import Draft, placed
from evalharness.doctor.encoding import is_garbled, mended
from evalharness.doctor.findings import BrokenRow, Case, Finding, SeenRow
from evalharness.doctor.schemas import Schemas
from evalharness.doctor.turns import Turns
from evalharness.records import Sample


class Format:
    """Everything that can be said of one row by itself, and of the rows of one file together."""

    ids: tuple[str, ...] = (*broken.IDS, *turns.IDS, *schemas.IDS, "format.encoding")
    cheap = True

    def __init__(self) -> None:
        self._broken, self._turns, self._schemas = Broken(), Turns(), Schemas()
        self._garbled: list[int] = []
        self._mendable = 0

    def see(self, row: SeenRow) -> None:
        self._schemas.see(row)
        if row.side != "logs":
            self._turns.see(row)
        if any(map(is_garbled, _texts(row.sample))):
            self._garbled.append(row.number)
            self._mendable += all(not is_garbled(mended(text)) for text in _texts(row.sample))

    def broken(self, row: BrokenRow) -> None:
        self._broken.add(row)

    def findings(self, case: Case) -> Iterator[Finding]:
        yield from self._broken.findings()
        yield from placed([*self._turns.drafts(), *self._schemas.drafts(case.loaded), *self._encoding()], case)

    def _encoding(self) -> Iterator[Draft]:
        if not (n := len(self._garbled)):
            return
        kept = f"; {self._mendable:,} of them can be mended" if self._mendable else ""
        found = f"{n:,} {'row was' if n == 1 else 'rows were'} read or saved in a wrong encoding (“Ã©” for “é”, or a lost character){kept}"
        fix = "Export the file as UTF-8 again; evalh check SUITE --fix OUT mends what can be mended"
        yield Draft("format.encoding", "warning", n, found, fix, [(row, None) for row in self._garbled])


def _texts(sample: Sample) -> list[str]:
    return [*(message.content for message in sample.messages), *sample.targets]
