from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.stats import mean_evidence, paired_t, sign_flip, t_interval
from evalharness.stats.interval import Floats

values = st.lists(st.sampled_from([-1.0, -0.5, -0.3, 0.0, 0.1, 0.25, 0.5, 1.0]), min_size=2, max_size=30)


def test_t_agrees_with_scipy_and_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api", reason="statsmodels, an oracle, is not installed")
    x = np.random.default_rng(1).normal(0.3, 1, 40)
    interval = t_interval(x)
    assert (interval.low, interval.high) == pytest.approx(api.OLS(x, np.ones(40)).fit().conf_int()[0])
    labels = np.repeat(np.arange(8), 5)
    robust = api.OLS(x, np.ones(40)).fit(cov_type="cluster", cov_kwds={"groups": labels}, use_t=True)
    clustered = paired_t(x, clusters=labels)
    assert (clustered.low, clustered.high) == pytest.approx(robust.conf_int()[0])


def test_clusters_of_one_are_no_clusters() -> None:
    x = np.random.default_rng(2).normal(size=30)
    plain, single = paired_t(x), paired_t(x, clusters=[f"c{i}" for i in range(30)])
    assert (single.low, single.high) == pytest.approx((plain.low, plain.high))


def test_unequal_clusters_lose_degrees_of_freedom() -> None:
    x = np.random.default_rng(3).normal(size=40)
    equal = mean_evidence(x, x, clusters=np.repeat(np.arange(8), 5))
    unequal = mean_evidence(x, x, clusters=np.repeat(np.arange(8), [26, 2, 2, 2, 2, 2, 2, 2]))
    assert equal.df == pytest.approx(7)
    assert unequal.df < 3


@pytest.mark.parametrize("n", [1, 3, 50])
def test_trap_identical_differences_are_not_certain(n: int) -> None:
    interval = paired_t([0.0] * n, bound=1.0)
    assert interval.high == -interval.low == pytest.approx(1 - 0.05 ** (1 / n))
    assert paired_t([0.0] * n).high == math.inf


@pytest.mark.parametrize("n", range(1, 12))
def test_trap_a_few_items_that_all_got_better_show_no_more_than_chance_allows(n: int) -> None:
    """Where each item is a win or a loss by a coin, n wins in n items come up with 0.5^n: better is not shown before that is rare."""
    wins, losses = paired_t([1.0] * n, bound=1.0), paired_t([-1.0] * n, bound=1.0)
    assert (wins.low > 0) == (0.5**n < 0.05)
    assert (losses.low, losses.high) == (-wins.high, -wins.low)
    evidence = mean_evidence([1.0] * n, [1.0] * n, span=1.0, clip=(-1.0, 1.0))
    assert (evidence.p_above(0.0) < 0.025) == (wins.low > 0)


def test_identical_differences_over_clusters_count_clusters() -> None:
    interval = paired_t([0.0] * 30, clusters=np.repeat([0, 1, 2], 10), bound=1.0)
    assert interval.high == pytest.approx(1 - 0.05 ** (1 / 3))


def test_rounding_is_no_spread() -> None:
    interval = paired_t([0.3 - 0.1, 0.5 - 0.3, 0.2], bound=1.0)
    assert interval.high - interval.low > 0.5


def test_one_cluster_says_nothing_beyond_the_range() -> None:
    interval = paired_t([0.1, 0.2, 0.9], clusters=["a", "a", "a"], bound=1.0)
    assert (interval.low, interval.high) == (-1.0, 1.0)
    evidence = mean_evidence([0.1, 0.2], [0.1, 0.2], clusters=["a", "a"])
    assert evidence.p_below(5.0) == 1.0


def test_scores_stay_inside_their_range() -> None:
    interval = t_interval([1.0, 1.0, 0.9], bounds=(0.0, 1.0))
    assert interval.high == 1.0
    perfect = t_interval([1.0] * 20, bounds=(0.0, 1.0))
    assert perfect.low == pytest.approx(0.05 ** (1 / 20))  # the exact binomial limit for no failure in 20


@settings(max_examples=100, deadline=None, derandomize=True)
@given(values, st.integers(1, 6))
def test_property_12_swapping_mirrors_and_order_is_nothing(x: list[float], clusters: int) -> None:
    labels = [f"c{i % clusters}" for i in range(len(x))]
    order = np.random.default_rng(len(x) * 7 + clusters).permutation(len(x))
    for groups in (None, labels):
        here = paired_t(x, clusters=groups, bound=1.0)
        shuffled = paired_t(np.array(x)[order], clusters=None if groups is None else np.array(groups)[order], bound=1.0)
        swapped = paired_t([-each for each in x], clusters=groups, bound=1.0)
        assert (shuffled.estimate, shuffled.low, shuffled.high) == (here.estimate, here.low, here.high)
        mirrored = swapped.mirrored()
        assert (mirrored.estimate, mirrored.low, mirrored.high) == (here.estimate, here.low, here.high)
        assert sign_flip(x, groups, 200) == sign_flip(np.array(x)[order], None if groups is None else np.array(groups)[order], 200)
        assert sign_flip(x, groups, 200) == sign_flip([-each for each in x], groups, 200)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(values, st.floats(-1, 1), st.sampled_from([0.9, 0.95]))
