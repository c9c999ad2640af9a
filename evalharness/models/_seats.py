"""Rows of a batch grouped by what they have in common, so that each group goes through its own matrix, all at once.

>>> seats = Seats.of(["a", None, "b", "a"], "cpu")
>>> seats.distinct, seats.rows.tolist(), seats.places.tolist()
(['a', 'b'], [[0, 3], [2, 2]], [0, 0, 2, 1])
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Seats(Generic[K]):
    """`rows` (groups, most) are row numbers, filled up with any; `places` (rows,) where each row is among them.

    `seated` (rows,) is false for rows without a group, whose place means nothing; None: all have one.
    """

    distinct: list[K]
    rows: torch.Tensor
    places: torch.Tensor
    seated: torch.Tensor | None

    @staticmethod
    def of(keys: Sequence[K | None], device: str | torch.device) -> Seats[K]:
        """One group for each key that is not None, in order of appearance."""
        members: dict[K, list[int]] = {}
        for row, key in enumerate(keys):
            if key is not None:
                members.setdefault(key, []).append(row)
        most = max(map(len, members.values()), default=0)
        places = {row: at * most + i for at, rows in enumerate(members.values()) for i, row in enumerate(rows)}
        return Seats(
            list(members),
            torch.tensor([rows + rows[:1] * (most - len(rows)) for rows in members.values()], device=device),
            torch.tensor([places.get(row, 0) for row in range(len(keys))], device=device),
            None if len(places) == len(keys) else torch.tensor([key is not None for key in keys], device=device),
        )
