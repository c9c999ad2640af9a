"""Asking the metrics that ask: once all answers of a run are there, what has no opinion yet gets one.

A score's id hashes the metric and the texts that it saw, so only what changed is asked again; what ended in an error
is asked again by the next run. Scores are stored as they come: an interrupted run repeats what was in flight and at
most one flush of the writer.

>>> done = await judge(plan.loaded.metrics, asks, desk, silent)                                       # doctest: +SKIP
>>> done.scored, done.failures                                                                        # doctest: +SKIP
(800, {})
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np

from evalharness.errors import BudgetExceeded, EvalhError, RunError, StoreError
from evalharness.ids import digest
from evalharness.pipeline.events import Emit, Event
from evalharness.pipeline.generating import Ask, Desk
from evalharness.pipeline.scoring import asks_a_model, metric_id
from evalharness.protocols import AskingMetric, Metric, Opinion, Question
from evalharness.records import Output, Sample, Score
from evalharness.store import Store

log = logging.getLogger("evalh")


@dataclass(frozen=True, slots=True)
class Case:
    """One output that a metric is to be asked about, with the other arm's output if it compares pairs."""

    key: str
    metric_id: str
    sample: Sample
    output: Output
    other: Output | None = None

    @staticmethod
    def of(metric_key: str, sample: Sample, output: Output, other: Output | None) -> Case:
        """The case, its key being the score's id: a hash of the metric and of the texts that it sees."""
        seen = [output.outcome_key] if other is None else [output.outcome_key, other.outcome_key]
        return Case(digest([metric_key, *seen]), metric_key, sample, output, other)

    @property
    def answered(self) -> bool:
        """Whether there is a text to judge."""
        return self.output.reply.error is None and self.output.reply.text is not None

    @property
    def open(self) -> bool:
        """Whether asking again can help: both texts are there."""
        return self.answered and (self.other is None or self.other.reply.text is not None)

    @property
    def question(self) -> Question:
        """What the metric is asked."""
        return Question(self.key, self.sample, self.output.reply, None if self.other is None else self.other.reply)

    def score(self, metric: Metric, opinion: Opinion) -> Score:
        """The opinion as a score. An error has no value and no statistics: a failed judge says nothing of the answer."""
        other = None if self.other is None else self.other.output_id
        if opinion.error is None and opinion.stats and np.isfinite(opinion.stats).all():
            value = float(metric.finish(np.array(opinion.stats), np.array(1.0)))
            return Score(self.key, self.output.output_id, self.metric_id, value, opinion.stats, opinion.why, None, opinion.cost_usd, other)
        error = opinion.error or f"{metric.name}: the statistics are {opinion.stats}"
        told = opinion.why if opinion.why is not None else opinion.raw
        return Score(self.key, self.output.output_id, self.metric_id, None, (), told, error, opinion.cost_usd, other)

    def failed(self, metric: Metric) -> Score:
        """The score of an output that failed: the worst one, as with every other metric, and no question asked."""
        stats = tuple(map(float, metric.failed(self.sample)))
        value = float(metric.finish(np.array(stats), np.array(1.0)))
        error = self.output.reply.error or "the output has no text"
        other = None if self.other is None else self.other.output_id
        return Score(self.key, self.output.output_id, self.metric_id, value, stats, error=error, other_output_id=other)


@dataclass(slots=True)
class Judged:
    """What judging did: scores stored now, those of them that are errors, and why a metric could not be asked."""

    scored: int = 0
    errors: int = 0
    failures: dict[str, str] = field(default_factory=dict)


async def judge(
    metrics: Mapping[str, Metric],
    asks: Sequence[Ask],
    desk: Desk,
    emit: Emit,
    *,
    bases: Mapping[str, str] | None = None,
    rehearse: bool = False,
) -> Judged:
    """Ask every asking metric about all stored outputs of these arms that have no score yet.

    `bases` maps trained arms' labels to what they were trained from. One metric's failure is told and leaves the
    others alone. Raises StoreError if scores cannot be stored.
    """
    done = Judged()
    for name, metric in metrics.items():
        if not asks_a_model(metric):
            continue
        for label, kin in relatives(metric, asks, bases or {}).items():
            emit(Event("score", name, kind="warning", text=f"{kin} as {label}: judges favour their own kind, so check it with labels"))
        try:
            try:
                await _Session(name, metric, desk, emit, done).hold(asks, rehearse=rehearse)
            finally:
                await metric.close()
        except StoreError:
            raise
        except EvalhError as error:
            done.failures[name] = str(error)
        except Exception as error:  # a metric is anybody's code; the traceback goes to the log, the reason to the report
            log.exception("%s failed", name)
            done.failures[name] = f"{type(error).__name__}: {error}"
        await asyncio.to_thread(desk.writer.flush)
        if name in done.failures:
            emit(Event("score", name, kind="warning", text=done.failures[name]))
    return done


def relatives(metric: AskingMetric, asks: Sequence[Ask], bases: Mapping[str, str]) -> dict[str, str]:
    """Label -> how the metric's model is related to the arm's, where it is (metrics with a method `kin` can tell)."""
    kin = getattr(metric, "kin", None)
    if kin is None:
        return {}
    told = {ask.label: kin(ask.arm.model, [bases[ask.label]] if ask.label in bases else []) for ask in asks}
    return {label: text for label, text in told.items() if text is not None}


