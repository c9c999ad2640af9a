"""The settings of a training by HF Jobs: named as the local LoRA runner names them, so that one trainer file becomes the other.

>>> HfJobsOptions(rank=8, timeout="90m").timeout_seconds
5400
>>> AutoTrainOptions.model_validate({"lr": 1e-4, "lora_r": 8}).rank
8
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from evalharness.protocols import Options

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ELSEWHERE = frozenset(
    {"base_url", "api_key_env", "namespace", "flavor", "timeout", "timeout_s", "image", "gradient_checkpointing", "prices", "serve"}
)
"""Where it is computed and what it costs, not what: not part of a training's identity."""
_SCHEDULES = {"constant": "constant_with_warmup"}
"""Transformers' names where they differ: its own `constant` leaves out the warm-up."""
_AUTOTRAIN = {
    "lr": "learning_rate", "lora_r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout", "block_size": "max_length",
    "model_max_length": "max_length", "scheduler": "schedule", "early_stopping_patience": "patience",
}  # fmt: skip
"""AutoTrain's names (github.com/huggingface/autotrain-advanced, LLMTrainingParams) for settings that have another name here."""


class ServeOptions(Options):
    """Where a tuned model answers: on this machine, or on an Inference Endpoint that is open while it is asked."""

    where: Literal["local", "endpoint"] = "local"
    """local: the adapter is fetched and worn by the local model, which costs nothing. endpoint: vLLM with the adapter."""
    vendor: str = "aws"
    region: str = "us-east-1"
    accelerator: str = "gpu"
    instance_type: str = "nvidia-l4"
    instance_size: str = "x1"
    scale_to_zero_timeout: int = Field(default=15, ge=1)
    """Minutes without a request after which the service itself stops the machine: the net under a killed run."""
    image: str = "vllm/vllm-openai:v0.23.0"
    """The server's container image."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Longest prompt with its answer, in tokens; the model's own limit if left out."""
    ready_timeout_s: float = Field(default=1800.0, gt=0)
    """Seconds until it must answer; one that does not is deleted."""
    usd_per_hour: float | None = Field(default=None, ge=0)
    """Your own price of the machine; the service's list if left out."""
    base_url: str | None = None
    """The Inference Endpoints API; HF_INFERENCE_ENDPOINTS_BASE_URL, or Hugging Face's own, if left out."""


class HfJobsOptions(Options):
    """Where the service is, which machine trains, and the settings of LoRA by TRL."""

    base_url: str | None = None
    """The Hub's address; HF_ENDPOINT, or https://huggingface.co, if left out."""
    api_key_env: str = "HF_TOKEN"
    """The environment variable that holds a token with write access; it travels to the job as a secret only."""
    namespace: str | None = None
    """The user or organisation that pays and owns the repositories; the token's own if left out."""
    flavor: str = "a10g-small"
    """The machine, as `hf jobs hardware` lists it; one with a single GPU, since the training uses one."""
    timeout: str = "2h"
    """The longest that the job may run (s, m, h or d), and so the most that it can cost."""
    image: str = "ghcr.io/astral-sh/uv:python3.12-bookworm"
    """A container image that has uv."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one call."""
    prices: dict[str, float] = Field(default_factory=dict)
    """Your prices over the service's list, e.g. {usd_per_hour: 1.0}; the trainer file's `prices:`."""
    serve: ServeOptions = ServeOptions()
    """Where the tuned model answers; the trainer file's `serve:`."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Width of the added matrices."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """The added matrices' product is scaled by alpha/rank; twice the rank if not given."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | list[str] = "all-linear"
    """Which layers learn: all linear ones but the output head, or names such as [q_proj, v_proj]."""
    learning_rate: Annotated[float, Field(ge=0)] = 2e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.03
    epochs: Annotated[float, Field(gt=0)] = 2
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many steps, even in the middle of an epoch."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Rows per optimizer step."""
    per_device_train_batch_size: Annotated[int, Field(ge=1)] = 4
    """Most rows that go through the model at once: lower it if memory runs out."""
    max_length: Annotated[int, Field(ge=2)] = 1024
    """Longer rows are cut on the right, and counted; a row whose whole answer would go is an error."""
    eval_steps: Annotated[int, Field(ge=1)] | None = None
    """Measure the dev loss every so many steps; about four times an epoch if not given."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many dev losses without a new best. The best weights are kept in any case."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    gradient_checkpointing: bool = True
    """Less memory for about a third more time."""
    revision: str | None = None
    """Branch, tag or commit of the base."""

    @field_validator("timeout")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if not re.fullmatch(r"\d+(\.\d+)?[smhd]?", value):
            raise ValueError("a time is a number and s, m, h or d, e.g. 90m")
        return value

    @property
    def timeout_seconds(self) -> int:
        """The time limit in seconds."""
        unit = _SECONDS.get(self.timeout[-1])
        return math.ceil(float(self.timeout[:-1]) * unit) if unit else math.ceil(float(self.timeout))

    @property
    def scaled_alpha(self) -> float:
        """`alpha`, or twice the rank."""
        return float(2 * self.rank if self.alpha is None else self.alpha)

    @property
    def rows_at_once(self) -> int:
        """The largest divisor of the batch that is allowed at once: every step has `batch_size` rows exactly."""
        return max(n for n in range(1, min(self.per_device_train_batch_size, self.batch_size) + 1) if self.batch_size % n == 0)

    def identity(self) -> dict[str, object]:
        """The settings that decide the adapter."""
        kept = self.model_dump(mode="json", exclude={*_ELSEWHERE, "per_device_train_batch_size"})
        return kept | {"alpha": self.scaled_alpha}

    def arguments(self) -> list[str]:
        """The settings as the training script takes them."""
        modules = [self.target_modules] if isinstance(self.target_modules, str) else self.target_modules
        known: dict[str, object] = {
            "model_revision": self.revision, "num_train_epochs": self.epochs, "max_steps": self.max_steps,
            "per_device_train_batch_size": self.rows_at_once, "gradient_accumulation_steps": self.batch_size // self.rows_at_once,
            "learning_rate": self.learning_rate,
            "lr_scheduler_type": _SCHEDULES.get(self.schedule, self.schedule),
            "warmup_ratio": self.warmup_ratio,
            "weight_decay": self.weight_decay, "max_grad_norm": self.max_grad_norm, "max_length": self.max_length,
            "eval_steps": self.eval_steps, "early_stopping_patience": self.patience, "lora_r": self.rank,
            "lora_alpha": self.scaled_alpha, "lora_dropout": self.dropout,
        }  # fmt: skip
        words = [word for name, value in known.items() if value is not None for word in (f"--{name}", str(value))]
        return [*words, "--lora_target_modules", *modules, *(["--gradient_checkpointing"] if self.gradient_checkpointing else [])]


class AutoTrainOptions(HfJobsOptions):
    """The same, and AutoTrain's names for them."""

    @model_validator(mode="before")
    @classmethod
    def _autotrain_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        twice = [f"{old!r} and {new!r}" for old, new in _AUTOTRAIN.items() if old in given and new in given]
        if twice:
            raise ValueError(f"{twice[0]} are the same setting")
        return {_AUTOTRAIN.get(name, name): value for name, value in given.items()}
