"""The settings of a Together fine-tuning job and of how its model is served, and what of them is sent.

>>> TogetherOptions(n_epochs=3, lora_r=16).settings()
{'n_epochs': 3, 'training_type': {'type': 'Lora', 'lora_r': 16, 'lora_alpha': 32}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from evalharness import protocols
from evalharness.records import Job
from evalharness.runners import hosted

LIMITS = hosted.Limits(max_bytes=int(50.1 * 2**30), roles=frozenset({"system", "user", "assistant", "tool"}))
"""together 3.1.1, lib/constants.py: MIN_SAMPLES, MAX_FILE_SIZE_GB, POSSIBLE_ROLES_CONVERSATION."""
USUAL_EVALS = 5
"""Looks at the dev rows where the trainer names no number: the service's own default, none, gives no dev losses."""
_PLAIN = (
    "n_epochs", "n_checkpoints", "n_evals", "batch_size", "gradient_accumulation_steps", "learning_rate", "warmup_ratio",
    "max_grad_norm", "weight_decay", "packing", "max_seq_length",
)  # fmt: skip
_LORA = ("lora_alpha", "lora_dropout", "lora_trainable_modules")
_STOPPING = ("early_stopping_patience", "early_stopping_min_delta", "early_stopping_warmup_evals")

Ratio = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class ServeOptions(protocols.Options):
    """How the tuned model answers: on hardware of its own, without any, or on this machine."""

    where: Literal["endpoint", "serverless", "local"] = "endpoint"
    """endpoint: hardware rented while it is scored; serverless: by the token, for bases that offer it; local: the adapter is downloaded."""
    api: Literal["auto", "v2", "v1"] = "auto"
    """Which endpoints API: v2 belongs to projects; auto falls back on v1 where the service has no v2."""
    project_id: str | None = None
    """The v2 API's project; TOGETHER_PROJECT_ID, or the key's own project, if left out."""
    hardware: str | None = None
    """E.g. 1xnvidia-h100-80gb (v2) or 1x_nvidia_h100_80gb_sxm (v1); the cheapest that fits if left out."""
    config: str | None = None
    """A v2 config revision, projects/…/configs/cr_…; chosen by the hardware if left out."""
    min_replicas: int = Field(default=1, ge=1)
    """Replicas that always run."""
    max_replicas: int = Field(default=1, ge=1)
    """Replicas that may run under load; each costs its hour."""
    inactive_timeout: int = Field(default=30, ge=30, le=1440)
    """Minutes without a request after which the service stops it by itself, should nobody release it."""
    ready_timeout_s: float = Field(default=3600.0, gt=0)
    """Seconds to wait until it answers; then it is released."""
    base: str | None = None
    """local: the base model's folder or hub id; what the adapter names if left out."""
    folder: str = "results/adapters"
    """local: where adapters are downloaded to."""

    @model_validator(mode="after")
    def _replicas(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, less than min_replicas, {self.min_replicas}")
        return self


class TogetherOptions(protocols.Options):
    """Where the service is, and the settings of its supervised method, under the service's own names."""

    base_url: str | None = None
    """The API's address; TOGETHER_BASE_URL, or Together's own, if left out."""
    api_key_env: str = "TOGETHER_API_KEY"
    """The environment variable that holds the key."""
    suffix: str = Field(default="", max_length=27)
    """A word for the tuned model's name; the candidate's label if left out."""
    n_epochs: Count | None = None
    """Passes over the training rows; 1 if left out."""
    n_checkpoints: Count | None = None
    """Checkpoints saved on the way."""
    n_evals: Annotated[int, Field(ge=0)] | None = None
    """Looks at the dev rows; 5 if left out."""
    batch_size: Count | Literal["max"] | None = None
    """Rows per step."""
    gradient_accumulation_steps: Count | None = None
    """Batches per step."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """0.00001 if left out."""
    lr_scheduler_type: Literal["linear", "cosine"] | None = None
    """How the learning rate falls."""
    min_lr_ratio: Ratio | None = None
    """The last learning rate as a part of the highest."""
    scheduler_num_cycles: Annotated[float, Field(gt=0)] | None = None
    """Cycles of the cosine."""
    warmup_ratio: Ratio | None = None
    """Part of the steps in which the learning rate rises."""
    max_grad_norm: Annotated[float, Field(ge=0)] | None = None
    """Gradients are clipped to this norm; 0 does not clip."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Regularisation."""
    packing: bool | None = None
    """Several rows in one sequence."""
    max_seq_length: Count | None = None
    """Tokens of a sequence."""
    train_on_inputs: bool | Literal["auto"] = "auto"
    """Learn the prompt's turns, too; auto learns only answers."""
    training_type: Literal["Lora", "Full"] = "Lora"
    """Adapter or all weights."""
    lora_r: Count | None = None
    """Rank; the base's own default if left out."""
    lora_alpha: Count | None = None
    """Twice the rank if left out."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout in the adapter."""
    lora_trainable_modules: str | None = None
    """Modules with an adapter, separated by commas; all-linear if left out."""
    early_stopping_enabled: bool = False
    """Stop when the dev loss no longer falls."""
    early_stopping_patience: Count | None = None
    """Looks without progress that are borne; 2 if left out."""
    early_stopping_min_delta: Annotated[float, Field(ge=0)] | None = None
    """What counts as progress."""
    early_stopping_warmup_evals: Annotated[int, Field(ge=0)] | None = None
    """First looks that do not count; 1 if left out."""
    estimate_by: Literal["service", "tokens"] = "tokens"
    """tokens: they are counted here, and nothing is sent before it is bought; service: it says the price, for which
    `evalh plan` uploads the rows (free of charge)."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one call; uploads, their checks and downloads take ten times as long."""
    prices: dict[str, float] = Field(default_factory=dict)
    """Your prices over the price book, e.g. {usd_per_million_training_tokens: 0.48, usd_per_hour: 3.99}."""
    serve: ServeOptions = Field(default_factory=ServeOptions)
    """How the tuned model answers; the trainer file's `serve:`."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        given = [name for name in _LORA if getattr(self, name) is not None]
        if given and self.lora_r is None:
            raise ValueError(f"{given[0]} needs lora_r beside it, e.g. lora_r: 16")
        if self.training_type == "Full" and self.lora_r is not None:
            raise ValueError("lora_r is for training_type: Lora")
        if self.training_type == "Full" and self.serve.where == "local":
            raise ValueError("serve.where: local downloads an adapter, which training_type: Full has not")
        given = [name for name in _STOPPING if getattr(self, name) is not None]
        if given and not self.early_stopping_enabled:
            raise ValueError(f"{given[0]} needs early_stopping_enabled: true")
        if self.early_stopping_enabled and self.n_evals is not None and self.n_evals < self._looks():
            raise ValueError(f"early stopping needs n_evals of at least patience + warmup_evals + 1 = {self._looks()}")
        return self

    def _looks(self) -> int:
        """together 3.1.1, lib/resources/fine_tuning.py: a first look, the warm-up, then as many as are borne."""
        warmup = 1 if self.early_stopping_warmup_evals is None else self.early_stopping_warmup_evals
        return (self.early_stopping_patience or 2) + warmup + 1

    def settings(self) -> dict[str, Any]:
        """What was chosen, as the service takes it; what was not is the service's choice."""
        found = self._given(_PLAIN)
        if self.lora_r is not None:
            alpha = self.lora_alpha or 2 * self.lora_r
            found["training_type"] = {"type": "Lora", "lora_r": self.lora_r, "lora_alpha": alpha, **self._given(_LORA[1:])}
        elif self.training_type == "Full":
            found["training_type"] = {"type": "Full"}
        if scheduler := self._scheduler():
            found["lr_scheduler"] = scheduler
        if self.train_on_inputs != "auto":
            found["training_method"] = {"method": "sft", "train_on_inputs": self.train_on_inputs}
        if self.early_stopping_enabled:
            found |= {"early_stopping_enabled": True, **self._given(_STOPPING)}
        return found

    def evals(self, job: Job) -> int:
        """How often the dev rows are looked at."""
        if not job.dev:
            return 0
        return max(USUAL_EVALS, self._looks() if self.early_stopping_enabled else 0) if self.n_evals is None else self.n_evals

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def _scheduler(self) -> dict[str, Any] | None:
        if self.lr_scheduler_type is None and self.min_lr_ratio is None and self.scheduler_num_cycles is None:
            return None
        kind, lowest = self.lr_scheduler_type or "cosine", self.min_lr_ratio or 0.0
        rest = {"num_cycles": self.scheduler_num_cycles or 0.5} if kind == "cosine" else {}
        return {"lr_scheduler_type": kind, "lr_scheduler_args": {"min_lr_ratio": lowest, **rest}}


def beyond(options: TogetherOptions, limits: Mapping[str, Any], job: Job) -> list[str]:
    """Settings outside what the service says of the base (GET /fine-tunes/models/limits); what it does not say is not checked."""
    full = options.training_type == "Full"
    if full and limits.get("supports_full_training") is False:
        return [f"base {job.base!r} can be trained by LoRA only. Set training_type: Lora"]
    kind = limits.get("full_training" if full else "lora_training") or {}
    batch = options.batch_size if isinstance(options.batch_size, int) else None
    bounds = (
        ("n_epochs", options.n_epochs, None, limits.get("max_num_epochs")),
        ("n_evals", options.evals(job), None, limits.get("max_num_evals")),
        ("n_checkpoints", options.n_checkpoints, None, limits.get("max_num_checkpoints")),
        ("learning_rate", options.learning_rate, limits.get("min_learning_rate"), limits.get("max_learning_rate")),
        ("batch_size", batch, kind.get("min_batch_size"), kind.get("max_batch_size")),
        ("lora_r", options.lora_r, None, kind.get("max_rank")),
        ("max_seq_length", options.max_seq_length, limits.get("min_max_seq_length"), limits.get("max_seq_length_sft")),
    )
    return [said for name, value, low, high in bounds if (said := _outside(name, value, hosted.number(low), hosted.number(high)))]


def _outside(name: str, value: float | None, low: float | None, high: float | None) -> str | None:
    if value is None or ((low is None or value >= low) and (high is None or value <= high)):
        return None
    room = f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"from {low:g} to {high:g}"
    return f"{name} is {value:g}, and the service takes {room} for this base"
