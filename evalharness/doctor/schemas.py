"""Files whose rows are not all alike: chats beside questions, other columns, columns that a prompt names and some rows lack.

>>> Schemas().drafts(loaded)                                                                           # doctest: +SKIP
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from evalharness.data.files import Row
from evalharness.data.rows import field_names
from evalharness.doctor.drafts import Draft
from evalharness.doctor.findings import SeenRow, Side
from evalharness.prompts import Prompt, variables
from evalharness.reading import LoadedSuite
from evalharness.spec import DataSpec

IDS = ("format.mixed", "format.columns", "format.field")
_RARE = 0.05
"""Below this share of a file's rows, other columns look like a slip."""
_MOST_SHAPES = 1000
Shape = tuple[str, ...]


@dataclass
class _Shape:
    count: int = 0
    rows: array[int] = field(default_factory=lambda: array("Q"))


@dataclass
class Schemas:
    """Counts rows by file, side and columns."""

    _shapes: dict[tuple[str, Side, Shape], _Shape] = field(default_factory=dict)

    def see(self, row: SeenRow) -> None:
        """One row; beyond a thousand sets of columns, rows count as of none."""
        file = row.sample.source.rpartition(":")[0]
        key = (file, row.side, tuple(row.values))
        if key not in self._shapes and len(self._shapes) >= _MOST_SHAPES:
            return
        shape = self._shapes.setdefault(key, _Shape())
        shape.count += 1
        shape.rows.append(row.number)

    def drafts(self, loaded: LoadedSuite) -> Iterator[Draft]:
        """What was found."""
        for file in dict.fromkeys(file for file, _, _ in self._shapes):
            yield from self._of_file(file, loaded.suite.data)
        yield from self._fields(loaded)

    def _of_file(self, file: str, spec: DataSpec) -> Iterator[Draft]:
        shapes = [(shape, found) for (name, _, shape), found in self._shapes.items() if name == file]
        kinds: Counter[str] = Counter()
        for shape, found in shapes:
            kinds[_kind(shape, spec)] += found.count
        if len(kinds) > 1:
            usual = kinds.most_common(1)[0][0]
            odd = [found for shape, found in shapes if _kind(shape, spec) != usual]
            n = sum(found.count for found in odd)
            words = ", ".join(f"{count:,} {name}" for name, count in kinds.most_common())
            rows = sorted(row for found in odd for row in found.rows)
            yield Draft(
                "format.mixed", "warning", n, f"{file} mixes kinds of rows: {words}", "Write one kind a file", [(r, None) for r in rows]
            )
            return
        yield from _other_columns(file, shapes)

    def _fields(self, loaded: LoadedSuite) -> Iterator[Draft]:
        """Columns that a prompt names: rows without them stop a run."""
        prompts: dict[str, tuple[Prompt, list[str]]] = {}
        for label, prompt in loaded.prompts.items():
            if prompt is not None:
                prompts.setdefault(prompt.text, (prompt, []))[1].append(label)
        for prompt, labels in prompts.values():
            wanted = variables(prompt) - {"examples"}
            trained = any(label in loaded.runners for label in labels)
            lacking: dict[str, _Shape] = {}
            for (_, side, shape), found in self._shapes.items():
                if side != "test" and not (trained and side in ("train", "dev")):
                    continue
                for name in wanted - field_names(Row(dict.fromkeys(shape, ""), "", 0), loaded.suite.data):
                    all_of = lacking.setdefault(name, _Shape())
                    all_of.count += found.count
                    all_of.rows += found.rows
            for name, all_of in sorted(lacking.items()):
                where = prompt.source or "the prompt"
                words = f"{all_of.count:,} rows have no {name!r}, which {where} ({', '.join(labels)}) names: a run stops there"
                rows = [(row, None) for row in sorted(all_of.rows)]
                yield Draft("format.field", "error", all_of.count, words, f"Fill the column {name!r} in every row", rows)


def _kind(shape: Shape, spec: DataSpec) -> str:
    def has(name: str) -> bool:
        return any(column in shape for column in spec.fields.get(name, (name,)))

    if has("messages") or has("conversations"):
        return "chats"
    return "prompt and completion" if has("prompt") and not has("input") else "input and target"


def _other_columns(file: str, shapes: list[tuple[Shape, _Shape]]) -> Iterator[Draft]:
    """Rare rows that have more or fewer columns than most of the file."""
    counts: Counter[frozenset[str]] = Counter()
    for shape, found in shapes:
        counts[frozenset(map(str, shape))] += found.count
    usual, total = counts.most_common(1)[0][0], counts.total()
    odd = {columns for columns, count in counts.items() if columns != usual and count < _RARE * total}
    n = sum(counts[columns] for columns in odd)
    if not n:
        return
    differ = Counter({name: sum(counts[c] for c in odd if (name in c) != (name in usual)) for c in odd for name in c ^ usual})
    words = ", ".join(f"{name!r} {'missing' if name in usual else 'added'} in {count:,}" for name, count in differ.most_common(5))
    rows = sorted(row for shape, found in shapes if frozenset(map(str, shape)) in odd for row in found.rows)
    found_words = f"{n:,} {'row' if n == 1 else 'rows'} of {file} have other columns than most: {words}"
    yield Draft("format.columns", "note", n, found_words, "Give all rows of a file the same columns", [(row, None) for row in rows])
