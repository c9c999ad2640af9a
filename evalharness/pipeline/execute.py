"""Carrying out a plan: train what is not trained, ask what is not answered, score what is not scored.

Local work takes turns on this machine's device; hosted work runs beside it. One arm's failure is that arm's: the
others finish, the failure is told, and the next run tries again.

>>> result = asyncio.run(execute(plan, store, silent))                                                # doctest: +SKIP
>>> result.state, result.tally.asked                                                                  # doctest: +SKIP
('succeeded', 0)
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from evalharness.doctor.findings import Finding
from evalharness.doctor.kept import rows_of
from evalharness.errors import EvalhError, StoreError
from evalharness.ids import digest, ulid
from evalharness.pipeline.budget import Budget
from evalharness.pipeline.checked import examined, leaked, refuse, told
from evalharness.pipeline.entries import Entry, endpoint_model
from evalharness.pipeline.events import Emit, Event
from evalharness.pipeline.generating import Ask, Desk, Tally, generate, missing, score_missing
from evalharness.pipeline.judging import judge
from evalharness.pipeline.locks import only_one
from evalharness.pipeline.plan import Plan, picks_on_dev, sets_of
from evalharness.pipeline.ready import refuse_unready
from evalharness.pipeline.scoring import Scorer, metric_id
from evalharness.pipeline.serving import SERVING, release_left, serving, share
from evalharness.pipeline.training import Training, finished, train
from evalharness.protocols import Metric, Model
from evalharness.records import TrainedModel
from evalharness.store import MetricRow, Run, Store

T = TypeVar("T")
PACKAGES = ("evalh", "duckdb", "sacrebleu", "torch", "transformers", "peft", "openai")
log = logging.getLogger("evalh")


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `failures` maps an arm's label to why it has no (new) outputs, "metric NAME" to why it could not be asked."""

    run_id: str
    state: str
    failures: Mapping[str, str]
    tally: Tally


@dataclass(slots=True)
class _Work:
    """One run in progress."""

    plan: Plan
    desk: Desk
    emit: Emit
    may_train: bool
    device: asyncio.Lock = field(default_factory=asyncio.Lock)
    trained: dict[str, TrainedModel] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


async def execute(plan: Plan, store: Store, emit: Emit, *, may_train: bool = True) -> Result:
    """Do what is missing and store it as it comes; the run is stored as succeeded, failed or cancelled.

    Without `may_train`, candidates that are not trained yet are left out and told. Raises DataError for held-out rows
    that leaked, and ConfigError for a model or judge that lacks its key or package, before anything is stored;
    StoreError if results cannot be stored: nothing that cannot be kept is worth buying. While another evalh runs the
    suite on the same store, it waits: what both lack is bought once, and both count what the budget has left.
    """
    findings = await asyncio.to_thread(examined, plan)
    refuse(plan, findings)
    await asyncio.to_thread(refuse_unready, plan)
    if text := told(findings):
        emit(Event("check", "data", kind="note", text=text))
    name = plan.loaded.suite.name
    wait = Event("check", name, kind="note", text="another evalh is running this suite; waiting for its end")
    async with only_one(str(store.path.parent / "locks"), digest([store.path.name, name]), lambda: emit(wait)):
        return await _run(plan, store, emit, findings, may_train=may_train)


async def _run(plan: Plan, store: Store, emit: Emit, findings: Sequence[Finding], *, may_train: bool) -> Result:
    run_id = ulid()
    await asyncio.to_thread(_begin, plan, store, run_id, findings)
    state = "cancelled"
    try:
        with store.writer() as writer:
            budget = await asyncio.to_thread(_budget, plan, store)
            work = _Work(plan, Desk(run_id, store, writer, Scorer(plan.loaded.metrics.values()), budget), emit, may_train)
            await _everything(work)
        state = "failed" if work.failures else "succeeded"
    except ExceptionGroup as group:
        state = "failed"
        raise _first(group) from group
    finally:
        store.finish_run(run_id, state)
    return Result(run_id, state, work.failures, work.tally)


