"""Labels, judge opinions and values known without asking: one stratified sum, equal to PPI++ where there is nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.stats import labelled_evidence, ppi, t_interval
from evalharness.stats.interval import Floats
from tests.stats.test_corrected import judged


def whole(seed: int, labelled: int = 100, n: int = 1000) -> tuple[Floats, Floats]:
    y, f, rest, _ = judged(n, labelled, seed)
    return np.concatenate([y, np.full(len(rest), np.nan)]), np.concatenate([f, rest])


def test_without_anything_known_it_is_ppi() -> None:
    ppi_py = pytest.importorskip("ppi_py", reason="ppi-python, an oracle, is not installed")
    for seed in range(6):
        labels, opinions = whole(seed, 60 + 20 * seed)
        mine = labelled_evidence(labels, opinions).interval(0.95)
        there = ~np.isnan(labels)
        low, high = ppi_py.ppi_mean_ci(labels[there], opinions[there], opinions[~there], alpha=0.05)
        assert (mine.low, mine.high) == pytest.approx((low.item(), high.item()), abs=1e-9)
        same = ppi(labels[there], opinions[there], opinions[~there])
        assert (mine.estimate, mine.low, mine.high) == pytest.approx((same.estimate, same.low, same.high), abs=1e-12)


def test_differences_of_a_graded_scale_equal_ppi_python() -> None:
    ppi_py = pytest.importorskip("ppi_py", reason="ppi-python, an oracle, is not installed")
    rng = np.random.default_rng(3)
    truth = rng.normal(0.2, 1.0, 800)
    opinions = 0.6 * truth + 0.3 + rng.normal(0, 0.7, 800)
    labels = np.where(np.arange(800) < 90, truth, np.nan)
    mine = labelled_evidence(labels, opinions).interval(0.9)
    low, high = ppi_py.ppi_mean_ci(truth[:90], opinions[:90], opinions[90:], alpha=0.1)
    assert (mine.low, mine.high) == pytest.approx((low.item(), high.item()), abs=1e-9)


def test_known_values_count_in_full_and_narrow_the_interval() -> None:
    labels, opinions = whole(1)
    known = np.where(np.arange(1000) >= 600, 0.0, np.nan)
    found = labelled_evidence(labels, opinions, known=known)
    open_only = labelled_evidence(labels[:600], opinions[:600])
    assert found.estimate == pytest.approx(0.6 * open_only.estimate)
    assert found.sampling == pytest.approx(0.36 * open_only.sampling)
    assert found.se < open_only.se


def test_strata_weigh_by_their_items_not_by_their_labels() -> None:
    strata = np.repeat([0, 1], [800, 200])
    truth = np.where(strata == 0, 1.0, 0.0)
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(1000) < 0.1, 1 - truth, truth)
    labels = np.full(1000, np.nan)
    labels[:40], labels[800:860] = truth[:40], truth[800:860]
    found = labelled_evidence(labels, np.zeros(1000), strata=strata)
    assert found.strength == 0.0
    assert found.estimate == pytest.approx(0.8 * truth[:40].mean() + 0.2 * truth[800:860].mean())
    assert labelled_evidence(labels, np.zeros(1000)).estimate == pytest.approx(np.r_[truth[:40], truth[800:860]].mean())


def test_bounds_move_the_ends_and_not_the_estimate() -> None:
    labels, opinions = whole(2)
    known = np.where(np.arange(1000) >= 990, 0.3, np.nan)
    sure = labelled_evidence(labels, opinions, known=known).interval(0.95)
    bounds = (np.where(np.isnan(known), np.nan, -1.0), np.where(np.isnan(known), np.nan, 1.0))
    unsure = labelled_evidence(labels, opinions, known=known, bounds=bounds).interval(0.95)
    assert unsure.estimate == sure.estimate
    assert (unsure.low, unsure.high) == pytest.approx((sure.low - 0.013, sure.high + 0.007))


def test_one_answer_throughout_never_gives_a_certain_verdict() -> None:
    labels = np.where(np.arange(1000) < 60, 0.0, np.nan)
    found = labelled_evidence(labels, np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 1000), span=1.0, clip=(-1.0, 1.0))
    interval = found.interval(0.95)
    share = 1 - 0.05 ** (1 / 60)
    assert (interval.low, interval.high) == pytest.approx((-share, share))
    assert found.p_above(0.0) > 0.025


def test_all_labelled_is_the_labels_alone() -> None:
    truth = np.random.default_rng(5).normal(size=300)
    found = labelled_evidence(truth, np.zeros(300))
    interval, expected = found.interval(0.95), t_interval(truth)
    assert found.method == "labels alone"
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=0.02)


def test_whole_clusters_that_agree_carry_less() -> None:
    rng = np.random.default_rng(1)
    effects = np.repeat(rng.normal(size=100), 10)
    labels = np.where(np.arange(1000) % 10 < 2, effects, np.nan)
    alone = labelled_evidence(labels, np.zeros(1000))
    together = labelled_evidence(labels, np.zeros(1000), clusters=np.repeat(np.arange(100), 10))
    assert together.se == pytest.approx(np.sqrt(2) * alone.se, rel=0.05), "two labels a cluster say what one would"
    assert together.units == 100


def test_labels_needed_falls_with_what_is_wanted_and_ends_where_labels_cannot_help() -> None:
    labels, opinions = whole(4)
    found = labelled_evidence(labels, opinions)
    wide, narrow = found.labels_needed(0.2, 0.95), found.labels_needed(0.12, 0.95)
    assert wide is not None
    assert narrow is not None
    assert wide < narrow
    assert found.labels_needed(0.0, 0.95) is None
    assert found.labels_needed(0.001, 0.95) is None


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_swapping_mirrors_and_order_changes_nothing(seed: int) -> None:
    labels, opinions = whole(seed, 60, 300)
    known = np.where(np.arange(300) >= 250, 0.0, np.nan)
    found = labelled_evidence(labels, opinions, known=known).interval(0.95)
    turned = labelled_evidence(-labels, -opinions, known=known).interval(0.95).mirrored()
    assert (turned.estimate, turned.low, turned.high) == pytest.approx((found.estimate, found.low, found.high), abs=1e-12)
    order = np.random.default_rng(seed).permutation(300)
    shuffled = labelled_evidence(labels[order], opinions[order], known=known[order]).interval(0.95)
    assert (shuffled.low, shuffled.high) == pytest.approx((found.low, found.high), abs=1e-12)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 labels in each stratum, found 1 for 3 items"):
        labelled_evidence([1.0, np.nan, np.nan], [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="at least one item"):
        labelled_evidence([], [])
