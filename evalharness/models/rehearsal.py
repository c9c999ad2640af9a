"""A model that costs nothing and is always the same: for rehearsing a suite (`--rehearse`) and for tests.

>>> model = RehearsalModel(RehearsalOptions(seed=7))
>>> replies = [reply async for reply in model.generate(requests)]         # doctest: +SKIP

It answers with one word of the question, chosen by hash: the wrong answer, mostly, in no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar

from pydantic import Field

from evalharness import protocols
from evalharness.ids import digest
from evalharness.records import Reply, Request


class RehearsalOptions(protocols.Options):
    """How it behaves."""

    shorthand: ClassVar[str | None] = "name"
    name: str = "echo"
    """Other names choose other words."""
    seed: int = 0
    """Another seed chooses other words."""
    latency_s: float = Field(default=0.0, ge=0)
    """Seconds before each answer."""
    fail_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of requests that fail (always the same ones)."""
    concurrency: int = Field(default=16, ge=1)
    """Requests answered at once."""
    usd: float = Field(default=0.0, ge=0)
    """Pretended price of an answer."""


class RehearsalModel:
    """Echoes a word of the last user turn. Equal names and seeds give equal answers."""

    Options: ClassVar[type[protocols.Options]] = RehearsalOptions
    local: ClassVar[bool] = False

    def __init__(self, options: RehearsalOptions) -> None:
        self.options = options

    @property
    def pool(self) -> str:
        """One instance for equal options."""
        return f"rehearsal:{digest(self.options.model_dump())}"

    def identity(self) -> dict[str, str]:
        """Name and seed; what only makes answers late, dear or missing is outside, so that what failed can be tried again."""
        return {"name": self.options.name, "seed": str(self.options.seed)}

    def estimate(self, request: Request) -> float | None:
        """Nothing is paid."""
        return 0.0

    async def generate(self, requests: Sequence[Request]) -> AsyncGenerator[Reply]:
        """A reply for each request, in any order."""
        places = asyncio.Semaphore(self.options.concurrency)

        async def answer(request: Request) -> Reply:
            async with places:
                await asyncio.sleep(self.options.latency_s)
            return self._reply(request)

        tasks = [asyncio.create_task(answer(request)) for request in requests]
        try:
            for task in asyncio.as_completed(tasks):
                yield await task
        finally:
            for task in tasks:
                task.cancel()

    async def close(self) -> None:
        """Nothing to free."""

    def _reply(self, request: Request) -> Reply:
        options, question = self.options, _question(request)
        seen: list[object] = [options.name, options.seed, request.adapter, request.sample_id, question]
        if request.sampling.temperature > 0:
            seen += [request.sampling.seed, request.repeat]
        words = question.split()
        if _share(["fails", *seen]) < options.fail_rate:
            error = "rehearsed failure"
            return Reply(request.output_id, None, "error", len(words), 0, options.latency_s, options.usd, error)
        word = words[int(_share(seen) * len(words))] if words else ""
        return Reply(request.output_id, word, "stop", len(words), 1, options.latency_s, options.usd)


def _question(request: Request) -> str:
    return next((message.content for message in reversed(request.messages) if message.role == "user"), "")


def _share(value: list[object]) -> float:
    """A number in [0, 1) that the value decides."""
    return int(digest(value), 16) / 16**24
