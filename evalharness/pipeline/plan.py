"""What a run would do: which trainings, outputs and scores are missing, and what the test set can see. Spends nothing.

>>> plan = make_plan(load_suite(Path("suites/tickets.yaml")), store, Path("results"))                 # doctest: +SKIP
>>> [(arm.label, arm.missing) for arm in plan.arms]                                                   # doctest: +SKIP
[('zero-shot', 400), ('few-shot', 400), ('tuned', None)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalharness.data import Splits, load
from evalharness.data.paths import display
from evalharness.errors import ConfigError, Problem
from evalharness.pipeline.entries import Entry, endpoint_model, entries
from evalharness.pipeline.generating import Ask, Requests, missing
from evalharness.pipeline.judging_plan import Expected, JudgePlan, plan_judging
from evalharness.pipeline.scoring import asks_a_model
from evalharness.pipeline.training import Training, finished
from evalharness.reading import LoadedSuite
from evalharness.records import Arm, Dataset, Endpoint, Request, TrainedModel
from evalharness.store import Store


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """One arm's missing answers, on the held-out rows and on the dev rows if the best candidate is picked on them.

    `missing` is None while its model is not trained: then all of `total` is to do.
    """

    label: str
    role: str
    total: int
    missing: int | None
    characters: int
    """Characters of the prompts that are still to be sent; about four of them make a token of English."""
    local: bool
    usd: float | None = None
    """What the missing answers will cost, rather too much than too little; None if nobody knows."""

    @property
    def to_do(self) -> int:
        return self.total if self.missing is None else self.missing


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """One training: finished before or not, its rows, and what an equal base took before (None if never)."""

    label: str
    runner: str
    base: str
    rows: int
    done: bool
    seconds: float | None
    usd: float | None = None
    """What it will cost, rather too much than too little; 0.0 where nothing is bought, None if nobody knows."""
    usd_per_hour: float | None = 0.0
    """What its deployment will cost while its answers are asked for; 0.0 where nothing is deployed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run of the suite needs, and what of it is missing."""

    loaded: LoadedSuite
    splits: Splits
    entries: tuple[Entry, ...]
    results: Path
    trainings: tuple[TrainingPlan, ...]
    arms: tuple[ArmPlan, ...]
    visible: Mapping[str, float | None]
    """Metric -> smallest difference (80% power) that the test set can see, inf if none; None where only outputs can tell."""
    judging: tuple[JudgePlan, ...] = ()
    """The metrics that ask a model, with what they would be asked."""
    rehearse: bool = False
    spent: float = 0.0
    """What the suite's runs have cost so far, as far as known."""

    @property
    def usd(self) -> float | None:
        """What is still to be paid, an hour of each deployment included; None if nobody knows a part of it."""
        hours = [each.usd_per_hour for each in self.trainings if any(a.label == each.label and a.to_do for a in self.arms)]
        parts = [*(each.usd for each in self.trainings), *hours, *(each.usd for each in self.arms), *(each.usd for each in self.judging)]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    @property
    def nothing_to_do(self) -> bool:
        """Whether every training, output and opinion is stored already."""
        done = all(training.done for training in self.trainings) and not any(arm.to_do for arm in self.arms)
        return done and not any(each.questions for each in self.judging)


def make_plan(loaded: LoadedSuite, store: Store, results: Path, *, rehearse: bool = False) -> Plan:
    """Read the data, check every training, and see what the store lacks.

    Raises ConfigError with everything that the runners find wrong with their jobs.
    """
    answered = any(getattr(metric, "needs_targets", True) for metric in loaded.metrics.values())
    splits = load(loaded.suite.data, loaded.root, loaded.suite.name, answered=answered)
    found = entries(loaded, splits, results, rehearse=rehearse)
    problems = [
        Problem(display(loaded.path), f"candidates.{entry.label}", text)
        for entry in found
        if entry.training is not None and finished(entry.training, store) is None
        for text in entry.training.runner.check(entry.training.job)
    ]
    if problems:
        raise ConfigError(problems)
    trainings = tuple(_training_plan(entry.training, store) for entry in found if entry.training)
    asked = [(entry, sets_of(entry, found, loaded, splits)) for entry in found]
    arms = tuple(_arm_plan(entry, loaded, sets, store) for entry, sets in asked)
    judging = _judging(asked, loaded, store, rehearse=rehearse)
    return Plan(
        loaded,
        splits,
        tuple(found),
        results,
        trainings,
        arms,
        _visible(loaded, splits),
        judging,
        rehearse,
        store.spending(loaded.suite.name).usd,
    )


def picks_on_dev(found: Sequence[Entry], loaded: LoadedSuite, splits: Splits) -> bool:
    """Whether the best of several trained candidates is picked on the dev rows, so that the held-out rows only confirm it."""
    trained = sum(entry.training is not None for entry in found)
    return loaded.suite.decide is not None and len(splits.dev) > 0 and trained > 1


