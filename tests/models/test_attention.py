"""A beginning kept once is attended to as if every row had it."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from evalharness.models import _attention
from evalharness.models._attention import Layers, seat, sharing

DIM, GROUPS = 8, 2


def states(dice: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, DIM, generator=dice)


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, beginnings: list[Layers | None]) -> torch.Tensor:
    """Row by row, the beginning copied before the row's own columns."""
    found = []
    for i, layers in enumerate(beginnings):
        first_k, first_v = layers[0] if layers is not None else (key[:1, :, :0], value[:1, :, :0])
        k, v = torch.cat([first_k, key[i : i + 1]], dim=2), torch.cat([first_v, value[i : i + 1]], dim=2)
        seen = torch.cat([torch.ones(*mask.shape[1:3], first_k.shape[2], dtype=torch.bool), mask[i]], dim=-1)[None]
        found.append(scaled_dot_product_attention(query[i : i + 1], k, v, attn_mask=seen, enable_gqa=True).transpose(1, 2))
    return torch.cat(found)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, shared: Any) -> torch.Tensor:
    module: Any = types.SimpleNamespace(layer_idx=0, num_key_value_groups=query.shape[1] // key.shape[1], is_causal=True)
    with sharing(shared):
        return _attention._attend(module, query, key, value, mask)[0]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    whose=st.lists(st.integers(-1, 2), min_size=1, max_size=7),
    lengths=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    per_group=st.integers(1, 3),
    new=st.integers(1, 4),
    past=st.integers(0, 5),
    at_once=st.sampled_from([1, 40, 2**24]),
)
def test_shared_is_as_if_every_row_had_it(whose: list[int], lengths: list[int], per_group: int, new: int, past: int, at_once: int) -> None:
    dice = torch.Generator().manual_seed(0)
    rows, columns = len(whose), past + new
    made: list[Layers] = [{0: (states(dice, 1, GROUPS, n), states(dice, 1, GROUPS, n))} for n in lengths]
    beginnings = [None if i < 0 else made[i] for i in whose]
    query, key, value = (
        states(dice, rows, GROUPS * per_group, new),
        states(dice, rows, GROUPS, columns),
        states(dice, rows, GROUPS, columns),
    )
    mask = torch.ones(new, columns, dtype=torch.bool).tril(past).repeat(rows, 1, 1, 1)
    for row in range(rows):
        mask[row, :, :, : row % (past + 1)] = False  # padding on the left
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_attention, "_SCORES", at_once)
        found = attend(query, key, value, mask, seat(beginnings))
    torch.testing.assert_close(found, plain(query, key, value, mask, beginnings), rtol=1e-5, atol=1e-5)


def test_without_a_mask_it_is_causal() -> None:
    dice = torch.Generator().manual_seed(0)
    made: Layers = {0: (states(dice, 1, GROUPS, 5), states(dice, 1, GROUPS, 5))}
    query, key, value = (states(dice, 3, GROUPS, 4) for _ in range(3))
    causal = torch.ones(4, 4, dtype=torch.bool).tril().repeat(3, 1, 1, 1)
    found = attend(query, key, value, None, seat([made] * 3))
    torch.testing.assert_close(found, plain(query, key, value, causal, [made] * 3), rtol=1e-5, atol=1e-5)


def test_padding_that_sees_nothing_stays_a_number() -> None:
    dice = torch.Generator().manual_seed(0)
    made: Layers = {0: (states(dice, 1, GROUPS, 5), states(dice, 1, GROUPS, 5))}
    query, key, value = (states(dice, 2, GROUPS, 3) for _ in range(3))
    assert attend(query, key, value, torch.zeros(2, 1, 3, 3, dtype=torch.bool), seat([made, None])).isfinite().all()


def test_nothing_shared_is_nothing() -> None:
    assert seat([None, None]) is None


def test_a_beginning_of_all_rows_is_not_copied() -> None:
    made: Layers = {0: (torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8))}
    shared = seat([made] * 4)
    assert shared is not None
    assert shared.layers[0][0] is made[0][0]
    assert (shared.visible, shared.seats.seated) == (None, None)
