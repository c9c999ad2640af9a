"""Inputs compared with each other: repeated within a side, leaked from one side to another or into a prompt, answered differently.

>>> Inputs().ids[:2]
('leak.exact', 'leak.normalised')
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import SEEK_END
from tempfile import SpooledTemporaryFile

from evalharness.data.leaks import near_key
from evalharness.data.near import near_pairs
from evalharness.doctor import conflicts, duplicates, leaks, near, prompted
from evalharness.doctor.drafts import placed
from evalharness.doctor.findings import BrokenRow, Case, Finding, SeenRow
from evalharness.doctor.form import Form
from evalharness.doctor.index import Index
from evalharness.doctor.near import NEAR, Near
from evalharness.prompts import Prompt

_IN_MEMORY = 1 << 22


class Inputs:
    """Keeps hashes of every row, and its normalised input in a temporary file, from which near ones are found at the end."""

    ids: tuple[str, ...] = (*leaks.IDS, *prompted.IDS, *duplicates.IDS, "duplicate.near", *conflicts.IDS, "conflict.near")
    cheap = True

    def __init__(self) -> None:
        self._index = Index()
        self._systems, self._turns = prompted.Systems(), leaks.Turns()
        self._texts: SpooledTemporaryFile[bytes] | None = None

    def see(self, row: SeenRow) -> None:
        if row.side != "logs":
            self._turns.see(row, len(self._index))
            self._index.add(row)
            self._systems.see(row)
            if self._texts is None:
                self._texts = SpooledTemporaryFile(max_size=_IN_MEMORY, prefix="evalh-check-")  # noqa: SIM115  # `_near` closes it
            self._texts.write(_line(near_key(row.sample)))

    def broken(self, row: BrokenRow) -> None:
        """What is no sample has no input."""

    def findings(self, case: Case) -> Iterator[Finding]:
        index, loaded = self._index, case.loaded
        prompts = prompted.prompts_of(loaded, self._systems.prompts())
        found = self._near([prompt for prompt, _ in prompts.values()])
        drafts = [
            *leaks.leaks(index, found, loaded),
            *self._turns.drafts(index, loaded),
            *duplicates.duplicates(index),
            *near.duplicates(index, found),
            *conflicts.conflicts(index),
            *near.conflicts(index, found),
        ]
        yield from placed(drafts, case)
        yield from prompted.in_prompts(index, found.lines, prompts, case)

    def _near(self, prompts: Sequence[Prompt]) -> Near:
        """Pairs of near inputs, and inputs near to a line of a prompt."""
        if self._texts is None:
            return Near.of(self._index, [], [])
        with self._texts as texts:
            lines = list(dict.fromkeys(line for prompt in prompts for line in prompted.lines(prompt)))
            form = Form.of(lambda: _texts(texts))
            texts.seek(0, SEEK_END)
            texts.writelines(map(_line, lines))
            return Near.of(self._index, near_pairs(map(form.rest, _texts(texts)), NEAR), lines)


def _line(text: str) -> bytes:
    return " ".join(text.splitlines()).encode("utf-8", "surrogatepass") + b"\n"


def _texts(file: SpooledTemporaryFile[bytes]) -> Iterator[str]:
    file.seek(0)
    for line in file:
        yield line.decode("utf-8", "surrogatepass")
