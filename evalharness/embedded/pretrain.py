"""Pretrain the embedded model from scratch on two CPU cores: a small Llama and a training loop. Needs the extra `local`.

python -m evalharness.embedded.pretrain --out evalharness/embedded/model
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import random
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.embedded import lessons, measure, tokens

if TYPE_CHECKING:
    import torch


def make_model(seed: int, hidden: int, layers: int) -> Any:
    """A Llama with random weights: tied embeddings, rotary positions up to 4,096."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokens.VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 48,
        num_key_value_heads=hidden // 48,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=tokens.PAD,
        bos_token_id=None,
        eos_token_id=tokens.END,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # a fifth faster to train on a CPU than fused attention; not saved
    return model


def batches(tokenizer: Any, stream: Iterator[list[lessons.Message]], seed: int, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of about `size` padded tokens; conversations of like length go together, so that little is padding."""
    rng = random.Random(seed)
    while True:
        pool = sorted((tokens.encode(tokenizer, turns) for turns in itertools.islice(stream, 400)), key=lambda row: len(row[0]))
        cut: list[list[tokens.Row]] = [[]]
        for row in pool:
            if cut[-1] and (len(cut[-1]) + 1) * len(row[0]) > size:
                cut.append([])
            cut[-1].append(row)
        rng.shuffle(cut)
        yield from map(tokens.pad, cut)


def weighted_loss(model: Any, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy under the weights; matrix products run in bfloat16, the loss in float32."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
        wanted = weights[:, 1:] > 0
        logits = model.lm_head(hidden[wanted])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
    kept = weights[:, 1:][wanted]
    return (losses * kept).sum() / kept.sum()


def rate(done: float) -> float:
    """Learning rate factor after the share `done` of the training: warm-up, then cosine down to a fiftieth."""
    return min(1.0, done / 0.02 + 0.01) * (0.51 + 0.49 * math.cos(math.pi * min(1.0, done)))


def optimizers(model: Any, muon: float, adam: float) -> list[Any]:
    """Muon for the layers' matrices (here it needs about half of AdamW's steps), AdamW for embeddings and norms; the rates are given."""
    import torch

    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if all(weight is not matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, lr=muon, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(others, lr=adam, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def step(model: Any, tools: list[Any], ids: torch.Tensor, weights: torch.Tensor, factor: float) -> float:
    """One update of the weights at `factor` times the optimizers' first rates; the batch's loss."""
    loss = weighted_loss(model, ids, weights)
    loss.backward()  # type: ignore[no-untyped-call]
    for tool in tools:
        for group in tool.param_groups:
            group["lr"] = group.setdefault("first", group["lr"]) * factor
        tool.step()
        tool.zero_grad()
    return loss.item()


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write weights (bfloat16: half the size), configuration, tokenizer and template."""
    import torch

    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)


def course(options: argparse.Namespace, model: Any, tokenizer: Any, stream: Iterator[list[lessons.Message]], rows: int, until: int) -> None:
    """Train from conversation `rows` to `until` of `options.rows`, say how it goes and save every other minute."""
    tools = optimizers(model, options.muon, options.adam)
    start = last = time.monotonic()
    recent: deque[float] = deque(maxlen=50)
    seen = 0
    for ids, weights in batches(tokenizer, stream, options.seed, options.tokens):
        recent.append(step(model, tools, ids, weights, rate(rows / options.rows)))
        rows, seen = rows + len(ids), seen + ids.numel()
        if rows >= until or time.monotonic() > last + 120:
            last = time.monotonic()
            loss = sum(recent) / len(recent)
            print(f"{last - start:.0f} s, {rows} rows, {seen} tokens, loss {loss:.4f}, {measure.progress(model, tokenizer)}", flush=True)
            save(model, tokenizer, options.out)
        if rows >= until:
            break


def train(options: argparse.Namespace) -> None:
    """Both courses. The second starts from the saved weights, so that it can be repeated alone with `--second`."""
    first = options.rows * lessons.FIRST // lessons.TOTAL
    if not options.second:
        tokenizer, model = tokens.make_tokenizer(options.seed), make_model(options.seed, options.hidden, options.layers)
        course(options, model, tokenizer, lessons.conversations(options.seed, options.rows), 0, first)
    model, tokenizer = measure.load(options.out)
    model.set_attn_implementation("eager")
    course(options, model.train(), tokenizer, lessons.dollars(options.seed), first, options.rows)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--rows", type=int, default=lessons.TOTAL, help="conversations to train on")
    parser.add_argument("--seed", type=int, default=0, help="of data and first weights")
    parser.add_argument("--hidden", type=int, default=192, help="width; a multiple of 48")
    parser.add_argument("--layers", type=int, default=4, help="depth")
    parser.add_argument("--tokens", type=int, default=4000, help="per batch, padding included")
    parser.add_argument("--muon", type=float, default=0.02, help="learning rate of the layers' matrices")
    parser.add_argument("--adam", type=float, default=4e-3, help="learning rate of everything else")
    parser.add_argument("--second", action="store_true", help="only the second course, from what is in --out")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
