"""The batch below the local model: other architectures, failing devices, shared beginnings, the dice."""

from __future__ import annotations

import importlib
import random
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.models._cache import Grown, Part, empty, join
from evalharness.models._decode import Batch, Engine
from evalharness.models._pick import pick
from evalharness.models._rows import Row, share
from evalharness.records import Request, Sampling
from tests import tiny

torch.set_num_threads(1)
SHAPE = {
    "vocab_size": 260, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 512, "initializer_range": 0.4,
    "eos_token_id": None, "bos_token_id": None, "pad_token_id": 258,
}  # fmt: skip
MAMBA = {key: SHAPE[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "initializer_range", "eos_token_id", "bos_token_id")}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "full": ("Qwen3Config", "Qwen3ForCausalLM", {**SHAPE, "head_dim": 16}),
    "eager": ("LlamaConfig", "LlamaForCausalLM", {**SHAPE, "attn_implementation": "eager"}),
    "sliding": ("MistralConfig", "MistralForCausalLM", {**SHAPE, "sliding_window": 16}),
    "learned positions": ("GPT2Config", "GPT2LMHeadModel", {**MAMBA, "n_layer": 2, "n_head": 2, "n_positions": 256}),
    "alibi": ("BloomConfig", "BloomForCausalLM", {**MAMBA, "n_layer": 2, "n_head": 2}),
    "convolution": ("Lfm2Config", "Lfm2ForCausalLM", {**SHAPE, "layer_types": ["conv", "full_attention"] * 2}),
    "recurrent": ("MambaConfig", "MambaForCausalLM", MAMBA),
}


def engine(kind: str = "full") -> Engine:
    """A random model that never ends an answer by itself."""
    transformers: Any = importlib.import_module("transformers")
    config, model, shape = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = getattr(transformers, model)(getattr(transformers, config)(**shape)).eval()
    made.generation_config.eos_token_id = None
    return Engine(made, tiny.byte_tokenizer(), "cpu", frozenset())


def row(i: int, prompt: list[int], limit: int = 12, **sampling: Any) -> Row:
    return Row(Request(f"o{i}", f"s{i}", (), Sampling(max_tokens=limit, **sampling)), prompt, limit, frozenset())


def rows(n: int, limit: int = 12) -> list[Row]:
    """Rows of different lengths, half of them with 60 first tokens in common."""
    dice = random.Random(0)
    head = [dice.randrange(256) for _ in range(60)]
    prompts = [(head if i % 2 else []) + [dice.randrange(256) for _ in range(dice.randint(1, 30))] for i in range(n)]
    return [row(i, prompt, limit) for i, prompt in enumerate(prompts)]


def finish(batch: Batch) -> None:
    while batch.busy:
        batch.advance()


