"""Small models that say many different things, adapters for them, and the slow way to ask them: one by one.

A freshly initialised model repeats one letter, whatever it is asked; with larger weights every answer is another.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from evalharness.causal import encode_prompt
from evalharness.models._rows import plain
from evalharness.models.local import LocalModel
from evalharness.records import Message, Reply, Request, Sampling
from tests import tiny

WORDS = ["alpha", "beta", "gamma", "delta", "rho", "sigma", "tau"]
torch.set_num_threads(1)  # models this small are no faster on two threads, and much slower on a busy machine
HEAD = "You answer shortly and without courtesies. " * 3


def lively(folder: Path, *, arch: Literal["qwen3", "llama"] = "llama", seed: int = 1) -> Path:
    """A tiny model whose answers differ from question to question and sometimes end by themselves."""
    tiny.make(folder, arch=arch, hidden=32, layers=2)
    weights = load_file(folder / "model.safetensors")
    dice = torch.Generator().manual_seed(seed)
    for name, weight in weights.items():
        if weight.ndim == 2:
            weights[name] = torch.randn(weight.shape, generator=dice) * (1.0 if "embed" in name else 0.3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def adapter(folder: Path, base: Path, seed: int, *, noise: float = 0.3, **config: Any) -> str:
    """An adapter as PEFT saves it, with random matrices."""
    peft: Any = importlib.import_module("peft")
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **config}
    with warnings.catch_warnings():  # PEFT asks transformers for an attribute by its old name
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)
        model = peft.get_peft_model(_fresh(base), peft.LoraConfig(**settings))
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=dice) * noise)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return str(folder)


def question(i: int, sampling: Sampling = Sampling(max_tokens=16), *, head: str = HEAD, adapter: str | None = None) -> Request:  # noqa: B008
    """The i-th question of a few words, after a system turn."""
    dice = random.Random(i)
    text = " ".join(dice.choice(WORDS) for _ in range(dice.randint(1, 12)))
    return Request(f"o{i}", f"s{i}", (Message("system", head), Message("user", text)), sampling, adapter)


def ask(model: LocalModel, requests: Sequence[Request]) -> list[Reply]:
    """The replies in the order of the requests."""

    async def collect() -> dict[str, Reply]:
        return {reply.output_id: reply async for reply in model.generate(requests)}

    replies = asyncio.run(collect())
    assert len(replies) == len(requests)
    return [replies[request.output_id] for request in requests]


def texts(model: LocalModel, requests: Sequence[Request]) -> list[str | None]:
    """What was answered, in the order of the requests."""
    return [reply.text for reply in ask(model, requests)]


def one_by_one(base: Path, requests: Sequence[Request]) -> list[str]:
    """What transformers' own `generate` answers, and PEFT where a request has an adapter."""
    return [_generate(base, request) for request in requests]


def _generate(base: Path, request: Request) -> str:
    model, tokenizer = _dressed(base, request.adapter), _tokenizer(base)
    ids = torch.tensor([encode_prompt(tokenizer, request.messages)])
    with torch.inference_mode():
        found = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=request.sampling.max_tokens, do_sample=False
        )
    return plain(tokenizer, found[0, ids.shape[1] :].tolist())


@lru_cache(maxsize=4)
def _tokenizer(base: Path) -> Any:
    return importlib.import_module("transformers").AutoTokenizer.from_pretrained(base)


@lru_cache(maxsize=16)
def _dressed(base: Path, adapter: str | None) -> Any:
    model = _fresh(base)
    if adapter is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)
            model = importlib.import_module("peft").PeftModel.from_pretrained(model, adapter)
    return model.eval()


def _fresh(base: Path) -> Any:
    return importlib.import_module("transformers").AutoModelForCausalLM.from_pretrained(base)
