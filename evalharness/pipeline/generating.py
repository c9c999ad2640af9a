"""Asking models: what is not stored yet is asked, answered, scored and flushed; what is stored is kept.

>>> done = await generate(model, asks, desk, silent)                                                  # doctest: +SKIP
>>> done.asked, done.kept, done.failed                                                                # doctest: +SKIP
(400, 0, 2)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from evalharness.errors import BudgetExceeded
from evalharness.ids import digest
from evalharness.pipeline.budget import Budget
from evalharness.pipeline.events import Emit, Event
from evalharness.pipeline.scoring import Scorer
from evalharness.prompts import Prompt, render
from evalharness.protocols import Model
from evalharness.records import Arm, Dataset, Output, Reply, Request, Sample
from evalharness.store import Store, Writer


@dataclass(frozen=True, slots=True)
class Ask:
    """One arm on one data set: how each sample is put to the model."""

    label: str
    arm: Arm
    dataset: Dataset
    prompt: Prompt | None
    examples: tuple[Sample, ...]
    adapter: str | None = None
    repeats: int = 1
    by_the_hour: bool = False
    """The model is paid for by the hour: its answers cost nothing more."""

    def requests(self) -> Iterator[tuple[Request, Sample]]:
        """Every request of this arm on this data set, in data order."""
        for sample in self.dataset.samples:
            messages = render(self.prompt, sample, self.examples)
            for repeat in range(self.repeats):
                key = output_id(self.arm.arm_id, sample.id, repeat)
                yield Request(key, sample.id, messages, self.arm.sampling, self.adapter, repeat), sample


@dataclass(frozen=True, slots=True)
class Desk:
    """Where results go: the run, its store, the writer that flushes in groups, and the metrics."""

    run_id: str
    store: Store
    writer: Writer
    scorer: Scorer
    budget: Budget = field(default_factory=lambda: Budget(None))


@dataclass(slots=True)
class Tally:
    """What generating did: outputs asked for now, kept from before, failed now; scores made now."""

    asked: int = 0
    kept: int = 0
    failed: int = 0
    scored: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    """Label -> answers that failed now."""
    stopped: dict[str, str] = field(default_factory=dict)
    """Label -> why not all of it was asked."""

    def __add__(self, other: Tally) -> Tally:
        labels, stopped = {**self.labels, **other.labels}, {**self.stopped, **other.stopped}
        return Tally(
            self.asked + other.asked, self.kept + other.kept, self.failed + other.failed, self.scored + other.scored, labels, stopped
        )  # fmt: skip


def output_id(arm_id: str, sample_id: str, repeat: int) -> str:
    """Hash of arm, sample and repeat."""
    return digest([arm_id, sample_id, repeat])


def wanted(ask: Ask, store: Store) -> list[tuple[Request, Sample]]:
    """The requests whose outputs are not stored, or are stored as errors, which are tried again."""
    known = store.known_outputs([ask.arm.arm_id])
    good = {key for key, output in known.items() if output.finish != "error"}
    return [(request, sample) for request, sample in ask.requests() if request.output_id not in good]


async def generate(model: Model, asks: Sequence[Ask], desk: Desk, emit: Emit) -> Tally:
    """Answer and score what is missing of all these arms in one pass over the model, then score what was kept.

    Every request that was sent ends as a stored output: one that the model leaves unanswered is stored as an error.
    Requests that the budget has no room for are not sent; the tally says so.
    """
    tally = Tally()
    open_requests: dict[str, tuple[Ask, Request, Sample]] = {}
    done: dict[str, list[int]] = {}
    for ask in asks:
        missing = await asyncio.to_thread(wanted, ask, desk.store)
        total = len(ask.dataset) * ask.repeats
        tally.kept += total - len(missing)
        done[_name(ask)] = [total - len(missing), total]
        open_requests |= {request.output_id: (ask, request, sample) for request, sample in missing}
        emit(Event("generate", ask.label, total - len(missing), total))
    wanted_now = len(open_requests)
    if open_requests:
        _bind(model, asks)
        rounds = _Rounds(model, desk.budget, by_the_hour=all(ask.by_the_hour for ask in asks))
        async with aclosing(rounds.replies([request for _, request, _ in open_requests.values()])) as replies:
            async for reply in replies:
                found = open_requests.pop(reply.output_id, None)
                if found is None:
                    continue  # a second reply to the same request: the first one is stored
                _take(reply, *found, desk, tally)
                counts = done[_name(found[0])]
                counts[0] += 1
                emit(Event("generate", found[0].label, counts[0], counts[1]))
        unsent = {request.output_id for request in rounds.unsent}
        for key, found in open_requests.items():
            if key in unsent:
                tally.stopped[found[0].label] = rounds.why
            else:
                _take(Reply(key, None, "error", error="the model gave no reply"), *found, desk, tally)
        wanted_now -= len(unsent)
    tally.asked = wanted_now
    await asyncio.to_thread(desk.writer.flush)
    for ask in asks:
        tally.scored += await asyncio.to_thread(score_missing, ask, desk, emit)
    return tally


class _Rounds:
    """Asks a model in rounds that fit into the budget: what a round did not use is there for the next one."""

    def __init__(self, model: Model, budget: Budget, *, by_the_hour: bool) -> None:
        self._model, self._budget, self._by_the_hour = model, budget, by_the_hour
        self.unsent: Sequence[Request] = ()
        self.why = ""

    async def replies(self, requests: Sequence[Request]) -> AsyncGenerator[Reply]:
        """Every reply; afterwards `unsent` holds what the budget had no room for, and `why` says so."""
        while requests:
            costs = [self._cost(request) for request in requests]
            n = max(1, self._budget.fitting(costs))
            try:
                async with self._budget.when_free("the next answer", _total(costs[:n])) as reserved:
                    worst = dict(zip((request.output_id for request in requests[:n]), costs, strict=False))
                    async with aclosing(self._model.generate(requests[:n])) as replies:
                        async for reply in replies:
                            expected = worst.pop(reply.output_id, None) if reply.error is None else None
                            reserved.spend((expected if reply.cost_usd is None else reply.cost_usd) or 0.0)
                            yield reply
            except BudgetExceeded as error:
                self.unsent, self.why = requests, str(error)
                return
            requests = requests[n:]

    def _cost(self, request: Request) -> float | None:
        return 0.0 if self._by_the_hour or self._budget.cap is None else self._model.estimate(request)


def _total(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _name(ask: Ask) -> str:
    return f"{ask.label}/{ask.dataset.split}"


def _bind(model: Model, asks: Sequence[Ask]) -> None:
    """Let models that look answers up by position or id (recorded outputs) see the samples."""
    bind = getattr(model, "bind", None)
    if bind is not None:
        bind([sample for ask in asks for sample in ask.dataset.samples])


def _take(reply: Reply, ask: Ask, request: Request, sample: Sample, desk: Desk, tally: Tally) -> None:
    output = Output(reply.output_id, ask.arm.arm_id, ask.dataset.id, sample.id, request.repeat, reply, desk.run_id)
    desk.writer.put(output)
    for score in desk.scorer.score(sample, output):
        desk.writer.put(score)
        tally.scored += 1
    tally.failed += reply.error is not None
    tally.labels[ask.label] = tally.labels.get(ask.label, 0) + (reply.error is not None)


def score_missing(ask: Ask, desk: Desk, emit: Emit) -> int:
    """Score stored outputs that a metric has not seen (a new metric, or another version of one). Returns how many."""
    outputs = desk.store.outputs(ask.arm.arm_id, ask.dataset.id)
    known = desk.store.known_scores(list(desk.scorer.metrics), [ask.arm.arm_id])
    samples = {sample.id: sample for sample in ask.dataset.samples}
    missing = [(key, output) for key, output in desk.scorer.missing(outputs, known) if output.sample_id in samples]
    for number, (key, output) in enumerate(missing, 1):
        desk.writer.put(desk.scorer.one(key, samples[output.sample_id], output))
        if number % 500 == 0 or number == len(missing):
            emit(Event("score", ask.label, number, len(missing)))
    desk.writer.flush()
    return len(missing)
