"""Metrics that no sums can finish: worked out anew on every bootstrap draw, from the texts themselves.

The statistics of an item say which answer to it was drawn, nothing else: a column for every answer, and in it
2**24 + whose answer. So a sum over drawn items holds, column by column, how often and whose, and `finish` computes the
metric on these rows. Memory goes with the square of the answers: 8 bytes times answers times answers for every arm.

>>> class Longest:
...     kind, range, higher_is_better = "corpus", (0.0, 9.0), True
...     def row(self, sample, text): return len(text)
...     def on_rows(self, rows): return float(max(rows))
...     def stand_in(self, sample, perfect): return "*" * 9 * perfect
>>> from evalharness.records import Message, Sample
>>> items = [Sample.of([Message("user", str(i))], ["x"]) for i in range(2)]
>>> drawn = Recomputed(Longest(), items, [[["a"], ["bbb"]]])
>>> rows = drawn.rows(0)[:, 0]
>>> float(drawn.finish(rows.sum(axis=0), np.array(2.0))), float(drawn.finish(2 * rows[0], np.array(2.0)))
(3.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from evalharness.protocols import Floats
from evalharness.records import Sample

MOST = 5000
"""Answers of one arm: 200 MB for each arm."""
MOST_DRAWS, FEWEST_DRAWS = 500, 200
"""Draws behind an interval. An end is an order statistic that has its level at any number of draws; with 500 of them a 95%
interval has a level of 94 to 96% in two of three tries, with 2,000 it would be 94.5 to 95.5%."""
_WORK = 500_000
_BASE = 2.0**24
_WORST, _BEST, _FIRST = 0, 1, 2


@runtime_checkable
class Recomputes(Protocol):
    """A corpus metric that needs all answers at once. Its own statistics are one number, what it says of one answer alone."""

    range: tuple[float, float]
    higher_is_better: bool

    def row(self, sample: Sample, text: str) -> Any:
        """All that counts of one answer; made once, whatever is drawn. Raises ValueError for no input of the metric."""
        ...

    def on_rows(self, rows: Sequence[Any]) -> float:
        """The value of these answers. Raises ValueError where there is none."""
        ...

    def stand_in(self, sample: Sample, perfect: bool) -> str:
        """The answer that a missing one counts as, at its worst or at its best."""
        ...


def is_recomputed(metric: object) -> TypeGuard[Recomputes]:
    """Whether a metric has to be bound to the texts before it can finish anything."""
    return isinstance(metric, Recomputes) and getattr(metric, "kind", None) == "corpus"


class Recomputed:
    """The metric on one set of items and every arm's answers to them: `texts[arm][item][repeat]`, None where there is none."""

    def __init__(self, metric: Recomputes, samples: Sequence[Sample], texts: Sequence[Sequence[Sequence[str | None]]]) -> None:
        """Raises ValueError for more than `MOST` answers an arm."""
        self.metric, self.samples, self.texts = metric, samples, texts
        self.repeats = max((len(answers) for arm in texts for answers in arm), default=1)
        if len(samples) * self.repeats > MOST:
            raise ValueError(f"it is worked out anew on every draw, which goes up to {MOST:,} answers: limit the test set (data.limit)")
        self._places = {sample.id: place for place, sample in enumerate(samples)}
        self._gaps = len(samples) * self.repeats if self.repeats > 1 else 0  # where the columns of missing answers begin
        self.width = self._gaps + len(samples)
        self._known: dict[bytes, float] = {}
        self._rows: dict[tuple[int, int, int], Any] = {}

    @property
    def draws(self) -> int:
        """How often the metric is worked out for an interval: less often for more answers, whose time is what it takes."""
        return max(FEWEST_DRAWS, min(MOST_DRAWS, _WORK // (len(self.samples) * self.repeats)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.metric, name)

    def rows(self, arm: int) -> Floats:
        """(items, repeats, width) statistics of an arm; NaN where there is no answer."""
        found = np.zeros((len(self.samples), self.repeats, self.width))
        for place, answers in enumerate(self.texts[arm]):
            for repeat in range(self.repeats):
                if repeat >= len(answers) or answers[repeat] is None:
                    found[place, repeat] = np.nan
                else:
                    found[place, repeat, place * self.repeats + repeat] = _BASE + _FIRST + arm
        return found

    def failed(self, sample: Sample) -> tuple[float, ...]:
        """(width,) the worst answer."""
        return self._stand_in(sample, _WORST)

    def perfect(self, sample: Sample) -> tuple[float, ...]:
        """(width,) the best answer."""
        return self._stand_in(sample, _BEST)

    def _stand_in(self, sample: Sample, code: int) -> tuple[float, ...]:
        row = np.zeros(self.width)
        row[self._gaps + self._places[sample.id]] = _BASE + code
        return tuple(row.tolist())

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """(..., width) sums -> (...) values. A draw on which the metric has no value counts as its worst one."""
        flat = np.rint(np.reshape(sums, (-1, self.width)) * self.repeats)
        return np.array([self._value(row) for row in flat]).reshape(np.shape(sums)[:-1])

    def _value(self, row: Floats) -> float:
        key = blake2b(row.tobytes(), digest_size=16).digest()
        if key not in self._known:
            try:
                self._known[key] = self.on(row)
            except ValueError:
                self._known[key] = self.metric.range[0 if self.metric.higher_is_better else 1]
        return self._known[key]

    def on(self, row: Floats) -> float:
        """The value of one sum of rows. Raises ValueError where there is none."""
        columns = np.flatnonzero(row)
        times = np.floor_divide(row[columns], _BASE)
        codes = np.rint(np.fmod(row[columns], _BASE) / times).astype(np.int64)
        drawn: list[Any] = []
        for column, count, code in zip(columns.tolist(), times.astype(np.int64).tolist(), codes.tolist(), strict=True):
            place, repeat = divmod(column, self.repeats) if column < self._gaps or not self._gaps else (column - self._gaps, 0)
            drawn += [self._row(place, repeat, code)] * count
        return self.metric.on_rows(drawn)

    def _row(self, place: int, repeat: int, code: int) -> Any:
        key = (place, repeat, code)
        if key not in self._rows:
            self._rows[key] = self.metric.row(self.samples[place], self._text(place, repeat, code))
        return self._rows[key]

    def _text(self, place: int, repeat: int, code: int) -> str:
        if code < _FIRST:
            return self.metric.stand_in(self.samples[place], code == _BEST)
        text = self.texts[code - _FIRST][place][repeat]
        assert text is not None  # `rows` gives no column to what is missing
        return text
