"""A run as verdicts and reports read it: who took part, on which items, and every score as arrays.

>>> view = load(Store("results/evalh.duckdb"), run_id)                                                # doctest: +SKIP
>>> [contender.label for contender in view.scored], view.n                                            # doctest: +SKIP
(['zero-shot', 'few-shot', 'tuned'], 400)

Items are held in the order of their ids, so that neither the order of a file's rows nor that of the store's decides
which bootstrap draw meets which item: the same scores give the same verdict to the last byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import ValidationError

from evalharness.errors import ConfigError, Problem
from evalharness.protocols import Floats
from evalharness.records import Arm, Sample
from evalharness.spec import Suite
from evalharness.stats import Evidence, bonferroni_level
from evalharness.store import ERROR, MISSING, DatasetHead, Run, RunArm, ScoreTable, Store, Training, Usage
from evalharness.verdict.measures import Measure
from evalharness.verdict.recomputing import bound

if TYPE_CHECKING:
    from evalharness.verdict.labels import People

Rows = npt.NDArray[np.bool_]


Board = tuple[Mapping[str, Evidence], Mapping[str, Evidence]]
"""arm -> evidence of its score, and arm -> evidence of its difference from a reference."""


@dataclass(frozen=True, slots=True)
class Contender:
    """An arm in a run. `problem` says why it cannot be scored: a failed training, an invalid adapter, no outputs."""

    arm: Arm
    training: Training | None = None
    problem: str | None = None

    @property
    def label(self) -> str:
        return self.arm.label

    @property
    def is_candidate(self) -> bool:
        return self.arm.role == "candidate"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """An arm's answers: (n, repeats) output ids, and hashes of their texts; "" where there is no text."""

    output_ids: npt.NDArray[np.object_]
    marks: npt.NDArray[np.object_]

    @staticmethod
    def none(n: int, repeats: int) -> Answers:
        """No answers at all."""
        return Answers(np.full((n, repeats), "", np.object_), np.full((n, repeats), "", np.object_))


