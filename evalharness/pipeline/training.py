"""One training from intent to model: the intent is stored first, then looked for, and only then bought.

    intent stored -> find -> (adopt | submit) -> poll ... -> model stored, resource closed

A run that is killed anywhere goes on here: equal jobs have equal keys, so `find` sees what was already submitted.

>>> await train(training, store, run_id, silent)                                                      # doctest: +SKIP
TrainedModel(model='local/embedded', adapter='results/trainings/…/adapter', …)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from evalharness.buying import NotThere
from evalharness.errors import ProviderError, Refused, TrainingFailed
from evalharness.ids import digest
from evalharness.pipeline.budget import Budget
from evalharness.pipeline.events import Emit, Event
from evalharness.pipeline.locks import only_one
from evalharness.protocols import Runner
from evalharness.records import FINAL, Handle, Job, Status, TrainedModel
from evalharness.store import Resource, Store
from evalharness.store import Training as TrainingRow
from evalharness.store.rows import utc_now

FIRST_POLL_S, LOCAL_POLL_S, HOSTED_POLL_S = 0.2, 1.0, 15.0
"""Seconds between polls: the first, and the longest for local and for hosted jobs."""
MOST_MISSES = 10
"""Polls in a row that may fail before a candidate is given up for this run; the next run finds the job again."""


@dataclass(frozen=True, slots=True)
class Training:
    """A job and who does it, for the candidate with this label."""

    label: str
    runner_name: str
    runner: Runner
    job: Job
    settings: Mapping[str, object] = field(default_factory=dict)
    """{base, options}: what makes the runner again, for the ledger."""
    checkpoint: int | None = None
    """Which checkpoint is meant, 1 the first, -1 the last; None: the final model."""

    def meant(self, model: TrainedModel) -> TrainedModel:
        """The final model, or the checkpoint. Raises TrainingFailed if there is no such checkpoint."""
        if self.checkpoint is None:
            return model
        n, k = len(model.checkpoints), self.checkpoint - (self.checkpoint > 0)
        if self.checkpoint == 0 or not -n <= k < n:
            raise TrainingFailed(f"there is no checkpoint {self.checkpoint}: the service kept {n}")
        name = model.checkpoints[k]
        return replace(model, model=name, identity={**model.identity, "checkpoint": name}, checkpoints=())


def finished(training: Training, store: Store) -> TrainedModel | None:
    """The stored model of an equal training, if it is still there (a local adapter may have been deleted)."""
    row = store.training(training.job.training_id)
    if row is None or row.state != "succeeded" or row.model is None:
        return None
    adapter = row.model.adapter
    if adapter is not None and not Path(adapter).is_dir():
        return None
    with suppress(TrainingFailed):  # no such checkpoint: training it "again" adopts the job and says so
        return training.meant(row.model)
    return None


async def train(training: Training, store: Store, run_id: str, emit: Emit, budget: Budget) -> TrainedModel:
    """Train, or adopt what was trained before; every state that is seen is stored.

    Raises TrainingFailed with the runner's reason, BudgetExceeded before anything is bought. While another evalh
    process trains the same, it waits. Cancelled (Ctrl-C), it cancels a local job, which keeps its
    last checkpoint; a hosted job goes on and is adopted by the next run.
    """
    if model := await asyncio.to_thread(finished, training, store):
        emit(Event("train", training.label, kind="end", text="trained before"))
        return model
    wait = Event("train", training.label, text="another candidate of it or another evalh is at it; waiting for its end")
    async with only_one(training.job.workdir, "training", lambda: emit(wait)):
        if model := await asyncio.to_thread(finished, training, store):
            return model
        return await _buy(await asyncio.to_thread(_this_attempt, training, store), store, run_id, emit, budget)


async def _buy(training: Training, store: Store, run_id: str, emit: Emit, budget: Budget) -> TrainedModel:
    estimate = await asyncio.to_thread(training.runner.estimate, training.job)
    rows = await asyncio.to_thread(store.resources, training.job.key)
    known = [row for row in rows if row.closed is None]  # an intent of before counts as spent already
    async with budget.when_free(f"training {training.label}", 0.0 if known else estimate) as reserved:
        if budget.cap is not None and not known:  # a model that could not be asked afterwards is not worth buying
            hourly = await asyncio.to_thread(training.runner.hourly, TrainedModel(training.job.base, None, {}))
            budget.allow(f"an hour of serving {training.label}", hourly or 0.0)
        row = _ledger(training, run_id, estimate, known[-1].opened if known else utc_now())
        row = replace(row, provider_id=next((one.provider_id for one in reversed(known) if one.provider_id), None))
        doubt = any(one.provider_id is None for one in known)
        row, handle = await asyncio.to_thread(_start, training, store, row, doubt)
        try:
            status = await _follow(training, handle, store, emit)
        except asyncio.CancelledError:
            if training.runner.local:
                await asyncio.to_thread(training.runner.cancel, handle)
            raise
        await asyncio.to_thread(_settle, training, status, store, row)
        reserved.spend(status.cost_usd if status.cost_usd is not None else estimate or 0.0)
    if status.state != "succeeded" or status.model is None:
        raise TrainingFailed(status.error or status.detail or status.state)
    expected = f"{estimate:,.2f} USD expected" if estimate and status.cost_usd is not None else ""
    emit(Event("train", training.label, status.step or 0, status.total_steps, expected, "end", cost_usd=status.cost_usd))
    return training.meant(status.model)


def _this_attempt(training: Training, store: Store) -> Training:
    """The job with its attempt's key: an attempt that failed was paid for, so the next one is a new intent.

    Raises TrainingFailed where the last attempt says that another one would fail the same way.
    """
    key, attempt = training.job.key, 1
    while rows := [row for row in store.resources(key) if row.state in {"failed", "hopeless", "cancelled"}]:
        if rows[-1].state == "hopeless":
            raise TrainingFailed(rows[-1].note)
        key, attempt = digest([training.job.key, attempt]), attempt + 1
    return replace(training, job=replace(training.job, key=key))


def _ledger(training: Training, run_id: str, estimate: float | None, opened: datetime) -> Resource:
    key = training.job.key
    return Resource(
        digest(["training", key]), "training", training.runner_name, key, "intent", opened=opened, run_id=run_id,
        settings=training.settings, estimate_usd=estimate,
    )  # fmt: skip


def _start(training: Training, store: Store, row: Resource, doubt: bool) -> tuple[Resource, Handle]:
    """The intent is on disk before anything is bought; a clear no closes it. `doubt`: a run before may have bought, and died."""
    store.put_resource(row)
    store.put_training(_row(training, Status("queued"), row.run_id))
    try:
        handle = _found(training, doubt) or _known(training, row) or training.runner.submit(training.job)
    except Refused as error:
        store.put_resource(replace(row, state="refused", closed=utc_now(), note=str(error)))
        raise
    row = replace(row, state="open", provider_id=handle.provider_id)
    store.put_resource(row)
    return row, handle


def _found(training: Training, doubt: bool) -> Handle | None:
    """The job made for the intent. In doubt it is looked for as after a lost answer: services list what is new with a delay."""
    for pause in looks(training.runner) if doubt else (0.0,):
        time.sleep(pause)
        if handle := training.runner.find(training.job):
            return handle
    return None


def _known(training: Training, row: Resource) -> Handle | None:
    """The job that a run before had the id of and no list shows yet, if the service has it and it has come to no bad end."""
    if row.provider_id is None or training.runner.local:
        return None
    handle = Handle(training.job.training_id, row.provider_id)
    with suppress(NotThere):
        return None if training.runner.poll(handle).state in ("failed", "cancelled") else handle
    return None


def looks(runner: Runner) -> tuple[float, ...]:
    """Pauses in seconds before each look for something that may have been bought; a runner that has no such doubts looks once."""
    found: tuple[float, ...] = getattr(runner, "looks_s", (0.0,))
    return found


async def _follow(training: Training, handle: Handle, store: Store, emit: Emit) -> Status:
    """Poll until the job is over; new loss points are stored as they come.

    The job goes on whether it is looked at or not, so a service that cannot be reached for a while is asked again.
    """
    pause, longest = FIRST_POLL_S, LOCAL_POLL_S if training.runner.local else HOSTED_POLL_S
    stored = misses = 0
    while True:
        try:
            status, misses = await asyncio.to_thread(training.runner.poll, handle), 0
        except ProviderError as error:
            misses += 1
            if misses > MOST_MISSES:
                raise
            emit(Event("train", training.label, text=f"asking again: {error}"))
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)
            continue
        if len(status.points) > stored:
            await asyncio.to_thread(store.put_points, training.job.training_id, status.points)
            stored = len(status.points)
        emit(_progress(training.label, status))
        if status.state in FINAL:
            return status
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, longest)


def _progress(label: str, status: Status) -> Event:
    losses = [point.train_loss for point in status.points if point.train_loss is not None]
    text = "" if status.detail.startswith("step ") else status.detail or status.state  # the event counts the steps already
    loss = losses[-1] if losses else None
    return Event("train", label, status.step or 0, status.total_steps, text, loss=loss, cost_usd=status.cost_usd)


def _settle(training: Training, status: Status, store: Store, row: Resource) -> None:
    """Store how the job ended. Training and ledger are stored as one: a run that dies before polls the job again, one after has both."""
    store.put_points(training.job.training_id, status.points)
    state = {"succeeded": "closed", "cancelled": "cancelled"}.get(status.state, "failed" if status.again else "hopeless")
    closed = replace(row, state=state, closed=utc_now(), note=status.error or "", cost_usd=status.cost_usd)
    store.put_training(_row(training, status, row.run_id), closed)


def _row(training: Training, status: Status, run_id: str | None) -> TrainingRow:
    job = training.job
    data_id = digest([[[m.as_dict() for m in chat] for chat in side] for side in (job.train, job.dev)])
    return TrainingRow(
        job.training_id, training.runner_name, job.base, job.params, job.seed, data_id, status.state,
        status.model, status.tokens, status.cost_usd, status.seconds, status.error, run_id,
    )  # fmt: skip
