"""The next token of every row: the likeliest, or drawn with the row's own dice.

>>> pick(logits, rows)                                                    # doctest: +SKIP
[17, None]
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from evalharness.models._rows import Row

_BELOW_ONE = 1.0 - 2.0**-22
"""The largest draw: rounded to float32 and scaled, it stays below the last token's cumulated probability."""


def pick(logits: torch.Tensor, rows: Sequence[Row]) -> list[int | None]:
    """A token for each row from logits (rows, vocabulary); None where they are not numbers. Rolls the dice of live rows only."""
    best, tokens = logits.float().max(dim=-1)
    chosen: list[int] = tokens.tolist()
    drawn = [i for i, row in enumerate(rows) if row.finish is None and row.request.sampling.temperature > 0]
    if drawn:
        for i, token in zip(drawn, _draw(logits[drawn], [rows[i] for i in drawn]), strict=True):
            chosen[i] = token
    return [None if math.isnan(value) else token for value, token in zip(best.tolist(), chosen, strict=True)]


def _draw(logits: torch.Tensor, rows: Sequence[Row]) -> list[int]:
    """Inverse of the cumulated distribution, in vocabulary order: no other row's draw or presence moves it."""
    temperature = logits.new_tensor([[row.request.sampling.temperature] for row in rows], dtype=torch.float32)
    chance = (logits.float() / temperature).softmax(dim=-1)
    if any(row.request.sampling.top_p < 1 for row in rows):
        top_p = chance.new_tensor([[row.request.sampling.top_p] for row in rows])
        chance = chance * (chance >= _least_kept(chance, top_p))
    heap = chance.cumsum(dim=-1)
    dice = heap.new_tensor([[min(row.dice.random(), _BELOW_ONE)] for row in rows])
    found = torch.searchsorted(heap, dice * heap[:, -1:], right=True).squeeze(-1)
    return found.clamp(max=logits.shape[-1] - 1).tolist()


def _least_kept(chance: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The probability of the last token kept by nucleus sampling (arXiv 1904.09751), for each row (rows, 1)."""
    falling = chance.sort(dim=-1, descending=True).values
    before = falling.cumsum(dim=-1) - falling
    kept = (before < top_p).sum(dim=-1, keepdim=True)
    return falling.gather(-1, kept - 1)
