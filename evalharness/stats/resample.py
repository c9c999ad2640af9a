"""Bootstrap intervals and randomization tests on summed statistics, for metrics that are no means (BLEU, pooled F1).

Draws belong to row positions: keep the items in one fixed order (by sample id, say) and results never depend on chance.

>>> ratio = lambda sums, n: sums[..., 0] / sums[..., 1]
>>> stats = np.column_stack([np.arange(100.0) % 3, np.full(100, 3.0)])
>>> bootstrap_one(stats, ratio).estimate
0.33
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from evalharness.stats.interval import Finish, Floats, Interval, alpha_of, by_unit, unseen_alpha, unseen_half_width

DRAWS = 2000
TRIALS = 10_000
FEWEST_UNITS = 20
GROUPS = 2000
"""From twice as many units on they are drawn in random groups, this many or up to twice as many: see `grouped`."""
_CELLS = 2_000_000
_CACHED = 150_000
_REMEMBERED = 64_000_000
_EXACT_IN_FLOAT32 = 2.0**24

Pair = tuple[npt.ArrayLike, npt.ArrayLike]
Counts = npt.NDArray[np.uint8]
Weights = Callable[[int, int, np.random.Generator], Counts]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Evidence from sorted bootstrap draws; `low` serves the lower end, `high` the upper (they differ if outputs are missing).

    The ends at level 1 - alpha are the order statistics a·(T+1) from either side of T draws (Davison & Hinkley 1997,
    ch. 5), where a = Phi(-sqrt(u/(u-1))·t(1 - alpha/2; u-1)) widens alpha/2 for u units as Student's t would
    ("expanded percentile", Hesterberg 2015, The American Statistician 69:371; a -> alpha/2 as u grows).
    Below 20 units, or with too few draws for the level, there is no interval: it is all that is possible (`clip`).
    `equal` is where the units show no spread at all, the least and the greatest such value (one, unless outputs are
    missing); the interval then reaches `span`·(1 - alpha^(1/u)) beyond both.
    """

    estimate: float
    low: Floats
    high: Floats
    units: int
    equal: tuple[float, float] | None
    span: float
    clip: tuple[float, float]

    @property
    def se(self) -> float:
        return float(self.low.std(ddof=1))

    @property
    def refused(self) -> bool:
        return self.units < FEWEST_UNITS

    @property
    def method(self) -> str:
        if self.refused:
            return f"bootstrap refused: fewer than {FEWEST_UNITS} independent units"
        return "bootstrap" if len(self.low) >= DRAWS else f"bootstrap of {len(self.low)} draws"

    def interval(self, level: float) -> Interval:
        alpha = alpha_of(level)
        low, high = self._limits(alpha / 2)
        if self.equal is not None:
            half = unseen_half_width(self.units, alpha, self.span)
            low, high = min(low, self.equal[0] - half), max(high, self.equal[1] + half)
        return Interval(self.estimate, max(low, self.clip[0]), min(high, self.clip[1]), self.method, level)

    def _limits(self, tail: float) -> tuple[float, float]:
        if self.refused:
            return self.clip
        u = self.units
        expanded = float(ndtr(math.sqrt(u / (u - 1)) * stdtrit(u - 1, tail)))
        skip = math.ceil(expanded * (len(self.low) + 1)) - 2
        return (float(self.low[skip]), float(self.high[-1 - skip])) if skip >= 0 else self.clip

    def p_below(self, x: float) -> float:
        beyond = len(self.high) - int(np.searchsorted(self.high, x, side="left"))
        return self._p(beyond, None if self.equal is None else x - self.equal[1])

    def p_above(self, x: float) -> float:
        beyond = int(np.searchsorted(self.low, x, side="right"))
        return self._p(beyond, None if self.equal is None else self.equal[0] - x)

    def _p(self, beyond: int, equal_gap: float | None) -> float:
        if self.refused:
            return 1.0
        share, u = (1 + beyond) / (1 + len(self.low)), self.units
        p = float(stdtr(u - 1, math.sqrt((u - 1) / u) * ndtri(share)))
        return p if equal_gap is None else max(p, unseen_alpha(u, equal_gap, self.span) / 2)

    def joined(self, low: Bootstrap, high: Bootstrap, agreed: float | None = None) -> Bootstrap:
        """This estimate with the lower end of `low` and the upper of `high`: missing outputs at either extreme.

        `agreed` is what the outputs that are there agree on; an extreme without spread of its own counts as well.
        """
        flat = [end for side in (low, high) if side.equal is not None for end in side.equal]
        values = flat if agreed is None else [*flat, agreed]
        return replace(self, low=low.low, high=high.high, equal=(min(values), max(values)) if values else None)


