"""Bootstraps of many units: drawn in random groups, equal columns once, and what that leaves as it was."""

from __future__ import annotations

import numpy as np
import pytest

from evalharness.stats import bootstrap_one
from evalharness.stats.resample import draw_sums, grouped
from tests.stats.test_resample import ratio


def test_many_units_are_drawn_in_groups_that_show_the_same_spread() -> None:
    """Ends from 2,000 groups lie where those from single units lie, as far as so many draws can tell; the value is the same."""
    rng = np.random.default_rng(3)
    length = rng.integers(5, 40, 9000).astype(float)
    stats = np.column_stack([rng.binomial(length.astype(int), 0.6), length])
    assert len(grouped(stats, 0)) == 2250
    assert np.array_equal(grouped(stats, 0).sum(axis=0), stats.sum(axis=0))
    assert len(grouped(stats[:3999], 0)) == 3999
    found = bootstrap_one(stats, ratio, n=4000)
    single = np.sort(ratio(draw_sums([stats], 4000, 1)[0], np.array(9000.0)))
    width = single[-101] - single[100]
    assert found.estimate == float(ratio(stats.sum(axis=0), np.array(9000.0)))
    assert (found.high - found.low) / width == pytest.approx(1, abs=0.08)


def test_groups_depend_on_seed_and_number_alone_and_differ_in_size_by_one_at_most() -> None:
    sizes = grouped(np.ones((4001, 1)), 7)[:, 0]
    assert set(sizes) <= {2.0, 3.0}
    values = np.arange(5000.0)[:, None]
    assert np.array_equal(grouped(values, 1), grouped(values, 1))
    assert not np.array_equal(grouped(values, 1), grouped(values, 2))


def test_equal_columns_are_summed_once_and_come_back_everywhere() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 50, 2)).astype(float)
    alone = [draw_sums([block], 20, 4)[0] for block in (a, b, a)]
    for together, one in zip(draw_sums([a, b, a], 20, 4), alone, strict=True):
        assert np.array_equal(together, one)
