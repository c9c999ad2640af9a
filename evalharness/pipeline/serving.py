"""A tuned model that must be deployed to answer: opened once, ledgered before it is bought, released whatever happens.

    intent stored -> serve (adopts what is open) -> row open -> ... asked ... -> release -> row closed

A run that is killed in between leaves an open row; the next run of the suite or `evalh cleanup` releases what it names.

>>> async with serving(trained, work) as endpoint:                                                    # doctest: +SKIP
...     await generate(...)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from evalharness import registry
from evalharness.errors import ConfigError, EvalhError, ProviderError
from evalharness.ids import digest
from evalharness.pipeline.budget import Budget, Reservation
from evalharness.pipeline.events import Emit, Event
from evalharness.pipeline.locks import held
from evalharness.pipeline.training import Training, looks
from evalharness.protocols import Runner
from evalharness.records import Endpoint, Handle, TrainedModel
from evalharness.store import Resource, Store
from evalharness.store.rows import utc_now

log = logging.getLogger("evalh")
DEPLOYMENT = "deployment"
SERVING = "serving"
"""The lock that a run holds in its training's folder while it asks."""
_LOOK_S = 0.5
_PATIENCE_S = 60.0
"""Seconds after whose end a release that failed is not tried again."""


@asynccontextmanager
async def serving(
    training: Training, model: TrainedModel, store: Store, run_id: str, budget: Budget, emit: Emit
) -> AsyncGenerator[Endpoint]:
    """The endpoint of a tuned model while the block runs. Raises ProviderError, BudgetExceeded.

    Where nothing stays open (`hourly` is 0.0) nothing is ledgered. An hour is reserved at once and again each time one
    is used up; when the next hour does not fit into the budget, the block is cancelled with BudgetExceeded.
    """
    runner = training.runner
    price = await asyncio.to_thread(runner.hourly, model)
    if price == 0.0:
        yield await asyncio.to_thread(runner.serve, model, "")
        return
    row = await asyncio.to_thread(_intent, training, store, run_id, price)
    adopted = await asyncio.to_thread(store.resources, row.intent_key)
    async with budget.when_free(f"an hour of serving {training.label}", 0.0 if adopted else price) as hour:
        await asyncio.to_thread(store.put_resource, row)
        emit(Event("generate", training.label, text="opening its deployment"))
        began = time.monotonic()
        try:
            endpoint = await _opened(runner, model, row, store)
            endpoint = replace(endpoint, usd_per_hour=_first(endpoint.usd_per_hour, price))
            row = replace(row, provider_id=endpoint.resource_id, state="open", price_usd_per_hour=endpoint.usd_per_hour)
            await asyncio.to_thread(store.put_resource, row)
            async with _metered(hour, row.price_usd_per_hour, began):
                yield endpoint
        finally:
            await asyncio.shield(asyncio.to_thread(_release, runner, row, store, emit, training.label, hour))


def share(endpoint: Endpoint, arm_ids: Sequence[str], seconds: float, store: Store, run_id: str) -> str:
    """Store what an answer cost that was paid for by the hour, and say it; empty where that is not known.

    Counted are the seconds in which it was asked: its start and its end are the deployment's cost, and no answer's.
    """
    if not endpoint.usd_per_hour:
        return ""
    each = store.share(arm_ids, run_id, endpoint.usd_per_hour * seconds / 3600)
    if each is None:
        return ""
    rate = f"{seconds:.0f} s of asking at {endpoint.usd_per_hour:,.2f} USD an hour"
    return f"{rate}: {1000 * each:.2g} USD per 1,000 answers as busy as it was, its start and idle time not counted"


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _intent(training: Training, store: Store, run_id: str, price: float | None) -> Resource:
    """The row of the deployment that is open already, or a new one: a name that was used and released is not used again."""
    job, count = training.job, 0
    while True:
        key = digest(["serving", job.key, count])
        rows = store.resources(key)
        if not rows or rows[-1].closed is None:
            old = rows[-1] if rows else None
            opened = old.opened if old else utc_now()
            return Resource(
                digest([DEPLOYMENT, key]), DEPLOYMENT, training.runner_name, key, "intent", old.provider_id if old else None,
                price, opened, run_id=run_id, note=training.label, estimate_usd=price,
                settings={**training.settings, "training_id": job.training_id},
            )  # fmt: skip
        count += 1


async def _opened(runner: Runner, model: TrainedModel, row: Resource, store: Store) -> Endpoint:
    """What `serve` opens. If the wait is cancelled, what it has opened so far is released while it still waits."""
    opening = asyncio.ensure_future(asyncio.to_thread(runner.serve, model, row.intent_key))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        while not opening.done():
            await asyncio.to_thread(_end, runner, row)
            await asyncio.wait([opening], timeout=_LOOK_S)
        opening.exception()  # it has lost what it waited for: that is no news
        raise