def bootstrap_one(
    stats: npt.ArrayLike,
    finish: Finish,
    level: float = 0.95,
    n: int = DRAWS,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Percentile bootstrap interval of finish(Σ stats, items): stats (items, k), `n` draws, clusters drawn as blocks.

    The estimate is the value on all items, never a mean of draws. `bounds` is the range the value can have.
    Refused (the whole range) below 20 items or clusters. Sources: Efron & Tibshirani 1993; Koehn 2004 (EMNLP).
    """
    (one,) = drawn([stats], finish, n, seed, clusters)
    return one.evidence(bounds).interval(level)


def bootstrap_diff(
    stats_a: npt.ArrayLike,
    stats_b: npt.ArrayLike,
    finish: Finish,
    level: float = 0.95,
    n: int = DRAWS,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
    bound: float | None = None,
) -> Interval:
    """Percentile bootstrap interval of finish(Σ stats_a) - finish(Σ stats_b), both arms on the same drawn items.

    stats_a (candidate), stats_b (baseline): (items, k); `bound` is the width of the score's range. See `bootstrap_one`.
    """
    a, b = drawn([stats_a, stats_b], finish, n, seed, clusters)
    return a.minus(b, bound).interval(level)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One arm's value on all items and in every bootstrap draw (draws,); draw i of every arm has the same items."""

    value: float
    draws: Floats
    units: int

    def evidence(self, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Bootstrap:
        """Of the value itself; `bounds` is its range."""
        return _evidence(self.value, self.draws, self.units, bounds[1] - bounds[0], bounds)

    def minus(self, other: Drawn, bound: float | None = None) -> Bootstrap:
        """Of the difference from another arm; `bound` is the width of the score's range."""
        span = math.inf if bound is None else bound
        return _evidence(self.value - other.value, self.draws - other.draws, self.units, span, (-span, span))


def _evidence(value: float, draws: Floats, units: int, span: float, clip: tuple[float, float]) -> Bootstrap:
    ordered = np.sort(draws)
    flat = max(ordered[-1] - value, value - ordered[0]) <= 1e-9 * max(1e-3, abs(value))  # the units agree, or the arms do
    return Bootstrap(value, ordered, ordered, units, (value, value) if flat else None, span, clip)


def drawn(
    arms: Sequence[npt.ArrayLike],
    finish: Finish,
    draws: int = DRAWS,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> list[Drawn]:
    """The bootstrap of every arm (items, k) at the price of one set of draws; the same object given twice costs nothing.

    An arm's draws depend on its own statistics, the seed and the number of units only, never on the other arms.
    """
    return drawn_metrics([(arms, finish)], draws, seed, clusters)[0]


def drawn_metrics(
    metrics: Sequence[tuple[Sequence[npt.ArrayLike], Finish]],
    draws: int = DRAWS,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> list[list[Drawn]]:
    """`drawn` for several metrics (arms' statistics, finish) on the same items, all at the price of one set of draws."""
    distinct = {id(arm): arm for arms, _ in metrics for arm in arms}
    blocks = {key: _by_unit([arm], clusters) for key, arm in distinct.items()}
    if len({len(block) for block in blocks.values()}) > 1:
        raise ValueError("need the same items for all arms")
    sums = dict(zip(blocks, draw_sums([grouped(block, seed) for block in blocks.values()], draws, seed), strict=True))
    found: list[list[Drawn]] = []
    for arms, finish in metrics:
        mine = {id(arm): _drawn(blocks[id(arm)], sums[id(arm)], finish) for arm in arms}
        found.append([mine[id(arm)] for arm in arms])
    return found


def grouped(block: Floats, seed: int) -> Floats:
    """The rows (units, k) of many units, summed within random groups of equal size (give or take one) -> (groups, k).

    Groups drawn as blocks estimate the same spread as units drawn one by one (random groups: Wolter 2007, Introduction
    to Variance Estimation, ch. 2). From 2,000 groups that estimate is off by 1/sqrt(2·2000) = 1.6% of the half width,
    where 2,000 draws are by 3%, and it costs a fraction. Below 4,000 units nothing changes.
    """
    size = len(block) // GROUPS
    if size < 2:
        return block
    order = np.random.default_rng([seed, len(block)]).permutation(len(block))
    starts = np.linspace(0, len(block), len(block) // size + 1).astype(np.int64)[:-1]
    return np.add.reduceat(block[order], starts, axis=0)


def _drawn(block: Floats, sums: Floats, finish: Finish) -> Drawn:
    return Drawn(float(_values(block.sum(axis=0), finish)[0]), _values(sums, finish)[0], len(block))


def approximate_randomization(
    stats_a: npt.ArrayLike,
    stats_b: npt.ArrayLike,
    finish: Finish,
    trials: int = TRIALS,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> float:
    """Two-sided p-value of the difference of two arms: each item's two outputs are swapped with probability 1/2.

    p = (1 + #{|difference of the shuffled arms| >= |observed|}) / (1 + trials); clusters are swapped as one.
    Sources: Noreen 1989; Riezler & Maxwell 2005 (ACL workshop on evaluation measures).
    """
    return randomizations([(stats_a, stats_b)], finish, trials, seed, clusters)[0]


def randomizations(
    pairs: Sequence[Pair],
    finish: Finish,
    trials: int = TRIALS,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> list[float]:
    """`approximate_randomization` for many pairs on the same items at the price of one set of swaps."""
    blocks = [_by_unit(pair, clusters) for pair in pairs]
    half = blocks[0].shape[1] // 2
    gaps = [block[:, :half] - block[:, half : 2 * half] for block in blocks]
    found = []
    for block, moved in zip(blocks, swap_sums(gaps, trials, seed), strict=True):
        total = block.sum(axis=0)
        count = np.full(trials, total[-1])
        shuffled = finish(total[:half] - moved, count) - finish(total[half : 2 * half] + moved, count)
        observed = abs(float(np.subtract(*_values(total, finish, 2))))
        hits = int(np.count_nonzero(np.abs(shuffled) >= observed * (1 - 1e-12)))
        found.append((1 + hits) / (1 + trials))
    return found


def _by_unit(arms: Sequence[npt.ArrayLike], clusters: npt.ArrayLike | None) -> Floats:
    """(units, k·arms + 1): the arms' statistics side by side, summed within each unit, and the units' sizes."""
    columns = [np.asarray(arm, dtype=np.float64) for arm in arms]
    columns = [column[:, None] if column.ndim == 1 else column for column in columns]
    if len({column.shape for column in columns}) != 1 or len(columns[0]) == 0:
        raise ValueError(f"need the same items, at least one, for both arms; found shapes {[column.shape for column in columns]}")
    sums, sizes = by_unit(np.hstack(columns), clusters)
    return np.column_stack([sums, sizes])


def _values(sums: Floats, finish: Finish, arms: int = 1) -> list[Floats]:
    """(..., k·arms + 1) sums, the last of them item counts -> each arm's (...) values."""
    width = (sums.shape[-1] - 1) // arms
    return [finish(sums[..., arm * width : (arm + 1) * width], sums[..., -1]) for arm in range(arms)]


def draw_sums(blocks: Sequence[Floats], draws: int, seed: int) -> list[Floats]:
    """Sums of `draws` bootstrap samples of the rows of each block (rows, k_i) -> (draws, k_i); all blocks share the draws."""
    n = len(blocks[0])
    if n * draws <= _REMEMBERED:
        return _weighted_sums(blocks, draws, iter(np.array_split(*_remembered(n, draws, seed))))
    return _weighted_sums(blocks, draws, _chunks(n, draws, seed, _multinomial))


def swap_sums(blocks: Sequence[Floats], trials: int, seed: int) -> list[Floats]:
    """Sums of each block's rows (rows, k_i) over random subsets, each row in with probability 1/2 -> (trials, k_i)."""
    return _weighted_sums(blocks, trials, _chunks(len(blocks[0]), trials, seed, _coins))


def _chunks(n: int, draws: int, seed: int, weights: Weights) -> Iterator[Counts]:
    """Chunks of `draws` rows of weights of n items."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // n)
    for start in range(0, draws, chunk):
        yield weights(min(chunk, draws - start), n, rng)


@lru_cache(maxsize=2)
def _remembered(n: int, draws: int, seed: int) -> tuple[Counts, int]:
    """The draws of n items, kept for the next metric or arm on the same items; and in how many chunks to use them."""
    chunks = list(_chunks(n, draws, seed, _multinomial))
    return np.concatenate(chunks), len(chunks)


def _multinomial(rows: int, n: int, rng: np.random.Generator) -> Counts:
    """(rows, n): how often each of n items is drawn in n draws (more than 255 times never happens)."""
    counts = np.empty((rows, n), dtype=np.uint8)
    step = max(1, _CACHED // n)
    for start in range(0, rows, step):
        part = counts[start : start + step]
        picks = rng.integers(n, size=part.shape, dtype=np.min_scalar_type(n - 1)) + np.arange(len(part))[:, None] * n
        part[:] = np.bincount(picks.ravel(), minlength=part.size).reshape(part.shape)
    return counts


def _coins(rows: int, n: int, rng: np.random.Generator) -> Counts:
    """(rows, n) fair coins."""
    width = -(-n // 8)
    bits = np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
    return np.unpackbits(bits, axis=1, count=n)


def _weighted_sums(blocks: Sequence[Floats], draws: int, chunks: Iterator[Counts]) -> list[Floats]:
    """weights @ rows for all blocks at once, by chunks of draws; the sums are exact, so no shape or library changes them."""
    columns, place = _distinct(np.hstack(blocks))
    rows = _on_grid(columns)
    sums, start = np.empty((draws, rows.shape[1])), 0
    for weights in chunks:
        sums[start : start + len(weights)] = weights.astype(rows.dtype) @ rows
        start += len(weights)
    ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
    return [sums[:, mine] for mine in np.split(place, ends)]


def _distinct(columns: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The columns that differ from one another, and where each one is among them: arms share references, metrics lengths."""
    known: dict[bytes, int] = {}
    place = np.array([known.setdefault(column.tobytes(), len(known)) for column in columns.T], np.int64)
    _, first = np.unique(place, return_index=True)
    return columns[:, first], place


def _on_grid(rows: Floats) -> npt.NDArray[np.floating[Any]]:
    """The rows with each column rounded to a multiple of 2^-52 of what its sum can reach, so that sums have no rounding.

    Whole numbers stay as they are, and go in single precision where that is exact too.
    """
    reach = len(rows) * np.abs(rows).max(axis=0)
    grid = np.exp2(np.ceil(np.log2(np.where(reach > 0, reach, 1.0))) - 52)
    exact = bool((reach < _EXACT_IN_FLOAT32).all()) and bool((rows == np.rint(rows)).all())
    return np.ascontiguousarray(rows, dtype=np.float32) if exact else np.rint(rows / grid) * grid