def _budget(plan: Plan, store: Store) -> Budget:
    """The suite's cap, less what all its runs have spent."""
    cap = plan.loaded.suite.budget
    return Budget(None) if cap is None else Budget(cap.usd, store.spending(plan.loaded.suite.name).usd)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """What went wrong first, out of the groups that tasks wrap it in."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, ExceptionGroup) else inner


async def _everything(work: _Work) -> None:
    entries = work.plan.entries
    await asyncio.to_thread(_note_arms, work)
    here = [entry for entry in entries if entry.local]
    prompted = [entry for entry in entries if not entry.local and entry.training is None]
    hosted = [entry for entry in entries if not entry.local and entry.training is not None]
    async with asyncio.TaskGroup() as group:
        group.create_task(_local(work, here))
        for model, asks in _pools(work, prompted):
            group.create_task(_generate(work, model, asks))
        for entry in hosted:
            group.create_task(_hosted(work, entry))
    await _judge(work)
    await asyncio.to_thread(_note_arms, work)


async def _judge(work: _Work) -> None:
    """Ask the metrics that ask a model, about every arm that has answered."""
    there = [entry for entry in work.plan.entries if entry.training is None or entry.label in work.trained]
    asks = [ask for entry in there for ask in _asks(work, entry, work.trained.get(entry.label))]
    bases = {entry.label: entry.training.job.base for entry in there if entry.training is not None}
    done = await judge(work.plan.loaded.metrics, asks, work.desk, work.emit, bases=bases, rehearse=work.plan.rehearse)
    work.tally.scored += done.scored
    work.failures |= {f"metric {name}": reason for name, reason in done.failures.items()}


async def _local(work: _Work, entries: Sequence[Entry]) -> None:
    """Train one after the other, then answer for all arms that share a base in one pass."""
    for entry in entries:
        if entry.training is not None:
            await _train(work, entry)
    for model, asks in _pools(work, [entry for entry in entries if entry.training is None or entry.label in work.trained]):
        await _generate(work, model, asks)


async def _hosted(work: _Work, entry: Entry) -> None:
    """Train elsewhere; serve only if something is still to be asked; release whatever happens."""
    trained = await _train(work, entry)
    if trained is None or entry.training is None:
        return
    training, store = entry.training, work.desk.store
    asks = _asks(work, entry, trained)
    wait = Event("generate", entry.label, text="another candidate of it or another evalh is at it; waiting for its end")
    async with only_one(training.job.workdir, SERVING, lambda: work.emit(wait)):
        if any([await asyncio.to_thread(missing, ask, store) for ask in asks]):
            await _guard(work, [entry.label], _ask_served(work, training, trained, asks))
            return
        await _guard(work, [entry.label], asyncio.to_thread(release_left, training, store))
    await _score(work, asks)


async def _ask_served(work: _Work, training: Training, trained: TrainedModel, asks: Sequence[Ask]) -> None:
    async with serving(training, trained, work.desk.store, work.desk.run_id, work.desk.budget, work.emit) as endpoint:
        _, model = endpoint_model(endpoint, work.plan.loaded.root)
        by_the_hour = endpoint.usd_per_hour is not None and endpoint.usd_per_hour > 0
        began, arms = time.monotonic(), list({ask.arm.arm_id for ask in asks})
        await _generate(work, model, [replace(_worn(ask, endpoint.adapter), by_the_hour=by_the_hour) for ask in asks])
        said = await asyncio.to_thread(share, endpoint, arms, time.monotonic() - began, work.desk.store, work.desk.run_id)
        if said:
            work.emit(Event("generate", training.label, kind="note", text=said))


async def _train(work: _Work, entry: Entry) -> TrainedModel | None:
    training, store = entry.training, work.desk.store
    assert training is not None  # only trained entries come here
    if not work.may_train:
        model = await asyncio.to_thread(finished, training, store)
        if model is None:
            work.failures[entry.label] = "is not trained yet; evalh train-and-score trains it"
    elif training.runner.local:
        async with work.device:
            model = await _guard(work, [entry.label], train(training, store, work.desk.run_id, work.emit, work.desk.budget), "train")
    else:
        model = await _guard(work, [entry.label], train(training, store, work.desk.run_id, work.emit, work.desk.budget), "train")
    if model is not None:
        work.trained[entry.label] = model
    return model


def _pools(work: _Work, entries: Sequence[Entry]) -> list[tuple[Model, list[Ask]]]:
    """Arms by the model instance that answers for them: equal pools share the first one's."""
    pools: dict[tuple[str, str], tuple[Model, list[Ask]]] = {}
    for entry in entries:
        trained, adapter = work.trained.get(entry.label), None
        if entry.training is not None and trained is not None:
            endpoint = entry.training.runner.serve(trained, "")
            adapter = endpoint.adapter
            plugin, model = endpoint_model(endpoint, work.plan.loaded.root)
        else:
            assert entry.model is not None  # an entry has a model or a training
            plugin, model = entry.plugin, entry.model
        pool = pools.setdefault((plugin, model.pool), (model, []))
        pool[1].extend(_worn(ask, adapter) for ask in _asks(work, entry, trained))
    return list(pools.values())


