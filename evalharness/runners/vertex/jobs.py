"""What a tuning job of Vertex AI says, read leniently: fields may be missing, states and reasons may be new.

>>> label("0f3c77aa01b2c3d4e5f60718")
'0f3c77aa01b2c3d4e5f60718'
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from evalharness.ids import digest
from evalharness.records import Job, Point, State
from evalharness.runners import hosted

LABEL = "evalh_key"
STATES: dict[str, State] = {
    "JOB_STATE_QUEUED": "queued",
    "JOB_STATE_PENDING": "queued",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_UPDATING": "running",
    "JOB_STATE_PAUSED": "running",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_EXPIRED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
}
ENDPOINT_WITHIN_S = 3600.0
"""How long after its end a trained model's endpoint is waited for."""
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{1,63}")
_HOPELESS = frozenset({3, 5, 9, 11, 12})
"""google.rpc codes of what is refused again: invalid argument, not found, failed precondition, out of range, unimplemented."""


def label(key: str) -> str:
    """The intent key as a label's value: lower-case letters, digits, '-' and '_', 63 at most."""
    return key if _LABEL_VALUE.fullmatch(key) else digest([key])


def is_for(found: Any, job: Job) -> bool:
    """Whether the job was made for this intent: by its label or, where a service keeps none, by the tuned model's name."""
    labels = found.labels or {}
    if LABEL in labels:
        return bool(labels[LABEL] == label(job.key))
    return str(found.tuned_model_display_name or "").endswith(job.key[:12])


def resource(name: str) -> str:
    """A job's name as the SDK takes it, from an absolute name, a relative one or the id alone."""
    if name.startswith("projects/"):
        return name
    return f"tuningJobs/{name.rpartition('tuningJobs/')[2]}"


def word(state: object) -> str:
    """A state as the service wrote it."""
    return str(getattr(state, "value", state) or "")


def state(found: Any) -> State:
    """The job's state. A success without an endpoint is not done yet: the endpoint comes a moment later, or has failed."""
    known = STATES.get(word(found.state), "running")
    if known != "succeeded" or endpoint(found):
        return known
    return "failed" if _is_stranded(found) else "running"


def _is_stranded(found: Any) -> bool:
    """Trained, but the service has put the model nowhere, and will not any more."""
    over = STATES.get(word(found.state)) == "succeeded" and not endpoint(found)
    return bool(over and found.end_time and time.time() - found.end_time.timestamp() > ENDPOINT_WITHIN_S)


def stats(found: Any) -> Any:
    """Statistics of the training data; None until the service has them."""
    return getattr(found.tuning_data_stats, "supervised_tuning_data_stats", None)


def number(holder: Any, field: str) -> int | None:
    """A whole number that a part of the job holds, if it does."""
    value = getattr(holder, field, None)
    return value if isinstance(value, int) else None


def checkpoints(found: Any) -> list[Any]:
    """Checkpoints, the earliest first."""
    saved = list(getattr(found.tuned_model, "checkpoints", None) or [])
    return sorted(saved, key=lambda one: (one.step or 0, one.epoch or 0))


def endpoint(found: Any) -> str:
    """Where the tuned model answers; empty if nowhere yet."""
    own = str(getattr(found.tuned_model, "endpoint", None) or "")
    return own or next((str(one.endpoint) for one in reversed(checkpoints(found)) if one.endpoint), "")


def settings(found: Any) -> dict[str, int | float | str]:
    """The hyperparameters as the service took or chose them."""
    chosen = getattr(found.supervised_tuning_spec, "hyper_parameters", None)
    names = ("epoch_count", "learning_rate_multiplier", "adapter_size")
    return {name: value if isinstance(value, int | float) else word(value) for name in names if (value := getattr(chosen, name, None))}


def points(found: Any) -> tuple[Point, ...]:
    """The steps at which checkpoints were saved, and the last one. Losses are not among what a tuning job shows."""
    steps = [one.step for one in checkpoints(found)] + [number(stats(found), "tuning_step_count")]
    return hosted.merged(Point(step) for step in steps if step)


def detail(found: Any) -> str:
    """The state in words, and what the service is at within it."""
    said = word(found.state)
    text = said.removeprefix("JOB_STATE_").replace("_", " ").lower() or "no state yet"
    if said and said not in STATES and said != "JOB_STATE_UNSPECIFIED":
        text += " (a state evalh does not know)"
    if (within := word(found.tuning_job_state).removeprefix("TUNING_JOB_STATE_")) and STATES.get(said) == "running":
        text += f", {within.replace('_', ' ').lower()}"
    return text


def reason(found: Any) -> str:
    """Why the job failed."""
    if _is_stranded(found):
        model = getattr(found.tuned_model, "model", None) or "none named"
        return f"it is trained, but the service gave its model ({model}) no endpoint. Deploy it, and score it by its endpoint"
    said = word(found.state).removeprefix("JOB_STATE_").replace("_", " ").lower()
    return str(getattr(found.error, "message", None) or f"the job was {said}")


def is_hopeless(found: Any) -> bool:
    """The same job would fail again, or is paid for already."""
    return _is_stranded(found) or getattr(found.error, "code", None) in _HOPELESS


def dropped(found: Any) -> str:
    """What the service left out of the training rows, in a sentence; empty if nothing."""
    count = number(stats(found), "total_truncated_example_count")
    if not count:
        return ""
    where: Sequence[int] = stats(found).truncated_example_indices or []
    why: Sequence[str] = stats(found).dropped_example_reasons or []
    shown = [f"row {row}: {why[place]}" if place < len(why) else f"row {row}" for place, row in enumerate(where[:5])]
    return f"{found.name}: the service dropped or cut {count} training rows" + (f" ({'; '.join(shown)})" if shown else "")
