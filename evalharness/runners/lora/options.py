"""The settings of a local LoRA training: `params:` of a trainer file with `runner: lora`.

>>> LoraOptions(rank=8).scaled_alpha
16.0
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from evalharness.protocols import Options

_ELSEWHERE = frozenset({"device", "tokens_per_pass", "checkpoint_steps"})
"""Where and how it is computed, not what: not part of a training's identity."""


class LoraOptions(Options):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685) of a local model. Tokens are the model's own."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Width of the added matrices."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """The added matrices' product is scaled by alpha/rank; twice the rank if not given."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """Which layers learn: all linear ones but the output head, names such as q_proj or [q_proj, v_proj], or a regular expression
    for their whole names."""
    learning_rate: Annotated[float, Field(ge=0)] = 2e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.03
    epochs: Annotated[float, Field(gt=0)] = 2
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many steps, even in the middle of an epoch."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Rows per optimizer step, however many passes they take."""
    max_length: Annotated[int, Field(ge=2)] = 1024
    """Longer rows are cut on the right, and counted; a row whose whole answer would go is an error."""
    eval_steps: Annotated[int, Field(ge=1)] | None = None
    """Measure the dev loss every so many steps; about four times an epoch if not given."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many dev losses without a new best. The best weights are kept in any case."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    gradient_checkpointing: bool = False
    """Less memory for about a third more time."""
    load_in_4bit: bool = False
    """QLoRA (arXiv 2305.14314): needs CUDA and bitsandbytes."""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "fp32", "bf16"] = "auto"
    max_rows: Annotated[int, Field(ge=1)] | None = None
    """Train on the first so many rows only."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    trust_remote_code: bool = False
    tokens_per_pass: Annotated[int, Field(ge=1)] = 4096
    """Tokens, padding counted, that go through the model at once: lower it if memory runs out."""
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = None
    """Save what a resume needs every so many steps; every 30 seconds if not given."""

    @field_validator("target_modules")
    @classmethod
    def _one_name(cls, value: str | list[str]) -> str | list[str]:
        """PEFT takes a text for a regular expression that a layer's whole name must match, and no layer is called q_proj alone."""
        return [value] if isinstance(value, str) and value != "all-linear" and re.fullmatch(r"[\w.]+", value) else value

    @property
    def scaled_alpha(self) -> float:
        """`alpha`, or twice the rank."""
        return float(2 * self.rank if self.alpha is None else self.alpha)

    def identity(self) -> dict[str, object]:
        """The settings that decide the adapter."""
        return self.model_dump(mode="json", exclude=set(_ELSEWHERE)) | {"alpha": self.scaled_alpha}
