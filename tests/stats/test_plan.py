from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import bdtr

from evalharness.stats import (
    Rule,
    agreeing_items_needed,
    chance_to_pass,
    chances,
    items_needed,
    items_to_settle,
    mean_chance_to_pass,
    mean_items_needed,
    miller_sample_size,
    rate_items_needed,
    visible_difference,
    visible_mean_difference,
    wilson,
)
from evalharness.stats.interval import unseen_half_width
from tests.stats.test_rates import DISCORDANCES


def test_the_usual_formula_falls_short() -> None:
    """(z(2.5%) + z(20%))²·q/m² items; exact enumeration needs more, most of all for small discordance."""
    short = {}
    for q in DISCORDANCES:
        for margin in (0.02, 0.03, 0.05, 0.1):
            exact = items_needed([Rule(margin, q)])
            assert exact is not None
            short[q, margin] = 1 - math.ceil(7.8489 * q / margin**2) / exact
    worst = max(short, key=lambda key: short[key])
    print(f"the usual formula is up to {short[worst]:.0%} short (discordance {worst[0]}, margin {worst[1]})")
    assert 0.65 < short[worst] < 0.75
    assert short[0.5, 0.02] == pytest.approx(0, abs=0.01)


def test_needed_items_last() -> None:
    rule = Rule(0.05, 0.1)
    n = items_needed([rule])
    assert n is not None
    assert all(chance_to_pass(m, rule) >= 0.8 for m in range(n, n + 7))
    assert chance_to_pass(n - 12, rule) < 0.8


def test_more_checks_and_tighter_margins_need_more() -> None:
    one = items_needed([Rule(0.05)])
    ten = items_needed([Rule(0.05)] * 10)
    mixed = items_needed([Rule(0.05), Rule(0.03)])
    assert one is not None
    assert ten is not None
    assert mixed is not None
    assert one < mixed
    assert one < ten
    assert (1 - chance_to_pass(ten, Rule(0.05))) * 10 <= 0.2
    assert items_needed([Rule(0.05)], power=0.9) > one  # type: ignore[operator]


def test_no_margin_cannot_be_shown() -> None:
    assert items_needed([Rule(0.0)]) is None
    assert mean_items_needed(0.0, 1.0) is None
    assert items_to_settle(0.02, 0.02) is None
    assert chance_to_pass(1000, Rule(0.0)) == pytest.approx(0.025, abs=0.003)


def test_beyond_ten_million_nobody_goes() -> None:
    assert items_needed([Rule(0.00001)]) is None
    assert mean_items_needed(1e-6, 1.0) is None


@pytest.mark.parametrize(("gain", "difference"), [(0.0, 0.05), (0.02, 0.06), (0.03, 0.0), (0.02, -0.01)])
def test_settling_a_gain(gain: float, difference: float) -> None:
    n = items_to_settle(gain, difference, 0.2)
    assert n is not None
    tables = np.random.default_rng(0).multinomial(n, [(0.2 + difference) / 2, (0.2 - difference) / 2, 0.8], size=20_000)
    from evalharness.stats import tango_limits

    low, high = tango_limits(tables[:, 0], tables[:, 1], n)
    settled = (low > gain) if difference > gain else (high < gain)
    assert settled.mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("n", "discordance"), [(10, 0.2), (100, 0.2), (100, 0.02), (3000, 0.05)])
def test_the_visible_difference_is_seen_four_times_in_five(n: int, discordance: float) -> None:
    visible = visible_difference(n, discordance)
    assert chances(n, Rule(0.0, discordance), visible).passing == pytest.approx(0.8, abs=0.02)
    assert visible_difference(3, discordance) == math.inf
    assert visible_difference(4 * n, discordance) < visible


def test_means_are_planned_by_t() -> None:
    rng = np.random.default_rng(0)
    n, sd, margin = 30, 0.4, 0.15
    x = rng.normal(0, sd, (40_000, n))
    low = x.mean(axis=1) - 2.04523 * x.std(axis=1, ddof=1) / math.sqrt(n)
    assert mean_chance_to_pass(n, margin, sd) == pytest.approx(float((low > -margin).mean()), abs=0.01)
    needed = mean_items_needed(margin, sd)
    assert needed is not None
    assert mean_chance_to_pass(needed, margin, sd) >= 0.8 > mean_chance_to_pass(needed - 1, margin, sd)
    assert mean_chance_to_pass(1, margin, sd) == 0.0
    visible = visible_mean_difference(sd / math.sqrt(n), n)
    assert mean_chance_to_pass(n, 0.0, sd, visible) == pytest.approx(0.8, abs=1e-6)
    assert visible_mean_difference(0.1, 1) == math.inf
    assert mean_items_needed(0.1, 0.0) == 2


def test_miller_counts_resampling() -> None:
    assert miller_sample_size(1 / 9 + 2 * 0.1, 0.03) > miller_sample_size(1 / 9, 0.03)


@pytest.mark.parametrize("rule", [(1.0, 0.2), (0.02, 0.0), (0.02, 1.5)])
def test_points_are_no_proportions(rule: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must be proportions"):
        Rule(*rule)


def test_units_that_agree_are_enough_where_the_unseen_cannot_reach_the_margin() -> None:
    needed = agreeing_items_needed(0.02, 1.0, 0.95)
    assert needed is not None
    assert unseen_half_width(needed, 0.05, 1.0) < 0.02 <= unseen_half_width(needed - 1, 0.05, 1.0)
    assert agreeing_items_needed(2.0, 1.0) == 1
    assert [agreeing_items_needed(*case) for case in ((0.0, 1.0), (0.1, math.inf), (1e-9, 1.0))] == [None] * 3


def test_items_needed_for_a_floor_are_counted_by_wilsons_interval_also_where_all_are_right() -> None:
    z2 = 3.841458820694124
    for floor in (0.5, 0.9, 0.99):
        assert rate_items_needed(floor, 1.0) == max(5, math.floor(floor * z2 / (1 - floor)) + 1)
    needed = rate_items_needed(0.85, 0.9)
    assert needed is not None
    for n in (needed, needed + 7):
        fewest = next(k for k in range(n + 1) if wilson(k, n).low > 0.85)
        assert 1 - bdtr(fewest - 1, n, 0.9) >= 0.8
    assert [rate_items_needed(*case) for case in ((0.9, 0.9), (0.9, 0.5), (1.0, 1.0), (0.5, 0.5 + 1e-6))] == [None] * 4
