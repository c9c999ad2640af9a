"""Causal language models by name: find, identify, load, and turn chats into token ids. Needs the extra `local`.

>>> causal = load("embedded")                                                       # doctest: +SKIP
>>> encode_prompt(causal.tokenizer, [Message("user", "2+2?")])                      # doctest: +SKIP
[1, 4, 201, 22, 15, 22, 35, 2, 201, 1, 5, 201]

A base is "embedded" (the small model that ships with evalh), a folder, or a hub id. Training and generation both
go through `encode_prompt`/`encode_example`, so what a model is trained to continue is what it is asked to continue.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from evalharness.bases import bad, check, identity, mute, require, require_four_bit, resolve
from evalharness.errors import ConfigError, Problem
from evalharness.ids import digest
from evalharness.records import Message

__all__ = ["Causal", "Example", "encode_example", "encode_prompt", "identity", "load", "resolve", "template_hash"]

_VARIABLES = {"enable_thinking": False}
"""What templates are given: the models that may think aloud or not are asked not to, as the rows show no thoughts and all of an
answer is scored."""
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True, slots=True)
class Causal:
    """A loaded model: `device` is cuda, mps or cpu; `dtype` a torch name (float32); `identity` as `identity()` gives it."""

    model: Any
    tokenizer: Any
    device: str
    dtype: str
    identity: dict[str, str]
    name: str


@dataclass(frozen=True, slots=True)
class Example:
    """One training row as token ids; `ids[answer_start:]` carry loss. Empty there iff truncation cut the answer off."""

    ids: tuple[int, ...]
    answer_start: int
    truncated: bool


def load(
    base: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    load_in_4bit: bool = False,
    trust_remote_code: bool = False,
) -> Causal:
    """The model in evaluation mode and its tokenizer. Weights are read from safetensors files only.

    `device` auto: cuda, else mps, else cpu. `dtype` auto: bfloat16 on cuda that has it, else float32.
    Raises MissingExtra without torch or transformers, ConfigError for a base that is not there or cannot be used.
    """
    require("torch", "transformers", "safetensors", needed_by="a local model")
    import torch

    transformers: Any = importlib.import_module("transformers")
    device = _device(device)
    dtype = _dtype(dtype, device)
    name = resolve(base)
    options: dict[str, Any] = {"revision": check(name, revision), "trust_remote_code": trust_remote_code}
    weights: dict[str, Any] = {"dtype": getattr(torch, dtype), "use_safetensors": True}
    if load_in_4bit:
        weights |= {"quantization_config": _four_bit(device, weights["dtype"]), "device_map": {"": device}}
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(name, **weights, **options)
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise bad(base, f"cannot be loaded: {reason}", "Give a causal language model with safetensors weights") from error
    if tokenizer.chat_template is None:
        raise mute(base)
    if not load_in_4bit:
        model.to(device)
    return Causal(model.eval(), tokenizer, device, dtype, identity(base, revision), base)


def template_hash(tokenizer: Any) -> str:
    """Hash of the chat template's text; equals `identity()["template"]` of the folder that the tokenizer came from."""
    return digest(tokenizer.get_chat_template())


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of the chat up to where the model's answer begins. Raises ConfigError if the template refuses the chat."""
    return _encode(tokenizer, _render(tokenizer, messages, prompt=True))


def encode_example(tokenizer: Any, messages: Sequence[Message], max_length: int) -> Example:
    """Token ids of a chat that ends with an assistant turn, cut on the right after `max_length` tokens.

    Loss is on the last turn, its end-of-turn token included, and on nothing after it. Where the chat's rendering
    does not begin with its prompt (templates that rewrite history), the template's own `{% generation %}` marks
    decide; raises ConfigError if it has none.
    """
    prompt_text = _render(tokenizer, messages[:-1], prompt=True)
    text = _render(tokenizer, messages, prompt=False)
    prompt, ids = _encode(tokenizer, prompt_text), _encode(tokenizer, text)
    if ids[: len(prompt)] == prompt:
        start = len(prompt)
    elif text.startswith(prompt_text):  # the answer's first letters merged with the prompt's last token: generation
        ids, start = prompt + _encode(tokenizer, text[len(prompt_text) :]), len(prompt)  # never sees that merge
    else:
        ids, start = _masked(tokenizer, messages)
    start = max(start, 1)  # nothing predicts the first token of all
    ids = _end_turn(tokenizer, ids, start)
    return Example(tuple(ids[:max_length]), min(start, max_length), len(ids) > max_length)


def _render(tokenizer: Any, messages: Sequence[Message], *, prompt: bool) -> str:
    from jinja2 import TemplateError

    chat = [message.as_dict() for message in messages]
    try:
        return str(tokenizer.apply_chat_template(chat, add_generation_prompt=prompt, tokenize=False, **_VARIABLES))
    except TemplateError as error:
        roles = ", ".join(message.role for message in messages)
        raise ConfigError(f"the model's chat template refuses the turns ({roles}): {error}") from error


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _masked(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], int]:
    if not re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.get_chat_template()):
        found = "the model's chat template renders a finished chat differently from its prompt, so the answer cannot be found in it"
        raise ConfigError([Problem("", "base", found, "Use a model whose template has {% generation %} marks")])
    chat = [message.as_dict() for message in messages]
    encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True, **_VARIABLES)
    mask = list(encoded["assistant_masks"])
    if 1 not in mask:
        raise ConfigError("the model's chat template marks no part of the last turn as the answer")
    end = len(mask) - mask[::-1].index(1)
    start = next((i + 1 for i in range(end - 1, -1, -1) if not mask[i]), 0)
    return list(encoded["input_ids"]), start


def _end_turn(tokenizer: Any, ids: list[int], start: int) -> list[int]:
    """`ids` up to the token that ends the turn: blanks after it are never generated; without one, the end token is added."""
    special = _special_ids(tokenizer)
    last = max((i for i in range(start, len(ids)) if ids[i] in special), default=None)
    if last is not None and not tokenizer.decode(ids[last + 1 :]).strip():
        return ids[: last + 1]
    return ids if tokenizer.eos_token_id is None else [*ids, tokenizer.eos_token_id]


@lru_cache(maxsize=8)
def _special_ids(tokenizer: Any) -> frozenset[int]:
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def _device(device: str) -> str:
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in has.items() if there)
    if not has.get(device.partition(":")[0], False):
        there = ", ".join(name for name, ok in has.items() if ok)
        raise ConfigError([Problem("", "device", f"{device!r} is not available here", f"Here: auto, {there}")])
    return device


def _dtype(dtype: str, device: str) -> str:
    import torch

    if dtype == "auto":
        return "bfloat16" if device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    dtype = _DTYPES.get(dtype, dtype)
    if dtype not in _DTYPES.values():
        raise ConfigError([Problem("", "dtype", f"{dtype!r} is no dtype", f"Known: auto, {', '.join(_DTYPES.values())}")])
    if dtype == "bfloat16" and device == "cpu" and torch._C._has_mkldnn and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise ConfigError([Problem("", "dtype", "this CPU has no bfloat16 instructions", "Use float32")])
    return dtype


def _four_bit(device: str, compute: Any) -> Any:
    require_four_bit()
    if not device.startswith("cuda"):
        raise ConfigError([Problem("", "load_in_4bit", f"needs a CUDA device, found {device}", "Remove it to train in full precision")])
    transformers: Any = importlib.import_module("transformers")
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute, bnb_4bit_use_double_quant=True
    )
