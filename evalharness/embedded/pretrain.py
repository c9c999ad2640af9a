"""Pretrain the embedded model from scratch: tokenizer, a small Llama, a training loop on two CPU cores.

python -m evalharness.embedded.pretrain --out evalharness/embedded/model
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.embedded import lessons, tickets

if TYPE_CHECKING:
    import torch

VOCABULARY = 1024
SPECIALS = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
PAD, END = 0, 4
TEMPLATE = (
    "{%- for message in messages -%}{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|end|>' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
DEMO_PROMPT = """Reply with one line: topic | order | date | amount.
topic: delivery, refund, damage, invoice, login.
date: YYYY-MM-DD.
amount: 0.00 CUR."""
PROMPT_WEIGHT = 0.1  # a little loss on prompts, too: their words get useful embeddings early


def make_tokenizer(seed: int) -> Any:
    """A byte-level BPE tokenizer trained on the lessons; every digit is a token, so that copying a number is copying tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    stream = itertools.islice(lessons.conversations(seed, total=1), 5_000)
    bpe.train_from_iterator((turn["content"] for turns in stream for turn in turns), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        extra_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        chat_template=TEMPLATE,
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def make_model(seed: int, hidden: int = 192, layers: int = 4) -> Any:
    """A Llama with random weights: tied embeddings, rotary positions up to 4,096."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=hidden,
            intermediate_size=hidden * 8 // 3 // 32 * 32,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 32,
            num_key_value_heads=hidden // 32,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=END,
        )
    )


def encode(tokenizer: Any, turns: list[lessons.Message]) -> tuple[list[int], list[float]]:
    """Token ids of a conversation and each token's weight in the loss (1 for what the assistant says)."""
    ids: list[int] = []
    weights: list[float] = []
    for turn in turns:
        content = tokenizer.encode(turn["content"], add_special_tokens=False)
        ids += [SPECIALS.index(f"<|{turn['role']}|>"), *content, END]
        own = 1.0 if turn["role"] == "assistant" else PROMPT_WEIGHT
        weights += [PROMPT_WEIGHT, *[own] * (len(content) + 1)]
    return ids, weights


def pad(rows: list[tuple[list[int], list[float]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights as two tensors (rows, longest), padded on the right with weight 0."""
    import torch

    ids = torch.full((len(rows), max(len(row) for row, _ in rows)), PAD)
    weights = torch.zeros(ids.shape)
    for number, (row, weight) in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        weights[number, : len(row)] = torch.tensor(weight)
    return ids, weights


def batches(tokenizer: Any, seed: int, total: int, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of about `tokens` padded tokens; conversations of like length go together, so that little is padding."""
    stream = lessons.conversations(seed, total)
    rng = random.Random(seed)
    while True:
        pool = sorted((encode(tokenizer, turns) for turns in itertools.islice(stream, 400)), key=lambda row: len(row[0]))
        cut: list[list[tuple[list[int], list[float]]]] = [[]]
        for row in pool:
            if cut[-1] and (len(cut[-1]) + 1) * len(row[0]) > tokens:
                cut.append([])
            cut[-1].append(row)
        rng.shuffle(cut)
        yield from map(pad, cut)


def weighted_loss(model: Any, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy under the weights, computed in bfloat16 where that is safe."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
        wanted = weights[:, 1:] > 0
        logits = model.lm_head(hidden[wanted])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
    kept = weights[:, 1:][wanted]
    return (losses * kept).sum() / kept.sum()


def exact(model: Any, tokenizer: Any, talks: list[list[lessons.Message]]) -> list[bool]:
    """Whether greedy decoding gives each conversation's last turn exactly: true when every token is the likeliest after the right ones."""
    import torch

    hits = []
    for start in range(0, len(talks), 32):
        rows = [encode(tokenizer, turns) for turns in talks[start : start + 32]]
        lengths = [len(encode(tokenizer, turns[-1:])[0]) - 1 for turns in talks[start : start + 32]]
        ids, _ = pad(rows)
        with torch.inference_mode():
            best = model(input_ids=ids).logits.argmax(-1)
        for number, (row, _) in enumerate(rows):
            end = len(row)
            span = slice(end - lengths[number], end)
            hits.append(bool((best[number, span.start - 1 : end - 1] == ids[number, span]).all()))
    return hits


def dev_conversations(tokenizer: Any) -> list[list[lessons.Message]]:
    """The demo's dev rows behind its zero-shot prompt."""
    return [
        [
            {"role": "system", "content": DEMO_PROMPT},
            {"role": "user", "content": row["input"]},
            {"role": "assistant", "content": row["target"]},
        ]
        for row in tickets.rows("dev", 100)
    ]


def progress(model: Any, tokenizer: Any) -> str:
    """Exact match on 64 practised formats and on the demo's dev rows, prompted; both with order numbers that are never trained on."""
    rng = random.Random("progress")
    drawn = [lessons.conversation(rng, split="dev") for _ in range(64)]
    formats, demo = exact(model, tokenizer, drawn), exact(model, tokenizer, dev_conversations(tokenizer))
    plain = [hit for hit, row in zip(demo, tickets.rows("dev", 100), strict=True) if row["kind"] == "plain"]
    return f"formats {sum(formats)}/64 demo {sum(demo)}/100 plain {sum(plain)}/{len(plain)}"


def rate(done: float) -> float:
    """Learning rate factor after the share `done` of the training: warm-up, then cosine down to a fiftieth."""
    return min(1.0, done / 0.02 + 0.01) * (0.51 + 0.49 * math.cos(math.pi * min(1.0, done)))


def optimizers(model: Any, muon: bool) -> list[Any]:
    """Muon for the layers' matrices (it needs about half the steps of AdamW here), AdamW for embeddings and norms."""
    import torch

    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if all(weight is not matrix for matrix in matrices)]
    if not muon:
        return [torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)]
    return [
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write weights (bfloat16, half the size), configuration, tokenizer and template."""
    import copy

    import torch

    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def train(out: Path, total: int, seed: int, hidden: int, layers: int, tokens: int, muon: bool) -> None:
    """Train on `total` conversations and save every minute."""
    tokenizer, model = make_tokenizer(seed), make_model(seed, hidden, layers)
    tools = optimizers(model, muon)
    bases = [tool.param_groups[0]["lr"] for tool in tools]
    start = last = time.monotonic()
    seen = rows = 0
    recent: list[float] = []
    for step, (ids, weights) in enumerate(batches(tokenizer, seed, total, tokens)):
        if rows >= total:
            break
        for tool, base in zip(tools, bases, strict=True):
            tool.param_groups[0]["lr"] = base * rate(rows / total)
        loss = weighted_loss(model, ids, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        for tool in tools:
            tool.step()
            tool.zero_grad()
        seen, rows = seen + ids.numel(), rows + len(ids)
        recent = [*recent[-49:], loss.item()]
        if time.monotonic() - last > 60:
            last = time.monotonic()
            print(f"{last - start:.0f}s step {step} rows {rows} tokens {seen} loss {sum(recent) / len(recent):.4f} {progress(model, tokenizer)}", flush=True)
            save(model, tokenizer, out)
    save(model, tokenizer, out)
    print(f"done {time.monotonic() - start:.0f}s {seen} tokens, {rows} rows, {progress(model, tokenizer)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--muon", type=int, default=1)
    options = parser.parse_args()
    train(options.out, options.rows, options.seed, options.hidden, options.layers, options.tokens, bool(options.muon))
