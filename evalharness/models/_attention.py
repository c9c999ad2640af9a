"""Attention over a beginning that rows have in common, kept once, and the rest, which each row has of its own.

The two are attended to apart and put together by the mass of their scores, as parts of one softmax (the log-sum-exp
merge of FlashAttention, arXiv 2205.14135): a long system prompt is neither copied to every row nor read once for each.

>>> adopt(model)                                                          # doctest: +SKIP
True
>>> with sharing(seat([layers] * 32)):                                    # doctest: +SKIP
...     model(ids, attention_mask=mask, past_key_values=cache)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DummyLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from evalharness.models._seats import Seats

_NAME = "evalh_shared"
_SCORES = 2**24
"""Scores in memory at once."""

Layers = Mapping[int, tuple[torch.Tensor, torch.Tensor]]
"""Layer -> keys and values of beginnings, each (beginnings, heads, tokens, dim)."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Beginnings, and who is seated at which.

    They are padded on the left to the longest: `visible` (beginnings, 1, 1, tokens) says where not; None: all of it.
    """

    layers: Layers
    seats: Seats[int]
    visible: torch.Tensor | None


def seat(beginnings: Sequence[Layers | None]) -> Shared | None:
    """What rows share, from each row's own beginning: rows have the same one where it is the same object."""
    known = {id(layers): layers for layers in beginnings if layers is not None}
    if not known:
        return None
    distinct = list(known.values())
    device = next(iter(distinct[0].values()))[0].device
    seats = Seats.of([None if layers is None else id(layers) for layers in beginnings], device)
    lengths = torch.tensor([next(iter(layers.values()))[0].shape[2] for layers in distinct], device=device)
    visible = torch.arange(int(lengths.max()), device=device) >= lengths.max() - lengths[:, None]
    layers = {i: (_stacked([each[i][0] for each in distinct]), _stacked([each[i][1] for each in distinct])) for i in distinct[0]}
    return Shared(layers, seats, None if bool(visible.all()) else visible[:, None, None])


def _stacked(states: Sequence[torch.Tensor]) -> torch.Tensor:
    if len(states) == 1:
        return states[0]
    most = max(each.shape[2] for each in states)
    return torch.cat([pad(each, (0, 0, most - each.shape[2], 0)) for each in states])


class _Pass(threading.local):
    """What the forward pass that this thread runs needs to know, and which layers came by."""

    def __init__(self) -> None:
        self.shared: Shared | None = None
        self.seen: set[int] = set()


_pass = _Pass()


def adopt(model: Any) -> bool:
    """Have the model attend through here. False, and the model as it was, if it has layers that would not."""
    if model.config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        return False
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)
    wanted = {i for i, layer in enumerate(DynamicCache(config=model.config).layers) if not isinstance(layer, DummyLayer)}
    _pass.seen = set()
    with torch.inference_mode():
        model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False)
    if _pass.seen != wanted:
        model.set_attn_implementation("sdpa")
    return _pass.seen == wanted


@contextmanager
def sharing(shared: Shared | None) -> Iterator[None]:
    """Forward passes inside have these beginnings before their rows; the cache and the mask leave them out."""
    _pass.shared = shared
    try:
        yield
    finally:
        _pass.shared = None


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it: query (rows, heads, new, dim), key and value (rows, heads, columns, dim) -> (rows, new, heads, dim)."""
    _pass.seen.add(module.layer_idx)
    shared = _pass.shared
    if shared is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    rows, heads, new, dim = query.shape
    mask = _causal(query, key) if attention_mask is None else attention_mask
    query = (query * (dim**-0.5 if scaling is None else scaling)).reshape(rows, key.shape[1], -1, dim)
    own, own_mass = _part(query, key, value, mask.repeat(1, 1, heads // key.shape[1], 1))
    first, mass = _beginning(query, shared, *shared.layers[module.layer_idx])
    weight = torch.sigmoid(mass - own_mass).to(own.dtype)
    if shared.seats.seated is not None:
        weight = weight * shared.seats.seated[:, None, None, None]
    return (own + weight * (first - own)).view(rows, heads, new, -1).transpose(1, 2).contiguous(), None


def _causal(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """The mask (1, 1, new, columns) that transformers leaves out where nothing is padding."""
    new, columns = query.shape[2], key.shape[2]
    return torch.ones(new, columns, dtype=torch.bool, device=query.device).tril(columns - new)[None, None]


def _beginning(query: torch.Tensor, shared: Shared, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Every row's queries against its beginning, those of one beginning as one matrix. Results as of `_part`."""
    groups, most = shared.seats.rows.shape
    _, heads, queries, dim = query.shape
    seated = query[shared.seats.rows].transpose(1, 2).reshape(groups, heads, -1, dim)
    found = _part(seated, key, value, shared.visible)
    out, mass = (x.view(groups, heads, most, queries, -1).transpose(1, 2).reshape(-1, heads, queries, x.shape[-1]) for x in found)
    return out[shared.seats.places], mass[shared.seats.places]


def _part(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of (rows, heads, queries, dim) and the logarithm of its mass (rows, heads, queries, 1), which is float32."""
    each = max(1, _SCORES // (k.shape[0] * k.shape[1] * k.shape[2]))
    if q.shape[2] > each:
        cuts = [slice(i, i + each) for i in range(0, q.shape[2], each)]
        parts = [_part(q[:, :, cut], k, v, mask if mask is None or mask.shape[2] == 1 else mask[:, :, cut]) for cut in cuts]
        return torch.cat([out for out, _ in parts], dim=2), torch.cat([mass for _, mass in parts], dim=2)
    scores = (q @ k.transpose(-1, -2)).float()
    if mask is not None:  # not minus infinity: a query that sees nothing, as padding does, stays a number
        scores = scores.masked_fill(~mask, torch.finfo(torch.float32).min)
    highest = scores.amax(-1, keepdim=True)
    chances = (scores - highest).exp_()
    total = chances.sum(-1, keepdim=True)
    return (chances.to(v.dtype) @ v) / total.to(v.dtype), highest + total.log()
