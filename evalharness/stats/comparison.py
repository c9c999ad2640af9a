"""Two arms on the same items: the difference with its evidence, both scores, wins and losses, what could be seen.

Arrays in, numbers out. Rows are items in one fixed order; a missing output is a row of NaN and counts as an outcome.

>>> better, worse = np.array([1.0, 1, 1, 0, 1] * 40), np.array([1.0, 0, 1, 0, 1] * 40)
>>> found = compare(better, worse, Measure("binary"))
>>> found.wins, found.losses, round(found.difference.low, 3)
(40, 0, 0.15)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evalharness.stats.interval import Evidence, Floats, Interval, alpha_of
from evalharness.stats.means import mean_evidence, sign_flip
from evalharness.stats.outcomes import Measure, Outcomes, outcomes
from evalharness.stats.plan import visible_difference, visible_mean_difference
from evalharness.stats.rates import Tango, Wilson, mcnemar_midp
from evalharness.stats.resample import DRAWS, TRIALS, Drawn, drawn_metrics, randomizations


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate against baseline on one metric and slice. Differences are oriented: positive is better.

    `p` is the secondary, two-sided p-value by `p_method`; `visible` is the smallest difference that this test set shows
    with 80% power; wins, losses and ties count items. Missing outputs count as failed in `p` and in the counts.
    """

    n: int
    candidate: Evidence
    baseline: Evidence
    evidence: Evidence
    level: float
    p: float
    p_method: str
    wins: int
    losses: int
    ties: int
    visible: float
    missing_candidate: float
    missing_baseline: float

    @property
    def difference(self) -> Interval:
        """The interval that every verdict is read off, at the comparison's level."""
        return self.evidence.interval(self.level)


def compare(
    candidate: npt.ArrayLike,
    baseline: npt.ArrayLike,
    measure: Measure,
    *,
    clusters: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
    trials: int = TRIALS,
) -> Comparison:
    """Compare two arms' statistics (items,), (items, k) or (items, repeats, k); NaN rows are missing outputs.

    Method by kind. Right/wrong with one output an item and no clusters: Tango, McNemar mid-p. Any other mean: t on the
    paired differences of items' means, sign flip. Corpus metrics: bootstrap, approximate randomization. A missing
    candidate output counts as its worst for the lower end and as its best for the upper, a missing baseline output
    the other way round, so that no missing output turns a verdict in its arm's favour. `level` is 1 - alpha/K for
    K candidates. Rows are sorted by `ids` first, if given: then the order of the rows changes nothing at all.
    """
    options = {"clusters": clusters, "ids": ids, "level": level, "seed": seed, "draws": draws, "trials": trials}
    return compare_many([candidate], baseline, measure, **options)[0]  # type: ignore[arg-type]


def compare_many(
    candidates: Sequence[npt.ArrayLike],
    baseline: npt.ArrayLike,
    measure: Measure,
    *,
    clusters: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
    trials: int = TRIALS,
) -> list[Comparison]:
    """`compare` for several candidates and one baseline at the price of one set of draws. The level is taken as given."""
    task = _task([*candidates, baseline], measure, clusters, ids, level, seed, draws)
    if measure.kind == "corpus":
        bootstraps = _corpus(task)
        evidence, differences = _corpus_scores(task, bootstraps), _corpus_differences(task, bootstraps)
    else:
        evidence, differences = _mean_scores(task), _mean_differences(task)
    p_values = _p_values(task, trials)
    return [_comparison(task, i, evidence, differences[i], *p_values[i]) for i in range(len(candidates))]


def scores(
    arms: Sequence[npt.ArrayLike],
    measure: Measure,
    *,
    clusters: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Interval]:
    """Each arm's score with its own interval: Wilson for rates, t for other means, bootstrap for corpus metrics.

    The estimate counts missing outputs as failed; the interval reaches from their worst to their best.
    """
    return [each.interval(level) for each in score_evidence(arms, measure, clusters=clusters, ids=ids, level=level, seed=seed, draws=draws)]


def score_evidence(
    arms: Sequence[npt.ArrayLike],
    measure: Measure,
    *,
    clusters: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Evidence]:
    """What `scores` reads its intervals from: for checks on a score, at any level up to `level`."""
    task = _task(arms, measure, clusters, ids, level, seed, draws)
    return _corpus_scores(task, _corpus(task)) if measure.kind == "corpus" else _mean_scores(task)


