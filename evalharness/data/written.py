"""`split:` as files: the rows of each side as JSON Lines, in the input's own columns and order.

>>> write_split(spec, Path("."), Path("data/split"), force=False).files                               # doctest: +SKIP
{'train': PosixPath('data/split/train.jsonl'), 'test': PosixPath('data/split/test.jsonl')}

The input is read twice, so that no more than one row is in memory, and it is only read.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalharness.data.divide import Divided, divide, sentences
from evalharness.data.files import Faults, Row
from evalharness.data.paths import data_root, display, resolve_all
from evalharness.data.samples import Columns, read_samples
from evalharness.data.split import SIDES
from evalharness.errors import ConfigError, DataError, Problem
from evalharness.records import Sample
from evalharness.spec import DataSpec

LEFT_OUT = "left_out"
"""File of rows that are near held-out ones; a line says where the row is, where the other one is, and what the row holds."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: files by side (and LEFT_OUT, if there are such rows), which row went where, sentences, the new `data:`."""

    files: Mapping[str, Path]
    made: Divided
    notes: tuple[str, ...]
    data: Mapping[str, Any]


def write_split(spec: DataSpec, root: Path, folder: Path, *, force: bool) -> Written:
    """Divides `file` by `split` and writes train, dev and test.jsonl into the folder, which is made if need be.

    Raises ConfigError if the suite has no `split`, or if there are such files and `force` is not given, or if one of them is an
    input; DataError for bad rows and an empty test side.
    """
    if spec.split is None:
        fix = "Write {file: all.jsonl, split: {test: 0.2}}; train, dev and test files that are named stay as they are"
        raise ConfigError([Problem("", "data.split", "there is nothing to split", fix)])
    spec = spec.model_copy(update={"train": None, "dev": None, "test": None})
    columns = resolve_all(spec, root)["file"]
    inputs = [path for paths in columns.values() for path in paths]
    _refuse(folder, inputs, force)
    faults, sources = Faults(), list[str]()
    made = divide(_noted(read_samples(spec, columns, faults, strict=True), sources), spec, faults)
    faults.check()
    if not made.sizes["test"]:
        raise DataError([Problem(", ".join(map(display, inputs)), "data.test", "no rows", "Add rows, or raise split.test")])
    files = _write(spec, columns, folder, made, sources)
    return Written(files, made, tuple(sentences(made, spec, sources.__getitem__)), _data(spec, root, files))


def _noted(rows: Iterator[tuple[Row, Sample]], sources: list[str]) -> Iterator[tuple[Row, Sample]]:
    for row, sample in rows:
        sources.append(row.where)
        yield row, sample


def _refuse(folder: Path, inputs: list[Path], force: bool) -> None:
    paths = [folder / f"{name}.jsonl" for name in (*SIDES, LEFT_OUT)]
    there = [path for path in paths if path.exists()]
    read = [path for path in there if any(path.samefile(each) for each in inputs)]
    if read:
        raise ConfigError([Problem(display(path), "--out", "is what the split reads", "Name another folder") for path in read])
    if there and not force:
        raise ConfigError([Problem(display(path), "--out", "is there already", "Name another folder, or --force") for path in there])
    if folder.exists() and not folder.is_dir():
        raise ConfigError([Problem(display(folder), "--out", "is a file", "Name a folder")])


def _write(spec: DataSpec, columns: Columns, folder: Path, made: Divided, sources: Sequence[str]) -> Mapping[str, Path]:
    """New files take the place of old ones when all are written; old ones that have no new one go."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [side for side in SIDES if made.sizes[side]] + [LEFT_OUT] * bool(made.left_out)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".split-") as new, ExitStack() as opened:
        files = {name: opened.enter_context((Path(new) / name).open("w", encoding="utf-8")) for name in names}
        for k, (row, _) in enumerate(read_samples(spec, columns, Faults(), strict=True)):
            if k in made.left_out:
                torn = {"source": sources[k], "near": sources[made.left_out[k]], "row": dict(row.values)}
                files[LEFT_OUT].write(_line(torn))
            else:
                files[made.sides[k]].write(_line(row.values))
        opened.close()
        for name in (*SIDES, LEFT_OUT):
            (folder / f"{name}.jsonl").unlink(missing_ok=True)
        for name in names:
            (Path(new) / name).replace(folder / f"{name}.jsonl")
    return {name: folder / f"{name}.jsonl" for name in names}


def _line(values: Mapping[str, Any]) -> str:
    """JSON has no NaN, which Parquet has: null."""
    try:
        return json.dumps(values, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    except ValueError:
        return json.dumps(_finite(values), ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _data(spec: DataSpec, root: Path, files: Mapping[str, Path]) -> Mapping[str, Any]:
    """The suite's `data:` with the files in place of `file` and `split`."""
    rest = spec.model_dump(mode="json", exclude_defaults=True, exclude={"file", "split"})
    folder = data_root(spec, root)
    named: dict[str, Any] = {side: _below(files[side], folder) for side in SIDES if side in files}
    if "fields" in rest:
        rest["fields"] = {name: columns[0] if len(columns) == 1 else columns for name, columns in rest["fields"].items()}
    first: dict[str, Any] = {"root": rest.pop("root")} if "root" in rest else {}
    return first | named | rest


def _below(path: Path, folder: Path) -> str:
    """The path as data.root wants it."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)
