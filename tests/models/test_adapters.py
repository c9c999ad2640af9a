"""Adapters: rows with different ones go through one base together, and PEFT would have said the same."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalharness import bases
from evalharness.errors import RunError
from evalharness.models import _adapters
from evalharness.models._adapters import Adapters
from evalharness.models._peft import read_config, scaling, unfit
from evalharness.models.local import LocalModel, LocalOptions
from evalharness.records import Reply, Request, Sampling
from tests import tiny
from tests.models.small import HEAD, adapter, ask, one_by_one, question, texts


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Adapters of different ranks, scalings and layers."""
    kinds: list[dict[str, Any]] = [
        {"r": 2},
        {"r": 4, "lora_alpha": 16, "use_rslora": True},
        {
            "r": 3,
            "target_modules": ["q_proj", "down_proj"],
            "alpha_pattern": {"q_proj": 1},
            "rank_pattern": {"0.self_attn.q_proj": 5},
        },
        {"r": 3, "target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    ]
    folder = tmp_path_factory.mktemp("adapters")
    return [adapter(folder / str(i), base, i, **kind) for i, kind in enumerate(kinds)]


def test_every_row_wears_its_own(base: Path, model: LocalModel, adapters: list[str]) -> None:
    worn = [None, *adapters]
    requests = [question(i, Sampling(max_tokens=10), adapter=worn[i % 5], head=HEAD if i % 3 else "Hi.") for i in range(20)]
    expected = one_by_one(base, requests)
    plain = one_by_one(base, [replace(request, adapter=None) for request in requests])
    assert sum(a != b for a, b in zip(expected, plain, strict=True)) == 16
    assert texts(model, requests) == expected


def test_one_pass_has_many_adapters(base: Path, model: LocalModel, adapters: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    worn: set[int] = set()
    wear = Adapters.wear

    def watch(self: Adapters, folders: Any) -> None:
        worn.add(len(set(folders)))
        wear(self, folders)

    monkeypatch.setattr(Adapters, "wear", watch)
    ask(model, [question(i, adapter=adapters[i % 3]) for i in range(4)])
    assert max(worn) == 3


def test_gpt2_layers_too(tmp_path: Path) -> None:
    transformers: Any = importlib.import_module("transformers")
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512, "initializer_range": 0.3}
    tokenizer = tiny.byte_tokenizer()
    config = transformers.GPT2Config(vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=tokenizer.eos_token_id, **shape)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    worn = adapter(tmp_path / "a", tmp_path / "gpt2", 0, noise=0.5, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    requests = [question(i, adapter=worn if i % 2 else None, head="Hi.") for i in range(6)]
    assert texts(LocalModel(LocalOptions(name=str(tmp_path / "gpt2"))), requests) == one_by_one(tmp_path / "gpt2", requests)


def test_an_overflowing_adapter_hurts_nobody_else(base: Path, model: LocalModel, adapters: list[str], tmp_path: Path) -> None:
    bad = changed(adapters[0], tmp_path / "bad", lambda name, tensor: tensor * 1e37 if "lora_B" in name else tensor)
    requests = [question(i, adapter=bad if i % 2 else adapters[0]) for i in range(6)]
    replies = ask(model, requests)
    assert [reply.error for reply in replies[1::2]] == ["the model's logits are not numbers (NaN)"] * 3
    assert [reply.text for reply in replies[::2]] == one_by_one(base, requests[::2])


def changed(source: str, folder: Path, change: Any = None, **config: Any) -> str:
    """A copy of an adapter with other tensors (`change(name, tensor)`; None leaves one out) or another config."""
    folder.mkdir()
    tensors = load_file(Path(source) / "adapter_model.safetensors")
    new = {name: tensor if change is None else change(name, tensor) for name, tensor in tensors.items()}
    save_file({name: tensor for name, tensor in new.items() if tensor is not None}, folder / "adapter_model.safetensors")
    old = json.loads((Path(source) / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(old | config))
    return str(folder)


@pytest.mark.parametrize(
    ("change", "config", "says"),
    [
        (None, {"use_dora": True}, "only plain LoRA can be used, this one has use_dora"),
        (None, {"bias": "all", "modules_to_save": ["lm_head"]}, "this one has bias, modules_to_save"),
        (None, {"init_lora_weights": "pissa"}, "this one has init_lora_weights"),
        (None, {"peft_type": "IA3"}, "peft_type is 'IA3'"),
        (lambda name, tensor: None if "q_proj.lora_A" in name else tensor, {}, "half an adapter for 'model.layers.0.self_attn.q_proj'"),
        (lambda name, tensor: tensor[:, :5].contiguous() if "lora_A" in name else tensor, {}, "made for another base model"),
        (lambda name, tensor: tensor * float("inf"), {}, "not numbers at 'model.layers.0.mlp.down_proj': the training diverged"),
        (lambda name, tensor: tensor[:3].contiguous() if "lora_B" in name else tensor, {}, "is (32, 96) here, (3, 96) in the adapter"),
    ],
)
def test_what_is_no_plain_lora_of_this_base_is_an_invalid_candidate(
    model: LocalModel, adapters: list[str], tmp_path: Path, change: Any, config: dict[str, object], says: str
) -> None:
    folder = changed(adapters[0], tmp_path / "odd", change, **config)
    odd, fine = ask(model, [question(0, adapter=folder), question(1)])
    assert odd.finish == "error"
    assert (odd.error or "").startswith("invalid candidate: ")
    assert says in (odd.error or "")
    assert fine.error is None


def test_foreign_tensors_and_broken_files_are_said(model: LocalModel, adapters: list[str], tmp_path: Path) -> None:
    odd = Path(changed(adapters[0], tmp_path / "odd"))
    save_file({"base_model.model.lm_head.weight": torch.zeros(2)}, odd / "adapter_model.safetensors")
    broken = Path(changed(adapters[0], tmp_path / "broken"))
    (broken / "adapter_model.safetensors").write_bytes(b"no tensors")
    one, other = ask(model, [question(0, adapter=str(odd)), question(1, adapter=str(broken))])
    assert "'base_model.model.lm_head.weight': only plain LoRA matrices" in (one.error or "")
    assert "adapter_model.safetensors cannot be read" in (other.error or "")


def test_a_missing_or_unreadable_adapter_is_said(model: LocalModel, adapters: list[str], tmp_path: Path) -> None:
    assert "adapter_config.json cannot be read" in (model.check_adapter(str(tmp_path)) or "")
    (tmp_path / "adapter_config.json").write_text("[1]")
    assert model.check_adapter(str(tmp_path)) == "adapter_config.json is not a JSON object"
    (tmp_path / "adapter_config.json").write_text((Path(adapters[0]) / "adapter_config.json").read_text())
    assert "there is no adapter_model.safetensors" in (model.check_adapter(str(tmp_path)) or "")
    assert (ask(model, [question(0, adapter=str(tmp_path))])[0].error or "").startswith("invalid candidate: there is no")


def manifest(base: Path, **other: object) -> dict[str, object]:
    found = bases.identity(str(base))
    return {"base_identity": found, "template": found["template"], **other}


def test_the_manifest_must_be_of_this_base(base: Path, model: LocalModel, adapters: list[str], tmp_path: Path) -> None:
    folder = changed(adapters[0], tmp_path / "a")
    path = Path(folder) / "manifest.json"
    path.write_text(json.dumps(manifest(base)))
    assert model.check_adapter(folder) is None
    path.write_text(json.dumps(manifest(base, template="0" * 24)))
    assert model.check_adapter(folder) == "it was trained with another chat template than the base model has now"
    reply = ask(model, [question(0, adapter=folder)])[0]
    assert reply.error == "invalid candidate: it was trained with another chat template than the base model has now"
    path.write_text(json.dumps(manifest(base, base_identity={"weights": "1" * 24})))
    assert (model.check_adapter(folder) or "").startswith("it was trained on another base model (weights 1111")


def test_hub_revisions_are_compared_where_both_are_commits(adapters: list[str], tmp_path: Path) -> None:
    folder = Path(changed(adapters[0], tmp_path / "a"))
    (folder / "manifest.json").write_text(json.dumps({"base_identity": {"base": "x/y", "revision": "a" * 40}}))
    assert unfit(folder, {"base": "x/y", "revision": "a" * 40}) is None
    assert unfit(folder, {"base": "x/y", "revision": "main"}) is None
    assert "revision" in (unfit(folder, {"base": "x/y", "revision": "b" * 40}) or "")


def test_scaling_is_alpha_over_rank_and_its_variants() -> None:
    assert scaling({"lora_alpha": 16}, "model.q_proj", 8) == 2.0
    assert scaling({"lora_alpha": 16, "use_rslora": True}, "model.q_proj", 16) == 4.0
    assert scaling({"lora_alpha": 16, "alpha_pattern": {"q_proj": 4}}, "model.q_proj", 8) == 0.5
    assert scaling({"lora_alpha": 16, "alpha_pattern": {"q_proj": 4}}, "model.x_q_proj", 8) == 2.0


def test_many_adapters_are_read_as_needed_and_forgotten(
    base: Path, adapters: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_adapters, "_KEPT", 2)
    many = [changed(adapters[0], tmp_path / str(i), lambda _, tensor, i=i: tensor * (1 + i / 4)) for i in range(7)]
    model = LocalModel(LocalOptions(name=str(base), batch_size=2))
    requests = [question(i, Sampling(max_tokens=6), adapter=many[i % 7]) for i in range(14)]
    assert texts(model, requests) == one_by_one(base, requests)
    assert model._engine is not None
    assert len(model._engine.adapters._loaded) <= 4  # two kept, two worn


def test_a_retrained_adapter_is_read_again(base: Path, model: LocalModel, adapters: list[str], tmp_path: Path) -> None:
    folder = Path(changed(adapters[0], tmp_path / "a"))
    request = question(0, adapter=str(folder))
    before = texts(model, [request])
    assert before == one_by_one(base, [replace(request, adapter=adapters[0])])
    save_file(load_file(Path(changed(adapters[0], tmp_path / "b", lambda _, t: -t * 1.5)) / "adapter_model.safetensors"), folder / "new")
    os.replace(folder / "new", folder / "adapter_model.safetensors")
    assert texts(model, [request]) == one_by_one(base, [replace(request, adapter=str(tmp_path / "b"))]) != before


def test_two_callers_with_different_adapters(base: Path, model: LocalModel, adapters: list[str]) -> None:
    asked = [[question(i, adapter=worn) for i in range(5)] for worn in (*adapters, None)]

    async def all_at_once() -> list[list[Reply]]:
        async def one(requests: list[Request]) -> list[Reply]:
            found = {reply.output_id: reply async for reply in model.generate(requests)}
            return [found[request.output_id] for request in requests]

        return list(await asyncio.gather(*map(one, asked)))

    for requests, replies in zip(asked, asyncio.run(all_at_once()), strict=True):
        assert [reply.text for reply in replies] == one_by_one(base, requests)


def test_read_config_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(RunError, match=r"adapter_config\.json cannot be read"):
        read_config(tmp_path)
