"""Sides and choices by content hash: a row keeps its side for ever, whatever is added, removed or reordered.

>>> side("2 2", Split(test=0.2, dev=0.1)) == side("2 2", Split(test=0.2, dev=0.1))
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from evalharness.records import Sample
from evalharness.spec import Split

Side = Literal["train", "dev", "test"]
SIDES: tuple[Side, ...] = ("train", "dev", "test")


def rank(seed: int, text: str) -> float:
    """A number in [0, 1) that depends on nothing but seed and text."""
    sha = hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(sha.digest()[:6]) / (1 << 48)


def side(group: str, split: Split) -> Side:
    """Where every row of the group goes. A larger `test` share only moves rows into test, never out of it."""
    place = rank(split.seed, group)
    if place < split.test:
        return "test"
    return "dev" if place >= 1 - split.dev else "train"


def choose(samples: Sequence[Sample], n: int | None, seed: int) -> tuple[Sample, ...]:
    """At most n samples by hash of their content, in file order; all if n is None."""
    if n is None or n >= len(samples):
        return tuple(samples)
    kept = set(sorted(range(len(samples)), key=lambda i: (rank(seed, samples[i].id), i))[:n])
    return tuple(sample for i, sample in enumerate(samples) if i in kept)
