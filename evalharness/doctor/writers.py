"""Copies of data files, row by row, in the format of the original; lines that do not change are copied byte for byte.

>>> with writer_of(Path("train.csv"), Path("clean/train.csv")) as writer:                              # doctest: +SKIP
...     writer.drop(7)
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from evalharness.data.paths import format_of
from evalharness.data.tables import INFO, SAVED, class_names, shards, stored_rows
from evalharness.data.texts import separator

_BATCH = 1000
_PIECE = 1 << 20
"""Bytes of a line that are in memory at a time."""


class Writer(AbstractContextManager["Writer"], Protocol):
    """Takes a file's rows in order: each is kept (perhaps changed) or dropped; leaving it writes the rest."""

    paths: tuple[Path, ...]

    def keep(self, line: int, values: Mapping[str, Any], *, changed: bool) -> None:
        """The row that begins in this line of the original."""

    def drop(self, line: int) -> None:
        """The row that begins in this line is left out."""


def writer_of(path: Path, copy: Path) -> Writer:
    """The writer for the original's format."""
    ending = format_of(path)
    if ending in (".jsonl", ".ndjson", ".csv", ".tsv"):
        return Raw(path, copy)
    if ending == ".parquet":
        return Parquet(path, copy)
    return Saved(path, copy) if path.is_dir() else Json(copy)


def _opened(path: Path, mode: str) -> IO[bytes]:
    return gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode)  # type: ignore[return-value]


