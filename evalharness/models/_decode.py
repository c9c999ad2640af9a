"""Batched decoding: rows come and go, prompts' common beginnings are computed once, finished rows stop costing.

>>> batch = Batch(engine, rows, most_rows=32, most_tokens=32768)          # doctest: +SKIP
>>> while batch.busy:                                                     # doctest: +SKIP
...     print([row.text for row in batch.advance()])

What a row is answered does not depend on the rows beside it (up to the floating-point order of sums).
"""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache

from evalharness.errors import RunError
from evalharness.models._adapters import Adapters
from evalharness.models._attention import Layers, Shared, adopt, seat, sharing
from evalharness.models._cache import Part, empty, join, joinable, slides, written
from evalharness.models._pick import pick
from evalharness.models._rows import Row, share

_PREFILL = 4096
"""Prompt tokens, padding included, that go through the model at once."""
_WASTE = {"cpu": 64}
"""Padding that is cheaper than one more forward pass, in tokens; elsewhere than on a CPU, much more is."""


class Engine:
    """A loaded model and what never changes about it: how to call it, which tokens end an answer, its adapters."""

    def __init__(self, model: Any, tokenizer: Any, device: str, ends: frozenset[int]) -> None:
        self.model, self.tokenizer, self.device, self.ends = model, tokenizer, device, ends
        self.adapters = Adapters(model, device)
        self.joinable = joinable(model)
        self.shares = self.joinable and not slides(model) and adopt(model)
        known = inspect.signature(model.forward).parameters
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._positions = "position_ids" in known
        self._cache = "past_key_values" if "past_key_values" in known else "cache_params"  # as state-space models call it

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Cache, shared: Shared | None = None
    ) -> torch.Tensor:
        """Run (rows, new) token ids on top of the cache; mask (rows, cached + new). Logits (rows, vocabulary) of the last token.

        Beginnings in `shared`, known to neither cache nor mask, go before their rows.
        """
        more: dict[str, Any] = {**self._last, self._cache: cache}
        if self._positions:
            more["position_ids"] = positions
        if self.joinable:  # a row alone has no padding, and recurrent layers take a mask for the new tokens only
            more["attention_mask"] = mask
        with sharing(shared):
            found = self.model(input_ids=ids, use_cache=True, **more)
        return found.logits[:, -1]  # type: ignore[no-any-return]


@dataclass(slots=True)
class _Table:
    """Rows that decode together: cache column mask (rows, width), next token and its position (rows,)."""

    rows: list[Row]
    cache: Cache
    mask: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    shared: Shared | None = None

    @property
    def live(self) -> list[int]:
        return [i for i, row in enumerate(self.rows) if row.finish is None]


