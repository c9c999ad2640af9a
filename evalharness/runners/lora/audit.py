"""The adapter-effect audit: an adapter that does not move the log-probability of a single training answer is no candidate.

>>> audit(causal.load("embedded"), Path("results/trainings/5d1c/adapter"), rows)    # doctest: +SKIP
11.73
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from evalharness.causal import Causal, Example, encode_example
from evalharness.records import Message

ROWS = 32
LEAST = 1e-4
"""Nats. Below it the adapter changes nothing."""


def audit(causal: Causal, adapter: Path, rows: Sequence[Sequence[Message]], max_length: int = 1024) -> float:
    """The largest shift of a training answer's log-probability, in nats, that the saved adapter causes (first 32 rows).

    The model of `causal` is as before afterwards.
    """
    from peft import PeftModel

    examples = [encode_example(causal.tokenizer, row, max_length) for row in rows[:ROWS]]
    model = PeftModel.from_pretrained(causal.model, str(adapter)).eval()
    try:
        worn = [_log_probability(model, causal.device, example) for example in examples]
        with model.disable_adapter():
            bare = [_log_probability(model, causal.device, example) for example in examples]
    finally:
        model.unload()
    return max(abs(one - other) for one, other in zip(worn, bare, strict=True))


def _log_probability(model: Any, device: str, example: Example) -> float:
    """Of the answer's tokens given the prompt, summed."""
    ids = torch.tensor([example.ids], device=device)
    count = len(example.ids) - example.answer_start
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=count + 1).logits[0, :-1].float()
    chosen = torch.log_softmax(logits, -1).gather(-1, ids[0, example.answer_start :, None])
    return float(chosen.double().sum())