def difference_evidence(
    candidates: Sequence[npt.ArrayLike],
    baseline: npt.ArrayLike,
    measure: Measure,
    *,
    clusters: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Evidence]:
    """What `compare_many` reads its differences from, without the cost of its p-values."""
    task = _task([*candidates, baseline], measure, clusters, ids, level, seed, draws)
    return _corpus_differences(task, _corpus(task)) if measure.kind == "corpus" else _mean_differences(task)


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Evidence of every arm's score, and of the difference of every arm but the last from the last, the baseline."""

    scores: list[Evidence]
    differences: list[Evidence]


def leaderboards(
    metrics: Sequence[tuple[Measure, Sequence[npt.ArrayLike]]],
    *,
    clusters: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Leaderboard]:
    """`score_evidence` and `difference_evidence` for several metrics (with their arms' statistics, the baseline last) on
    the same items, all at the price of one set of draws."""
    tasks = [_task(arms, measure, clusters, ids, level, seed, draws) for measure, arms in metrics]
    bootstraps = iter(_corpora([task for task in tasks if task.measure.kind == "corpus"]))
    found = []
    for task in tasks:
        if task.measure.kind == "corpus":
            mine = next(bootstraps)
            found.append(Leaderboard(_corpus_scores(task, mine), _corpus_differences(task, mine)))
        else:
            found.append(Leaderboard(_mean_scores(task), _mean_differences(task)))
    return found


@dataclass(frozen=True, slots=True)
class _Task:
    """Arms on the same items in order; the last is the baseline."""

    arms: list[Outcomes]
    measure: Measure
    clusters: npt.NDArray[np.generic] | None
    level: float
    seed: int
    draws: int

    @property
    def counted(self) -> bool:
        """Whether right/wrong counts tell all: one output an item, items independent."""
        return self.measure.kind == "binary" and self.clusters is None and all(arm.repeats == 1 for arm in self.arms)


def _task(
    arms: Sequence[npt.ArrayLike],
    measure: Measure,
    clusters: npt.ArrayLike | None,
    ids: npt.ArrayLike | None,
    level: float,
    seed: int,
    draws: int,
) -> _Task:
    filled = [outcomes(stats, measure) for stats in arms]
    shapes = {arm.worst.shape for arm in filled}
    if len(shapes) != 1:
        raise ValueError(f"the arms must have the same items and statistics; found shapes {sorted(shapes)}")
    labels = None if clusters is None else np.asarray(clusters)
    if ids is not None:
        order = np.argsort(np.asarray(ids), kind="stable")
        filled = [arm.reordered(order) for arm in filled]
        labels = None if labels is None else labels[order]
    fewest = math.ceil((40 if measure.draws is None else 4) / alpha_of(level))
    return _Task(filled, measure, labels, level, seed, max(measure.draws or draws, fewest))


def _mean_scores(task: _Task) -> list[Evidence]:
    measure = task.measure
    found: list[Evidence] = []
    for arm in task.arms:
        low, high = np.sort([arm.worst[:, 0], arm.best[:, 0]], axis=0)
        n, estimate = len(low), math.fsum(arm.worst[:, 0]) / len(low)
        if task.counted:
            found.append(Wilson(estimate, float(low.sum()), float(high.sum()), n))
        else:
            options = {"span": measure.width, "clip": measure.range, "estimate": estimate}
            found.append(mean_evidence(low, high, clusters=task.clusters, **options))  # type: ignore[arg-type]
    return found


def _corpus(task: _Task) -> list[tuple[Drawn, Drawn]]:
    """The bootstrap of every arm with its missing outputs at their worst and best (the same where none is missing)."""
    return _corpora([task])[0]


def _corpora(tasks: Sequence[_Task]) -> list[list[tuple[Drawn, Drawn]]]:
    """`_corpus` of several metrics on the same items, those with as many draws together."""
    found: dict[int, list[tuple[Drawn, Drawn]]] = {}
    for draws in dict.fromkeys(task.draws for task in tasks):
        mine = [task for task in tasks if task.draws == draws]
        sides = [([side for arm in task.arms for side in (arm.worst, arm.best)], task.measure.finish) for task in mine]
        values = drawn_metrics(sides, draws, mine[0].seed, mine[0].clusters)
        found |= {id(task): list(zip(each[::2], each[1::2], strict=True)) for task, each in zip(mine, values, strict=True)}
    return [found[id(task)] for task in tasks]


def _corpus_scores(task: _Task, bootstraps: Sequence[tuple[Drawn, Drawn]]) -> list[Evidence]:
    found: list[Evidence] = []
    for arm, sides in zip(task.arms, bootstraps, strict=True):
        worst, best = (side.evidence(task.measure.range) for side in sides)
        low, high = (worst, best) if task.measure.higher_is_better else (best, worst)
        found.append(worst.joined(low, high, _agreed(task, arm) if arm.missing else None))
    return found


