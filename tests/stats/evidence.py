"""Right/wrong evidence that remembers its intervals: the same counts come up again and again in simulations."""

from __future__ import annotations

from functools import cache, lru_cache

from evalharness.stats import Interval, Tango


@cache
def counted(b: int, c: int, n: int) -> Remembered:
    """Evidence of b wins and c losses among n items."""
    return Remembered(Tango((b - c) / n, (b, c), (b, c), n))


class Remembered:
    """Tango's evidence, each interval and p-value computed once."""

    def __init__(self, inner: Tango) -> None:
        self.estimate, self.se, self.units, self.method = inner.estimate, inner.se, inner.units, inner.method
        self.interval = lru_cache(inner.interval)
        self.p_below = lru_cache(inner.p_below)
        self.p_above = lru_cache(inner.p_above)


def interval_of(b: int, c: int, n: int, level: float = 0.95) -> Interval:
    """Tango's interval of b wins and c losses among n items."""
    return counted(b, c, n).interval(level)