def test_p_values_invert_the_interval(x: list[float], at: float, level: float) -> None:
    evidence = mean_evidence(x, x, span=1.0, clip=(-1.0, 1.0))
    interval, edge = evidence.interval(level), (1 - level) / 2
    if min(abs(interval.high - at), abs(interval.low - at)) > 1e-9:
        assert (interval.high < at) == (evidence.p_below(at) < edge)
        assert (interval.low > at) == (evidence.p_above(at) < edge)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from([-1.0, -0.2, 0.0, 0.7, 1.0]), st.booleans(), st.integers(0, 3)), min_size=2, max_size=12),
    st.booleans(),
)
def test_open_values_contain_everything_they_could_have_been(rows: list[tuple[float, bool, int]], clustered: bool) -> None:
    truth = np.array([x for x, _, _ in rows])
    gone = np.array([missing for _, missing, _ in rows])
    labels = np.array([label for _, _, label in rows]) if clustered else None
    low, high = np.where(gone, -1.0, truth), np.where(gone, 1.0, truth)
    known = mean_evidence(truth, truth, clusters=labels, span=2.0, clip=(-1.0, 1.0)).interval(0.95)
    wide = mean_evidence(low, high, clusters=labels, span=2.0, clip=(-1.0, 1.0)).interval(0.95)
    assert wide.low <= known.low + 1e-12
    assert wide.high >= known.high - 1e-12


def test_sign_flip_is_exact_for_few_and_close_for_many() -> None:
    assert sign_flip([1.0] * 5 + [-1.0]) == pytest.approx(14 / 64)
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([2.0, -2.0] * 10, clusters=np.repeat(np.arange(10), 2)) == 1.0
    rng = np.random.default_rng(0)
    x = rng.normal(0.2, 1, 200)
    t = float(x.mean() / (x.std(ddof=1) / math.sqrt(200)))
    assert sign_flip(x) == pytest.approx(math.erfc(abs(t) / math.sqrt(2)), abs=0.02)


def test_trap_unpaired_tests_waste_the_pairing() -> None:
    """Two arms that err on the same items: the paired interval sees what two separate intervals cannot."""
    rng = np.random.default_rng(4)
    difficulty = rng.random(300)
    first = (difficulty < 0.60).astype(float)
    second = (difficulty < 0.64).astype(float)
    paired = paired_t(second - first, bound=1.0)
    one, two = t_interval(first), t_interval(second)
    assert paired.low > 0
    assert one.high > two.low  # apart they overlap
    assert paired.high - paired.low < 0.5 * math.hypot(one.high - one.low, two.high - two.low)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="need n > 0 values"):
        t_interval([])
    with pytest.raises(ValueError, match="finite"):
        t_interval([0.1, math.nan])
    with pytest.raises(ValueError, match="2 cluster labels for 3 rows"):
        paired_t([1.0, 2.0, 3.0], clusters=["a", "b"])


def cluster_rejections(clusters: int, sizes: str, icc: float, draws: int) -> float:
    """How often the cluster interval of a true difference of 0 leaves out 0."""
    rng = np.random.default_rng([clusters, int(100 * icc)])
    wrong = 0
    for _ in range(draws):
        size = np.full(clusters, 5) if sizes == "equal" else rng.integers(1, 11, clusters)
        labels = np.repeat(np.arange(clusters), size)
        x: Floats = rng.normal(0, math.sqrt(icc), clusters)[labels] + rng.normal(0, math.sqrt(1 - icc), len(labels))
        interval = paired_t(x, clusters=labels)
        wrong += not interval.low <= 0 <= interval.high
    return wrong / draws


@pytest.mark.slow
@pytest.mark.parametrize("sizes", ["equal", "1 to 10"])
@pytest.mark.parametrize("clusters", [8, 12, 20, 50, 100])
def test_property_7_cluster_interval(clusters: int, sizes: str) -> None:
    found = {icc: cluster_rejections(clusters, sizes, icc, 5000) for icc in (0.1, 0.5)}
    print(f"{clusters} clusters of {sizes} items: error {found}")
    assert all(0.04 <= error <= 0.06 for error in found.values())


@pytest.mark.slow
def test_trap_percentile_bootstrap_of_few_means_errs_where_t_holds() -> None:
    """Below n = 50 the percentile bootstrap of a mean is too narrow; means get the t interval here."""
    rng = np.random.default_rng(5)
    n, draws, wrong = 15, 3000, np.zeros(2)
    for _ in range(draws):
        x = rng.normal(size=n)
        means = x[rng.integers(n, size=(400, n))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        t = t_interval(x)
        wrong += [not low <= 0 <= high, not t.low <= 0 <= t.high]
    print(f"n = {n}: percentile bootstrap errs {wrong[0] / draws:.3f}, t {wrong[1] / draws:.3f}")
    assert wrong[0] / draws > 0.07
    assert wrong[1] / draws == pytest.approx(0.05, abs=0.012)
