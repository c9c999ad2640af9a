"""A metric that asks, as one that scores by itself: so the contract of metrics runs on both."""

from __future__ import annotations

import asyncio
from typing import Any

from evalharness import metrics
from evalharness.protocols import AskingMetric, Question
from evalharness.records import Reply, Sample


class Asked:
    """`score` asks one question; all else is the metric's own."""

    def __init__(self, metric: AskingMetric) -> None:
        self._metric = metric

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metric, name)

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """The opinion's statistics. Raises ValueError for an opinion with an error."""
        metrics.text_of(reply)

        async def only() -> tuple[float, ...]:
            async for opinion in self._metric.ask([Question("k", sample, reply)]):
                if opinion.error is not None:
                    raise ValueError(opinion.error)
                return opinion.stats
            raise ValueError("no opinion")

        return asyncio.run(only())
