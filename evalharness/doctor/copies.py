"""Cleaned copies of a suite's data files, each in its own format: rows taken out, texts mended, everything else as it was.

>>> fixed(loaded, examine(loaded), Path("clean")).removed                                              # doctest: +SKIP
57

The input is only read. Every row that was changed or taken out is a line of OUT/changes.jsonl: file, line, what, and by which rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from evalharness.data.paths import display, resolve_all
from evalharness.data.stream import Fault, Streamed, stream
from evalharness.doctor.encoding import mended
from evalharness.doctor.examine import Examination, needs_targets
from evalharness.doctor.writers import Lines, Writer, writer_of
from evalharness.errors import ConfigError, Problem
from evalharness.reading import LoadedSuite

LOG = "changes.jsonl"
DEEPEST = 100
"""Levels of nesting up to which texts inside a row are cleaned; a deeper row is taken out."""
Clean = Callable[[str], tuple[str, int]]
"""A text -> the clean text and how many things in it were replaced."""


@dataclass(frozen=True, slots=True)
class Copies:
    """What was written: the files, and how many rows were taken out and changed."""

    files: tuple[Path, ...]
    removed: int
    changed: int


class _TooDeep(Exception):
    """A row nested beyond DEEPEST."""


def fixed(loaded: LoadedSuite, seen: Examination, out: Path) -> Copies:
    """Copies without the rows that findings would take out (what `data.allow` allows stays), wrong encodings mended.

    Raises ConfigError unless `out` is a folder to be made, or an empty one.
    """
    removed: dict[int, list[str]] = {}
    for finding in seen.findings:
        for number in finding.rows if finding.allowed is None else ():
            removed.setdefault(number, []).append(finding.rule)
    keep_encoding = "format.encoding" in loaded.suite.data.allow
    return _copy(loaded, out, removed, None if keep_encoding else _mend, "format.encoding")


def redacted(loaded: LoadedSuite, out: Path) -> Copies:
    """Copies in which keys and personal data are placeholders. Raises ConfigError as `fixed` does.

    A row that cannot be read, and could hold anything, is left out.
    """
    from evalharness.doctor.secrets import redact

    return _copy(loaded, out, {}, redact, "redact")


def _mend(text: str) -> tuple[str, int]:
    clean = mended(text)
    return clean, int(clean != text)


def _copy(loaded: LoadedSuite, out: Path, removed: Mapping[int, list[str]], clean: Clean | None, why: str) -> Copies:
    with ExitStack() as stack:
        try:
            writers = _open(loaded, out, stack)
            log = stack.enter_context((out / LOG).open("w", encoding="utf-8"))
            counts = {"removed": 0, "changed": 0}
            for each in stream(loaded.suite.data, loaded.root, answered=needs_targets(loaded), wanted=lambda number: False):
                _one(each, writers, removed, clean, why, log, counts)
        except OSError as error:
            raise ConfigError([Problem(str(out), "", f"cannot be written: {error.strerror}", "Name another folder")]) from None
    made = tuple(path for writer in dict.fromkeys(writers.values()) for path in writer.paths)
    return Copies((*made, out / LOG), counts["removed"], counts["changed"])


def _open(loaded: LoadedSuite, out: Path, stack: ExitStack) -> dict[str, Writer]:
    """A writer for every file by the name that rows carry."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError([Problem(str(out), "", "is there already", "Name a folder that is not there, or an empty one")])
    found: dict[str, Writer] = {}
    taken: dict[Path, Path] = {}
    for columns in resolve_all(loaded.suite.data, loaded.root).values():
        for path in (path for paths in columns.values() for path in paths):
            copy = out / _name(path, loaded.data_root)
            if copy in taken or copy == out / LOG:
                found_again = "is named twice" if taken.get(copy) == path else f"would be written over {display(taken.get(copy, copy))}"
                raise ConfigError([Problem(display(path), "", found_again, "Give every set of rows a file name of its own")])
            taken[copy] = path
            copy.parent.mkdir(parents=True, exist_ok=True)
        targets = {path: copy for copy, path in taken.items()}
        if "" in columns:
            found |= {display(path): stack.enter_context(writer_of(path, targets[path])) for path in columns[""]}
        else:
            copies = {column: [targets[path] for path in paths] for column, paths in columns.items()}
            found[display(columns["input"][0])] = stack.enter_context(Lines(copies))
    return found


def _name(path: Path, root: Path) -> Path:
    """The file's place in the copy: as below the data's folder, or its bare name if it lies elsewhere."""
    absolute = path.resolve()
    return absolute.relative_to(root.resolve()) if absolute.is_relative_to(root.resolve()) else Path(path.name)


def _one(
    each: Streamed, writers: Mapping[str, Writer], removed: Mapping[int, list[str]], clean: Clean | None, why: str,
    log: IO[str], counts: dict[str, int],
) -> None:  # fmt: skip
    """One row into its copy, or out of it."""
    if each.row is None:
        fault = each.sample
        assert isinstance(fault, Fault)  # nothing was read
        if fault.line:
            writers[fault.file].drop(fault.line)
        _note(log, counts, "removed", fault.file, fault.line, removed.get(each.number, ["format.unreadable"]), found=fault.found)
        return
    row = each.row
    if each.number in removed:
        writers[row.file].drop(row.line)
        _note(log, counts, "removed", row.file, row.line, removed[each.number])
        return
    try:
        values, times = _cleaned(row.values, clean) if clean is not None else (row.values, 0)
    except _TooDeep:
        writers[row.file].drop(row.line)
        _note(log, counts, "removed", row.file, row.line, [why], found=f"nested deeper than {DEEPEST} levels")
        return
    writers[row.file].keep(row.line, values, changed=times > 0)
    if times:
        _note(log, counts, "changed", row.file, row.line, [why], times=times)


def _note(log: IO[str], counts: dict[str, int], action: str, file: str, line: int, rules: list[str], **more: object) -> None:
    counts[action] += 1
    log.write(json.dumps({"file": file, "line": line, "action": action, "rules": rules, **more}) + "\n")


def _cleaned(values: Mapping[str, Any], clean: Clean) -> tuple[dict[str, Any], int]:
    """The row with every text in it clean, and how many things were replaced."""
    count = 0

    def each(value: Any, depth: int) -> Any:
        nonlocal count
        if depth > DEEPEST:
            raise _TooDeep
        if isinstance(value, dict):
            return {key: each(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            return [each(inner, depth + 1) for inner in value]
        if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int)):
            return value
        text, times = clean(str(value))
        count += times
        return text if times else value

    return {key: each(value, 0) for key, value in values.items()}, count


def changes(out: Path) -> Iterator[dict[str, Any]]:
    """The log of a folder of copies, line by line."""
    with (out / LOG).open(encoding="utf-8") as file:
        yield from map(json.loads, file)
