"""What judging would take, before any of it is bought: open questions, calls and dollars.

>>> plan_judging("judge", metric, arms, store, {})                                                     # doctest: +SKIP
JudgePlan(metric='judge', questions=400, calls=1600, usd=1.27, warnings=())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalharness.errors import ConfigError, Problem
from evalharness.pipeline.generating import Ask
from evalharness.pipeline.judging import Case, relatives
from evalharness.pipeline.scoring import metric_id
from evalharness.protocols import AskingMetric
from evalharness.records import Dataset, Output, Reply, Sample
from evalharness.store import Store

_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """What a run would ask one metric: open questions, calls at most, and dollars, rather too many (None: nobody knows).

    Answers that are not there yet count as if they were as long as allowed.
    """

    metric: str
    questions: int
    calls: int
    usd: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """An arm on a set of rows as it is expected to be; `ask` is None while its model is not trained."""

    label: str
    dataset: Dataset
    repeats: int
    longest: int
    """Tokens of its longest answer."""
    ask: Ask | None = None


def plan_judging(name: str, metric: AskingMetric, arms: Sequence[Expected], store: Store, bases: Mapping[str, str]) -> JudgePlan:
    """What is open of a metric. Raises ConfigError if it compares with an arm that the suite does not have."""
    labels = [arm.label for arm in arms]
    if metric.against is not None and metric.against not in labels:
        raise ConfigError([Problem("", f"metrics.{name}.against", f"no arm is called {metric.against!r}", f"Known: {', '.join(labels)}")])
    there = [arm.ask for arm in arms if arm.ask is not None]
    references = [arm for arm in arms if arm.label == metric.against]
    others = {place: found for arm in references for place, found in _expected(arm, store, "y").items()}
    known = store.known_scores([metric_id(metric)], [ask.arm.arm_id for ask in there])
    questions = []
    for arm in arms:
        if arm.label == metric.against:
            continue
        for (sample_id, repeat), (sample, output) in _expected(arm, store, "x").items():
            _, other = others.get((sample_id, repeat), (sample, None))
            if metric.against is not None and other is None:
                continue  # the other arm is not asked this row
            case = Case.of(metric_id(metric), sample, output, other)
            if case.open and (case.key not in known or known[case.key] is not None):
                questions.append(case.question)
    warnings = tuple(f"{kin} as {label}" for label, kin in relatives(metric, there, bases).items())
    return JudgePlan(name, len(questions), metric.calls(len(questions)), metric.estimate(questions), warnings)


def _expected(arm: Expected, store: Store, letter: str) -> dict[tuple[str, int], tuple[Sample, Output]]:
    """(sample id, repeat) -> the sample and the arm's output, one as long as allowed where there is none yet."""
    stored = store.outputs(arm.ask.arm.arm_id, arm.dataset.id) if arm.ask is not None else []
    outputs = {(output.sample_id, output.repeat): output for output in stored}
    text = letter * (_BYTES_A_TOKEN * arm.longest)
    found = {}
    for sample in arm.dataset.samples:
        for repeat in range(arm.repeats):
            key = f"{arm.label}/{sample.id}/{repeat}"
            blank = Output(key, arm.label, arm.dataset.id, sample.id, repeat, Reply(key, text, "stop"), "")
            found[sample.id, repeat] = (sample, outputs.get((sample.id, repeat), blank))
    return found
