"""Asking several models at once, with second tries beside the first ones.

A second try is sent as soon as it is known to be needed, on a lane of its own: were it kept for the end, an
interrupted run would lose every answer that waits for it. Models on this machine take turns.

>>> [reply async for seat, reply in replies([model], [requests], again)]                              # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, nullcontext

from evalharness.protocols import Model
from evalharness.records import Reply, Request

Again = Callable[[int, Reply], Request | None]
"""(seat, reply) -> the request that takes this one's place; None if the reply is final."""


async def replies(models: Sequence[Model], requests: Sequence[Sequence[Request]], again: Again) -> AsyncGenerator[tuple[int, Reply]]:
    """(seat, final reply) for every request of every model, as they come. What a model raises is raised here."""
    lanes = _Lanes(models)
    try:
        for seat, mine in enumerate(requests):
            lanes.start(seat, mine)
        while lanes.busy:
            seat, came = await lanes.queue.get()
            if isinstance(came, Exception):
                raise came
            if came is None:
                lanes.running[seat] -= 1
            elif (request := again(seat, came)) is not None:
                lanes.waiting[seat].append(request)
            else:
                yield seat, came
            lanes.restart(seat)
    finally:
        await lanes.stop()


class _Lanes:
    """What runs, and the second tries that wait."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models
        self.queue: asyncio.Queue[tuple[int, Reply | Exception | None]] = asyncio.Queue(maxsize=256)
        self.running = [0] * len(models)
        self.waiting: list[list[Request]] = [[] for _ in models]
        self._tasks: set[asyncio.Task[None]] = set()
        self._device = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether a reply is still to come."""
        return any(self.running)

    def start(self, seat: int, requests: Sequence[Request]) -> None:
        """Ask in a task of its own."""
        if not requests:
            return
        self.running[seat] += 1
        task = asyncio.create_task(self._run(seat, requests))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def restart(self, seat: int) -> None:
        """Send the second tries that wait, if a lane is free: one beside the first tries, none on this machine."""
        if self.waiting[seat] and self.running[seat] < (1 if self.models[seat].local else 2):
            requests, self.waiting[seat] = self.waiting[seat], []
            self.start(seat, requests)

    async def stop(self) -> None:
        """Cancel what runs and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, seat: int, requests: Sequence[Request]) -> None:
        model, left = self.models[seat], {request.output_id for request in requests}
        try:
            async with self._device if model.local else nullcontext(), aclosing(model.generate(requests)) as stream:
                async for reply in stream:
                    if reply.output_id in left:  # the first reply to a request counts
                        left.remove(reply.output_id)
                        await self.queue.put((seat, reply))
            for output_id in sorted(left):
                await self.queue.put((seat, Reply(output_id, None, "error", error="the judge gave no reply")))
            await self.queue.put((seat, None))
        except Exception as error:  # handed to the consumer, which raises it
            await self.queue.put((seat, error))
