"""How good the embedded model is: exact match on practised formats and on the demo's dev rows. Needs the extra `local`.

>>> model, tokenizer = load(embedded.path())                                            # doctest: +SKIP
>>> progress(model, tokenizer)                                                          # doctest: +SKIP
'formats 61/64 demo 45/100 plain 45/47'
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from evalharness.embedded import lessons, tickets, tokens

# suites/prompts/tickets_zero_shot.md says the same; a test compares them.
DEMO_PROMPT = """\
Reply with one line: topic | order | date | amount.
topic: delivery, refund, damage, invoice, login.
date: YYYY-MM-DD.
amount: 0.00 CUR."""


def load(folder: Path) -> tuple[Any, Any]:
    """The model in that folder in float32, ready to answer, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def exact(model: Any, tokenizer: Any, talks: list[list[lessons.Message]]) -> list[bool]:
    """Whether greedy decoding gives each conversation's last turn exactly.

    It does where every token of the turn is the likeliest after the right ones, so one forward pass answers without generating.
    """
    import torch

    hits = []
    for start in range(0, len(talks), 32):
        rows = [tokens.encode(tokenizer, turns) for turns in talks[start : start + 32]]
        ids, _ = tokens.pad(rows)
        with torch.inference_mode():
            best = model(input_ids=ids).logits.argmax(-1)
        for number, turns in enumerate(talks[start : start + 32]):
            end = len(rows[number][0])
            first = end - len(tokens.encode(tokenizer, turns[-1:])[0]) + 1
            hits.append(bool((best[number, first - 1 : end - 1] == ids[number, first:end]).all()))
    return hits


def demo_talks(split: str, size: int) -> list[list[lessons.Message]]:
    """The first `size` rows of a split of the demo, each behind the zero-shot prompt and followed by its answer."""
    return [
        [
            {"role": "system", "content": DEMO_PROMPT},
            {"role": "user", "content": row["input"]},
            {"role": "assistant", "content": row["target"]},
        ]
        for row in tickets.rows(split, size)
    ]


def progress(model: Any, tokenizer: Any) -> str:
    """Exact match on 64 practised formats and on the demo's dev rows, prompted; both with order numbers that are never trained on."""
    rng = random.Random("progress")
    formats = exact(model, tokenizer, [lessons.conversation(rng, split="dev", currency="USD") for _ in range(64)])
    demo = exact(model, tokenizer, demo_talks("dev", 100))
    plain = [hit for hit, row in zip(demo, tickets.rows("dev", 100), strict=True) if row["kind"] == "plain"]
    return f"formats {sum(formats)}/64 demo {sum(demo)}/100 plain {sum(plain)}/{len(plain)}"
