"""The loop: many requests at once, each tried until it is answered, refused or given up; replies as they come.

Every request ends as exactly one reply. Memory does not grow with their number: requests are taken from an iterator
as slots free up, replies wait in a short queue. `ask` is a model's own; it raises Again, Refused or Halted.

>>> [r async for r in answers(requests, ask, Pace(64), Patience(), 64)]                                # doctest: +SKIP
[Reply(output_id='…', text='4', finish='stop', …)]
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import operator
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from evalharness.models.chat.outcome import Again, Halted, Refused
from evalharness.models.chat.pace import Pace
from evalharness.records import Reply, Request

log = logging.getLogger("evalh")
Ask = Callable[[Request], Awaitable[Reply]]
"""One try."""

_IN_A_ROW = 25
"""So many requests given up with no answer between them: the service is out, the rest is not sent."""
_LONGEST_PAUSE_S = 30.0
_WAKING_PAUSE_S = 5.0
_TOLD_EVERY_S = 30.0
_BELIEVED = 3
"""So often the same hard-to-believe answer has to come."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try one request: tries after the first, seconds of rate-limit waits altogether, first pause in seconds.

    `waking_s`: how long all of them wait for a model that is being started.
    """

    retries: int = 6
    limited_s: float = 300.0
    pause_s: float = 0.25
    waking_s: float = 1800.0


async def answers(requests: Iterable[Request], ask: Ask, pace: Pace, patience: Patience, most: int) -> AsyncGenerator[Reply]:
    """One reply per request, in any order; at most `most` of this call's requests are in flight or answered and not taken yet.

    So a process that is killed loses no more answers than that, however slow whoever takes them is.
    Closing the iterator early cancels what is in flight. A defect in `ask` (any other exception) is raised here.
    """
    asking = _Asking(ask, pace, patience)
    source, replies = iter(requests), asyncio.Queue[Reply | Exception | None]()
    gate = asyncio.Semaphore(most)

    async def work() -> None:
        try:
            for request in source:
                replies.put_nowait(await asking.settle(request, gate))
        except Exception as error:  # handed to the consumer, which raises it
            replies.put_nowait(error)
        else:
            replies.put_nowait(None)

    # Twice as many workers as slots: those that wait to try again must not keep a slot's worth of work from being done.
    workers = [asyncio.create_task(work()) for _ in range(min(2 * most, operator.length_hint(requests, 2 * most)))]
    running = len(workers)
    try:
        while running:
            found = await replies.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                running -= 1
                continue
            yield found
            gate.release()  # whoever takes the answers has this one, and wants another
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


class _Asking:
    """What the workers of one call share: when to stop, and how many were given up in a row."""

    def __init__(self, ask: Ask, pace: Pace, patience: Patience) -> None:
        self.ask, self.pace, self.patience = ask, pace, patience
        self.halted = asyncio.Event()
        self.why = ""
        self.given_up = 0
        self.asleep_at: float | None = None
        self.told_at = 0.0

    async def settle(self, request: Request, gate: asyncio.Semaphore) -> Reply:
        """Try until there is a reply; the gate, which is passed for each try, is still held with it."""
        spent, last = _Spent(), Again("")
        while not self.halted.is_set():
            await gate.acquire()
            try:
                return self._answered(await self._slot(request), spent.usd)
            except Halted as halt:
                self._halt(f"stopped asking: {halt}")
                return _failed(request, str(halt), None, spent.usd)
            except Refused as no:
                self._count(no.systemic, str(no))
                return _failed(request, str(no), no.raw, spent.usd)
            except Again as again:
                last, pause = again, None if again.waking else spent.on(again, self.patience)
                if again.reply is not None and (spent.doubts == _BELIEVED or pause is None):
                    return self._answered(again.reply, spent.usd - (again.cost_usd or 0.0))
                if pause is None and not again.waking:
                    self._count(True, str(again))
                    return _failed(request, str(again), again.raw, spent.usd)
            gate.release()
            await (self._awake(last) if pause is None else self._sleep(pause, last))
        await gate.acquire()
        return _failed(request, str(last) or self.why, last.raw, spent.usd)

    def _answered(self, reply: Reply, spent_usd: float) -> Reply:
        self.given_up, self.asleep_at = 0, None
        return replace(reply, cost_usd=reply.cost_usd + spent_usd) if spent_usd and reply.cost_usd is not None else reply

    async def _slot(self, request: Request) -> Reply:
        await self.pace.enter()
        try:
            if self.halted.is_set():
                raise Halted(self.why)
            sent_at = time.monotonic()
            reply = await self.ask(request)
            self.pace.answered(time.monotonic() - sent_at)
            return reply
        except Again as again:
            if again.crowded:
                self.pace.crowded()
            raise
        finally:
            self.pace.leave()

    async def _awake(self, again: Again) -> None:
        """Wait for a model that is being started: nobody asks for a while, and how long it takes is told."""
        now = time.monotonic()
        self.asleep_at = now if self.asleep_at is None else self.asleep_at
        waited = now - self.asleep_at
        if waited >= self.patience.waking_s:
            self._halt(f"stopped asking: it is still starting after {waited:.0f} s: {again}")
            return
        if now - self.told_at >= _TOLD_EVERY_S:
            self.told_at = now
            log.warning("waiting for the model to start, %.0f s so far: %s", waited, again)
        pause = min(again.after or _WAKING_PAUSE_S, _LONGEST_PAUSE_S, self.patience.waking_s - waited)
        self.pace.pause(pause)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.halted.wait(), pause)

    async def _sleep(self, pause: float, again: Again) -> None:
        if again.after is not None:
            self.pace.wait(again.after)  # the limit is everybody's
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.halted.wait(), pause)

    def _halt(self, why: str) -> None:
        self.why = self.why or why
        self.halted.set()

    def _count(self, systemic: bool, reason: str) -> None:
        """A row of failures that no answer interrupts means an outage: stop, so that the run ends."""
        self.given_up += systemic
        if self.given_up >= _IN_A_ROW:
            self._halt(f"stopped asking after {self.given_up} failures in a row: {reason}")


@dataclass(slots=True)
class _Spent:
    """What one request has used up: tries, waits for rate limits in seconds, dollars for answers that were no use."""

    tries: int = 0
    turns: int = 0
    doubts: int = 0
    waited_s: float = 0.0
    usd: float = 0.0

    def on(self, again: Again, patience: Patience) -> float | None:
        """Seconds until the next try (what the service asked for, else doubling, with jitter); None: give up."""
        self.turns += 1
        self.tries += not again.limited
        self.usd += again.cost_usd or 0.0
        self.doubts += again.reply is not None
        if again.after is not None:
            pause = again.after + random.uniform(0.0, min(1.0, again.after / 10))
        else:
            pause = min(_LONGEST_PAUSE_S, patience.pause_s * 2.0 ** (self.turns - 1)) * random.uniform(0.5, 1.0)
        if again.limited or again.after is not None:
            self.waited_s += pause
        return None if self.tries > patience.retries or self.waited_s > patience.limited_s else pause


def _failed(request: Request, reason: str, raw: str | None, spent: float) -> Reply:
    return Reply(request.output_id, None, "error", cost_usd=spent or None, error=reason, raw=raw)
