from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.stats import (
    Measure,
    approximate_randomization,
    bootstrap_diff,
    bootstrap_one,
    drawn,
    paired_t,
    randomizations,
    resample,
    scores,
    t_interval,
)
from evalharness.stats.interval import Floats
from evalharness.stats.resample import draw_sums, swap_sums
from tests.stats.wmt17 import BLEU, bleu_stats, needs_wmt17


def ratio(sums: Floats, n: Floats) -> Floats:
    """Pooled ratio: statistics (hits, total)."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


def f1(sums: Floats, n: Floats) -> Floats:
    """Pooled F1: statistics (true positives, false positives, false negatives)."""
    return np.asarray(2 * sums[..., 0] / np.maximum(2 * sums[..., 0] + sums[..., 1] + sums[..., 2], 1))


def rows(n: int, seed: int, rate: float = 0.5) -> Floats:
    rng = np.random.default_rng(seed)
    total = rng.integers(1, 6, n)
    return np.column_stack([rng.binomial(total, rate), total]).astype(float)


def test_agrees_with_t_where_the_metric_is_a_mean() -> None:
    stats = np.column_stack([rows(400, 1)[:, 0] / 5, np.ones(400)])
    bootstrap, t = bootstrap_one(stats, ratio), t_interval(stats[:, 0])
    assert bootstrap.estimate == pytest.approx(t.estimate)
    assert (bootstrap.low, bootstrap.high) == pytest.approx((t.low, t.high), abs=0.005)
    other = np.column_stack([np.clip(stats[:, 0] + np.random.default_rng(2).normal(0, 0.1, 400), 0, 1), np.ones(400)])
    difference, paired = bootstrap_diff(other, stats, ratio, bound=1.0), paired_t(other[:, 0] - stats[:, 0])
    assert (difference.low, difference.high) == pytest.approx((paired.low, paired.high), abs=0.002)


def test_small_samples_are_widened_like_t() -> None:
    """Hesterberg's expansion: at n = 20 the percentile interval gets the width of t, 9% more than the plain one."""
    x = np.random.default_rng(3).normal(size=20)
    interval, t = bootstrap_one(np.column_stack([x, np.ones(20)]), ratio, n=20_000), t_interval(x)
    assert interval.high - interval.low == pytest.approx(t.high - t.low, rel=0.05)


def test_seeds_decide_and_the_other_arms_do_not() -> None:
    stats, other = rows(60, 1), rows(60, 2)
    assert bootstrap_diff(stats, other, ratio) == bootstrap_diff(stats, other, ratio)
    assert bootstrap_diff(stats, other, ratio) != bootstrap_diff(stats, other, ratio, seed=1)
    fractions = stats / 3
    together, alone = drawn([stats, fractions, other, stats], ratio), drawn([fractions], ratio)
    assert together[0] is together[3]
    assert (together[1].draws == alone[0].draws).all()
    assert together[2].evidence().interval(0.95) == bootstrap_one(other, ratio)
    assert together[2].minus(together[0]).interval(0.95) == bootstrap_diff(other, stats, ratio)
    assert randomizations([(stats, other), (other, stats)], ratio, 500)[0] == approximate_randomization(stats, other, ratio, 500)


def test_draws_are_multinomial_and_swaps_are_fair_coins() -> None:
    (counts,) = draw_sums([np.eye(30)], 4000, seed=0)
    assert (counts.sum(axis=1) == 30).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(30), abs=0.08)
    assert counts.var(axis=0) == pytest.approx(np.full(30, 29 / 30), abs=0.12)
    (coins,) = swap_sums([np.eye(30)], 4000, seed=0)
    assert set(np.unique(coins)) == {0.0, 1.0}
    assert coins.mean(axis=0) == pytest.approx(np.full(30, 0.5), abs=0.04)
    assert np.abs(np.corrcoef(coins.T) - np.eye(30)).max() < 0.08


def test_remembered_draws_are_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = rows(70, 3)
    kept = draw_sums([stats], 300, 5)[0]
    monkeypatch.setattr(resample, "_REMEMBERED", 0)
    assert (draw_sums([stats], 300, 5)[0] == kept).all()


