"""Rows out of text files: JSON Lines, JSON, CSV and TSV, plain or gzip, a piece at a time.

>>> faults = Faults()
>>> [row.values for row in jsonl(Path("train.jsonl"), "train.jsonl", faults)]   # doctest: +SKIP
[{'input': '2+2?', 'target': '4'}]

Whatever the bytes are, they become rows or faults: lines are read up to MOST_BYTES, values nested up to DEEPEST levels.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

from evalharness.data.row import Faults, Row

MOST_BYTES = 16 << 20
"""Of a line, or a CSV cell: some million tokens, which no model takes."""
MOST_JSON = 512 << 20
"""Of a .json file, which is in memory as a whole."""
DEEPEST = 100
"""Levels of nesting in a row."""
_UTF8 = "Save the file as UTF-8"
_ESCAPED = re.compile("[\udc80-\udcff]")
"""Bytes that are no UTF-8, as `surrogateescape` gives them."""
_ROW = 'A row looks like {"input": "...", "target": "..."}'


def opened(path: Path) -> IO[bytes]:
    """The file, unpacked if it is gzip."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def lines(file: IO[bytes], name: str, faults: Faults, bad: Literal["stop", "skip", "keep"] = "stop") -> Iterator[tuple[int, str]]:
    """(line number, text); a byte order mark is taken off. Lines that are too long are faults, and passed over.

    A line that is not UTF-8 is a fault, after which reading stops or goes on; or it is kept, with lone surrogates for its bytes.
    """
    number = 0
    while line := file.readline(MOST_BYTES + 1):
        number += 1
        if len(line) > MOST_BYTES:
            size = len(line) + _skipped(file, line)
            faults.add(name, number, f"the line has more than {MOST_BYTES >> 20} MB ({size / (1 << 20):,.0f})", "Cut it, or take it out")
            continue
        utf16 = number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff")
        try:
            errors = "surrogateescape" if bad == "keep" and not utf16 else "strict"
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8", errors)
        except UnicodeDecodeError as error:
            guess = " (it looks like UTF-16)" if utf16 else ""
            faults.add(name, number, f"byte {error.start + 1} of the line is not UTF-8{guess}", _UTF8)
            if utf16 or bad == "stop":
                return


def _skipped(file: IO[bytes], line: bytes) -> int:
    """Reads to the end of the line; how many bytes that were."""
    size = 0
    while line and not line.endswith(b"\n"):
        line = file.readline(1 << 20)
        size += len(line)
    return size


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON value")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!a} is there twice")
        found[key] = value
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_float, object_pairs_hook=_object)


