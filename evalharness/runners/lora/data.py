"""Training rows as token ids: encoded once, put in order by the seed, cut into passes with next to no padding.

>>> passes([Example((1, 2), 1, False), Example((1, 2, 3), 1, False), Example((1,) * 90, 1, False)], PassCost(10.0, 4096, 4096))
[[2], [1, 0]]
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalharness.causal import Example, encode_example
from evalharness.errors import ConfigError, DataError, Problem
from evalharness.records import Message

if TYPE_CHECKING:
    import torch

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class PassCost:
    """What decides the passes: `overhead` of one pass in tokens' worth of time, and the most `tokens` and `labels` in one."""

    overhead: float
    tokens: int
    labels: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Rows padded on the right: `ids` (rows, length), `where` (rows, length) marks the positions that predict `labels` (n,)."""

    ids: torch.Tensor
    where: torch.Tensor
    labels: torch.Tensor


def encode(tokenizer: Any, chats: Sequence[Sequence[Message]], max_length: int, split: str) -> list[Example]:
    """Every chat as token ids. Raises DataError naming the rows whose answer would be cut off entirely, or be empty."""
    examples, problems = [], []
    for number, chat in enumerate(chats, 1):
        try:
            example = encode_example(tokenizer, chat, max_length)
        except ConfigError as error:
            problems.append(Problem(split, f"row {number}", str(error)))
            continue
        examples.append(example)
        if example.answer_start >= len(example.ids):
            problems.append(Problem(split, f"row {number}", f"its prompt alone fills max_length ({max_length} tokens)", "Raise max_length"))
    if problems:
        more = [Problem(split, "", f"and {len(problems) - _SHOWN} more such rows")] if len(problems) > _SHOWN else []
        raise DataError([*problems[:_SHOWN], *more])
    return examples


def answer_tokens(rows: Sequence[Example]) -> int:
    """How many tokens carry loss."""
    return sum(len(row.ids) - row.answer_start for row in rows)


def step_rows(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Row numbers of optimizer step `step` (from 0): each epoch is its own permutation; its last batch may be smaller."""
    epoch, place = divmod(step, math.ceil(count / batch_size))
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order[place * batch_size : (place + 1) * batch_size]


def passes(rows: Sequence[Example], cost: PassCost) -> list[list[int]]:
    """Row numbers of each pass: the split of the rows, sorted by length, with the least padding plus overhead.

    Dynamic programming over the split points; a row that alone is over a limit is a pass of its own.
    """
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), i))
    best, cut = [0.0] + [math.inf] * len(order), [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        labels = 0
        for start in range(end - 1, -1, -1):
            row = rows[order[start]]
            labels += len(row.ids) - row.answer_start
            tokens = (end - start) * len(row.ids)
            if end - start > 1 and (tokens > cost.tokens or labels > cost.labels):
                break
            if best[start] + tokens + cost.overhead < best[end]:
                best[end], cut[end] = best[start] + tokens + cost.overhead, start
    found, end = [], len(order)
    while end:
        found.append(order[cut[end] : end])
        end = cut[end]
    return found[::-1]


def collate(rows: Sequence[Example], device: str) -> Pass:
    """Pad rows to one pass. No attention mask is needed: in a causal model nothing looks at what stands on its right."""
    import torch

    length = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[0] * (length - len(row.ids))] for row in rows])
    where = torch.zeros(ids.shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        where[i, row.answer_start - 1 : len(row.ids) - 1] = True
    labels = torch.tensor([token for row in rows for token in row.ids[row.answer_start :]])
    return Pass(ids.to(device), where.to(device), labels.to(device))
