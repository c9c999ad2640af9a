"""Every row of a suite, one at a time, on the side it belongs to; what cannot be read comes as a fault in its place.

>>> spec = DataSpec.model_validate({"test": "test.jsonl"})
>>> [(each.side, each.sample) for each in stream(spec, Path("."))]                 # doctest: +SKIP
[('test', Sample(...)), ('test', Fault('test.jsonl', 2, 'is not JSON: ...', ''))]

One row is in memory at a time; nothing is dropped (no leak rule, no limit) and nothing is raised for a bad row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalharness.data.files import Faults, Row, read_lines, read_rows
from evalharness.data.paths import display, resolve_all
from evalharness.data.rows import sample_of, split_group
from evalharness.data.split import Side, side
from evalharness.errors import ConfigError, Problem
from evalharness.records import Sample
from evalharness.spec import DataSpec

Columns = Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a row, or with a whole file (line 0)."""

    file: str
    line: int
    found: str
    fix: str

    @property
    def source(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Streamed:
    """One row in its place. `number` counts rows and faults from 0; `row` is None where nothing could be read.

    The sample is None only where nobody asked for it (`wanted`).
    """

    number: int
    side: Side | Literal["logs"]
    row: Row | None
    sample: Sample | Fault | None


class _Caught(Faults):
    """Keeps faults as they come, until they are taken."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, file: str, line: int, found: str, fix: str = "") -> None:
        self._kept.append(Fault(file, line, found, fix))

    def take(self) -> list[Fault]:
        taken, self._kept = self._kept, []
        return taken


def stream(
    spec: DataSpec, root: Path, *, answered: bool = True, logs: Sequence[Path] = (), wanted: Callable[[int], bool] | None = None
) -> Iterator[Streamed]:
    """All rows: train, dev, test (or `file`, divided), then the logs, whose rows need no target.

    With `wanted`, rows whose number it refuses come without a sample, which is much quicker. Without `answered`, rows of the
    test side may lack a target. Raises ConfigError for files that are not there.
    """
    number = 0
    for where, columns in _sides(spec, root, logs):
        for row, fault in _rows(columns):
            if row is None:
                yield Streamed(number, where or "test", None, fault)
            elif wanted is not None and not wanted(number):
                yield Streamed(number, where or "test", row, None)
            else:
                yield _streamed(number, where, row, spec, answered)
            number += 1


def _sides(spec: DataSpec, root: Path, logs: Sequence[Path]) -> Iterator[tuple[Side | Literal["logs"] | None, Columns]]:
    """Side (None: the split says) and files."""
    files = resolve_all(spec, root)
    if missing := [path for path in logs if not path.is_file()]:
        raise ConfigError([Problem(display(path), "--logs", "there is no such file", "Name a file of rows") for path in missing])
    yield from ((None, files["file"]) for _ in range("file" in files))
    for each in ("train", "dev", "test"):
        if each in files:
            yield each, files[each]
    if logs:
        yield "logs", {"": tuple(logs)}


def _rows(columns: Columns) -> Iterator[tuple[Row | None, Fault | None]]:
    """Rows and faults in file order: a reader adds the faults of bad rows before it gives the next good one."""
    caught = _Caught()
    if "" not in columns:
        yield from _each(read_lines(columns, caught), caught)
    for path in columns.get("", ()):
        yield from _each(read_rows(path, caught), caught)


def _each(rows: Iterator[Row], caught: _Caught) -> Iterator[tuple[Row | None, Fault | None]]:
    for row in rows:
        yield from ((None, fault) for fault in caught.take())
        yield row, None
    yield from ((None, fault) for fault in caught.take())


def _streamed(number: int, where: Side | Literal["logs"] | None, row: Row, spec: DataSpec, answered: bool) -> Streamed:
    caught = _Caught()
    strict = where in (None, "test")
    sample = sample_of(row, spec, caught, strict=strict, answered=where != "logs" and (answered or where != "test"))
    if sample is not None and where is None:
        where = _side_of(row, sample, spec, caught)
    faults = caught.take()
    return Streamed(number, where or "test", row, faults[0] if faults else sample)


def _side_of(row: Row, sample: Sample, spec: DataSpec, caught: _Caught) -> Side | None:
    assert spec.split is not None  # `file` and `split` need each other
    group = split_group(row, sample, spec, caught)
    return None if group is None else side(group, spec.split)
