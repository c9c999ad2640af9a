"""Asking models: what is not stored yet is asked, answered, scored and flushed; what is stored is kept.

>>> done = await generate(model, asks, desk, silent)                                                  # doctest: +SKIP
>>> done.asked, done.kept, done.failed                                                                # doctest: +SKIP
(400, 0, 2)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import overload

from evalharness.errors import BudgetExceeded
from evalharness.ids import digest
from evalharness.pipeline.budget import Budget
from evalharness.pipeline.events import Emit, Event
from evalharness.pipeline.scoring import Scorer
from evalharness.prompts import Prompt, render
from evalharness.protocols import Model
from evalharness.records import Arm, Dataset, Output, Reply, Request, Sample
from evalharness.store import Store, Writer

TOGETHER, MOST_TOGETHER = 64, 500
"""Answers that are scored at once: as they come (other answers wait so long), and of those that are stored already."""


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

    def places(self) -> Iterator[tuple[str, Sample, int]]:
        """(output id, sample, repeat) of everything this arm is to answer, in data order."""
        for sample in self.dataset.samples:
            for repeat in range(self.repeats):
                yield output_id(self.arm.arm_id, sample.id, repeat), sample, repeat

    def request(self, key: str, sample: Sample, repeat: int) -> Request:
        """One request, rendered."""
        return Request(key, sample.id, render(self.prompt, sample, self.examples), self.arm.sampling, self.adapter, repeat)


class Requests(Sequence[Request]):
    """What is to be asked, rendered when it is looked at: thousands of long prompts are never in memory together."""

    def __init__(self, open_: Sequence[tuple[Ask, str, Sample, int]]) -> None:
        self._open = open_

    def __len__(self) -> int:
        return len(self._open)

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> Requests: ...
    def __getitem__(self, index: int | slice) -> Request | Requests:
        if isinstance(index, slice):
            return Requests(self._open[index])
        ask, key, sample, repeat = self._open[index]
        return ask.request(key, sample, repeat)


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
    why: dict[str, str] = field(default_factory=dict)
    """Label -> the first failure's reason."""

    def __add__(self, other: Tally) -> Tally:
        labels, stopped = {**self.labels, **other.labels}, {**self.stopped, **other.stopped}
        return Tally(
            self.asked + other.asked, self.kept + other.kept, self.failed + other.failed, self.scored + other.scored, labels, stopped,
            {**other.why, **self.why},
        )  # fmt: skip


def output_id(arm_id: str, sample_id: str, repeat: int) -> str:
    """Hash of arm, sample and repeat."""
    return digest([arm_id, sample_id, repeat])


def missing(ask: Ask, store: Store) -> list[tuple[Ask, str, Sample, int]]:
    """What is not stored yet, or is stored as an error, which is tried again."""
    known = store.known_outputs([ask.arm.arm_id])
    good = {key for key, output in known.items() if output.finish != "error"}
    return [(ask, key, sample, repeat) for key, sample, repeat in ask.places() if key not in good]


async def generate(model: Model, asks: Sequence[Ask], desk: Desk, emit: Emit) -> Tally:
    """Answer and score what is missing of all these arms in one pass over the model, then score what was kept.

    Every request that was sent ends as a stored output: one that the model leaves unanswered is stored as an error.
    Requests that the budget has no room for are not sent; the tally says so.
    """
    tally = Tally()
    to_ask: list[tuple[Ask, str, Sample, int]] = []
    done: dict[str, list[int]] = {}
    for ask in asks:
        rows = await asyncio.to_thread(missing, ask, desk.store)
        total = len(ask.dataset) * ask.repeats
        tally.kept += total - len(rows)
        done[_name(ask)] = [total - len(rows), total]
        to_ask += rows
        emit(Event("generate", _shown(ask), total - len(rows), total))
    waiting = {key: (ask, sample, repeat) for ask, key, sample, repeat in to_ask}  # two labels may be one arm
    if waiting:
        _bind(model, asks)
        rounds = _Rounds(model, desk.budget, by_the_hour=all(ask.by_the_hour for ask in asks))
        requests = Requests([(ask, key, sample, repeat) for key, (ask, sample, repeat) in waiting.items()])
        each = {ask.arm.arm_id for ask in asks if not ask.by_the_hour}
        taken = _Taken(desk, tally, await asyncio.to_thread(desk.store.wasted_answers, list(each)))
        try:
            async with aclosing(rounds.replies(requests)) as replies:
                async for reply in replies:
                    found = waiting.pop(reply.output_id, None)
                    if found is None:
                        continue  # a second reply to the same request: the first one is stored
                    tally.asked += 1
                    taken.take(reply, *found)
                    counts = done[_name(found[0])]
                    counts[0] += 1
                    if not (model.local or desk.writer.has_room(Output)):  # what was paid for is stored before more is taken
                        await asyncio.to_thread(desk.writer.room, Output)
                    emit(Event("generate", _shown(found[0]), counts[0], counts[1]))
            for key, found in waiting.items():
                if key in rounds.unsent:
                    tally.stopped[found[0].label] = rounds.why
                else:
                    tally.asked += 1
                    taken.take(Reply(key, None, "error", error="the model gave no reply"), *found)
        finally:
            taken.score()
    await asyncio.to_thread(desk.writer.flush)
    for ask in asks:
        tally.scored += await asyncio.to_thread(score_missing, ask, desk, emit)
    return tally


