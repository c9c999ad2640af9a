"""A base model with a LoRA adapter that learns: gradients of a batch, dev loss, optimizer step, and all of its state.

The base's own output head runs on the labelled positions only; nothing is computed for frozen weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from evalharness.causal import Causal, Example
from evalharness.errors import ConfigError, Problem
from evalharness.ids import digest
from evalharness.runners.lora.data import Pass, PassCost, answer_tokens, collate, passes
from evalharness.runners.lora.options import LoraOptions
from evalharness.runners.lora.product import use_products

_FLOPS = {"cpu": 5e10, "cuda": 1e14, "mps": 3e12}
"""Multiply-adds times two that a device (a thread of a CPU) does in a second, by order of magnitude; only shapes the passes."""
_LAYER_S = 2.5e-3
"""Seconds that one layer costs forwards and backwards however few tokens there are."""
_LABEL_LOGITS = 2**27
"""Logits in memory at once: labels of a pass times vocabulary."""


class Network:
    """`model` is the PEFT model; `weights` the parameters that learn, by name, in a fixed order."""

    def __init__(self, causal: Causal, options: LoraOptions, seed: int) -> None:
        self.causal, self.options = causal, options
        self.model = _with_adapter(causal, options, seed)
        self.weights: dict[str, torch.nn.Parameter] = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=0.0, weight_decay=options.weight_decay, fused=True)
        self._where: torch.Tensor | None = None
        self._hook = self.model.get_output_embeddings().register_forward_pre_hook(self._labelled_only)
        self.cost, self.seed = self._cost(), seed

    @property
    def total_parameters(self) -> int:
        """Parameters of the base, without the adapter."""
        return int(sum(p.numel() for p in self.model.parameters())) - self.trained_parameters

    @property
    def trained_parameters(self) -> int:
        """Parameters of the adapter."""
        return sum(p.numel() for p in self.weights.values())

    def learn(self, rows: Sequence[Example], step: int, learning_rate: float) -> tuple[float, float]:
        """One optimizer step -> (mean loss over the rows' answer tokens in nats, norm of the gradient before clipping).

        Dropout is a function of seed and step, so that a resumed training drops what it would have dropped.
        """
        self.model.train()
        torch.manual_seed(int(digest([self.seed, step])[:15], 16))
        self.optimizer.zero_grad(set_to_none=True)
        count, total = answer_tokens(rows), 0.0
        for chosen in passes(rows, self.cost):
            loss = self._loss(collate([rows[i] for i in chosen], self.causal.device)) / count
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), self.options.max_grad_norm))
        if math.isfinite(total) and math.isfinite(norm):
            self.optimizer.param_groups[0]["lr"] = learning_rate
            self.optimizer.step()
        return total, norm

    def dev_loss(self, rows: Sequence[Example]) -> float:
        """Mean loss over the rows' answer tokens, in nats."""
        self.model.eval()
        with torch.inference_mode():
            losses = [float(self._loss(collate([rows[i] for i in chosen], self.causal.device))) for chosen in passes(rows, self.cost)]
        return math.fsum(losses) / answer_tokens(rows)

    def close(self) -> Causal:
        """The base without the adapter, as it was."""
        self._hook.remove()
        return replace(self.causal, model=self.model.unload().eval())

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that learning changes, for `restore`: weights and the optimizer's moments."""
        found = {f"weight/{name}": weight.detach() for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            for key, value in self.optimizer.state.get(weight, {}).items():
                found[f"{key}/{name}"] = value
        return {key: value.cpu().contiguous() for key, value in found.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Back to a `state()`."""
        self.put({name: state[f"weight/{name}"] for name in self.weights})
        for name, weight in self.weights.items():
            moments = {key: state[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}/{name}" in state}
            if moments:
                self.optimizer.state[weight] = {key: value.clone().to(weight.device) for key, value in moments.items()}

    def copy(self) -> dict[str, torch.Tensor]:
        """The adapter's weights now."""
        return {name: weight.detach().cpu().clone() for name, weight in self.weights.items()}

    def put(self, weights: dict[str, torch.Tensor]) -> None:
        """Set the adapter's weights."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(weights[name])

    def _loss(self, batch: Pass) -> torch.Tensor:
        """The sum over the pass's labels. Scored in float32: log-softmax over a vocabulary needs it."""
        self._where = batch.where
        logits = self.model(input_ids=batch.ids, use_cache=False).logits
        return cross_entropy(logits.float(), batch.labels, reduction="sum")

    def _labelled_only(self, _head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0][self._where], *inputs[1:])

    def _cost(self) -> PassCost:
        config = self.model.config.get_text_config()
        kind = self.causal.device.partition(":")[0]
        flops = _FLOPS[kind] * (torch.get_num_threads() if kind == "cpu" else 1)
        token_s = 4 * self.total_parameters / flops  # forwards, and backwards to the inputs: two each per parameter
        return PassCost(config.num_hidden_layers * _LAYER_S / token_s, self.options.tokens_per_pass, _LABEL_LOGITS // config.vocab_size)


def _with_adapter(causal: Causal, options: LoraOptions, seed: int) -> Any:
    import peft
    from peft import LoraConfig, TaskType, get_peft_model

    model = causal.model
    if options.load_in_4bit:
        prepare: Any = peft.prepare_model_for_kbit_training
        model = prepare(model, use_gradient_checkpointing=False)
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.scaled_alpha,  # type: ignore[arg-type]
        lora_dropout=options.dropout,
        target_modules=options.target_modules,
        task_type=TaskType.CAUSAL_LM,
    )
    torch.manual_seed(seed)
    try:
        model = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(
            [Problem("", "params.target_modules", str(error).splitlines()[0].rstrip("."), "Name layers of this base")]
        ) from error
    use_products(model)
    return model
