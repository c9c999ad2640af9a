"""A row as it was read, and what is wrong with rows.

>>> Row({"input": "2+2?", "target": "4"}, "train.jsonl", 3).where
'train.jsonl:3'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalharness.errors import DataError, Problem


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