class Batch:
    """Answers rows, at most `most_rows` and about `most_tokens` of cache at a time. `advance` until it is not `busy`."""

    def __init__(self, engine: Engine, rows: Sequence[Row], *, most_rows: int, most_tokens: int) -> None:
        self._engine = engine
        if engine.shares:
            share(rows)
        adapters = {row.request.adapter: i for i, row in reversed(list(enumerate(rows)))}
        order = sorted(rows, key=lambda row: (adapters[row.request.adapter], row.group, -len(row.prompt)))
        self._queue: deque[Row] = deque(order)
        self._most_rows = self._limit = most_rows if engine.joinable else 1
        self._most_tokens = most_tokens
        self._table: _Table | None = None
        self._flight: list[Row] = []
        self._beginnings: dict[int, Layers] = {}
        self._stopped = False

    @property
    def busy(self) -> bool:
        """Whether rows are left."""
        return not self._stopped and bool(self._queue or self._flight)

    def stop(self) -> None:
        """End at the next token; what is not done stays undone. May be called from another thread."""
        self._stopped = True

    @torch.inference_mode()
    def advance(self) -> list[Row]:
        """Work until a row is done; the rows that are. A failed forward pass halves the batch, and at one row fails that row."""
        failed = ""
        try:
            while self.busy and all(row.finish is None for row in self._flight):
                if not (self._wants_rows() and self._admit()):
                    self._step()
        except (RuntimeError, IndexError, RunError) as error:  # out of memory, an unknown token, an adapter that is gone
            failed = f"{type(error).__name__}: {error}"
        if failed:
            self._retreat(failed)
        done = [row for row in self._flight if row.finish is not None]
        self._flight = [row for row in self._flight if row.finish is None]
        return done

    def _wants_rows(self) -> bool:
        free = self._limit - len(self._flight)
        return bool(self._queue) and (not self._flight or free >= max(1, self._limit // 4))

    def _admit(self) -> bool:
        """Take rows from the queue, read their prompts, and let them decode beside the ones that are there."""
        began = time.perf_counter()
        drawn = self._draw()
        self._flight += drawn
        new = [row for row in drawn if self._dress(row)]
        tables = [self._prefill(rows) for rows in _chunks(new, _WASTE.get(self._engine.device, 2048))]
        self._table = _merged([*([self._table] if self._table else []), *tables])
        needed = {row.group for row in (*(self._table.rows if self._table else []), *list(self._queue)[:1])}
        self._beginnings = {group: layers for group, layers in self._beginnings.items() if group in needed}
        _charge(new, began)
        return bool(drawn)

    def _draw(self) -> list[Row]:
        new: list[Row] = []
        widest = max((row.size for row in self._flight), default=0)
        while self._queue and len(self._flight) + len(new) < self._limit:
            widest = max(widest, self._queue[0].size)
            rows = len(self._flight) + len(new) + 1
            if rows > 1 and rows * widest > self._most_tokens:
                break
            new.append(self._queue.popleft())
        return new

    def _dress(self, row: Row) -> bool:
        """Have the row's adapter in memory; a row whose adapter cannot be used fails."""
        adapter = row.request.adapter
        if adapter is None:
            return True
        seated = self._table.rows if self._table else []
        self._engine.adapters.trim(other.request.adapter for other in (*self._flight, *seated))
        try:
            self._engine.adapters.load(adapter)
        except RunError as error:
            row.fail(f"invalid candidate: {error}")
        return row.finish is None

    def _prefill(self, rows: Sequence[Row]) -> _Table:
        """Read the prompts of these rows, side by side, and pick their first tokens."""
        tails = [row.prompt[row.shared :] for row in rows]
        width = max(map(len, tails))
        mask = self._tensor([[False] * (width - len(tail)) + [True] * len(tail) for tail in tails])
        ids = self._tensor([[0] * (width - len(tail)) + tail for tail in tails])
        last = self._tensor([len(row.prompt) - 1 for row in rows])
        positions = (last[:, None] + torch.arange(1 - width, 1, device=last.device)).clamp(min=0)
        cache, shared = empty(self._engine.model), self._shared(rows)
        self._engine.adapters.wear([row.request.adapter for row in rows])
        logits = self._engine.forward(ids, mask, positions, cache, shared)
        return _Table(list(rows), cache, mask, self._give(rows, logits), last + 1, shared)

    def _shared(self, rows: Sequence[Row]) -> Shared | None:
        return seat([self._beginning(row) if row.shared else None for row in rows])

    def _beginning(self, row: Row) -> Layers:
        """Keys and values of the row's shared beginning, computed when its group first comes."""
        if row.group not in self._beginnings:
            cache = empty(self._engine.model)
            ids = self._tensor([row.prompt[: row.shared]])
            positions = torch.arange(row.shared, device=self._engine.device)[None]
            self._engine.adapters.wear([row.request.adapter])
            self._engine.forward(ids, torch.ones_like(ids, dtype=torch.bool), positions, cache)
            self._beginnings[row.group] = written(cache)
        return self._beginnings[row.group]

    def _step(self) -> None:
        """One more token for every row."""
        began = time.perf_counter()
        table = self._table = _merged([self._table] if self._table else [])
        assert table is not None  # a row in flight is in the table
        live = [table.rows[i] for i in table.live]
        if table.shared is None and any(row.shared for row in table.rows):
            table.shared = self._shared(table.rows)
        self._engine.adapters.wear([row.request.adapter for row in table.rows])
        table.mask = torch.cat([table.mask, table.mask.new_ones(len(table.rows), 1)], dim=1)
        logits = self._engine.forward(table.tokens[:, None], table.mask, table.positions[:, None], table.cache, table.shared)
        table.tokens = self._give(table.rows, logits)
        table.positions += 1
        _charge(live, began)

    def _give(self, rows: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
        """Give each live row its next token; the tokens (rows,)."""
        tokens = pick(logits, rows)
        for row, token in zip(rows, tokens, strict=True):
            if row.finish is None and token is None:
                row.fail("the model's logits are not numbers (NaN)")
            elif row.finish is None and token is not None:
                row.take(token, self._engine.tokenizer)
        return self._tensor([token or 0 for token in tokens])

    def _retreat(self, reason: str) -> None:
        """Forget the batch and begin its rows again, half as many at a time; a row that fails alone is at fault."""
        self._table, self._beginnings = None, {}
        if self._engine.device.startswith("cuda"):
            torch.cuda.empty_cache()
        rows = [row for row in self._flight if row.finish is None]
        if len(rows) == 1:
            rows[0].fail(reason)
            self._limit = self._most_rows
            return
        self._limit = max(1, len(rows) // 2)
        self._flight = [row for row in self._flight if row.finish is not None]
        for row in reversed(rows):
            row.again()
            self._queue.appendleft(row)

    def _tensor(self, values: Any) -> torch.Tensor:
        return torch.tensor(values, device=self._engine.device)


def _chunks(rows: Sequence[Row], most_waste: int) -> Iterator[list[Row]]:
    """Rows to read at once: of like length, so that at most so many tokens are padding, and not too many tokens."""
    chunk: list[Row] = []
    longest = waste = 0
    for row in sorted(rows, key=lambda row: row.shared - len(row.prompt)):
        length = len(row.prompt) - row.shared
        if chunk and ((len(chunk) + 1) * longest > _PREFILL or waste + longest - length > most_waste):
            yield chunk
            chunk = []
        if not chunk:
            longest, waste = length, 0
        chunk.append(row)
        waste += longest - length
    if chunk:
        yield chunk


def _merged(tables: Sequence[_Table]) -> _Table | None:
    """One table of all rows that are not done; the same one while most of its rows are live (copying costs, too)."""
    tables = [table for table in tables if table.live]
    if not tables:
        return None
    if len(tables) == 1 and 2 * len(tables[0].live) > len(tables[0].rows):
        return tables[0]
    starts = [int(table.mask[table.live].any(0).int().argmax()) for table in tables]  # columns before it are nobody's
    width = max(table.mask.shape[1] - start for table, start in zip(tables, starts, strict=True))
    return _Table(
        [table.rows[i] for table in tables for i in table.live],
        join([Part(table.cache, table.live, start) for table, start in zip(tables, starts, strict=True)], width),
        torch.cat([pad(t.mask[t.live, start:], (width - t.mask.shape[1] + start, 0)) for t, start in zip(tables, starts, strict=True)]),
        torch.cat([table.tokens[table.live] for table in tables]),
        torch.cat([table.positions[table.live] for table in tables]),
    )


def _charge(rows: Sequence[Row], began: float) -> None:
    """Divide the seconds since `began` over the rows they were spent for."""
    for row in rows:
        row.seconds += (time.perf_counter() - began) / len(rows)
