"""One request on its way through a batch, and which requests share a prompt's beginning.

>>> row = Row(request, [1, 2, 3], limit=16, ends=frozenset({2}))          # doctest: +SKIP
>>> row.take(17, tokenizer)                                               # doctest: +SKIP
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evalharness.ids import digest
from evalharness.records import Finish, Request

_BLOCK = 16
_WORTH = 32
"""Shared tokens a row must save on average for sharing to beat one more forward pass."""


@dataclass(slots=True)
class Row:
    """A request with its prompt's token ids.

    `limit` is the most tokens it may get and `ends` the tokens that end it; its first `shared` tokens are those of its `group`.
    """

    request: Request
    prompt: list[int]
    limit: int
    ends: frozenset[int]
    shared: int = 0
    group: int = 0
    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    finish: Finish | None = None
    text: str = ""
    error: str | None = None
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.again()

    @property
    def size(self) -> int:
        """Columns of cache this row may come to need for itself."""
        return len(self.prompt) - self.shared + self.limit

    def again(self) -> None:
        """Back to before the first token, dice included."""
        self.ids, self.finish, self.text, self.error = [], None, "", None
        request = self.request  # arms share a sample's dice, so that their difference is less noisy
        self.dice = random.Random(digest([request.sampling.seed, request.sample_id, request.repeat]))

    def fail(self, error: str) -> None:
        """End as an error."""
        self.finish, self.error = "error", error

    def take(self, token: int, tokenizer: Any) -> None:
        """Add a token; sets `finish` and `text` if that ends the answer."""
        self.ids.append(token)
        if token in self.ends:
            self._end("stop", tokenizer, self.ids[:-1])
        elif self.request.sampling.stop and self._stopped(tokenizer):
            self._end("stop", tokenizer, self.ids)
        elif len(self.ids) >= self.limit:
            self._end("length", tokenizer, self.ids)

    def _stopped(self, tokenizer: Any) -> bool:
        """Whether a stop string is in the newest text. A token is at least a byte, so few of them can hold it."""
        tail = 4 + max(len(stop.encode()) for stop in self.request.sampling.stop)
        text = plain(tokenizer, self.ids[-tail:])
        return any(stop in text for stop in self.request.sampling.stop)

    def _end(self, finish: Finish, tokenizer: Any, ids: Sequence[int]) -> None:
        self.finish, self.text = finish, plain(tokenizer, ids)
        starts = [self.text.find(stop) for stop in self.request.sampling.stop if stop in self.text]
        if starts:
            self.text = self.text[: min(starts)]


def plain(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, special tokens left out, blanks as they are."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def share(rows: Sequence[Row]) -> None:
    """Set every row's `shared` and `group`: rows of a group have an adapter and their first `shared` tokens in common.

    Prompts are compared in blocks of tokens, as a trie. A row takes the depth at which its share of the work that is
    done once (depth · (1 - 1/rows)) is largest: an arm's instructions and examples, not two inputs' chance likeness.
    """
    nodes: dict[tuple[int, object], int] = {}
    paths: list[list[int]] = []
    for row in rows:
        path = [nodes.setdefault((-1, row.request.adapter), len(nodes))]
        for start in range(0, len(row.prompt) - _BLOCK, _BLOCK):
            path.append(nodes.setdefault((path[-1], tuple(row.prompt[start : start + _BLOCK])), len(nodes)))
        paths.append(path)
    counts = Counter(node for path in paths for node in path)
    for row, path in zip(rows, paths, strict=True):
        saved = [_BLOCK * depth * (1 - 1 / counts[node]) for depth, node in enumerate(path)]
        depth = max(range(len(path)), key=saved.__getitem__)
        depth = depth if saved[depth] >= _WORTH else 0
        row.shared, row.group = _BLOCK * depth, path[depth]