@dataclass(frozen=True, eq=False)
class View:
    """A run on one set of items. `dev` is the same run on the dev split, where candidates were scored there."""

    run: Run
    suite: Suite | None
    dataset: DatasetHead
    contenders: tuple[Contender, ...]
    measures: Mapping[str, Measure]
    ids: tuple[str, ...]
    """Of the items, sorted."""
    clusters: npt.NDArray[np.int64] | None
    slices: Mapping[str, npt.NDArray[np.object_]]
    tables: Mapping[str, ScoreTable]
    repeats: int
    usage: Mapping[str, Usage]
    """By arm id."""
    store: Store
    dev: View | None = None
    leaked: int = 0
    """Items that were also learned from, and allowed to be: the slice leaked=no is the others."""
    _order: npt.NDArray[np.int64] = field(default_factory=lambda: np.array([], np.int64))
    _extremes: dict[str, tuple[Floats, Floats] | tuple[None, None]] = field(default_factory=dict)
    boards: dict[tuple[str, float], dict[str, Board]] = field(default_factory=dict)
    """What evidence.py has bootstrapped so far."""

    @property
    def n(self) -> int:
        """Items, not outputs."""
        return len(self.ids)

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The items with their texts, by id; read when they are first asked for."""
        known = {sample.id: sample for sample in self.store.dataset(self.dataset.dataset_id).samples}
        return tuple(known[sample_id] for sample_id in self.ids)

    @cached_property
    def people(self) -> dict[str, People]:
        """metric -> the human labels that labels.py has read so far."""
        return {}

    @cached_property
    def costs(self) -> dict[str, Floats]:
        """arm id -> (n, repeats) US dollars of each output, NaN where there is none; arms whose prices are not known are left out."""
        paid = [arm_id for arm_id, usage in self.usage.items() if usage.n and usage.cost_usd != 0.0]
        found = self.store.costs(paid, self.dataset.dataset_id) if paid else {}
        return {arm_id: usd[self._order] for arm_id, usd in found.items()}

    def answers(self, arm: str) -> Answers:
        """Which output each answer of the arm is, and which of them are the same text."""
        return self._answers[self.contender(arm).arm.arm_id]

    @cached_property
    def _answers(self) -> dict[str, Answers]:
        place = {sample_id: i for i, sample_id in enumerate(self.ids)}
        arm_ids = list(dict.fromkeys(each.arm.arm_id for each in self.contenders))
        found = {arm_id: Answers.none(self.n, self.repeats) for arm_id in arm_ids}
        for row in self.store.answered(arm_ids, self.dataset.dataset_id):
            if row.sample_id in place and row.repeat < self.repeats:
                found[row.arm_id].output_ids[place[row.sample_id], row.repeat] = row.output_id
                found[row.arm_id].marks[place[row.sample_id], row.repeat] = row.mark
        return found

    @property
    def seed(self) -> int:
        """Seed of every draw."""
        return self.suite.seed if self.suite is not None else 0

    @property
    def scored(self) -> tuple[Contender, ...]:
        """The arms that can be compared, in the suite's order."""
        return tuple(each for each in self.contenders if each.problem is None)

    @property
    def candidates(self) -> tuple[Contender, ...]:
        """The trained arms that can be compared: what the correction for several candidates counts."""
        return tuple(each for each in self.scored if each.is_candidate)

    def only(self, ids: frozenset[str]) -> View:
        """The same arms on those of the items that are among `ids`. Raises ConfigError if none is."""
        kept = np.array([sample_id in ids for sample_id in self.ids], np.bool_)
        if kept.all():
            return self
        if not kept.any():
            raise ConfigError([Problem("", "", "the two runs have no held-out item in common", "Score both on the same test set")])
        return replace(
            self,
            ids=tuple(np.array(self.ids)[kept].tolist()),
            clusters=None if self.clusters is None else _renumbered(self.clusters[kept]),
            slices={name: values[kept] for name, values in self.slices.items()},
            leaked=int((self.slices["leaked"][kept] == "yes").sum()) if self.leaked else 0,
            _order=self._order[kept],
            _extremes={},
            boards={},
        )

    @property
    def caution(self) -> tuple[str, ...]:
        """What every verdict on these items has to say of them."""
        if not self.leaked:
            return ()
        which = f"{self.leaked:,} of the {self.n:,} held-out items {'was' if self.leaked == 1 else 'were'} also learned from"
        return (f"{which}, and that was allowed: the slice leaked=no is what the others say.",)

    def contender(self, label: str) -> Contender:
        """The arm called `label`. Raises ConfigError if the run has none."""
        for each in self.contenders:
            if each.label == label:
                return each
        known = ", ".join(each.label for each in self.contenders)
        raise ConfigError([Problem("", "", f"run {self.run.run_id} has no arm {label!r}", f"Its arms: {known}")])

    def measure(self, label: str) -> Measure:
        """The metric called `label`. Raises ConfigError if the run has none, or its plug-in is missing."""
        if label not in self.measures:
            fix = f"Its metrics: {', '.join(self.measures)}. Score the run again to add one"
            raise ConfigError([Problem("", "", f"run {self.run.run_id} has no metric {label!r}", fix)])
        measure = self.measures[label]
        if not measure.ready:
            raise ConfigError([Problem("", label, str(measure.problem), "Install the plug-in, or run in the suite's workspace")])
        return measure

    def stats(self, arm: str, metric: str) -> Floats:
        """(n, repeats, k) the arm's statistics under the metric, items by id; NaN where an output is missing or failed."""
        found = _repeats(self.tables[metric].stats[self._index(arm)][self._order], self.repeats)
        worst, _ = self.extremes(metric)
        short = 0 if worst is None else worst.shape[1] - found.shape[2]  # no arm has a score at all
        return np.pad(found, [(0, 0), (0, 0), (0, short)], constant_values=np.nan) if short > 0 else found

    def missing(self, arm: str, metric: str) -> float:
        """The share of outputs that are missing, failed, or that the metric failed on."""
        return float(np.isnan(self.stats(arm, metric)[..., 0]).mean())

    def extremes(self, metric: str) -> tuple[Floats, Floats] | tuple[None, None]:
        """(n, k) the worst and the best statistics of each item that some arm misses; None if no arm misses any."""
        if metric not in self._extremes:
            self._extremes[metric] = self._find_extremes(metric)
        return self._extremes[metric]

    def _find_extremes(self, metric: str) -> tuple[Floats, Floats] | tuple[None, None]:
        scored = [self._index(each.label) for each in self.scored]
        values = self.tables[metric].values[scored][:, self._order]
        gaps = np.isnan(_repeats(np.moveaxis(values, 0, 2), self.repeats))
        items = np.flatnonzero(gaps.any(axis=(1, 2)))
        if not len(items):
            return None, None
        ends = np.array([self.measures[metric].extremes(self.samples[item]) for item in items])
        worst, best = np.full((2, self.n, ends.shape[2]), np.nan)
        worst[items], best[items] = ends[:, 0], ends[:, 1]
        return worst, best

    def outcomes(self, arm: str) -> npt.NDArray[np.int8]:
        """(n, repeats) what became of each output: the store's MISSING, OK, TRUNCATED or ERROR."""
        codes = next(iter(self.tables.values())).outcomes[self._index(arm)][self._order]
        return _repeats(codes, self.repeats, MISSING)

    def values(self, arm: str, metric: str) -> Floats:
        """(n, repeats) each output's own value; NaN where there is none."""
        return _repeats(self.tables[metric].values[self._index(arm)][self._order], self.repeats)

    def _index(self, arm: str) -> int:
        return [each.label for each in self.contenders].index(arm)

    def rows(self, name: str, value: str) -> Rows:
        """(n,) the items of the slice name=value. Raises ConfigError if there are none."""
        found = self.slices.get(name, np.array([], np.object_)) == value
        if not found.any():
            values = sorted(set(self.slices.get(name, ())))
            fix = f"Its values here: {', '.join(values)}" if values else f"Slices here: {', '.join(self.slices) or 'none'}"
            raise ConfigError([Problem("", "", f"no item has {name}={value}", fix)])
        return np.asarray(found)

    def every_slice(self) -> Iterator[tuple[str, Rows]]:
        """ "name=value" and the items, for every value of every slice; items without a value are in none."""
        for name, values in self.slices.items():
            for value in sorted(set(values) - {""}):
                yield f"{name}={value}", np.asarray(values == value)


