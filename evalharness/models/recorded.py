"""Outputs that exist already, read from a file: `outputs: yesterday.jsonl` in a suite.

>>> model = RecordedModel(RecordedOptions(path="data/yesterday.jsonl"))   # doctest: +SKIP
>>> model.bind(samples)                                                         # doctest: +SKIP

Rows (JSON Lines, JSON, CSV, TSV, Parquet) of {"id" or "input", "output"}; or an output for each test row in its order:
rows of "output" alone, or a text file's lines. An output belongs to the sample whose id, whose field `id`, or whose
input it names (exactly, else as the leak rule compares). Samples of one name take its outputs in turn; an output that
is null was a failure, and stays one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from evalharness import protocols
from evalharness.data.files import Faults, Row, read_lines, read_rows
from evalharness.data.leaks import normal
from evalharness.data.paths import FORMATS, display, format_of
from evalharness.errors import DataError, Problem
from evalharness.ids import file_digest
from evalharness.records import Reply, Request, Sample

_FIX = 'Write rows of {"id" or "input", "output"}'


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the file: an output (None: it failed) and the names the row gives it."""

    output: str | None
    id: str | None = None
    input: str | None = None


_Namings: tuple[tuple[Callable[[Recorded], str | None], Callable[[Sample], str | None]], ...] = (
    (lambda row: row.id, lambda sample: sample.id),
    (lambda row: row.id, lambda sample: sample.fields.get("id")),
    (lambda row: row.input, lambda sample: sample.input),
    (lambda row: row.input and normal(row.input), lambda sample: normal(sample.input)),
)
"""How a row and a sample can have the same name, surest first."""


class RecordedOptions(protocols.Options):
    """Where the outputs are."""

    shorthand: ClassVar[str | None] = "path"
    path: str
    """File of rows, or a text file with an output a line."""


class RecordedModel:
    """Answers from a file. Before `bind`, samples are known by their requests alone: no positions, no field `id`."""

    Options: ClassVar[type[protocols.Options]] = RecordedOptions
    local: ClassVar[bool] = True

    def __init__(self, options: RecordedOptions) -> None:
        self._path = Path(options.path)
        self._rows: list[Recorded] | None = None
        self._answers: dict[str, list[str | None]] = {}

    @property
    def pool(self) -> str:
        """One instance for each file."""
        return f"recorded:{self._path.absolute()}"

    def identity(self) -> dict[str, str]:
        """The file's hash. Raises DataError if it cannot be read."""
        try:
            return {"outputs": file_digest(self._path)}
        except OSError as error:
            raise DataError([Problem(display(self._path), "", f"cannot be read ({error.strerror})")]) from error

    def bind(self, samples: Sequence[Sample]) -> None:
        """Say which samples there are, in file order. Raises DataError for bad rows, or outputs that are too few or too many."""
        rows, unique = self._read(), list({sample.id: sample for sample in samples}.values())
        if any(row.id is not None or row.input is not None for row in rows):
            self._answers = _by_name(rows, unique)
            return
        if len(rows) != len(unique):
            found = f"{len(rows):,} outputs for {len(unique):,} test rows, and nothing to tell which is whose"
            raise DataError([Problem(display(self._path), "", found, "Give one for each test row, in its order. " + _FIX)])
        self._answers = {sample.id: [row.output] for sample, row in zip(unique, rows, strict=True)}

    def estimate(self, request: Request) -> float | None:
        """Nothing is paid."""
        return 0.0

    async def generate(self, requests: Sequence[Request]) -> AsyncGenerator[Reply]:
        """The recorded output of each request's sample (its k-th one for repeat k, if there are as many)."""
        strangers = {r.sample_id: Sample(r.sample_id, r.messages, ()) for r in requests if r.sample_id not in self._answers}
        if strangers:
            self._answers |= _by_name(self._read(), list(strangers.values()))
        for request in requests:
            found = self._answers.get(request.sample_id, [None])
            output = found[min(request.repeat, len(found) - 1)]
            if output is not None:
                yield Reply(request.output_id, output, "stop")
            else:
                yield Reply(request.output_id, None, "error", error=f"no recorded output in {display(self._path)}")

    async def close(self) -> None:
        """Forget the file."""
        self._rows, self._answers = None, {}

    def _read(self) -> list[Recorded]:
        if self._rows is None:
            faults = Faults()
            if format_of(self._path) in FORMATS:
                rows = [_recorded(row, faults) for row in read_rows(self._path, faults)]
            else:
                rows = [Recorded(str(row.values["input"])) for row in read_lines({"input": (self._path,)}, faults)]
            faults.check()
            self._rows = rows
        return self._rows


def _recorded(row: Row, faults: Faults) -> Recorded:
    output = row.values.get("output")
    if "output" not in row.values:
        faults.add(row.file, row.line, "has no 'output'", _FIX)
    elif output is not None and not isinstance(output, str):
        faults.add(row.file, row.line, f"'output' is {type(output).__name__}, not text", "Write it as a string")
        output = None
    names = (row.values.get(name) for name in ("id", "input"))
    return Recorded(output, *(None if name is None else str(name) for name in names))


def _by_name(rows: Sequence[Recorded], samples: Sequence[Sample]) -> dict[str, list[str | None]]:
    """Sample id -> its outputs, for the samples that a row names. A row that a surer name has given away is the last resort."""
    answers: dict[str, list[str | None]] = {}
    given: set[int] = set()
    for name_of_row, name_of_sample in _Namings:
        named, sharing = defaultdict(list), defaultdict(list)
        for k, row in enumerate(rows):
            named[name_of_row(row)].append(k)
        for sample in samples:
            if sample.id not in answers:
                sharing[name_of_sample(sample)].append(sample.id)
        taken: set[int] = set()
        for name in sharing.keys() & named.keys() - {None}:
            free = [k for k in named[name] if k not in given] or named[name]
            taken.update(free)
            for k, sample_id in enumerate(sharing[name]):  # the same question twice: the first gets the first output
                mine = free[k :: len(sharing[name])] or free[-1:]
                answers[sample_id] = [rows[k].output for k in mine]
        given |= taken
    return answers