def _mean_differences(task: _Task) -> list[Evidence]:
    *tried, base = task.arms
    sign, width = task.measure.sign, task.measure.width
    found: list[Evidence] = []
    for arm in tried:
        low, high = sign * (arm.worst - base.best)[:, 0], sign * (arm.best - base.worst)[:, 0]
        known = sign * (arm.worst - base.worst)[:, 0]
        estimate = math.fsum(known) / len(known)
        if task.counted:
            found.append(Tango(estimate, _discordant(low), _discordant(high), len(known)))
        else:
            options = {"span": width, "clip": (-width, width), "estimate": estimate, "method": "paired t"}
            found.append(mean_evidence(low, high, clusters=task.clusters, **options))  # type: ignore[arg-type]
    return found


def _discordant(differences: Floats) -> tuple[int, int]:
    return int(np.count_nonzero(differences > 0)), int(np.count_nonzero(differences < 0))


def _corpus_differences(task: _Task, bootstraps: Sequence[tuple[Drawn, Drawn]]) -> list[Evidence]:
    """Bootstrap evidence of each difference, from its worst and best case where outputs are missing."""
    *tried, base = task.arms
    base_worst, base_best = bootstraps[-1]
    width, found = task.measure.width, []
    for arm, (worst, best) in zip(tried, bootstraps, strict=False):
        ends = [(worst, base_best), (best, base_worst), (worst, base_worst)]
        low, high, known = ((a.minus(b, width) if task.measure.higher_is_better else b.minus(a, width)) for a, b in ends)
        found.append(known.joined(low, high, _agreed(task, arm, base) if arm.missing + base.missing else None))
    return list(found)


def _finished(measure: Measure, rows: Floats) -> float:
    return float(measure.finish(rows.sum(axis=0), np.array(float(len(rows)))))


def _agreed(task: _Task, arm: Outcomes, base: Outcomes | None = None) -> float | None:
    """The value (or difference) that every item with all its outputs agrees on, and the missing ones may: see `Bootstrap.equal`."""
    both = arm.complete if base is None else arm.complete & base.complete
    sides = [side.worst[both] for side in (arm, base) if side is not None]
    constant = both.any() and all((rows == rows[0]).all() for rows in sides)
    if not constant and (base is None or not np.array_equal(sides[0], sides[1])):
        return None
    values = [_finished(task.measure, rows) for rows in sides]
    return values[0] if base is None else task.measure.sign * (values[0] - values[1])


def _p_values(task: _Task, trials: int) -> list[tuple[float, str]]:
    *tried, base = task.arms
    pairs = [(arm.worst, base.worst) for arm in tried]
    if task.measure.kind == "corpus":
        found = randomizations(pairs, task.measure.finish, task.measure.draws or trials, task.seed, task.clusters)
        return [(p, "approximate randomization") for p in found]
    known = [(a - b)[:, 0] for a, b in pairs]
    if task.counted:
        return [(mcnemar_midp(*_discordant(gap)), "McNemar mid-p") for gap in known]
    return [(sign_flip(gap, task.clusters, trials, task.seed), "sign flip") for gap in known]


def _comparison(task: _Task, i: int, evidence: Sequence[Evidence], difference: Evidence, p: float, method: str) -> Comparison:
    arm, base = task.arms[i], task.arms[-1]
    one = np.ones(len(arm.worst))
    gap = task.measure.sign * (task.measure.finish(arm.worst, one) - task.measure.finish(base.worst, one))
    wins, losses = _discordant(gap)
    return Comparison(
        n=len(gap),
        candidate=evidence[i],
        baseline=evidence[-1],
        evidence=difference,
        level=task.level,
        p=p,
        p_method=method,
        wins=wins,
        losses=losses,
        ties=len(gap) - wins - losses,
        visible=_visible(difference, task.measure.width, task.level),
        missing_candidate=arm.missing_share,
        missing_baseline=base.missing_share,
    )


def _visible(evidence: Evidence, width: float, level: float) -> float:
    """The smallest difference shown with 80% power, at the discordance or spread seen here; at most the whole range."""
    if isinstance(evidence, Tango):
        return visible_difference(evidence.n, max(evidence.discordance, 1 / evidence.n), level)
    interval = evidence.interval(level)
    half = (interval.high - interval.low) / 2
    return min(width, max(half, visible_mean_difference(evidence.se, evidence.units, level)))