def generated(engine: Engine, row: Row) -> list[int]:
    ids = torch.tensor([row.prompt])
    found = engine.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=row.limit, do_sample=False)
    return list(found[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_says_what_generate_says(kind: str) -> None:
    made, asked = engine(kind), rows(9)
    finish(Batch(made, asked, most_rows=4, most_tokens=10_000))
    assert [row.ids for row in asked] == [generated(made, row) for row in asked]
    assert len({tuple(row.ids) for row in asked}) == 9
    assert (made.joinable, made.shares) == (kind not in ("convolution", "recurrent"), kind in ("full", "learned positions"))


@pytest.fixture(scope="module")
def full() -> Engine:
    return engine()


@pytest.fixture(scope="module")
def expected(full: Engine) -> list[list[int]]:
    return [generated(full, row) for row in rows(12)]


def failing(engine: Engine, monkeypatch: pytest.MonkeyPatch, fails: Any, error: Exception) -> list[int]:
    """Let the device fail where `fails(ids)`; the sizes of the batches that were tried."""
    forward, sizes = engine.forward, []

    def broken(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        sizes.append(len(ids))
        if fails(ids):
            raise error
        return forward(ids, *rest)

    monkeypatch.setattr(engine, "forward", broken)
    return sizes


def test_out_of_memory_halves_the_batch(full: Engine, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = failing(full, monkeypatch, lambda ids: len(ids) > 3, torch.OutOfMemoryError("out of memory"))
    asked = rows(12)
    finish(Batch(full, asked, most_rows=12, most_tokens=10_000))
    assert [row.ids for row in asked] == expected
    assert all(row.error is None for row in asked)
    assert max(sizes) > 3
    assert max(sizes[-20:]) <= 3


def test_out_of_memory_in_the_middle_begins_again(full: Engine, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def once(ids: torch.Tensor) -> bool:
        calls.append(ids.shape[1])
        return calls[-1] == 1 and calls.count(1) == 5

    failing(full, monkeypatch, once, RuntimeError("device lost"))
    asked = rows(12)
    finish(Batch(full, asked, most_rows=4, most_tokens=10_000))
    assert [row.ids for row in asked] == expected


def test_a_row_that_fails_alone_is_the_only_one_that_fails(
    full: Engine, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = rows(12)
    asked[5].prompt[-1] = 259  # no other row has it
    failing(full, monkeypatch, lambda ids: bool((ids == 259).any()), IndexError("index out of range in self"))
    finish(Batch(full, asked, most_rows=8, most_tokens=10_000))
    assert asked[5].error == "IndexError: index out of range in self"
    assert [row.ids for row in asked if row is not asked[5]] == [ids for i, ids in enumerate(expected) if i != 5]


def test_a_common_beginning_is_read_once(full: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    failing(full, monkeypatch, lambda ids: seen.append(tuple(ids.shape)), RuntimeError())
    asked = rows(12)
    finish(Batch(full, asked, most_rows=12, most_tokens=10_000))
    assert seen.count((1, 48)) == 1  # 60 tokens in common are three whole blocks
    assert sum(rows * width for rows, width in seen if width > 1) < sum(len(row.prompt) for row in asked)


def test_stopping_leaves_the_rest_undone(full: Engine) -> None:
    asked = rows(8)
    batch = Batch(full, asked, most_rows=2, most_tokens=10_000)
    done = batch.advance()
    batch.stop()
    assert not batch.busy
    assert batch.advance() == []
    assert 0 < len(done) < 8


def test_tokens_in_flight_stay_within_the_budget(full: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = failing(full, monkeypatch, lambda ids: False, RuntimeError())
    asked = [row(i, [i + 1] * 20, 12) for i in range(9)]
    finish(Batch(full, asked, most_rows=9, most_tokens=100))
    assert max(sizes) == 3


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    heads=st.lists(st.integers(0, 90), min_size=1, max_size=3),
    tails=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20), st.sampled_from([None, "a"])), min_size=1, max_size=20),
)
def test_a_group_has_its_beginning_and_its_adapter_in_common(heads: list[int], tails: list[tuple[int, int, str | None]]) -> None:
    asked = []
    for i, (head, tail, adapter) in enumerate(tails):
        size = heads[head % len(heads)]
        prompt = [1] * (size // 2) + [head % len(heads) + 2] * (size - size // 2) + [i + 10] * tail
        asked.append(Row(Request(f"o{i}", f"s{i}", (), Sampling(), adapter), prompt, 5, frozenset()))
    share(asked)
    groups: dict[int, Row] = {}
    for each in asked:
        first = groups.setdefault(each.group, each)
        assert each.shared == first.shared < len(each.prompt)
        assert each.prompt[: each.shared] == first.prompt[: first.shared]
        assert each.request.adapter == first.request.adapter
    alone = Counter(each.group for each in asked)
    assert all(each.shared == 0 for each in asked if alone[each.group] == 1)


def test_instructions_are_shared_rather_than_a_chance_likeness() -> None:
    head, other = [1] * 160, [2] * 160
    asked = [row(i, (head if i < 20 else other) + [i + 3] * 40) for i in range(40)]
    asked += [row(90, head + [7] * 33), row(91, head + [7] * 34)]  # two inputs that also begin alike
    share(asked)
    assert {each.shared for each in asked} == {160}
    assert len({each.group for each in asked}) == 2


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    parts=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 8)), min_size=1, max_size=4),
    extra=st.integers(0, 5),
)
def test_joining_keeps_rows_on_the_right(parts: list[tuple[int, int, int]], extra: int) -> None:
    caches = [(filled(n, width, i), n, width, min(start, width)) for i, (n, width, start) in enumerate(parts)]
    width = max(width - start for _, _, width, start in caches) + extra
    taken = [Part(cache, list(range(n))[::-1], start) for cache, n, _, start in caches]
    joined: Any = join(taken, width).layers[0]
    at = 0
    for part, (cache, n, size, start) in zip(taken, caches, strict=True):
        layer: Any = cache.layers[0]
        assert torch.equal(joined.keys[at : at + n, :, width - (size - start) : width], layer.keys[:, :, start:size].flip(0))
        assert not joined.values[at : at + n, :, : width - (size - start)].any()
        at += len(part.rows)
    assert joined.get_seq_length() == width
    assert joined.keys.shape[0] == at
    assert joined.get_mask_sizes(3) == (width + 3, 0)
    assert joined.get_max_length() == -1


def filled(n: int, width: int, seed: int) -> Any:
    """A cache of one layer, written column by column."""
    from transformers.cache_utils import Cache

    cache: Any = Cache(layers=[Grown()])
    dice = torch.Generator().manual_seed(seed)
    for _ in range(width):
        cache.layers[0].update(*(torch.randn(n, 2, 1, 3, generator=dice) for _ in range(2)))
    return cache


def test_columns_are_written_in_place_as_they_come() -> None:
    layer = Grown()
    states = torch.randn(2, 1, 100, 4)
    for i in range(100):
        keys, values = layer.update(states[:, :, i : i + 1], -states[:, :, i : i + 1])
    assert torch.equal(keys, states)
    assert torch.equal(values, -states)
    assert layer.keys.shape[2] >= 100


def test_an_empty_cache_has_a_layer_for_each_of_the_model(full: Engine) -> None:
    assert [type(layer) for layer in empty(full.model).layers] == [Grown] * 4


def test_draws_follow_the_distribution() -> None:
    chance = torch.tensor([0.5, 0.0, 0.25, 0.15, 0.1])
    n = 4000
    drawn = pick(chance.log().repeat(n, 1), [row(i, [1], temperature=1.0) for i in range(n)])
    counts = Counter(drawn)
    for token, p in enumerate(chance.tolist()):
        assert abs(counts[token] / n - p) < 4 * (p * (1 - p) / n) ** 0.5 + 1e-9


def test_temperature_and_nucleus_shape_the_draw() -> None:
    chance = torch.tensor([0.1, 0.4, 0.2, 0.3])
    logits = chance.log().repeat(2000, 1)
    nucleus = Counter(pick(logits, [row(i, [1], temperature=1.0, top_p=0.65) for i in range(2000)]))
    assert set(nucleus) == {1, 3}
    assert abs(nucleus[1] / 2000 - 4 / 7) < 0.05
    cold = Counter(pick(logits, [row(i, [1], temperature=0.5) for i in range(2000)]))
    assert abs(cold[1] / 2000 - 0.16 / 0.3) < 0.05
    mixed = pick(logits[:3], [row(0, [1]), row(1, [1], temperature=1.0, top_p=1e-9), row(2, [1], temperature=1e-3)])
    assert mixed == [1, 1, 1]


def test_logits_that_are_no_numbers_pick_nothing() -> None:
    logits = torch.tensor([[0.0, 1.0], [float("nan"), 1.0], [float("nan"), 0.0]])
    assert pick(logits, [row(0, [1]), row(1, [1]), row(2, [1], temperature=1.0)]) == [1, None, None]
