"""Where the data files of a suite are: environment variables, the data root, and what is missing.

>>> expand("${EVALH_NO_SUCH_VARIABLE:-data}/train.jsonl")
'data/train.jsonl'
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from evalharness.data.remote import address_of, copy_of, fetched, is_remote, without_secrets
from evalharness.data.tables import is_saved_dataset, splits_of
from evalharness.errors import ConfigError, Problem
from evalharness.spec import DataSpec, Source

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def expand(text: str) -> str:
    """`${NAME}` and `${NAME:-default}` replaced from the environment; an empty variable counts as not set.

    Raises ConfigError for a variable that is not set and has no default.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]
        if found is None:
            fix = f"Set it, or write ${{{match[1]}:-default}}"
            raise ConfigError([Problem("", "", f"the environment variable {match[1]} is not set", fix)])
        return found

    return _VARIABLE.sub(value, text)


def display(path: Path) -> str:
    """The path as people read it: relative to the current folder where that is shorter; of a fetched file, its address."""
    if address := address_of(path):
        return address
    absolute = os.path.abspath(path)
    return min(os.path.relpath(absolute), absolute, key=len)


def data_root(spec: DataSpec, root: Path) -> Path:
    """The folder that data files are relative to. Raises ConfigError (key `root`) for an unset variable, or an address."""
    try:
        folder = expand(spec.root)
    except ConfigError as error:
        raise ConfigError([Problem("", "root", problem.found, problem.fix) for problem in error.problems]) from None
    if is_remote(folder):
        raise ConfigError([Problem("", "root", f"{without_secrets(folder)} is no folder here", "Write whole addresses as file names")])
    return (root / Path(folder).expanduser()).resolve()


def format_of(path: Path) -> str:
    """The suffix that names the format, `.gz` left aside; empty if there is none."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def sources(spec: DataSpec) -> Iterator[tuple[str, Source]]:
    """(key, source) of every set of rows that the suite reads: `file`, unless test files are named."""
    for key in ("file",) if spec.divides else ("train", "dev", "test"):
        source: Source | None = getattr(spec, key)
        if source is not None:
            yield key, source


def resolve(key: str, name: str, folder: Path, *, rows: bool) -> Path:
    """The existing file called `name` below `folder`; `rows` says that its suffix has to name a format. An address is fetched.

    Raises ConfigError (file "", the given key) with the nearest file name if there is none.
    """
    try:
        name = expand(name)
        if is_remote(name):
            if rows and (problem := _unknown(copy_of(name))):
                raise ConfigError([Problem("", "", *problem)])
            return fetched(name)
        path = folder / Path(name).expanduser()
    except ConfigError as error:
        raise ConfigError([Problem("", key, problem.found, problem.fix) for problem in error.problems]) from None
    if problem := _unusable(path, rows=rows):
        raise ConfigError([Problem("", key, *problem)])
    return path


def _unusable(path: Path, *, rows: bool) -> tuple[str, str] | None:
    if path.is_dir():
        return None if rows and is_saved_dataset(path) else _folder(path, rows=rows)
    if not path.is_file():
        return f"there is no file {display(path)}", _nearest(path)
    if not os.access(path, os.R_OK):
        return f"{display(path)} cannot be read", "Check its permissions"
    return _unknown(path) if rows else None


def _unknown(path: Path) -> tuple[str, str] | None:
    if format_of(path) in FORMATS and not path.name.endswith(".parquet.gz"):
        return None
    return f"{path.name!r} has no known format", f"Known: {', '.join(FORMATS)}, the text ones also with .gz"


def _folder(path: Path, *, rows: bool) -> tuple[str, str]:
    if rows and (names := splits_of(path)):
        return (
            f"{display(path)} holds {len(names)} data sets",
            f"Name one of them: {', '.join(f'{path.name}/{each}' for each in names[:10])}",
        )
    return f"{display(path)} is a folder", "Name a file, or a folder that datasets' save_to_disk wrote" if rows else "Name a file"


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {display(path.parent)} either. Paths are relative to data.root (or --data), that to the workspace"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir() if p.is_file()], n=1)
    return f"Did you mean {near[0]!r}?" if near else "Paths are relative to data.root, and that to the workspace"


def resolve_all(spec: DataSpec, root: Path) -> Mapping[str, Mapping[str, tuple[Path, ...]]]:
    """Split -> column -> files; rows in files stand under the column "". Raises ConfigError with every missing file."""
    folder = data_root(spec, root)
    found: dict[str, dict[str, tuple[Path, ...]]] = {}
    problems: list[Problem] = []
    for key, source in sources(spec):
        wanted = {"": source.files} if source.files else dict(source.lines)
        found[key] = {}
        for column, names in wanted.items():
            where = f"{key}.lines.{column}" if column else key
            found[key][column] = tuple(_each(where, names, folder, problems, rows=not column))
    if problems:
        raise ConfigError(problems)
    return found


def _each(key: str, names: tuple[str, ...], folder: Path, problems: list[Problem], *, rows: bool) -> Iterator[Path]:
    for i, name in enumerate(names):
        try:
            yield resolve(key if len(names) == 1 else f"{key}[{i}]", name, folder, rows=rows)
        except ConfigError as error:
            problems.extend(error.problems)