def test_single_precision_only_where_it_is_exact() -> None:
    whole, fractions = np.full((50, 1), 3e6), np.full((50, 1), 1 / 3)
    assert draw_sums([whole], 10, 0)[0] == pytest.approx(np.full((10, 1), 1.5e8), abs=0)
    assert draw_sums([fractions], 10, 0)[0] == pytest.approx(np.full((10, 1), 50 / 3), rel=1e-12)


def test_sums_are_exact_so_that_nothing_but_the_draws_decides() -> None:
    """Any order of summation, any number of columns beside it: the same bits."""
    x = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 1e-9, 1e9]
    (alone,), (beside, _) = draw_sums([x[:, :1]], 50, 0), draw_sums([x, x], 50, 0)
    assert (alone[:, 0] == beside[:, 0]).all()
    (moved,) = swap_sums([x], 20, 0)
    assert np.abs(moved).max() > 0
    assert (swap_sums([-x], 20, 0)[0] == -moved).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(20, 60), st.integers(0, 99), st.booleans())
def test_property_12_swapping_the_arms_mirrors(n: int, seed: int, clustered: bool) -> None:
    a, b = rows(n, seed), rows(n, seed + 100)
    clusters = np.arange(n) % 25 if clustered else None
    here, swapped = (bootstrap_diff(*pair, ratio, n=400, clusters=clusters, bound=1.0) for pair in ((a, b), (b, a)))
    mirrored = swapped.mirrored()
    assert (here.estimate, here.low, here.high) == (mirrored.estimate, mirrored.low, mirrored.high)
    p = [approximate_randomization(*pair, ratio, trials=200, clusters=clusters) for pair in ((a, b), (b, a))]
    assert p[0] == p[1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 99), st.floats(-0.3, 0.3), st.sampled_from([0.8, 0.9, 0.95]))
def test_p_values_invert_the_interval(seed: int, at: float, level: float) -> None:
    a, b = drawn([rows(40, seed), rows(40, seed + 100)], ratio, 400)
    evidence = a.minus(b, bound=1.0)
    interval, edge = evidence.interval(level), (1 - level) / 2
    for x in (at, float(evidence.high[-20]), interval.high, interval.low):
        assert (interval.high < x) == (evidence.p_below(x) < edge)
        assert (interval.low > x) == (evidence.p_above(x) < edge)


def test_trap_identical_outputs_are_not_certainly_equal() -> None:
    stats = rows(50, 1)
    same = bootstrap_diff(stats, stats, ratio, bound=1.0)
    assert same.high == -same.low == pytest.approx(1 - 0.05 ** (1 / 50))
    constant = np.tile([1.0, 2.0], (50, 1))
    flat = bootstrap_one(constant, ratio, bounds=(0.0, 1.0), clusters=np.minimum(np.arange(50), 24))
    assert flat.estimate == 0.5
    assert flat.low == pytest.approx(0.5 - (1 - 0.05 ** (1 / 25)))
    assert approximate_randomization(stats, stats, ratio, 100) == 1.0


def test_trap_few_clusters_are_refused() -> None:
    stats, other = rows(190, 1), rows(190, 2)
    refused = bootstrap_diff(stats, other, ratio, clusters=np.arange(190) % 19, bound=1.0)
    assert (refused.low, refused.high) == (-1.0, 1.0)
    assert refused.method == "bootstrap refused: fewer than 20 independent units"
    a, b = drawn([stats, other], ratio, clusters=np.arange(190) % 19)
    evidence = a.minus(b, bound=1.0)
    assert (evidence.p_below(0.5), evidence.p_above(-0.5)) == (1.0, 1.0)
    enough = bootstrap_diff(stats, other, ratio, clusters=np.arange(190) % 20, bound=1.0)
    assert enough.high < 1.0


def test_too_few_draws_for_the_level_say_nothing() -> None:
    interval = bootstrap_diff(rows(50, 1), rows(50, 2), ratio, level=0.999, n=100, bound=1.0)
    assert (interval.low, interval.high) == (-1.0, 1.0)


