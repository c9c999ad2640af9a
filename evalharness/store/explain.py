"""What the file system and DuckDB say about a store's file, put so that its owner knows what to do.

>>> raise explain(Path("results/evalh.duckdb"), "IO Error: ... No space left on device", wait_s=30)
Traceback (most recent call last):
evalharness.errors.StoreError: results/evalh.duckdb: cannot be written: the disk is full. ... Free some space and run ...
"""

from __future__ import annotations

import re
from pathlib import Path

from evalharness.errors import Problem, StoreError

_EXPLANATIONS = (
    (
        "no space left|disk quota|not enough space|max_temp_directory_size",
        "cannot be written: the disk is full. What was stored before is safe",
        "Free some space and run the same command again; it goes on where it stopped",
    ),
    (
        "version number|newer version of duckdb|storage version",
        "was written by a newer DuckDB than the one installed",
        "Upgrade: pip install -U duckdb",
    ),
    (
        "read-only file system|permission denied|operation not permitted",
        "cannot be written: no permission",
        "Make the folder and the file writable, or give another path for the results",
    ),
    (
        "not a valid duckdb|could not read enough|corrupt|checksum|deserializ|serialization error|wal file|INTERNAL Error",
        "is not a DuckDB file, or it is damaged",
        "Restore a copy, or move it away and run again to start a new one",
    ),
    (
        "unique file handle conflict|already attached",
        "is open in another connection of this Python process",
        "Close that connection first",
    ),
    ("is a directory|not a directory|file exists", "is no file path", "Give the path of a file in a folder"),
    ("out of memory|could not allocate", "cannot be used: not enough memory", "Close other programs and run again"),
)


def problem(path: Path, found: str, fix: str) -> StoreError:
    """A StoreError about the file at `path`."""
    return StoreError([Problem(str(path), "", found, fix)])


def explain(path: Path, said: str, wait_s: float) -> StoreError:
    """The StoreError for a message of DuckDB or the operating system; `wait_s` is how long a lock was waited for."""
    holder = re.search(r"Conflicting lock is held in (\S+) \(PID (\d+)\)", said)
    if holder:
        who = f"{Path(holder[1]).name} (process {holder[2]})"
        return problem(path, f"has been in use by {who} for more than {wait_s:g} s", "Wait until it is done, or stop it")
    for pattern, found, fix in _EXPLANATIONS:
        if re.search(pattern, said, re.IGNORECASE):
            return problem(path, found, fix)
    return problem(path, f"cannot be used: {said.strip().splitlines()[0][:300]}", "")
