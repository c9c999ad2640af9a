"""What a fine-tuning job of Fireworks says, read leniently: fields may be missing, states and metrics may be new.

>>> dollars({"currencyCode": "USD", "units": "1", "nanos": 250_000_000})
1.25
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from evalharness.ids import digest
from evalharness.records import Point, State
from evalharness.runners import hosted
from evalharness.runners.fireworks.service import Json, last

STATES: dict[str, State] = {
    "JOB_STATE_UNSPECIFIED": "queued",
    "JOB_STATE_CREATING": "queued",
    "JOB_STATE_CREATING_INPUT_DATASET": "queued",
    "JOB_STATE_VALIDATING": "queued",
    "JOB_STATE_PENDING": "queued",
    "JOB_STATE_RE_QUEUEING": "queued",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_IDLE": "running",
    "JOB_STATE_PAUSED": "running",
    "JOB_STATE_WRITING_RESULTS": "running",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_COMPLETED": "succeeded",
    "JOB_STATE_EARLY_STOPPED": "succeeded",
    "JOB_STATE_ARCHIVED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_EXPIRED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
    "JOB_STATE_DELETING": "cancelled",
    "JOB_STATE_DELETING_CLEANING_UP": "cancelled",
    "JOB_STATE_DELETED": "cancelled",
}
"""All 20 states of API 4.259.0. An archived job's model may be gone: who asks looks for it. A deleted job leaves none."""
ARCHIVED, PAUSED = "JOB_STATE_ARCHIVED", "JOB_STATE_PAUSED"
_HOPELESS = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "UNIMPLEMENTED", "3", "5", "11", "12"})
"""Codes of what is refused again (gatewayCode, by name or by gRPC's number)."""
_TRAIN = ("train/loss", "train_loss", "training_loss", "loss")
_DEV = ("eval/loss", "eval_loss", "validation/loss", "validation_loss", "valid_loss", "val/loss", "val_loss")
_RATE = ("train/learning_rate", "train/lr", "learning_rate", "lr")
_STEP = ("step", "train/step", "global_step", "train/global_step", "_step")
_SETTINGS = ("epochs", "learningRate", "loraRank", "maxContextLength", "batchSize", "batchSizeSamples")


def named(key: str) -> str:
    """The id that an intent key gives to what is made for it: lower-case letters, digits and hyphens, 63 at most."""
    fits = 16 <= len(key) <= 48 and key.isascii() and key.isalnum() and key == key.lower()
    return f"evalh-{key if fits else digest([key])}"


def word(found: Mapping[str, Any]) -> str:
    """The state as the service wrote it."""
    return str(found.get("state") or "")


def state(found: Mapping[str, Any]) -> State:
    """The job's state; running, if nobody knows it."""
    return STATES.get(word(found), "running")


def detail(found: Mapping[str, Any]) -> str:
    """The state in words, and how far it is."""
    said = word(found)
    text = said.removeprefix("JOB_STATE_").replace("_", " ").lower() or "no state yet"
    if said and said not in STATES:
        text += " (a state evalh does not know)"
    progress = found.get("jobProgress")
    percent = hosted.number(progress.get("percent")) if isinstance(progress, dict) else None
    if percent is not None and STATES.get(said, "running") == "running":
        text += f", {percent:g}%"
    if said == PAUSED and (why := message(found)):
        text += f": {why}"
    return text


def reason(found: Mapping[str, Any]) -> str:
    """Why the job failed."""
    return message(found) or f"the job was {word(found).removeprefix('JOB_STATE_').replace('_', ' ').lower()}"


def is_hopeless(found: Mapping[str, Any]) -> bool:
    """The same job would fail again."""
    status = found.get("status")
    return isinstance(status, dict) and str(status.get("code")) in _HOPELESS


def message(found: Mapping[str, Any]) -> str:
    """What the status of a job, a deployment or an adapter says; empty if nothing."""
    status = found.get("status")
    return str(status.get("message") or "") if isinstance(status, dict) else ""


def dollars(money: object) -> float | None:
    """An amount of money in dollars; None if it is none, or of another currency."""
    if not isinstance(money, dict) or money.get("currencyCode") not in (None, "", "USD"):
        return None
    units, nanos = hosted.number(money.get("units", 0)), hosted.number(money.get("nanos", 0))
    known = "units" in money or "nanos" in money or money.get("currencyCode") == "USD"
    return units + nanos / 1e9 if known and units is not None and nanos is not None else None


def tokens(found: Mapping[str, Any]) -> int | None:
    """Tokens trained on so far."""
    progress = found.get("jobProgress")
    said = hosted.number(progress.get("inputTokens")) if isinstance(progress, dict) else None
    return int(said) if said else None


def seconds(found: Mapping[str, Any]) -> float | None:
    """From its creation to its end."""
    began, ended = hosted.moment(found.get("createTime")), hosted.moment(found.get("completedTime"))
    return None if began is None or ended is None else ended - began


def output(found: Mapping[str, Any], account: str) -> str:
    """The tuned model's full name; the job's own id where the service does not say it, which is its rule."""
    name = str(found.get("outputModel") or "") or last(str(found.get("name") or ""))
    return name if name.startswith("accounts/") else f"accounts/{account}/models/{last(name)}"


def facts(found: Mapping[str, Any]) -> dict[str, int | float | str]:
    """The settings as the service took or chose them, and what serving needs to know."""
    known = {name: value for name in _SETTINGS if isinstance(value := found.get(name), int | float) and not isinstance(value, bool)}
    return {**known, "base": str(found.get("baseModel") or ""), "job": str(found.get("name") or "")}


def points(content: bytes) -> tuple[Point, ...]:
    """The points of a metrics file: one JSON object a line, plain or under `data`; a JSON list and CSV are read, too."""
    text = content.decode("utf-8", "replace").strip()
    found = [point for row in _rows(text) if (point := _point(row)) is not None]
    return hosted.merged(found or hosted.csv_points(content))


def _rows(text: str) -> Iterable[Json]:
    whole = _json(text)
    if isinstance(whole, dict):
        inner = whole.get("metrics", whole.get("data"))
        whole = inner if isinstance(inner, list) else [whole]
    rows = whole if isinstance(whole, list) else map(_json, text.splitlines())
    return [row for row in rows if isinstance(row, dict)]


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _point(row: Json) -> Point | None:
    data = row["data"] if isinstance(row.get("data"), dict) else {}
    values = {**row, **data}
    step = _first({**data, **row}, _STEP)
    train, dev, rate = (_first(values, names) for names in (_TRAIN, _DEV, _RATE))
    return Point(int(step), train, dev, rate) if step is not None and (train, dev) != (None, None) else None


def _first(values: Json, names: tuple[str, ...]) -> float | None:
    return next((found for name in names if (found := hosted.number(values.get(name))) is not None), None)