def test_trap_the_estimate_is_the_score_and_no_mean_of_draws() -> None:
    """Pooled F1 over few rare positives: the draws' mean lies far below the true 2/3; it must not be shown."""
    stats = np.zeros((40, 3))
    stats[0] = [1, 1, 0]
    interval = bootstrap_one(stats, f1, bounds=(0.0, 1.0))
    (one,) = drawn([stats], f1)
    assert interval.estimate == pytest.approx(2 / 3)
    assert one.draws.mean() < 0.58
    (score,) = scores([stats], Measure("corpus", finish=f1))
    assert score.estimate == pytest.approx(2 / 3)


def test_clusters_widen_what_depends_on_them() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 10)
    shift = rng.random(40)[labels]
    stats = np.column_stack([rng.random(400) < shift, np.ones(400)]).astype(float)
    alone, grouped = bootstrap_one(stats, ratio), bootstrap_one(stats, ratio, clusters=labels)
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="need the same items"):
        bootstrap_diff(rows(30, 1), rows(31, 1), ratio)
    with pytest.raises(ValueError, match="need the same items, at least one"):
        bootstrap_one(np.zeros((0, 2)), ratio)


def sacrebleu_p(a: Floats, b: Floats, seed: int, draws: int = 500) -> float:
    """sacrebleu's paired bootstrap p-value: draws of |difference|, centred on their own mean."""
    sums, one = draw_sums([a, b], draws, seed), np.ones(draws)
    gaps = np.abs(BLEU.finish(sums[0], one) - BLEU.finish(sums[1], one))
    observed = abs(float(BLEU.finish(a.sum(axis=0), np.array(1.0)) - BLEU.finish(b.sum(axis=0), np.array(1.0))))
    return float((np.count_nonzero(gaps - gaps.mean() >= observed) + 1) / (draws + 1))


@needs_wmt17
@pytest.mark.slow
def test_property_6_randomization_on_swapped_wmt17_pairs() -> None:
    """Two systems whose outputs are swapped at random differ by chance alone: 5% must look different at 5%, not more.

    Trap: sacrebleu's paired bootstrap p-value calls about twice as many different.
    """
    rng = np.random.default_rng(17)
    first, second = bleu_stats("FBK")[:1000], bleu_stats("LIUM")[:1000]
    trials, rejected, bootstrap = 1000, 0, 0
    for trial in range(trials):
        coins = rng.random(len(first))[:, None] < 0.5
        a, b = np.where(coins, first, second), np.where(coins, second, first)
        rejected += approximate_randomization(a, b, BLEU.finish, 400, seed=trial) < 0.05
        bootstrap += sacrebleu_p(a, b, trial) < 0.05
    print(f"rejected at 5%: approximate randomization {rejected / trials:.3f}, sacrebleu's bootstrap p {bootstrap / trials:.3f}")
    assert 0.035 <= rejected / trials <= 0.065
    assert bootstrap / trials > 0.08


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 50, 200])
def test_bootstrap_coverage_of_a_pooled_ratio(n: int) -> None:
    draws, covered = 1500, 0
    for seed in range(draws):
        a, b = rows(n, seed, 0.5), rows(n, 10_000 + seed, 0.6)
        interval = bootstrap_diff(b, a, ratio, n=600, seed=seed)
        covered += interval.low <= 0.1 <= interval.high
    print(f"n = {n}: coverage {covered / draws:.3f}")
    assert covered / draws == pytest.approx(0.95, abs=0.02)
    assert math.isfinite(interval.high)


def test_five_hundred_draws_keep_the_level() -> None:
    """Ends are order statistics that have their level at any number of draws: fewer draws make it noisier, not lower."""
    covered, runs = 0, 800
    for seed in range(runs):
        values = np.random.default_rng(seed).exponential(size=(60, 1))
        found = bootstrap_one(values, lambda sums, n: sums[..., 0] / n, n=500, seed=seed)
        covered += found.low <= 1.0 <= found.high
    assert 0.925 <= covered / runs <= 0.975