class _Rounds:
    """Asks a model in rounds that fit into the budget: what a round did not use is there for the next one."""

    def __init__(self, model: Model, budget: Budget, *, by_the_hour: bool) -> None:
        self._model, self._budget, self._by_the_hour = model, budget, by_the_hour
        self.unsent: frozenset[str] = frozenset()
        self.why = ""

    async def replies(self, requests: Sequence[Request]) -> AsyncGenerator[Reply]:
        """Every reply; afterwards `unsent` holds the ids that the budget had no room for, and `why` says so."""
        while requests:
            costs = {request.output_id: self._cost(request) for request in requests} if self._budget.cap is not None else {}
            n = max(1, self._budget.fitting(list(costs.values()))) if costs else len(requests)
            worst = dict(islice(costs.items(), n))
            try:
                async with (
                    self._budget.when_free("the next answer", _total(list(worst.values()))) as reserved,
                    aclosing(self._model.generate(requests[:n])) as replies,
                ):
                    async for reply in replies:
                        expected = worst.pop(reply.output_id, None) if reply.error is None else None
                        reserved.spend((expected if reply.cost_usd is None else reply.cost_usd) or 0.0)
                        yield reply
            except BudgetExceeded as error:
                self.unsent, self.why = frozenset(request.output_id for request in requests), str(error)
                return
            requests = requests[n:]

    def _cost(self, request: Request) -> float | None:
        return 0.0 if self._by_the_hour else self._model.estimate(request)


def _total(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _name(ask: Ask) -> str:
    return f"{ask.label}/{ask.dataset.split}"


def _shown(ask: Ask) -> str:
    return ask.label if ask.dataset.split == "test" else f"{ask.label} on {ask.dataset.split}"


def _bind(model: Model, asks: Sequence[Ask]) -> None:
    """Let models that look answers up by position or id (recorded outputs) see the samples."""
    bind = getattr(model, "bind", None)
    if bind is not None:
        bind([sample for ask in asks for sample in ask.dataset.samples])


class _Taken:
    """Replies as they come: each is stored at once, and scored with those beside it.

    `wasted`: output id -> what failures of before have cost. The new row takes their place, and their cost with it.
    """

    def __init__(self, desk: Desk, tally: Tally, wasted: Mapping[str, float]) -> None:
        self._desk, self._tally, self._wasted = desk, tally, wasted
        self._waiting: list[tuple[Sample, Output]] = []

    def take(self, reply: Reply, ask: Ask, sample: Sample, repeat: int) -> None:
        if (before := self._wasted.get(reply.output_id)) and (reply.cost_usd is not None or reply.error is not None):
            reply = replace(reply, cost_usd=before + (reply.cost_usd or 0.0))
        output = Output(reply.output_id, ask.arm.arm_id, ask.dataset.id, sample.id, repeat, reply, self._desk.run_id)
        self._desk.writer.put(output)
        self._waiting.append((sample, output))
        if len(self._waiting) == TOGETHER:
            self.score()
        tally = self._tally
        tally.failed += reply.error is not None
        if reply.error is not None:
            tally.why.setdefault(ask.label, " ".join(reply.error.split())[:300])
        tally.labels[ask.label] = tally.labels.get(ask.label, 0) + (reply.error is not None)

    def score(self) -> None:
        """Score what waits."""
        waiting, self._waiting = self._waiting, []
        for key in self._desk.scorer.metrics if waiting else ():
            for score in self._desk.scorer.many(key, waiting):
                self._desk.writer.put(score)
                self._tally.scored += 1


def score_missing(ask: Ask, desk: Desk, emit: Emit) -> int:
    """Score stored outputs that a metric has not seen (a new metric, or another version of one). Returns how many."""
    outputs = desk.store.outputs(ask.arm.arm_id, ask.dataset.id)
    known = desk.store.known_scores(list(desk.scorer.metrics), [ask.arm.arm_id])
    samples = {sample.id: sample for sample in ask.dataset.samples}
    missing: dict[str, list[tuple[Sample, Output]]] = {}
    for key, output in desk.scorer.missing(outputs, known):
        if output.sample_id in samples:
            missing.setdefault(key, []).append((samples[output.sample_id], output))
    done, total = 0, sum(map(len, missing.values()))
    for key, pairs in missing.items():
        for start in range(0, len(pairs), MOST_TOGETHER):
            for score in desk.scorer.many(key, pairs[start : start + MOST_TOGETHER]):
                desk.writer.put(score)
                done += 1
            emit(Event("score", _shown(ask), done, total))
    desk.writer.flush()
    return total