def _repeats(values: npt.NDArray[Any], repeats: int, empty: float = np.nan) -> npt.NDArray[Any]:
    """The first `repeats` along axis 1, padded with `empty` where the store has fewer."""
    short = repeats - values.shape[1]
    if short <= 0:
        return values[:, :repeats]
    padding = [(0, 0), (0, short), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, padding, constant_values=empty)


def load(store: Store, run_id: str, root: Path = Path()) -> View:
    """Everything the store holds of a run. `root` is the workspace, where metrics named `path.py:Name` are found.

    Raises ConfigError if there is no such run or it has no arms yet.
    """
    run = store.run(run_id)
    if run is None:
        raise ConfigError([Problem(str(store.path), "", f"there is no run {run_id}", "`evalh report` shows the newest one")])
    arms: dict[str, list[RunArm]] = {}
    for each in store.run_arms(run_id):
        arms.setdefault(each.dataset_id, []).append(each)
    sets = {each.split: each for each in map(store.dataset_head, arms)}
    if "test" not in sets:
        raise ConfigError([Problem(str(store.path), "", f"run {run_id} has no arms yet", "Let it go on: evalh train-and-score SUITE")])
    suite = _suite(run)
    uses = suite.metrics if suite is not None else ()
    measures = [Measure.of(row, root, uses) for row in store.run_metrics(run_id)]
    dev = assembled(store, run, suite, sets["dev"], arms[sets["dev"].dataset_id], measures, None) if "dev" in sets else None
    return assembled(store, run, suite, sets["test"], arms[sets["test"].dataset_id], measures, dev)


def _suite(run: Run) -> Suite | None:
    """The suite as the run stored it; None if it is not one that this version reads."""
    try:
        suite = Suite.model_validate(yaml.safe_load(run.suite_yaml))
    except (yaml.YAMLError, ValidationError):
        return None
    return suite if suite.name else suite.model_copy(update={"name": run.suite_name})