class _Closing(AbstractContextManager[Any]):
    """Closes what was opened; `finish` writes what is left, unless something went wrong."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self.stack:
            if kind is None:
                self.finish()

    def finish(self) -> None:
        """Nothing is left."""


class Raw(_Closing):
    """JSON Lines, CSV and TSV: a row's lines reach to the next row's first line."""

    def __init__(self, path: Path, copy: Path) -> None:
        super().__init__()
        self.paths: tuple[Path, ...] = (copy,)
        self._path, self._ending, self._end = path, format_of(path), "\n"
        self._source, self._target = self.stack.enter_context(_opened(path, "rb")), self.stack.enter_context(_opened(copy, "wb"))
        self._open = False  # the last line written has no end yet
        self._line, self._copying = 0, True  # what stands before the first row, such as a header, is kept

    def keep(self, line: int, values: Mapping[str, Any], *, changed: bool) -> None:
        self._until(line)
        self._copying = not changed
        if changed:
            self._target.write(self._written(values))

    def drop(self, line: int) -> None:
        self._until(line)
        self._copying = False

    def finish(self) -> None:
        self._until(None)

    def _until(self, line: int | None) -> None:
        """Copy or skip the lines before this one."""
        try:
            while line is None or self._line < line - 1:
                piece = self._source.readline(_PIECE)
                if not piece:
                    self._target.write(b"\n" if self._open else b"")
                    self._open = False
                    return
                self._line += piece.endswith(b"\n")
                self._end = "\r\n" if piece.endswith(b"\r\n") else "\n"
                if self._copying:
                    self._target.write(piece)
                    self._open = not piece.endswith(b"\n")
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return  # a damaged end was a fault when it was read

    def _written(self, values: Mapping[str, Any]) -> bytes:
        if self._ending in (".jsonl", ".ndjson"):
            return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass") + self._end.encode()
        text = io.StringIO()
        csv.writer(text, delimiter=separator(self._path), lineterminator=self._end).writerow(values.values())
        return text.getvalue().encode("utf-8", "surrogatepass")


class Json(_Closing):
    """A JSON list with a row a line."""

    def __init__(self, copy: Path) -> None:
        super().__init__()
        self.paths: tuple[Path, ...] = (copy,)
        self._count = 0
        self._target = self.stack.enter_context(_opened(copy, "wb"))

    def keep(self, line: int, values: Mapping[str, Any], *, changed: bool) -> None:
        begin = b",\n" if self._count else b"[\n"
        self._target.write(begin + json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass"))
        self._count += 1

    def drop(self, line: int) -> None:
        """Nothing is written."""

    def finish(self) -> None:
        self._target.write(b"\n]\n" if self._count else b"[]\n")


class Parquet(_Closing):
    """The original's schema, a thousand rows at a time."""

    def __init__(self, path: Path, copy: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        super().__init__()
        self.paths: tuple[Path, ...] = (copy,)
        try:
            schema = pyarrow.parquet.read_schema(path)
        except (pyarrow.ArrowException, OSError):
            schema = pyarrow.schema([])  # no Parquet file: a fault when it was read, and no rows follow
        self._rows = _Batches(schema, self.stack.enter_context(pyarrow.parquet.ParquetWriter(copy, schema)))

    def keep(self, line: int, values: Mapping[str, Any], *, changed: bool) -> None:
        self._rows.add(values)

    def drop(self, line: int) -> None:
        """Nothing is written."""

    def finish(self) -> None:
        self._rows.write()


class Saved(_Closing):
    """A saved data set of one shard, with the original's schema; class labels stay numbers."""

    def __init__(self, path: Path, copy: Path) -> None:
        import pyarrow.ipc

        super().__init__()
        copy.mkdir(parents=True, exist_ok=True)
        shard = copy / "data-00000-of-00001.arrow"
        state = json.loads((path / SAVED).read_text(encoding="utf-8"))
        if (path / INFO).is_file():
            (copy / INFO).write_bytes((path / INFO).read_bytes())
        (copy / SAVED).write_text(json.dumps({**state, "_data_files": [{"filename": shard.name}]}, indent=2), encoding="utf-8")
        self.paths: tuple[Path, ...] = (shard,)
        self._named, self._stored = class_names(path), stored_rows(path)
        with pyarrow.OSFile(str(shards(path)[0])) as first, pyarrow.ipc.open_stream(first) as stream:
            schema = stream.schema
        self._rows = _Batches(schema, self.stack.enter_context(pyarrow.ipc.new_stream(str(shard), schema)))

    def keep(self, line: int, values: Mapping[str, Any], *, changed: bool) -> None:
        stored = next(row.values for row in self._stored if row.line == line)
        self._rows.add(_restored(values, self._named(stored), stored) if changed else stored)

    def drop(self, line: int) -> None:
        """Nothing is written."""

    def finish(self) -> None:
        self._rows.write()


def _restored(value: Any, named: Any, stored: Any) -> Any:
    """The value with what did not change as it was stored."""
    if value == named:
        return stored
    if isinstance(value, Mapping):
        return {key: _restored(each, named[key], stored[key]) for key, each in value.items()}
    if isinstance(value, list):
        return [_restored(each, one, kept) for each, one, kept in zip(value, named, stored, strict=True)]
    return value


class _Batches:
    """Rows on their way into a table, a thousand at a time."""

    def __init__(self, schema: Any, target: Any) -> None:
        self._schema, self._target = schema, target
        self._rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _BATCH:
            self.write()

    def write(self) -> None:
        """Writes what there is; a column of numbers cannot hold a placeholder and gets nothing in its place."""
        import pyarrow

        if not self._rows:
            return
        try:
            table = pyarrow.Table.from_pylist([dict(row) for row in self._rows], schema=self._schema)
        except (pyarrow.ArrowException, TypeError):
            columns = [[self._fitting(row.get(field.name), field) for row in self._rows] for field in self._schema]
            table = pyarrow.Table.from_arrays(
                [pyarrow.array(each, field.type) for each, field in zip(columns, self._schema, strict=True)], schema=self._schema
            )
        self._target.write_table(table)
        self._rows = []

    @staticmethod
    def _fitting(value: Any, field: Any) -> Any:
        import pyarrow

        try:
            pyarrow.array([value], field.type)
        except (pyarrow.ArrowException, TypeError):
            return None
        return value


class Lines(_Closing):
    """Line-aligned text files: a row is a line of each."""

    def __init__(self, copies: Mapping[str, Sequence[Path]]) -> None:
        super().__init__()
        self.paths: tuple[Path, ...] = tuple(path for paths in copies.values() for path in paths)
        self._targets = {column: [self.stack.enter_context(_opened(path, "wb")) for path in paths] for column, paths in copies.items()}

    def keep(self, line: int, values: Mapping[str, Any], *, changed: bool) -> None:
        for column, files in self._targets.items():
            texts = values[column] if len(files) > 1 else [values[column]]
            for file, text in zip(files, texts, strict=True):
                file.write(text.encode("utf-8", "surrogatepass") + b"\n")

    def drop(self, line: int) -> None:
        """Nothing is written."""
