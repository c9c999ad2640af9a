"""What the data doctor's rules see and say.

>>> Finding("leak.exact", "error", 2, "2 test inputs are in train", "Take them out", (Place("train.jsonl:7"),)).refuses
True

A rule sees every row once, in file order, and keeps only what it needs of it (hashes, counts, the worst places): memory does not
grow with the text. When all rows went by it says what it found; for texts it did not keep, `Case.read` reads rows again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from evalharness.records import Sample

if TYPE_CHECKING:
    from evalharness.reading import LoadedSuite

Severity = Literal["error", "warning", "note"]
Side = Literal["train", "dev", "test", "logs"]
"""Where a row is; `logs` are production inputs, which are looked at and belong to no split."""
MOST_PLACES = 20
"""Rows that a finding names; `count` and `rows` know all."""


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A row that is a sample. `number` counts over all rows of the suite in reading order, broken ones included.

    `values` is the row as it was read, by the file's own column names; empty where nobody kept it.
    """

    number: int
    side: Side
    sample: Sample
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row (or a whole file, line 0) that cannot be a sample: what was found, what to do, and the format rule that it breaks.

    `values` is the row where it could be read at all, else None.
    """

    number: int
    side: Side
    source: str
    found: str
    fix: str
    values: Mapping[str, Any] | None = None
    rule: str = "format.unreadable"


@dataclass(frozen=True, slots=True)
class Place:
    """One row that a finding names: `file:line`, a short excerpt (secrets masked), and the row it clashes with."""

    source: str
    excerpt: str = ""
    other: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found. `rows` are the numbers of the rows that `--fix` would take out (none: nothing can be taken out by itself).

    `about` are the numbers of all rows that it speaks of, where the rule knows them; they are true for the files of this moment.

    `allowed` is the reason the suite gives for leaving it so; an allowed error no longer refuses. `figures` are numbers for reports.
    """

    rule: str
    severity: Severity
    count: int
    found: str
    fix: str
    worst: tuple[Place, ...] = ()
    rows: Sequence[int] = ()
    allowed: str | None = None
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    about: Sequence[int] = ()
    clashes: Sequence[int] = ()
    """The numbers of the rows that those clash with: the held-out ones of a leak."""

    @property
    def refuses(self) -> bool:
        """An error that nobody allowed."""
        return self.severity == "error" and self.allowed is None


@dataclass(frozen=True)
class Case:
    """What rules may know beside the rows: the suite, and how to read rows again.

    `read` takes row numbers and gives their samples, in rising order of number, reading each file at most once.
    """

    loaded: LoadedSuite
    read: Callable[[Iterable[int]], Iterator[SeenRow]]


class Rule(Protocol):
    """One check. An instance belongs to one examination."""

    ids: tuple[str, ...]
    """Every rule id that its findings may carry: `leak.near`, `duplicate.exact`, ..."""
    cheap: bool
    """Whether `train-and-score` runs it by itself: no extra package, no more than seconds for 100,000 rows."""

    def see(self, row: SeenRow) -> None:
        """Called for every row that is a sample."""

    def broken(self, row: BrokenRow) -> None:
        """Called for every row that is none."""

    def findings(self, case: Case) -> Iterable[Finding]:
        """Called once, after the last row."""