def assembled(
    store: Store, run: Run, suite: Suite | None, dataset: DatasetHead, arms: Sequence[RunArm], measures: Sequence[Measure], dev: View | None
) -> View:
    """A run's arms on a dataset, read from the store."""
    arm_ids = [each.arm.arm_id for each in arms]
    leaked = store.leaked(run.run_id) if dataset.split == "test" else frozenset()
    measures, tables = bound(measures, _tables(store, dataset, arms, measures), store, dataset.dataset_id)
    some = tables[measures[0].row.metric_id]
    order = np.array(sorted(range(dataset.n), key=some.sample_ids.__getitem__), np.int64)
    return View(
        run=run,
        suite=suite,
        dataset=dataset,
        contenders=tuple(_contender(store, each, some.outcomes[position]) for position, each in enumerate(arms)),
        measures={measure.label: measure for measure in measures},
        ids=tuple(some.sample_ids[i] for i in order),
        clusters=None if some.clusters is None else _renumbered(some.clusters[order]),
        slices=_slices(some, order, leaked),
        leaked=len(leaked),
        tables={measure.label: tables[measure.row.metric_id] for measure in measures},
        repeats=suite.repeats if suite is not None else some.outcomes.shape[2],
        usage=store.usage(arm_ids, dataset.dataset_id),
        store=store,
        dev=dev,
        _order=order,
    )


def _slices(some: ScoreTable, order: npt.NDArray[np.int64], leaked: frozenset[str]) -> dict[str, npt.NDArray[np.object_]]:
    """The samples' slices, and whether they leaked into what was learned from, where that was allowed."""
    found = {name: values[order] for name, values in sorted(some.slices.items())}
    if leaked:
        found["leaked"] = np.array(["yes" if some.sample_ids[i] in leaked else "no" for i in order], np.object_)
    return found


def _tables(store: Store, dataset: DatasetHead, arms: Sequence[RunArm], measures: Sequence[Measure]) -> dict[str, ScoreTable]:
    """metric id -> scores; those of a metric that compares pairs are the ones against the arm that it names."""
    arm_ids = {each.arm.label: each.arm.arm_id for each in arms}
    every = [each.arm.arm_id for each in arms]
    alone = [measure.row.metric_id for measure in measures if measure.against not in arm_ids]
    found = store.score_tables(every, dataset.dataset_id, alone) if alone else {}
    for measure in measures:
        if measure.against in arm_ids:
            other = arm_ids[measure.against]
            found |= store.score_tables(every, dataset.dataset_id, [measure.row.metric_id], other_arm_id=other)
    return found


def _renumbered(clusters: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Clusters numbered by their first item: the store numbers them by the order of the file."""
    _, first, codes = np.unique(clusters, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[codes], np.int64)


def _contender(store: Store, each: RunArm, outcomes: npt.NDArray[np.int8]) -> Contender:
    arm = each.arm
    training = store.training(arm.training_id) if arm.training_id is not None else None
    problem = None
    if training is not None and training.state != "succeeded":
        problem = training.error or each.error or f"its training is {training.state}"
    elif (outcomes == MISSING).all():
        problem = each.error or "it has no outputs yet"
    elif np.isin(outcomes, (MISSING, ERROR)).all():
        problem = each.error or "every answer failed"
    return Contender(arm, training, problem)


def reference_of(view: View) -> str:
    """The label that candidates are compared with: the suite's reference, else the run's first baseline, else its first arm."""
    labels = [each.label for each in view.contenders]
    if view.suite is not None and view.suite.reference in labels:
        return view.suite.reference
    return next((each.label for each in view.contenders if not each.is_candidate), labels[0])


def confidence_of(view: View, confidence: float | None = None) -> float:
    """The level asked for, the suite's, or 0.95."""
    return confidence or (view.suite.confidence if view.suite is not None else 0.95)


def level_of(view: View, confidence: float | None = None) -> float:
    """The level of each interval, so that those of all K candidates hold together: 1 - α/K."""
    return bonferroni_level(confidence_of(view, confidence), len(view.candidates))
