"""The report model: everything a reader is told about a run, in plain values. Every renderer shows this and nothing else.

Scores, differences and intervals are in the metric's own unit and not rounded for show; what is unknown is None, never 0.

>>> Counts(right=280, wrong=115, truncated=3, error=2).total
400
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
"""Version of the model and of its JSON; it changes when a field changes its meaning or goes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval; an end that nothing bounds is None."""

    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of an arm's outputs; each is counted once. `right` and `wrong` by the binary metric `metric`.

    Without a binary metric `right` is None and `wrong` counts every complete answer. `missing` are not stored (yet).
    """

    right: int | None
    wrong: int
    truncated: int
    error: int
    missing: int = 0
    metric: str | None = None

    @property
    def total(self) -> int:
        return (self.right or 0) + self.wrong + self.truncated + self.error + self.missing


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm under one metric. `gain` is the paired difference from the reference: positive is better. None: not computed."""

    metric: str
    score: Estimate | None
    gain: Estimate | None
    missing: float = 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What an arm's outputs took; None where unknown. Seconds and US dollars; `cost_usd` is what they cost in all."""

    outputs: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    cost_usd_per_1000: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    cost_per_1000: Estimate | None = None
    """With its interval over items; hosting by the hour is counted with its idle hours where the suite says `volume`."""
    usd_per_hour: float | None = None
    """What its deployment costs, idle or not; None where there is none or nobody knows."""


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """How an arm was trained; None where unknown."""

    training_id: str
    runner: str
    base: str
    state: str
    seconds: float | None
    cost_usd: float | None
    tokens: int | None
    trained_parameters: int | None
    total_parameters: int | None
    trained_share: float | None
    facts: Mapping[str, float | int | str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One arm. With a `problem` (a failed training, no outputs) it was not scored and has no cells."""

    arm: str
    arm_id: str
    role: str
    is_reference: bool
    problem: str | None
    cells: tuple[Cell, ...]
    counts: Counts | None
    usage: Usage
    training: TrainingFacts | None

    def cell(self, metric: str) -> Cell | None:
        """The arm under this metric, if it was scored by it."""
        return next((cell for cell in self.cells if cell.metric == metric), None)


@dataclass(frozen=True, slots=True)
class MetricHead:
    """A metric as the columns name it. `problem` says why its values are missing or old.

    `human` is what people's labels say of it (`verdict.agreeing.summary`), None where it asks nobody and nobody labelled.
    `judging` is how its judges judged (`verdict.judging.judged`), None where it asks nobody for an opinion.
    """

    label: str
    kind: str
    higher_is_better: bool
    range: tuple[float, float]
    signature: str
    problem: str | None = None
    human: Mapping[str, Any] | None = None
    judging: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RunHead:
    """The run: when, by which code."""

    run_id: str
    suite: str
    state: str
    started: str
    finished: str | None
    git_sha: str | None
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DatasetHead:
    """The held-out items that all arms were scored on."""

    dataset_id: str
    name: str
    source: str
    n: int
    repeats: int
    clusters: int | None


@dataclass(frozen=True, slots=True)
class SliceCell:
    """One arm under one metric on the items of one slice; `gain` as in `Cell`."""

    slice: str
    n: int
    arm: str
    metric: str
    score: Estimate
    gain: Estimate | None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A logged step of a training: mean nats per answer token."""

    step: int
    train_loss: float | None
    dev_loss: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """How an arm was trained, step by step; `chosen` is the step of the checkpoint that was kept, None where unknown."""

    arm: str
    points: tuple[CurvePoint, ...]
    chosen: int | None


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """What an arm scored in a run of the suite, this one included. Only points of equal `dataset_id` can be compared."""

    run_id: str
    started: str
    dataset_id: str
    arm: str
    arm_id: str
    metric: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """An arm's answers by class: `counts` are (place of the right label, place of the label it was taken for, how many), the
    second None for an answer that is no label; what never happened is left out."""

    arm: str
    metric: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, int | None, int], ...]


@dataclass(frozen=True, slots=True)
class FieldErrors:
    """Of an arm's `n` answers, how many have each field wrong, the most frequent first."""

    arm: str
    metric: str
    n: int
    fields: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Flip:
    """An item on which an arm and the reference differ much; `difference` is positive where the arm is better. The whys
    are what the metric says of each answer: a judge's reasons, the fields that differ."""

    sample_id: str
    metric: str
    difference: float | None
    input: str
    targets: tuple[str, ...]
    arm: str
    arm_text: str | None
    reference: str
    reference_text: str | None
    arm_why: str | None = None
    reference_why: str | None = None


@dataclass(frozen=True, slots=True)
class DataFinding:
    """What the data checks found when the run began, by rule (docs/check.md). `allowed` is the suite's reason to leave it
    so, None where it gives none; `places` are the worst rows as file:line."""

    rule: str
    severity: str
    count: int
    found: str
    fix: str
    allowed: str | None
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A run's report. `rows` are best first by the metric `ranked_by`, arms that were not scored last.

    `level` is that of every interval of a difference: 1 - α/K for `candidates` = K compared candidates. Scores' own
    intervals are at `confidence`. `gate` and `decision` are verdicts as JSON.
    """

    run: RunHead
    dataset: DatasetHead
    reference: str
    confidence: float
    level: float
    candidates: int
    ranked_by: str
    metrics: tuple[MetricHead, ...]
    rows: tuple[Row, ...]
    headline: str
    gate: Mapping[str, Any] | None = None
    decision: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    slices: tuple[SliceCell, ...] = ()
    curves: tuple[Curve, ...] = ()
    history: tuple[HistoryPoint, ...] = ()
    flips: tuple[Flip, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    field_errors: tuple[FieldErrors, ...] = ()
    data: tuple[DataFinding, ...] = ()
    seed: int = 0
    schema: int = SCHEMA