def _asks(work: _Work, entry: Entry, trained: TrainedModel | None) -> list[Ask]:
    plan = work.plan
    sets, arm = sets_of(entry, plan.entries, plan.loaded, plan.splits), entry.arm(trained)
    return [Ask(entry.label, arm, each, entry.prompt, entry.examples, repeats=plan.loaded.suite.repeats) for each in sets]


def _worn(ask: Ask, adapter: str | None) -> Ask:
    return Ask(ask.label, ask.arm, ask.dataset, ask.prompt, ask.examples, adapter, ask.repeats)


async def _generate(work: _Work, model: Model, asks: Sequence[Ask]) -> None:
    labels = list(dict.fromkeys(ask.label for ask in asks))
    try:
        if model.local:
            async with work.device:
                tally = await _guard(work, labels, generate(model, asks, work.desk, work.emit))
        else:
            tally = await _guard(work, labels, generate(model, asks, work.desk, work.emit))
    finally:
        await model.close()
    if tally is not None:
        work.tally = work.tally + tally
        work.failures |= tally.stopped
        for label, reason in tally.stopped.items():
            work.emit(Event("generate", label, kind="warning", text=reason))
        for label, failed in tally.labels.items():
            if failed and failed == sum(len(ask.dataset) * ask.repeats for ask in asks if ask.label == label):
                work.failures[label] = f"every answer failed, the first with: {tally.why[label]}"


async def _score(work: _Work, asks: Sequence[Ask]) -> None:
    for ask in asks:
        work.tally.kept += len(ask.dataset) * ask.repeats
        work.tally.scored += await asyncio.to_thread(score_missing, ask, work.desk, work.emit)


async def _guard(work: _Work, labels: Sequence[str], step: Awaitable[T], stage: str = "generate") -> T | None:
    """Await a step of these arms; its failure is theirs alone. A store that fails stops everything."""
    try:
        return await step
    except StoreError:
        raise
    except EvalhError as error:
        reason = str(error)
    except Exception as error:  # a plug-in is anybody's code; the traceback goes to the log, the reason to the report
        log.exception("%s failed for %s", stage, ", ".join(labels))
        reason = f"{type(error).__name__}: {error}"
    for label in labels:
        work.failures[label] = reason
        work.emit(Event("train" if stage == "train" else "generate", label, kind="warning", text=reason))
    return None


def _note_arms(work: _Work) -> None:
    """Store which arms take part, those without a model as empty places."""
    arms = []
    for entry in work.plan.entries:
        trained = work.trained.get(entry.label)
        if entry.training is not None and trained is None:
            trained = finished(entry.training, work.desk.store)
        arms.append(entry.absent() if entry.training is not None and trained is None else entry.arm(trained))
    errors = {arm.label: work.failures[arm.label] for arm in arms if arm.label in work.failures}
    splits, store = work.plan.splits, work.desk.store
    store.put_arms(work.desk.run_id, splits.test.id, arms, errors)
    if picks_on_dev(work.plan.entries, work.plan.loaded, splits):
        store.put_arms(work.desk.run_id, splits.dev.id, [arm for arm in arms if arm.training_id is not None], errors)


def _begin(plan: Plan, store: Store, run_id: str, findings: Sequence[Finding]) -> None:
    loaded, splits = plan.loaded, plan.splits
    run = Run(run_id, loaded.suite.name, loaded.text, _git_sha(loaded.root), _versions(), tuple(sys.argv), notes=splits.notes)
    store.start_run(run)
    for split in (splits.test, splits.dev):
        if len(split):
            store.put_dataset(split)
    store.put_train_rows(run_id, [sample.id for sample in splits.train.samples])
    store.put_metrics(run_id, [_metric_row(label, metric) for label, metric in loaded.metrics.items()])
    items = leaked(plan, findings)
    rows = store.last_findings(loaded.suite.name, splits.test.id) if plan.nothing_to_do and not findings else rows_of(findings)
    if rows or items:
        store.put_findings(run_id, rows, items)


def _metric_row(label: str, metric: Metric) -> MetricRow:
    identity = metric.identity()
    name, kind = str(identity.get("name", metric.name)), metric.kind
    return MetricRow(metric_id(metric), name, metric.version, identity, metric.higher_is_better, metric.range, kind, label)


def _versions() -> dict[str, str]:
    """Versions of the packages that decide numbers, as far as they are installed."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git_sha(root: Path) -> str | None:
    """The workspace's commit, if it is a git checkout and git is installed."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
