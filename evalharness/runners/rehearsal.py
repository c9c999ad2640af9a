"""A runner that trains nothing, at no cost: for rehearsing a suite (`--rehearse`) and for testing what surrounds a training.

>>> runner = RehearsalRunner(RehearsalOptions(steps=3))
>>> runner.poll(runner.submit(job)).state                                 # doctest: +SKIP
'succeeded'

A job is a file in its folder and the clock: like a hosted training it goes on while nobody looks, and survives evalh
being killed. The file remembers every submit, so that a test sees a purchase made twice: `submits(folder)`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from evalharness import protocols
from evalharness.errors import RunError
from evalharness.ids import digest
from evalharness.records import Endpoint, Handle, Job, Point, State, Status, TrainedModel

STATE = "rehearsal.json"


class RehearsalOptions(protocols.Options):
    """How the pretended training goes."""

    steps: int = Field(default=5, ge=1)
    """Steps, one logged point each."""
    seconds: float = Field(default=0.0, ge=0)
    """How long it takes."""
    fail_at: int | None = Field(default=None, ge=1)
    """Step at which it fails."""
    failures: int = Field(default=1, ge=0)
    """How many submits fail so, before one does not."""
    usd: float = Field(default=0.0, ge=0)
    """Pretended price of the training."""
    hosted: bool = False
    """Whether serving opens something that must be released."""


class RehearsalRunner:
    """Pretends to train in `steps` steps over `seconds` seconds; the model it gives is `rehearsal/…`."""

    Options: ClassVar[type[protocols.Options]] = RehearsalOptions
    local: ClassVar[bool] = False
    open: ClassVar[dict[str, Endpoint]] = {}
    """Intent key -> endpoint that is open in this process: a test sees what was not released."""

    def __init__(self, options: RehearsalOptions) -> None:
        self.options = options

    def identity(self, base: str) -> dict[str, object]:
        """The base's name and the number of steps."""
        return {"base": base, "steps": self.options.steps}

    def check(self, job: Job) -> list[str]:
        """Rows must be there."""
        return [] if job.train else ["train has no rows"]

    def submit(self, job: Job) -> Handle:
        """Begin, or go on from the last step that was reached."""
        folder, now = Path(job.workdir), time.time()
        folder.mkdir(parents=True, exist_ok=True)
        old = _read(folder / STATE)
        made = [*old.get("submits", []), job.key]
        fails = self.options.fail_at is not None and len(made) <= self.options.failures
        _write(folder / STATE, {
            "training_id": job.training_id, "key": job.key, "submits": made, "began": now, "cancelled": None,
            "from_step": _step(old, now) if old else 0, "fail_at": self.options.fail_at if fails else None,
            **self.options.model_dump(include={"steps", "seconds", "usd"}),
        })  # fmt: skip
        return Handle(job.training_id, str(folder))

    def find(self, job: Job) -> Handle | None:
        """The job of this key, unless it was cancelled."""
        state = _read(Path(job.workdir) / STATE)
        return Handle(job.training_id, job.workdir) if state.get("key") == job.key and state["cancelled"] is None else None

    def poll(self, handle: Handle) -> Status:
        """Where the clock says the job is. Raises RunError for a job that was never submitted."""
        state = _read(Path(handle.provider_id) / STATE)
        if not state:
            raise RunError(f"there is no rehearsed training in {handle.provider_id}")
        return _status(state, time.time())

    def cancel(self, handle: Handle) -> None:
        """Stop the clock."""
        path = Path(handle.provider_id) / STATE
        state = _read(path)
        if state and _status(state, time.time()).state == "running":
            _write(path, state | {"cancelled": time.time()})

    def estimate(self, job: Job) -> float | None:
        """The pretended price."""
        return self.options.usd

    def hourly(self, model: TrainedModel) -> float | None:
        """Nothing is paid for a pretended endpoint."""
        return 0.0

    def serve(self, model: TrainedModel, key: str) -> Endpoint:
        """The rehearsal model of that name."""
        resource_id = f"{model.model}#{key}" if self.options.hosted else None
        endpoint = Endpoint(model.model, model.adapter, resource_id, usd_per_hour=0.0)
        return self.open.setdefault(key, endpoint) if self.options.hosted else endpoint

    def served(self, key: str) -> Endpoint | None:
        """The endpoint that is open for this key."""
        return self.open.get(key)

    def release(self, endpoint: Endpoint) -> None:
        """Close it, if it is open."""
        for key in [key for key, other in self.open.items() if other.resource_id == endpoint.resource_id]:
            del self.open[key]


def submits(folder: Path) -> list[str]:
    """The key of every job that was submitted with this folder, oldest first."""
    return list(_read(folder / STATE).get("submits", []))


def _status(state: Mapping[str, Any], now: float) -> Status:
    step, now = _step(state, now), state["cancelled"] or now
    word: State = "running"
    if state["cancelled"] is not None:
        word = "cancelled"
    elif state["fail_at"] is not None and step >= state["fail_at"]:
        word = "failed"
    elif step == state["steps"]:
        word = "succeeded"
    points = tuple(_point(state, n) for n in range(1, step + 1))
    return Status(
        word,
        f"rehearsing step {step}",
        step,
        state["steps"],
        points,
        _model(state) if word == "succeeded" else None,
        tokens=step * 1000,
        cost_usd=state["usd"],
        seconds=min(now - state["began"], state["seconds"]),
        error="rehearsed failure" if word == "failed" else None,
    )


def _step(state: Mapping[str, Any], now: float) -> int:
    """The step that the job has reached by `now`."""
    passed = (state["cancelled"] or now) - state["began"]
    share = passed / state["seconds"] if state["seconds"] else 1.0
    return int(min(state["from_step"] + int(share * state["steps"]), state["fail_at"] or math.inf, state["steps"]))


def _point(state: Mapping[str, Any], step: int) -> Point:
    """A loss that falls with the steps, a little off a smooth curve."""
    noise = int(digest([state["training_id"], step])[:4], 16) / 0xFFFF
    loss = 2.0 * math.exp(-3.0 * step / state["steps"]) + 0.1 * noise
    return Point(step, loss, loss + 0.1, 1e-4, state["seconds"] * step / state["steps"])


def _model(state: Mapping[str, Any]) -> TrainedModel:
    name = state["training_id"]
    facts: dict[str, float | int | str | None] = {"trained_parameters": 1_000, "total_parameters": 1_000_000, "truncated_rows": 0}
    return TrainedModel(f"rehearsal/{name}", None, {"rehearsal": name}, facts)


def _read(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return state


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """All or nothing, whenever evalh is killed."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(state))
    os.replace(new, path)
