"""The suite's cap: what a step may cost is reserved before it is bought, and given back when it is known.

>>> budget = Budget(cap=50.0, spent=45.0)
>>> with budget.reserve("judging", 4.0):
...     budget.left
1.0
>>> with budget.reserve("training", 6.0):
...     ...
Traceback (most recent call last):
evalharness.errors.BudgetExceeded: budget: training may cost 6.00 USD, and of 50.00 USD 45.00 are spent and 0.00 reserved. Raise budget.usd
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from evalharness.errors import BudgetExceeded


class Reservation:
    """Dollars set aside for one step; `spend` turns them into spent ones as they become known."""

    def __init__(self, budget: Budget, what: str, usd: float) -> None:
        self._budget, self.what, self.usd = budget, what, usd

    def spend(self, usd: float) -> None:
        """So much was really charged, out of what is reserved."""
        self._budget._settle(self, usd)

    def more(self, usd: float | None) -> None:
        """Reserve more for the same step. Raises BudgetExceeded."""
        self._budget._take(self, usd)


class Budget:
    """Dollars: the cap (None: no cap), what was spent before, what is reserved now. Threads may share it."""

    def __init__(self, cap: float | None, spent: float = 0.0) -> None:
        self.cap, self.spent, self.reserved = cap, spent, 0.0
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """Dollars that may still be reserved; infinite without a cap."""
        return float("inf") if self.cap is None else self.cap - self.spent - self.reserved

    @contextmanager
    def reserve(self, what: str, usd: float | None) -> Iterator[Reservation]:
        """Set aside what a step may cost while the block runs; what it did not `spend` is free again afterwards.

        Raises BudgetExceeded if it does not fit, and if nobody knows the cost (None) while there is a cap.
        """
        mine = Reservation(self, what, 0.0)
        self._take(mine, usd)
        try:
            yield mine
        finally:
            with self._lock:
                self.reserved -= mine.usd
                mine.usd = 0.0

    @asynccontextmanager
    async def when_free(self, what: str, usd: float | None) -> AsyncGenerator[Reservation]:
        """Like reserve; where only what others have reserved is in the way, waits until they are done."""
        while usd is not None and self.left + _DUST < usd <= self.left + self.reserved + _DUST:  # noqa: ASYNC110
            await asyncio.sleep(_WAIT_S)
        with self.reserve(what, usd) as mine:
            yield mine

    def fitting(self, costs: Sequence[float | None]) -> int:
        """How many of these costs, from the first on, fit into what is left."""
        if self.cap is None:
            return len(costs)
        left, n = self.left, 0
        for cost in costs:
            if cost is None or cost > left + _DUST:
                break
            left, n = left - cost, n + 1
        return n

    def allow(self, what: str, usd: float) -> None:
        """Raises BudgetExceeded for a later step that would not fit even if nothing else were reserved or spent until then."""
        with self._lock:
            if self.cap is not None and usd > self.cap - self.spent + _DUST:
                raise BudgetExceeded(self._too_much(what, usd))

    def _too_much(self, what: str, usd: float) -> str:
        assert self.cap is not None  # without a cap nothing is
        return (
            f"budget: {what} may cost {_usd(usd)} USD, and of {_usd(self.cap)} USD {_usd(self.spent)} are spent and "
            f"{_usd(self.reserved)} reserved. Raise budget.usd"
        )

    def _take(self, mine: Reservation, usd: float | None) -> None:
        with self._lock:
            if self.cap is None or usd == 0.0:
                return
            if usd is None:
                fix = "Give prices: in the trainer, model or price file, or take budget out"
                raise BudgetExceeded(
                    f"budget: nobody knows what {mine.what} costs, so the cap of {_usd(self.cap)} USD cannot be kept. {fix}"
                )
            if usd > self.cap - self.spent - self.reserved + _DUST:
                raise BudgetExceeded(self._too_much(mine.what, usd))
            mine.usd += usd
            self.reserved += usd

    def _settle(self, mine: Reservation, usd: float) -> None:
        with self._lock:
            freed = min(usd, mine.usd)
            mine.usd -= freed
            self.reserved -= freed
            self.spent += usd


_WAIT_S = 0.1
_DUST = 1e-9
"""Sums of prices are not exact."""


def _usd(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.01 or value < _DUST else f"{value:.2g}"
