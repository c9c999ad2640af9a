"""What the store gives back besides the records of `evalharness.records`: frozen rows in plain Python types.

>>> Resource("r1", kind="deployment", provider="together", intent_key="k", state="intended").price_usd_per_hour is None
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from evalharness.records import Arm, TrainedModel


def utc_now() -> datetime:
    """The time now, aware, in UTC; microseconds are what the store keeps."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Run:
    """One `evalh` run. `state` is running until it is finished; a killed run stays running."""

    run_id: str
    suite_name: str
    suite_yaml: str
    git_sha: str | None
    versions: Mapping[str, str]
    argv: tuple[str, ...]
    state: str = "running"
    started: datetime = field(default_factory=utc_now)
    finished: datetime | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunArm:
    """An arm as it took part in a run: `arm` carries that run's label, role and training.

    `error` says why it has no (new) outputs, if it has none.
    """

    run_id: str
    dataset_id: str
    position: int
    arm: Arm
    error: str | None = None


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric in use. `label` is its name in the suite and is not part of `metric_id`."""

    metric_id: str
    name: str
    version: str
    options: Mapping[str, object]
    higher_is_better: bool
    range: tuple[float, float]
    kind: Literal["binary", "mean", "corpus"]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """A training and what came of it; `cost_usd` is None while unknown."""

    training_id: str
    runner: str
    base: str
    params: Mapping[str, object]
    seed: int
    data_id: str
    state: str
    model: TrainedModel | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    error: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that costs money while it exists. Open until `closed` is set.

    `settings` are {base, options, model}: with them another process makes the runner that finds and releases it. They
    hold no secret. `estimate_usd` was expected, `cost_usd` was charged; None where nobody knows.
    """

    resource_id: str
    kind: str
    provider: str
    intent_key: str
    state: str
    provider_id: str | None = None
    price_usd_per_hour: float | None = None
    opened: datetime = field(default_factory=utc_now)
    closed: datetime | None = None
    run_id: str | None = None
    note: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    estimate_usd: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A comparison, gate result or decision on a dataset; `json` is its evidence."""

    verdict_id: str
    run_id: str
    kind: str
    dataset_id: str
    outcome: str
    json: Mapping[str, object]
    created: datetime = field(default_factory=utc_now)


class DatasetHead(NamedTuple):
    """A dataset without its samples."""

    dataset_id: str
    name: str
    split: str
    source: str
    n: int


class KnownOutput(NamedTuple):
    """What a later step must know of a stored output: error rows are tried again, outcomes key the scores."""

    finish: str
    outcome_key: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What an arm's outputs on a dataset took.

    Tokens are summed over the outputs that report them (None if none does). `cost_usd` is None if any output's cost is
    unknown, never 0 for unknown. `finishes` counts outputs by finish reason (stop, length, error); latencies are
    seconds over answered outputs.
    """

    n: int
    finishes: Mapping[str, int]
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
