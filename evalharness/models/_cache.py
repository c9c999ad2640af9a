"""Keys and values of a batch, written in place: rows of different lengths, joined and dropped while decoding goes on.

transformers' DynamicCache copies every key and value at every token; a buffer with room to grow does not.

>>> cache = empty(model)                                                  # doctest: +SKIP
>>> cache = join([Part(cache, [0, 2])], width=40)                         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin, DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

_SPARE = 32
"""Columns of room a new buffer has beyond what is written."""


class Grown(CacheLayerMixin):  # type: ignore[no-untyped-call]  # transformers' cache classes are partly typed
    """One layer's keys and values, each (rows, heads, room, dim), of which the first `length` columns are written.

    Sliding-window layers keep all columns too: the model's own mask hides what is out of the window.
    """

    is_sliding = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Called by transformers with the first states; the buffers themselves come with `update`."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new columns; all written ones, each (rows, heads, length, dim)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            room = end + max(_SPARE, end // 4)
            self.keys, self.values = (_stretched(old, self.length, room) for old in (self.keys, self.values))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns after the next update, offset of the first): what transformers builds masks from."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Written columns."""
        return self.length

    def get_max_length(self) -> int:
        """-1: no limit."""
        return -1


def _stretched(old: torch.Tensor, length: int, room: int) -> torch.Tensor:
    new = old.new_zeros(*old.shape[:2], room, old.shape[3])
    new[:, :, :length] = old[:, :, :length]
    return new


def empty(model: Any) -> Cache:
    """A cache for one batch of the model: of `Grown` layers, or the library's own where it is not plain attention."""
    own = DynamicCache(config=model.config)
    if not joinable(model):
        return own
    return Cache(layers=[layer if isinstance(layer, DummyLayer) else Grown() for layer in own.layers])


def joinable(model: Any) -> bool:
    """Whether rows can be added and dropped: false for recurrent and compressed layers, which go one row at a time."""
    layers = DynamicCache(config=model.config).layers
    return bool(layers) and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer) for layer in layers)


def slides(model: Any) -> bool:
    """Whether a layer looks back a limited number of columns, so that a row's columns must lie together."""
    return any(DynamicCache(config=model.config).is_sliding)


def written(cache: Cache) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> keys and values, each (rows, heads, length, dim), of a cache of `Grown` layers."""
    layers = ((i, layer) for i, layer in enumerate(cache.layers) if isinstance(layer, Grown))
    return {i: (layer.keys[:, :, : layer.length].clone(), layer.values[:, :, : layer.length].clone()) for i, layer in layers}


@dataclass(frozen=True, slots=True)
class Part:
    """Rows to take from a cache, in this order, without their first `start` columns."""

    cache: Cache
    rows: Sequence[int]
    start: int = 0


def join(parts: Sequence[Part], width: int) -> Cache:
    """One cache of the parts' rows, aligned on the right in `width` columns; what is left of them is zero."""
    return Cache(layers=[_joined(parts, number, width) for number in range(len(parts[0].cache.layers))])


def _joined(parts: Sequence[Part], number: int, width: int) -> Any:
    olds: list[Any] = [part.cache.layers[number] for part in parts]
    if not isinstance(olds[0], Grown):
        return olds[0]
    new = Grown()
    new.dtype, new.device, new.is_initialized, new.length = olds[0].dtype, olds[0].device, True, width
    new.keys = _gathered(parts, [old.keys[:, :, : old.length] for old in olds], width)
    new.values = _gathered(parts, [old.values[:, :, : old.length] for old in olds], width)
    return new


def _gathered(parts: Sequence[Part], olds: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    _, heads, _, dim = olds[0].shape
    new = olds[0].new_zeros(sum(len(part.rows) for part in parts), heads, width + _SPARE, dim)
    at = 0
    for part, old in zip(parts, olds, strict=True):
        taken = old[torch.tensor(part.rows, device=old.device), :, part.start :]
        new[at : at + len(part.rows), :, width - taken.shape[2] : width] = taken
        at += len(part.rows)
    return new
