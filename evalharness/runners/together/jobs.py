"""What Together says of a fine-tuning job: its state, losses, cost and model.

>>> state({"status": "completed"})
'running'
>>> state({"status": "completed", "model_output_name": "me/base-tuned"})
'succeeded'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalharness.records import FINAL, Point, State, Status, TrainedModel
from evalharness.runners import hosted
from evalharness.runners.hosted import number

STATES: dict[str, State] = {
    "pending": "queued",
    "queued": "queued",
    "running": "running",
    "compressing": "running",
    "uploading": "running",
    "cancel_requested": "running",
    "cancelled": "cancelled",
    "error": "failed",
    "user_error": "failed",
    "completed": "succeeded",
}
NANODOLLARS = 1e9
"""together 3.1.1, lib/utils/tools.py: a job's total_price is in these."""
Json = Mapping[str, Any]
_WRONG = re.compile(r"error", re.IGNORECASE)


def is_for(found: Json, key: str) -> bool:
    """Whether a job was made for this intent key: its suffix, or at least its model's name, holds it."""
    return any(key[:12] in str(found.get(field) or "") for field in ("suffix", "user_provided_suffix", "model_output_name", "output_name"))


def name_of(found: Json) -> str:
    """The tuned model's name; empty as long as there is none."""
    return str(found.get("model_output_name") or found.get("output_name") or found.get("model_object_name") or "")


def state(found: Json) -> State:
    """The job's state in evalh's words; one that nobody knows is running."""
    known = STATES.get(str(found.get("status")), "running")
    return "running" if known == "succeeded" and not name_of(found) else known  # the name may come a moment after the state


def detail(found: Json) -> str:
    """The service's own word for the state, and when it expects the next one."""
    said = str(found.get("status"))
    words = said.replace("_", " ") + ("" if said in STATES else " (a state evalh does not know)")
    progress = found.get("progress") or {}
    left = number(progress.get("seconds_remaining")) if progress.get("estimate_available") else None
    return words if left is None else f"{words}, {left / 60:.0f} min to the next state"


def points(metrics: Iterable[Json], events: Iterable[Json]) -> tuple[Point, ...]:
    """One point a step. Metrics win over what events say in sentences."""
    said = (hosted.point({**event, **hosted.point_said(str(event.get("message") or ""))[0]}) for event in events)
    told = (found for found in said if found is not None and (found.train_loss is not None or found.dev_loss is not None))
    measured = (found for row in metrics if (found := _point(row)) is not None)
    return hosted.merged([*told, *measured])


def _point(row: Json) -> Point | None:
    """Names as the service logs them: train/global_step, train/loss, eval/loss, train/learning_rate; or without their first half."""
    step = _first(row, "train/global_step", "global_step", "train/step", "step", "eval/global_step", "eval/step")
    if step is None:
        return None
    train = _first(row, "train/loss", "train_loss", "loss", "training_loss")
    dev = _first(row, "eval/loss", "eval_loss", "valid_loss", "validation/loss", "validation_loss")
    rate = _first(row, "train/learning_rate", "learning_rate", "train/lr", "lr")
    return None if train is dev is rate is None else Point(int(step), train, dev, rate)


def _first(row: Json, *names: str) -> float | None:
    return next((found for name in names if (found := number(row.get(name))) is not None), None)


def total_steps(found: Json, events: Iterable[Json]) -> int | None:
    """How many steps the job takes, if anything says so."""
    known = [number(one.get("total_steps")) or 0.0 for one in (found, *events)]
    return int(max(known)) or None


def error(found: Json, events: Iterable[Json]) -> str:
    """Why a job failed: what its last event of an error says."""
    wrong = [event for event in events if _WRONG.search(f"{event.get('type')} {event.get('level')}") and event.get("message")]
    if wrong:
        return str(wrong[-1]["message"])
    return "the job was cancelled" if found.get("status") == "cancelled" else "the job failed, and the service does not say why"


def status(found: Json, events: Sequence[Json], metrics: Iterable[Json], model: TrainedModel | None, cost_usd: float | None) -> Status:
    """The whole of it."""
    now, known = state(found), points(metrics, events)
    spent = number(found.get("total_price"))
    tokens = number(found.get("token_count"))
    return Status(
        now,
        detail=detail(found),
        step=known[-1].step if known else None,
        total_steps=total_steps(found, events),
        points=known,
        model=model,
        tokens=int(tokens) if tokens else None,
        cost_usd=spent / NANODOLLARS if spent and now == "succeeded" else cost_usd,
        seconds=_seconds(found) if now in FINAL else None,
        error=error(found, events) if now in ("failed", "cancelled") else None,
        again=found.get("status") != "user_error" and not any(str(event.get("type")).lower() == "job_user_error" for event in events),
    )


def _seconds(found: Json) -> float | None:
    """From its creation to its last change."""
    began, ended = hosted.moment(found.get("created_at")), hosted.moment(found.get("updated_at"))
    return None if began is None or ended is None else ended - began or None


def facts(found: Json) -> dict[str, float | int | str | None]:
    """What reports and serving want to know of the job."""
    kind = found.get("training_type") or {}
    wanted = {name: found.get(name) for name in ("n_epochs", "batch_size", "learning_rate", "early_stopped", "early_stopping_best_step")}
    lora = {name: kind.get(name) for name in ("lora_r", "lora_alpha")}
    named = {
        "job": found.get("id"),
        "base": found.get("model"),
        "trained_tokens": found.get("token_count"),
        "model_object": found.get("model_object_id") or found.get("adapter_object_id"),
        "model_revision": found.get("model_object_revision_id" if found.get("model_object_id") else "adapter_object_revision_id"),
    }
    return {name: value for name, value in {**wanted, **lora, **named}.items() if isinstance(value, int | float | str)}


def checkpoints(saved: Iterable[Json], name: str) -> tuple[str, ...]:
    """The models of earlier steps, oldest first, as the service writes them, NAME:STEP; the last step's is the tuned model itself."""
    steps = {int(step) for one in saved if (step := number(one.get("step"))) is not None}
    return tuple(f"together/{name}:{step}" for step in sorted(steps)[:-1])


def step_of(model: TrainedModel) -> int | None:
    """The step of a checkpoint; None for the tuned model itself."""
    name, _, step = model.model.rpartition(":")
    return int(step) if step.isdecimal() and name == f"together/{model.identity.get('model')}" else None
