"""The settings of a Fireworks fine-tuning job and of how its model is served, and what of them is sent.

>>> FireworksOptions(epochs=3, lora_rank=16).settings()
{'epochs': 3, 'lora_rank': 16}
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from evalharness import protocols
from evalharness.runners import hosted

LIMITS = hosted.Limits(min_rows=3, max_rows=3_000_000, max_bytes=None, system_first=True)
"""docs.fireworks.ai, fine-tuning/fine-tuning-models, as read in 2026-11: 3 to 3 million rows, roles system (first), user and assistant."""
DEV_LIMITS = hosted.Limits(max_rows=LIMITS.max_rows, system_first=True)
RANKS = (4, 64)
"""Gateway REST API 4.259.0, gatewayPEFTDetails.r: "between 4 and 64, inclusive"; 0 trains all parameters."""
_SENT = (
    "epochs", "learning_rate", "lora_rank", "max_context_length", "batch_size", "batch_size_samples", "gradient_accumulation_steps",
    "learning_rate_warmup_steps", "optimizer_weight_decay", "early_stop", "eval_auto_carveout", "is_turbo",
    "sampler_checkpoint_save_interval_steps", "renderer_hugging_face_repo_id", "use_reservation",
)  # fmt: skip

Count = Annotated[int, Field(ge=1)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class ServeOptions(protocols.Options):
    """What the tuned model is deployed on while it is scored."""

    mode: Literal["live-merge", "addon"] = "live-merge"
    """live-merge: the tuned model is deployed itself, its adapter merged; addon: its base is deployed and wears the adapter."""
    accelerator_type: Annotated[str, Field(pattern=r"^[A-Z0-9_]+$")] | None = None
    """E.g. NVIDIA_H100_80GB; the service's choice for this model if left out."""
    accelerator_count: Count = 1
    """Accelerators of one replica; sent with accelerator_type."""
    deployment_shape: str | None = None
    """A validated configuration, accounts/fireworks/deploymentShapes/...; "default" (the service's choice) if no accelerator is named."""
    precision: str | None = None
    """E.g. FP8 or BF16; the service's choice if left out. Adapters are worn in 16 bits alone (its guide to deploying LoRAs)."""
    min_replicas: int = Field(default=0, ge=0)
    """Replicas that always run; 0 lets an idle deployment cost nothing."""
    max_replicas: Count = 1
    """Replicas that may run under load; each costs its hour."""
    scale_to_zero_window_s: int = Field(default=900, ge=300)
    """Seconds without a request after which it scales to no replicas, should nobody release it."""
    ready_timeout_s: float = Field(default=3600.0, gt=0)
    """Seconds to wait until it answers; then it is released."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, less than min_replicas, {self.min_replicas}")
        if self.accelerator_type is None and "accelerator_count" in self.model_fields_set:
            raise ValueError("accelerator_count needs accelerator_type beside it, e.g. NVIDIA_H100_80GB")
        if self.deployment_shape is not None and self.accelerator_type is not None:
            raise ValueError("deployment_shape decides the accelerator: name one of the two")
        if self.mode == "addon" and self.precision not in (None, "BF16", "FP16"):
            raise ValueError(f"mode: addon needs 16 bits, not precision: {self.precision}")
        return self


class FireworksOptions(protocols.Options):
    """Where the service is, and the settings of its supervised method, under the service's own names."""

    base_url: str | None = None
    """The API's address; FIREWORKS_BASE_URL, or Fireworks' own, if left out."""
    api_key_env: str = "FIREWORKS_API_KEY"
    """The environment variable that holds the key."""
    account_id: str | None = None
    """The account that pays; FIREWORKS_ACCOUNT_ID, or the key's only one, if left out."""
    epochs: Count | None = None
    """Passes over the training rows; the service's choice if left out."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """The highest learning rate."""
    lr_scheduler: Literal["constant", "linear", "cosine"] | None = None
    """How the learning rate falls; constant if left out."""
    min_lr_ratio: Ratio | None = None
    """The last learning rate as a part of the highest."""
    decay_ratio: Ratio | None = None
    """Part of the steps in which it falls."""
    learning_rate_warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """Steps in which the learning rate rises."""
    lora_rank: Annotated[int, Field(ge=0)] | None = None
    """Rank of the adapter; 0 trains all parameters, where the base allows it."""
    max_context_length: Count | None = None
    """Tokens of a row; longer ones are cut."""
    batch_size_samples: Count | None = None
    """Rows per step."""
    batch_size: Count | None = None
    """Tokens per packed batch; an older setting."""
    gradient_accumulation_steps: Count | None = None
    """Batches per step; an older setting."""
    optimizer_weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Regularisation."""
    early_stop: bool | None = None
    """Stop when the dev loss no longer falls; an older setting."""
    eval_auto_carveout: bool | None = None
    """Let the service keep some training rows as dev rows; for trainings without dev rows of their own."""
    is_turbo: bool | None = None
    """Train faster, at another price."""
    sampler_checkpoint_save_interval_steps: Count | None = None
    """Save a checkpoint every so many steps; checkpoints can be scored as candidates."""
    renderer_hugging_face_repo_id: str | None = None
    """The hub model whose chat renderer is used."""
    use_reservation: bool | None = None
    """Try the account's reserved capacity first."""
    estimate_by: Literal["service", "tokens"] = "tokens"
    """service: it says the price of the uploaded rows; tokens: they are counted here, and nothing is sent before it is bought."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one call; uploads and their checks take ten times as long."""
    prices: dict[str, float] = Field(default_factory=dict)
    """Your prices over the price book, e.g. {usd_per_million_training_tokens: 0.5, usd_per_hour: 7.2}; the hour is one replica's."""
    serve: ServeOptions = Field(default_factory=ServeOptions)
    """How the tuned model answers; the trainer file's `serve:`."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.lr_scheduler in (None, "constant") and (self.min_lr_ratio is not None or self.decay_ratio is not None):
            raise ValueError("min_lr_ratio and decay_ratio need lr_scheduler: linear or cosine")
        if self.lora_rank == 0 and self.serve.mode == "addon":
            raise ValueError("serve.mode: addon loads an adapter, which lora_rank: 0 has not")
        return self

    def settings(self) -> dict[str, Any]:
        """What was chosen, as the SDK takes it; what was not is the service's choice. `lr_scheduler` is as the API takes it."""
        found = {name: value for name in _SENT if (value := getattr(self, name)) is not None}
        if self.lr_scheduler is not None:
            ratios = {"minLrRatio": self.min_lr_ratio, "decayRatio": self.decay_ratio}
            found["lr_scheduler"] = {self.lr_scheduler: {name: value for name, value in ratios.items() if value is not None}}
        return found