class _Session:
    """One metric's questions of one run."""

    def __init__(self, name: str, metric: AskingMetric, desk: Desk, emit: Emit, done: Judged) -> None:
        self._name, self._metric, self._desk, self._emit, self._done = name, metric, desk, emit, done
        self._spent = 0.0
        self._wasted: Mapping[str, float] = {}

    async def hold(self, asks: Sequence[Ask], *, rehearse: bool) -> None:
        """Find what is open, and ask until it is closed."""
        known = await asyncio.to_thread(self._desk.store.known_scores, [metric_id(self._metric)], [ask.arm.arm_id for ask in asks])
        found = await asyncio.to_thread(lambda: {case.key: case for case in cases(self._metric, asks, self._desk.store, known)})
        self._wasted = await asyncio.to_thread(self._desk.store.wasted_scores, metric_id(self._metric), [ask.arm.arm_id for ask in asks])
        for case in found.values():
            if not case.answered:
                self._put(case.failed(self._metric))
        asked = [case for case in found.values() if case.answered]
        total, count, real, errors, last = len(asked), 0, 0, 0, ""
        async with aclosing(self._scores(asked, rehearse=rehearse)) as scores:
            async for score in scores:
                self._put(score)
                count, errors, last = count + 1, errors + (score.error is not None), score.error or last
                real += score.other_output_id != score.output_id  # the reference beside itself is a tie that nobody was asked about
                if not self._desk.writer.has_room(Score):  # opinions are dear: they are stored before more are taken
                    await asyncio.to_thread(self._desk.writer.room, Score)
                self._emit(Event("score", self._name, count, total, cost_usd=self._spent or None))
        self._done.errors += errors
        if errors and errors == real and not (all(case.key in known for case in asked) and await self._has_opinions(asks)):
            self._done.failures[self._name] = f"every one of {real:,} questions failed, e.g. {last}"
        elif errors:
            text = f"{errors:,} of {count:,} questions failed; they count as missing, and the next run asks them again"
            self._emit(Event("score", self._name, kind="note", text=text))

    async def _has_opinions(self, asks: Sequence[Ask]) -> bool:
        """Whether there are good opinions of these arms, those of the reference beside itself left out."""
        arms = [ask.arm.arm_id for ask in asks if ask.label != self._metric.against]
        return None in (await asyncio.to_thread(self._desk.store.known_scores, [metric_id(self._metric)], arms)).values()

    def _put(self, score: Score) -> None:
        if before := self._wasted.get(score.score_id):  # the new row takes the failed one's place, and its cost with it
            score = replace(score, cost_usd=before + (score.cost_usd or 0.0))
        self._desk.writer.put(score)
        self._done.scored += 1

    async def _scores(self, asked: Sequence[Case], *, rehearse: bool) -> AsyncGenerator[Score]:
        """A score for every case that the budget has room for."""
        budget, rest = self._desk.budget, asked
        while rest:
            capped = budget.cap is not None and not rehearse
            costs = [self._metric.estimate([case.question]) for case in rest] if capped else [0.0] * len(rest)
            part = rest[: max(1, budget.fitting(costs))]
            known = [cost for cost in costs[: len(part)] if cost is not None]
            try:
                async with (
                    budget.when_free(self._name, sum(known) if len(known) == len(part) else None) as reserved,
                    aclosing(self._opinions(part, rehearse=rehearse)) as opinions,
                ):
                    async for case, opinion in opinions:
                        reserved.spend(opinion.cost_usd or 0.0)
                        self._spent += opinion.cost_usd or 0.0
                        yield case.score(self._metric, opinion)
            except BudgetExceeded as error:
                self._done.failures[self._name] = str(error)
                return
            rest = rest[len(part) :]

    async def _opinions(self, asked: Sequence[Case], *, rehearse: bool) -> AsyncGenerator[tuple[Case, Opinion]]:
        """Exactly one opinion a case: the first one, or an error where the metric gave none."""
        left = {case.key: case for case in asked}
        questions = [case.question for case in left.values()]
        async with aclosing(_rehearsed(self._metric, questions) if rehearse else self._metric.ask(questions)) as opinions:
            async for opinion in opinions:
                if (case := left.pop(opinion.key, None)) is not None:
                    yield case, opinion
        for case in left.values():
            yield case, Opinion(case.key, (), error=f"{self._name} gave no opinion")


async def _rehearsed(metric: Metric, questions: Sequence[Question]) -> AsyncGenerator[Opinion]:
    """Best or worst by hash, for nothing: a rehearsal buys no opinion."""
    for question in questions:
        best = int(question.key, 16) % 2 == 0
        stats = metric.perfect(question.sample) if best else metric.failed(question.sample)
        yield Opinion(question.key, tuple(map(float, stats)), why="rehearsed", cost_usd=0.0)


def cases(metric: AskingMetric, asks: Sequence[Ask], store: Store, known: Mapping[str, str | None]) -> Iterator[Case]:
    """What has no score yet, or an error that asking again may mend; `known` are the scores that there are, with their errors.

    In pairs every output meets the other arm's of the same sample and repeat, also the other arm's own ones (a tie for
    free, so that both arms of a comparison have scores). An output without a counterpart is left out. Raises RunError
    if the other arm has answered nothing.
    """
    key = metric_id(metric)
    others: dict[str, dict[tuple[str, int], Output]] = {}
    for ask in asks:
        if ask.label == metric.against:
            outputs = store.outputs(ask.arm.arm_id, ask.dataset.id)
            others[ask.dataset.id] = {(output.sample_id, output.repeat): output for output in outputs}
    if metric.against is not None and not any(others.values()):
        raise RunError(f"{metric.against} has no answers to compare with")
    for ask in asks:
        samples = {sample.id: sample for sample in ask.dataset.samples}
        for output in store.outputs(ask.arm.arm_id, ask.dataset.id):
            other = others.get(ask.dataset.id, {}).get((output.sample_id, output.repeat))
            if output.sample_id not in samples or (metric.against is not None and other is None):
                continue
            case = Case.of(key, samples[output.sample_id], output, other)
            if case.key not in known or (known[case.key] is not None and case.open):
                yield case
