"""What is kept of each row: number, side and hashes of its texts. 61 bytes a row, however long the text.

>>> mark("yes") == mark("yes"), mark("yes") == mark("no")
(True, False)
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evalharness.data.leaks import exact_key, input_key, input_words, normal, squeezed, words
from evalharness.doctor.findings import SeenRow, Side
from evalharness.records import Sample

SIDES: tuple[Side, ...] = ("train", "dev", "test", "logs")
HEAD = 4
"""Words by which inputs are looked up in a prompt's text; shorter inputs stand in too many texts by chance."""
_LABELS = 0.1
_SIGNS = str.maketrans(dict.fromkeys("<>=|~^`→⇒➔➜▶", " "))
Marks = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.intp]


def mark(text: str) -> int:
    """64 bits of BLAKE2b: two of a million different texts have the same with a chance of 1 in 37 million."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def bare(plain: str) -> list[str]:
    """The words of a normalised text, as prompts are searched: signs that set off texts (<q>, |, =>) count as space."""
    return words(plain.translate(_SIGNS))


def head(key: str) -> int:
    """The mark of the first four words of a normalised text; 0 if it has fewer."""
    first = bare(key)[:HEAD]
    return mark(" ".join(first)) if len(first) == HEAD else 0


def target_key(sample: Sample) -> str:
    """Accepted answers, normalised and squeezed, in any order; empty without targets."""
    return "\n".join(sorted({squeezed(normal(target)) for target in sample.targets}))


class Index:
    """Rows in the order they were added; position k of every array is the k-th row."""

    def __init__(self) -> None:
        self._number, self._side = array("Q"), array("B")
        self._exact, self._plain, self._target, self._group = array("Q"), array("Q"), array("Q"), array("Q")
        self._head, self._id = array("Q"), bytearray()

    def __len__(self) -> int:
        return len(self._number)

    def add(self, row: SeenRow) -> None:
        """Keep the row's hashes."""
        sample = row.sample
        self._number.append(row.number)
        self._side.append(SIDES.index(row.side))
        self._exact.append(mark(exact_key(sample)))
        self._plain.append(mark(input_key(sample)))
        self._head.append(head(input_words(sample)))
        self._target.append(mark(target_key(sample)) if sample.targets else 0)
        self._group.append(mark(sample.cluster) if sample.cluster is not None else 0)
        self._id += bytes.fromhex(sample.id)

    @property
    def number(self) -> Marks:
        """The rows' numbers in the suite."""
        return np.asarray(self._number, np.uint64)

    @property
    def side(self) -> npt.NDArray[np.uint8]:
        """Place in SIDES."""
        return np.asarray(self._side, np.uint8)

    @property
    def exact(self) -> Marks:
        """The input, letter by letter."""
        return np.asarray(self._exact, np.uint64)

    @property
    def plain(self) -> Marks:
        """The input, normalised and squeezed."""
        return np.asarray(self._plain, np.uint64)

    @property
    def target(self) -> Marks:
        """The accepted answers, normalised; 0 for none."""
        return np.asarray(self._target, np.uint64)

    @property
    def head(self) -> Marks:
        """The first words of the normalised input; see `head`."""
        return np.asarray(self._head, np.uint64)

    def id(self, position: int) -> str:
        """The sample's id as if it were the first with its content."""
        return self._id[12 * position : 12 * position + 12].hex()

    @property
    def group(self) -> Marks:
        """The cluster; 0 for none."""
        return np.asarray(self._group, np.uint64)


def has_labels(index: Index) -> bool:
    """Whether answers are labels: at most a tenth as many different ones as rows."""
    answered = index.target[index.target != 0]
    return len(answered) > 0 and len(np.unique(answered)) <= _LABELS * len(answered)


def on(index: Index, side: Side) -> Rows:
    """Positions of a side's rows, in order."""
    return np.flatnonzero(index.side == SIDES.index(side))


def repeats(marks: Sequence[Marks], rows: Rows) -> tuple[Rows, Rows]:
    """(later, first): each of the rows that equals an earlier one in all marks, and the first such one; by position."""
    if not len(rows):
        return rows, rows
    table = np.column_stack([each[rows] for each in marks])
    _, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    earliest = first[inverse.reshape(-1)]
    later = np.flatnonzero(earliest != np.arange(len(rows)))
    return rows[later], rows[earliest[later]]


def shared(marks: Marks, rows: Rows, others: Rows) -> tuple[Rows, Rows]:
    """(row, other): each of the rows whose mark one of the others has, and the first such other; by position. Mark 0 is none."""
    if not len(rows) or not len(others):
        return rows[:0], others[:0]
    values, first = np.unique(marks[others], return_index=True)
    at = np.minimum(np.searchsorted(values, marks[rows]), len(values) - 1)
    hit = np.flatnonzero((values[at] == marks[rows]) & (marks[rows] != 0))
    return rows[hit], others[first[at[hit]]]
