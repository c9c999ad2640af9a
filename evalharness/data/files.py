"""Rows out of files, one at a time: JSON Lines, JSON, CSV, TSV, Parquet, and line-aligned text.

>>> faults = Faults()
>>> [row.values for row in read_rows(Path("train.jsonl"), faults)]              # doctest: +SKIP
[{'input': '2+2?', 'target': '4'}]

A bad row is a fault with file and line, and reading goes on with the next one where the format allows.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from evalharness.data.paths import display, format_of
from evalharness.errors import DataError, Problem

_UTF8 = "Save the file as UTF-8"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read. `line` is where it begins (1 is the first; for Parquet and JSON the row's number)."""

    values: Mapping[str, Any]
    file: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


class Faults:
    """Collects what is wrong with rows: equal messages of a file once, with their count; `most` messages at most."""

    def __init__(self, most: int = 20) -> None:
        self.most = most
        self._first: dict[tuple[str, str, str], int] = {}
        self._count: dict[tuple[str, str, str], int] = {}
        self._more = 0

    def __bool__(self) -> bool:
        return bool(self._count)

    def add(self, file: str, line: int, found: str, fix: str = "") -> None:
        """One fault; line 0 is the file as a whole."""
        key = (file, found, fix)
        if key not in self._count and len(self._count) >= self.most:
            self._more += 1
            return
        self._first.setdefault(key, line)
        self._count[key] = self._count.get(key, 0) + 1

    def check(self) -> None:
        """Raises DataError if there is any fault."""
        problems = [self._problem(key) for key in self._count]
        if self._more:
            problems.append(Problem("", "", f"... and {self._more:,} more"))
        if problems:
            raise DataError(problems)

    def _problem(self, key: tuple[str, str, str]) -> Problem:
        (file, found, fix), line, others = key, self._first[key], self._count[key] - 1
        more = f" (and {others:,} more {'row' if others == 1 else 'rows'})" if others else ""
        return Problem(f"{file}:{line}" if line else file, "", found + more, fix)


def read_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """The rows of a file in order; faults are added, not raised."""
    name = display(path)
    try:
        yield from _READERS[format_of(path)](path, name, faults)
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
        with _open(path) as file:
            return [text.rstrip("\r\n") for _, text in _decoded(file, display(path), faults)]
    except (EOFError, zlib.error, OSError) as error:
        faults.add(display(path), 0, f"cannot be read ({error})")
        return []


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _decoded(file: IO[bytes], name: str, faults: Faults) -> Iterator[tuple[int, str]]:
    """(line number, text) as long as the bytes are UTF-8; a byte order mark is taken off."""
    for number, line in enumerate(file, 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            guess = " (it looks like UTF-16)" if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
            faults.add(name, number, f"byte {error.start + 1} of the line is not UTF-8{guess}", _UTF8)
            return


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON value")


def _parse(text: str, name: str, line: int, faults: Faults) -> Iterator[Any]:
    """The JSON value, or nothing after a fault."""
    try:
        yield json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        faults.add(name, line, f"is not JSON: {error.msg} at {where}")
    except RecursionError:
        faults.add(name, line, "is nested too deeply")
    except ValueError as error:
        faults.add(name, line, f"is not JSON: {error}")


def _row(value: Any, name: str, line: int, faults: Faults) -> Iterator[Row]:
    if isinstance(value, dict):
        yield Row(value, name, line)
    else:
        faults.add(name, line, f"expected an object, found {json.dumps(value)[:40]}", 'A row looks like {"input": "...", "target": "..."}')


def _jsonl(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    with _open(path) as file:
        for number, text in _decoded(file, name, faults):
            if text.strip():
                for value in _parse(text, name, number, faults):
                    yield from _row(value, name, number, faults)


def _json(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    with _open(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add(name, content.count(b"\n", 0, error.start) + 1, f"byte {error.start + 1} of the file is not UTF-8", _UTF8)
        return
    for rows in _parse(text, name, 0, faults):
        if not isinstance(rows, list):
            faults.add(name, 0, "expected a list of rows", "For one object a line, name the file .jsonl")
            continue
        for number, value in enumerate(rows, 1):
            yield from _row(value, name, number, faults)


def _csv(path: Path, name: str, faults: Faults, delimiter: str = ",") -> Iterator[Row]:
    csv.field_size_limit(1 << 30)  # the default refuses texts above 128 KiB
    with _open(path) as file:
        lines = (text for _, text in _decoded(file, name, faults))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        begin = 1
        try:
            header = next(reader, [])
            if problem := _bad_header(header):
                faults.add(name, 1, *problem)
                return
            begin = reader.line_num + 1
            for cells in reader:
                yield from _cells(cells, header, name, begin, faults)
                begin = reader.line_num + 1
        except csv.Error as error:
            faults.add(name, begin, f"is not CSV: {error}", "A quote inside a quoted cell is written twice")


def _bad_header(header: list[str]) -> tuple[str, str] | None:
    if not any(header):
        return "the file has no header line", "Name the columns in the first line"
    twice = [column for i, column in enumerate(header) if column in header[:i]]
    return (f"two columns are called {twice[0]!r}", "Rename one") if twice else None


def _cells(cells: list[str], header: list[str], name: str, line: int, faults: Faults) -> Iterator[Row]:
    if not cells:
        return
    if len(cells) != len(header):
        faults.add(name, line, f"has {len(cells)} cells, the header has {len(header)}", "Quote cells that hold the separator")
        return
    yield Row(dict(zip(header, cells, strict=True)), name, line)


def _tsv(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    return _csv(path, name, faults, delimiter="\t")


def _parquet(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, name, number)
    except (pyarrow.ArrowException, OSError) as error:
        faults.add(name, 0, f"is not a Parquet file that can be read: {str(error).splitlines()[0]}")


_READERS: Mapping[str, Callable[[Path, str, Faults], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
