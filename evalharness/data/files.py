"""Rows out of files, one at a time: JSON Lines, JSON, CSV, TSV, Parquet, saved data sets, and line-aligned text.

>>> faults = Faults()
>>> [row.values for row in read_rows(Path("train.jsonl"), faults)]              # doctest: +SKIP
[{'input': '2+2?', 'target': '4'}]

A bad row is a fault with file and line, and reading goes on with the next one where the format allows.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from evalharness.data.paths import display, format_of
from evalharness.data.row import Faults, Row
from evalharness.data.tables import parquet, saved_dataset
from evalharness.data.texts import as_csv, as_json, jsonl, lines, opened, tsv

__all__ = ["Faults", "Row", "read_lines", "read_rows"]


def read_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """The rows of a file in order; faults are added, not raised."""
    name = display(path)
    try:
        yield from (saved_dataset if path.is_dir() else _READERS[format_of(path)])(path, name, faults)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        faults.add(name, 0, f"the gzip file is damaged ({error})", "Compress it again")
    except OSError as error:
        faults.add(name, 0, f"cannot be read ({error.strerror})")


def read_lines(columns: Mapping[str, tuple[Path, ...]], faults: Faults) -> Iterator[Row]:
    """Rows out of line-aligned text files: line k of every file belongs to row k. Several files of a column make a list.

    Files of different length are a fault that says both counts.
    """
    texts = {path: _text_lines(path, faults) for paths in columns.values() for path in paths}
    first = columns["input"][0]
    uneven = [path for path in texts if len(texts[path]) != len(texts[first])]
    if faults or uneven:
        for path in [] if faults else uneven:
            found = f"has {len(texts[path]):,} lines, {display(first)} has {len(texts[first]):,}"
            faults.add(display(path), 0, found, "Line k of both is one row")
        return
    for k in range(len(texts[first])):
        values = {column: [texts[path][k] for path in paths] for column, paths in columns.items()}
        yield Row({column: each if len(each) > 1 else each[0] for column, each in values.items()}, display(first), k + 1)


def _text_lines(path: Path, faults: Faults) -> list[str]:
    try:
        with opened(path) as file:
            return [text.rstrip("\r\n") for _, text in lines(file, display(path), faults)]
    except (EOFError, zlib.error, OSError) as error:
        faults.add(display(path), 0, f"cannot be read ({error})")
        return []


_READERS: Mapping[str, Callable[[Path, str, Faults], Iterator[Row]]] = {
    ".jsonl": jsonl,
    ".ndjson": jsonl,
    ".json": as_json,
    ".csv": as_csv,
    ".tsv": tsv,
    ".parquet": parquet,
}