def _end(runner: Runner, row: Resource, pauses: Sequence[float] = (0.0,)) -> bool:
    """Release what is open for the row's key; whether anything was. Raises ProviderError if that is not certain."""
    for pause in pauses if row.provider_id is None else (0.0,):
        time.sleep(pause)
        if (found := runner.served(row.intent_key)) is not None:
            runner.release(found)
            break
    if row.provider_id is not None and (found is None or found.resource_id != row.provider_id):
        runner.release(Endpoint("", resource_id=row.provider_id))
    return found is not None or row.provider_id is not None


def _release(runner: Runner, row: Resource, store: Store, emit: Emit, label: str, hour: Reservation) -> None:
    try:
        closed = _closed(runner, row, store)
    except EvalhError as error:
        emit(Event("generate", label, kind="warning", text=f"its deployment may still run and cost money: {error}. Run evalh cleanup"))
        store.put_resource(replace(row, note=f"{label}: not released: {error}"))
        raise
    if closed.cost_usd is not None:
        hour.spend(closed.cost_usd)


def _closed(runner: Runner, row: Resource, store: Store) -> Resource:
    """Close the row, and try again where that failed: a service's outage of seconds must not leave open what costs by the hour."""
    end = time.monotonic() + _PATIENCE_S
    for pause in looks(runner)[1:]:
        try:
            return close(runner, row, store)
        except ProviderError:
            if time.monotonic() > end:
                raise
            time.sleep(pause)
    return close(runner, row, store)


def close(runner: Runner, row: Resource, store: Store) -> Resource:
    """Release what the row stands for and close the row. Raises ProviderError with the row still open if that is not certain."""
    used = _end(runner, row, looks(runner))  # what was opened a moment ago may not be listed yet
    hours = (utc_now() - row.opened).total_seconds() / 3600
    cost = hours * row.price_usd_per_hour if used and row.price_usd_per_hour is not None else (None if used else 0.0)
    row = replace(row, state="closed", closed=utc_now(), cost_usd=cost)
    store.put_resource(row)
    return row


@asynccontextmanager
async def _metered(hour: Reservation, price: float | None, began: float) -> AsyncGenerator[None]:
    """Reserve another hour whenever one is nearly used up; the block is cancelled when that does not fit."""
    task = asyncio.current_task()
    failed: list[EvalhError] = []

    async def meter() -> None:
        hours = 1
        while price is not None:
            await asyncio.sleep(max(0.0, began + 3600 * hours - 60 - time.monotonic()))
            try:
                hour.more(price)
            except EvalhError as error:
                failed.append(error)
                if task is not None:
                    task.cancel()
                return
            hours += 1

    metering = asyncio.ensure_future(meter())
    try:
        yield
    except asyncio.CancelledError:
        if failed:
            if task is not None:
                task.uncancel()
            raise failed[0] from None
        raise
    finally:
        metering.cancel()


def runner_of(row: Resource, root: Path) -> Runner:
    """The runner that a ledger row names, made again from the row. Raises ConfigError if it cannot be."""
    plugin = registry.find("runners", row.provider, root)
    options = row.settings.get("options", {})
    runner: Runner = plugin(registry.options(plugin, options))
    return runner


def release_left(training: Training, store: Store) -> None:
    """Release what a dead run left open for this training, which nobody needs any more. Raises ProviderError."""
    count = 0
    while rows := store.resources(digest(["serving", training.job.key, count])):
        if rows[-1].closed is None:
            close(training.runner, rows[-1], store)
        count += 1


def in_use(row: Resource, results: Path) -> bool:
    """Whether a living run has this deployment open to ask it."""
    return row.kind == DEPLOYMENT and held(str(results / "trainings" / str(row.settings.get("training_id"))), SERVING)


def left_open(store: Store, root: Path) -> list[Resource]:
    """What is open at a service and nobody has closed, oldest first; trainings on this machine are left out."""
    return [row for row in store.open_resources() if row.kind == DEPLOYMENT or not _local(row, root)]


def _local(row: Resource, root: Path) -> bool:
    try:
        return runner_of(row, root).local
    except ConfigError:
        return False


def release_row(row: Resource, store: Store, root: Path) -> str:
    """Release a deployment, or cancel a training, by its ledger row alone; what was done, in a word.

    Raises ProviderError if it may still run, ConfigError if the runner cannot be made again.
    """
    runner = runner_of(row, root)
    if row.kind == DEPLOYMENT:
        close(runner, row, store)
        return "released"
    if row.provider_id is None:
        return "left: the next train-and-score looks for it"
    runner.cancel(Handle("", row.provider_id))
    store.put_resource(replace(row, state="cancelled", closed=utc_now()))
    return "cancelled"
