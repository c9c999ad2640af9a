"""Equal inputs: repeated within a side, leaked from one side to another or into a prompt, answered in different ways.

>>> SameInputs().ids[:2]
('duplicate.exact', 'duplicate.normalised')
"""

from __future__ import annotations

from collections.abc import Iterator

from evalharness.doctor import conflicts, duplicates, leaks, prompted
from evalharness.doctor.drafts import placed
from evalharness.doctor.findings import BrokenRow, Case, Finding, SeenRow
from evalharness.doctor.index import Index


class SameInputs:
    """Compares hashes of all rows, so that one pass and some bytes a row are enough for all of it."""

    ids: tuple[str, ...] = (*duplicates.IDS, *leaks.IDS, *prompted.IDS, *conflicts.IDS)
    cheap = True

    def __init__(self) -> None:
        self._index = Index()

    def see(self, row: SeenRow) -> None:
        if row.side != "logs":
            self._index.add(row)

    def broken(self, row: BrokenRow) -> None:
        """What is no sample has no input."""

    def findings(self, case: Case) -> Iterator[Finding]:
        index = self._index
        drafts = [*leaks.leaks(index, case.loaded), *duplicates.duplicates(index), *conflicts.conflicts(index)]
        yield from placed(drafts, case)
        yield from prompted.in_prompts(index, case)
