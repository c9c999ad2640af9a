"""A tiny random-init chat model in a folder: what tests load where a real base would be.

>>> folder = make(tmp_path / "tiny")          # doctest: +SKIP
>>> causal.load(str(folder))                  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make(
    folder: Path,
    *,
    arch: Literal["qwen3", "llama"] = "qwen3",
    hidden: int = 32,
    layers: int = 2,
    vocab: int = 0,
    head_dim: int = 16,
    seed: int = 0,
    template: str | None = CHATML,
) -> Path:
    """Write config, safetensors weights (float32) and a byte-level tokenizer with a chat template; returns `folder`.

    Every byte is one token; `vocab` may be more than the 259 tokens in use. Equal arguments give equal weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    tokenizer = byte_tokenizer(template)
    shape = {
        "vocab_size": max(vocab, len(tokenizer)),
        "hidden_size": hidden,
        "intermediate_size": hidden * 3,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden // head_dim),
        "num_key_value_heads": max(1, hidden // head_dim // 2),
        "head_dim": head_dim,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**shape)) if arch == "llama" else Qwen3ForCausalLM(Qwen3Config(**shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def byte_tokenizer(template: str | None = CHATML) -> Any:
    """A tokenizer of 256 bytes and three special tokens, with a ChatML template unless another is given."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    transformers: Any = importlib.import_module("transformers")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>", extra_special_tokens=["<|im_start|>"]
    )
    if template is not None:
        fast.chat_template = template
    return fast
