"""How fast to ask: requests in flight rise until a rate limit or rising latency says stop (AIMD, as TCP does).

    start at 16, +1 per answer (doubling per round trip) until the service is crowded, then +1 per round trip
    a 429, a timeout or an overload takes half a slot away: a round trip of nothing else halves the limit, a stray one does little
    Retry-After (once refusals are no longer rare) and used-up x-ratelimit-* allowances pause everybody

One Pace serves every model of a process that talks to the same service with the same key in one event loop.

>>> pace = Pace(64)
>>> pace.limit
16
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from evalharness.waits import span

START = 16
_CROWDED = 3.0
"""Median latency of a window over the best window's: above this, more at once would only queue."""
_RARE = 0.2
"""Share of refusals among recent answers up to which one Retry-After does not hold everybody up."""
_MEMORY = 0.1
_PACES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Pace]] = WeakKeyDictionary()


class Pace:
    """A number of slots that adapts. `enter` waits for one, `leave` gives it back; `most` is the user's maximum."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.busy = 0
        self._limit = float(min(START, most))
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._open_at = 0.0
        self._refused = _RARE
        self._first = True
        self._calm = True
        self._window: list[float] = []
        self._window_size = self.limit
        self._best = float("inf")

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._limit)

    async def enter(self) -> None:
        """Wait for a slot, and for the end of a pause that the service asked for."""
        if self.busy < self.limit and not self._waiting:
            self.busy += 1
        else:
            await self._queue()
        try:
            await self._opened()
        except asyncio.CancelledError:
            self.leave()
            raise

    async def _opened(self) -> None:
        rest = self._open_at - time.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
            await self._opened()  # the pause may have grown

    async def _queue(self) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine  # whoever leaves hands its slot over
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the slot back: to the next who waits, if the limit has not fallen below what is in flight."""
        self.busy -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.busy < self.limit:
            mine = self._waiting.popleft()
            if not mine.done():
                self.busy += 1
                mine.set_result(None)

    def answered(self, latency_s: float) -> None:
        """An answer came after so many seconds: allow more at once if the service is calm."""
        self._refused *= 1 - _MEMORY
        self._window.append(latency_s)
        if len(self._window) >= self._window_size:
            middle = statistics.median(self._window)
            self._best = min(self._best, middle)
            self._calm = middle <= _CROWDED * self._best
            self._first = self._first and self._calm
            self._window.clear()
            self._window_size = self.limit
        if self._calm and self._limit < self.most and self.busy >= self.limit:
            self._limit = min(self._limit + (1.0 if self._first else 1.0 / self._limit), float(self.most))
            self._admit()

    def crowded(self) -> None:
        """A request met a rate limit, an overload or a timeout."""
        self._refused = (1 - _MEMORY) * self._refused + _MEMORY
        self._first = self._first and self._refused <= _RARE
        self._limit = max(1.0, self._limit - 0.5)

    def wait(self, seconds: float) -> None:
        """The service asked one request to wait: all wait, unless refusals are rare among the recent answers."""
        if self._refused > _RARE:
            self.pause(seconds)

    def pause(self, seconds: float) -> None:
        """Nobody starts for so many seconds."""
        self._open_at = max(self._open_at, time.monotonic() + seconds)

    def read(self, headers: Mapping[str, str]) -> None:
        """Heed x-ratelimit-remaining/-limit/-reset for requests and tokens.

        `reset` is the time until the whole allowance is back; what is in flight needs its share of it only.
        """
        for what in ("requests", "tokens"):
            left = headers.get(f"x-ratelimit-remaining-{what}")
            if left is None or left.strip() != "0":
                continue
            whole = span(headers.get(f"x-ratelimit-reset-{what}", ""))
            if whole:
                allowance = headers.get(f"x-ratelimit-limit-{what}", "")
                share = min(1.0, self.limit / int(allowance)) if what == "requests" and allowance.isdigit() and int(allowance) else 1.0
                self.pause(whole * share)


def shared(key: str, most: int) -> Pace:
    """The running event loop's Pace for a service and key; its maximum is the largest that anyone asked for."""
    paces = _PACES.setdefault(asyncio.get_running_loop(), {})
    pace = paces.setdefault(key, Pace(most))
    pace.most = max(pace.most, most)
    return pace
