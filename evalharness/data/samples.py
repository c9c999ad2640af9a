"""The rows of a set of files, one after another, and their samples.

>>> faults = Faults()
>>> [sample.input for _, sample in read_samples(spec, {"": (Path("test.jsonl"),)}, faults, strict=True)]      # doctest: +SKIP
['2+2?']
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from evalharness.data.files import Faults, Row, read_lines, read_rows
from evalharness.data.rows import sample_of
from evalharness.records import Sample
from evalharness.spec import DataSpec

Columns = Mapping[str, tuple[Path, ...]]
"""Column -> text files; files of rows stand under ""."""


def rows_of(columns: Columns, faults: Faults) -> Iterator[Row]:
    """Rows in file order; faults are added, not raised."""
    if columns and "" not in columns:
        yield from read_lines(columns, faults)
    for path in columns.get("", ()):
        yield from read_rows(path, faults)


def read_samples(spec: DataSpec, columns: Columns, faults: Faults, *, strict: bool, answered: bool = True) -> Iterator[tuple[Row, Sample]]:
    """Rows and their samples, as `sample_of` makes them; exact repeats are numbered, so that every sample has its own id."""
    seen: Counter[str] = Counter()
    for row in rows_of(columns, faults):
        sample = sample_of(row, spec, faults, strict=strict, answered=answered)
        if sample is None:
            continue
        again, seen[sample.id] = seen[sample.id], seen[sample.id] + 1
        if again:
            sample = sample_of(row, spec, faults, strict=strict, occurrence=again, answered=answered) or sample
        yield row, sample