def sets_of(entry: Entry, found: Sequence[Entry], loaded: LoadedSuite, splits: Splits) -> tuple[Dataset, ...]:
    """What one of the suite's arms is asked: the held-out rows and, where the best candidate is picked on dev, those too."""
    on_dev = entry.training is not None and picks_on_dev(found, loaded, splits)
    return (splits.test, splits.dev) if on_dev else (splits.test,)


def _training_plan(training: Training, store: Store) -> TrainingPlan:
    job = training.job
    done = finished(training, store) is not None
    seconds = store.usual_seconds(training.runner_name, job.base)
    usd = 0.0 if done else training.runner.estimate(job)
    hourly = training.runner.hourly(TrainedModel(job.base, None, {}))
    return TrainingPlan(training.label, training.runner_name, job.base, len(job.train), done, seconds, usd, hourly)


def _arm_plan(entry: Entry, loaded: LoadedSuite, sets: Sequence[Dataset], store: Store) -> ArmPlan:
    trained = None
    if entry.training is not None:
        trained = finished(entry.training, store)
        if trained is None:
            return _untrained(entry, entry.training, loaded, sets)
    asks = _asks(entry, entry.arm(trained), loaded, sets)
    requests = Requests([row for ask in asks for row in missing(ask, store)])
    total = sum(map(len, sets)) * loaded.suite.repeats
    usd = _usd(entry, requests) if entry.training is None else _tuned_usd(entry, entry.training, loaded, requests)
    return ArmPlan(entry.label, entry.role, total, len(requests), _characters(requests), entry.local, usd)


def _asks(entry: Entry, arm: Arm, loaded: LoadedSuite, sets: Sequence[Dataset]) -> list[Ask]:
    return [Ask(entry.label, arm, each, entry.prompt, entry.examples, repeats=loaded.suite.repeats) for each in sets]


def _characters(requests: Sequence[Request]) -> int:
    return sum(len(message.content) for request in requests for message in request.messages)


def _untrained(entry: Entry, training: Training, loaded: LoadedSuite, sets: Sequence[Dataset]) -> ArmPlan:
    """All is still to be asked."""
    asks = _asks(entry, entry.absent(), loaded, sets)
    requests = Requests([(ask, key, sample, repeat) for ask in asks for key, sample, repeat in ask.places()])
    usd = _tuned_usd(entry, training, loaded, requests)
    return ArmPlan(entry.label, entry.role, len(requests), None, _characters(requests), entry.local, usd)


def _tuned_usd(entry: Entry, training: Training, loaded: LoadedSuite, requests: Sequence[Request]) -> float | None:
    """What a tuned model's answers will cost: the price of the base's tuned models, where the runner knows their name."""
    base, runner = training.job.base, training.runner
    if entry.local or not requests or runner.hourly(TrainedModel(base, None, {})) != 0.0:
        return 0.0  # or by the hour, which the training's line has
    name = getattr(runner, "priced_as", lambda base: None)(base)
    if name is None or name.startswith("local/"):
        return None if name is None else 0.0
    options = getattr(runner, "options", None)
    endpoint = Endpoint(name, options={"prices": dict(prices)} if (prices := getattr(options, "prices", {})) else {})
    return _usd(replace(entry, model=endpoint_model(endpoint, loaded.root)[1], training=None), requests)


def _usd(entry: Entry, requests: Sequence[Request]) -> float | None:
    if entry.local or not requests:
        return 0.0
    costs = [None if entry.model is None else entry.model.estimate(request) for request in requests]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _judging(
    asked: Sequence[tuple[Entry, Sequence[Dataset]]], loaded: LoadedSuite, store: Store, *, rehearse: bool
) -> tuple[JudgePlan, ...]:
    """What is open of every metric that asks a model; a rehearsal asks nobody."""
    metrics = {name: metric for name, metric in loaded.metrics.items() if asks_a_model(metric)}
    if not metrics:
        return ()
    repeats, arms = loaded.suite.repeats, []
    for entry, sets in asked:
        trained = finished(entry.training, store) if entry.training is not None else None
        absent = entry.training is not None and trained is None
        asks = [None] * len(sets) if absent else _asks(entry, entry.arm(trained), loaded, sets)
        arms += [Expected(entry.label, each, repeats, entry.sampling.max_tokens, ask) for each, ask in zip(sets, asks, strict=True)]
    bases = {entry.label: entry.training.job.base for entry, _ in asked if entry.training is not None}
    plans = (plan_judging(name, metric, arms, store, bases) for name, metric in metrics.items())
    return tuple(replace(each, calls=0, usd=0.0) if rehearse else each for each in plans)


def _visible(loaded: LoadedSuite, splits: Splits) -> dict[str, float | None]:
    from evalharness.stats.plan import visible_difference

    n = len(splits.test)
    return {
        name: visible_difference(n, level=loaded.suite.level) if metric.kind == "binary" else None
        for name, metric in loaded.metrics.items()
    }