def _parse(text: str, name: str, line: int, faults: Faults, deepest: int = DEEPEST) -> Iterator[Any]:
    """The JSON value, or nothing after a fault."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        faults.add(name, line, f"is not JSON: {error.msg} at {where}")
    except RecursionError:
        faults.add(name, line, "is nested too deeply", f"{deepest} levels at most")
    except ValueError as error:
        faults.add(name, line, f"is not JSON: {error}")
    else:
        if text.count("{") + text.count("[") > deepest and _too_deep(value, deepest):
            faults.add(name, line, "is nested too deeply", f"{deepest} levels at most")
        else:
            yield value


def _too_deep(value: Any, deepest: int) -> bool:
    level = [value]
    for _ in range(deepest + 1):
        inside = [each for each in level if isinstance(each, dict | list)]
        if not inside:
            return False
        level = [part for each in inside for part in (each.values() if isinstance(each, dict) else each)]
    return True


def _row(value: Any, name: str, line: int, faults: Faults) -> Iterator[Row]:
    if isinstance(value, dict):
        yield Row(value, name, line)
    else:
        faults.add(name, line, f"expected an object, found {json.dumps(value)[:40]}", _ROW)


def jsonl(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    """A JSON object a line; empty lines are passed over."""
    with opened(path) as file:
        for number, text in lines(file, name, faults, "skip"):
            if text.strip():
                for value in _parse(text, name, number, faults):
                    yield from _row(value, name, number, faults)


def as_json(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    """A JSON list of objects; its lines are rows."""
    with opened(path) as file:
        content = file.read(MOST_JSON + 1)
    if len(content) > MOST_JSON:
        faults.add(name, 0, f"has more than {MOST_JSON >> 20} MB", "Write one object a line, and name the file .jsonl")
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add(name, content.count(b"\n", 0, error.start) + 1, f"byte {error.start + 1} of the file is not UTF-8", _UTF8)
        return
    for rows in _parse(text, name, 0, faults, DEEPEST + 1):
        if not isinstance(rows, list):
            faults.add(name, 0, "expected a list of rows", "For one object a line, name the file .jsonl")
            continue
        for number, value in enumerate(rows, 1):
            yield from _row(value, name, number, faults)


def as_csv(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    """Cells under a header line; a row may go over several lines if its cells are quoted.

    A header without a comma says by its first semicolon or tab that the cells are separated by those.
    """
    return _separated(path, name, faults, separator(path))


def tsv(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    """CSV with tabs."""
    return _separated(path, name, faults, "\t")


def separator(path: Path) -> str:
    """What stands between the cells of a CSV or TSV file."""
    if path.name.removesuffix(".gz").lower().endswith(".tsv"):
        return "\t"
    with opened(path) as file:
        header = file.readline(MOST_BYTES)
    return "," if b"," in header else next((each for each in ";\t" if each.encode() in header), ",")


def _separated(path: Path, name: str, faults: Faults, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MOST_BYTES)  # the default refuses texts above 128 KiB
    with opened(path) as file:
        records = _records(_Fed(lines(file, name, faults, "keep")), delimiter, name, faults)
        _, header = next(records, (1, []))
        problem = None if header is None else _bad_header(header)
        if problem and not faults:
            faults.add(name, 1, *problem)
        if header is None or problem:
            return
        for line, cells in records:
            yield from _cells(cells or [], header, name, line, faults)


def _records(fed: _Fed, delimiter: str, name: str, faults: Faults) -> Iterator[tuple[int, list[str] | None]]:
    """(first line, cells) of each record; None in place of cells, and a fault, where they cannot be told: the next line begins anew."""
    reader = csv.reader(fed, delimiter=delimiter, strict=True)
    while True:
        fed.first = fed.bad = 0
        cells: list[str] | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            until = f" (read up to line {fed.last:,})" if fed.last > fed.first else ""
            faults.add(name, fed.first, f"is not CSV: {error}{until}", "A quote inside a quoted cell is written twice")
            if "field limit" in str(error):  # a quote that nothing closes: what follows are pieces of texts
                return
        if cells is not None and fed.bad:
            faults.add(name, fed.first, f"byte {fed.bad} of the line is not UTF-8", _UTF8)
        yield fed.first, None if fed.bad else cells


class _Fed:
    """Lines as the csv module reads them: the number of a row's first line and of the last one read, and the first bad byte."""

    def __init__(self, source: Iterator[tuple[int, str]]) -> None:
        self._source = source
        self.first = self.last = self.bad = 0

    def __iter__(self) -> Iterator[str]:
        for number, text in self._source:
            self.last = number
            self.first = self.first or self.last
            if not self.bad and not text.isascii() and (escaped := _ESCAPED.search(text)):
                self.bad = len(text[: escaped.start()].encode()) + 1
            yield text


def _bad_header(header: list[str]) -> tuple[str, str] | None:
    if not any(header):
        return "the file has no header line", "Name the columns in the first line"
    twice = [column for i, column in enumerate(header) if column in header[:i]]
    return (f"two columns are called {twice[0][:40]!a}", "Rename one") if twice else None


def _cells(cells: list[str], header: list[str], name: str, line: int, faults: Faults) -> Iterator[Row]:
    if not cells:
        return
    if len(cells) != len(header):
        faults.add(name, line, f"has {len(cells)} cells, the header has {len(header)}", "Quote cells that hold the separator")
        return
    yield Row(dict(zip(header, cells, strict=True)), name, line)
