"""Length-controlled win rates: against a regression library, on simulated bias, and at the edges."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from evalharness.stats.interval import Floats
from evalharness.stats.length import length_controlled


def drawn(n: int, a: float, b: float, seed: int, mean: float = 100.0) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    gap = rng.normal(mean, 100.0, n)
    wins = rng.random(n) < expit(a + b * np.tanh(gap / gap.std()))
    return wins.astype(float), 1000 + gap, np.full(n, 1000.0)


def test_equals_logistic_regression() -> None:
    sm: Any = importlib.import_module("statsmodels.api")
    wins, mine, other = drawn(3000, 0.3, 0.8, 1)
    gap = mine - other
    model = sm.GLM(wins, sm.add_constant(np.tanh(gap / gap.std())), family=sm.families.Binomial()).fit(cov_type="HC1")
    found = length_controlled(wins, mine, other)
    half = 1.959964 * model.bse[0]
    assert found.estimate == pytest.approx(float(expit(model.params[0])), abs=1e-3)
    assert (found.low, found.high) == pytest.approx([expit(model.params[0] - half), expit(model.params[0] + half)], abs=2e-3)


@pytest.mark.parametrize("truth", [0.35, 0.5, 0.6])
def test_a_length_bias_is_taken_out(truth: float) -> None:
    a = math.log(truth / (1 - truth))
    covered, raw = 0, []
    for seed in range(100):
        wins, mine, other = drawn(400, a, 1.0, seed)
        found = length_controlled(wins, mine, other)
        covered += found.low <= truth <= found.high
        raw.append(wins.mean())
    assert covered >= 92
    assert float(np.mean(raw)) > truth + 0.1


def test_equal_lengths_give_the_win_rate() -> None:
    found = length_controlled([1, 1, 0.5, 0] * 100, [7] * 400, [7] * 400)
    assert found.estimate == pytest.approx(0.625, abs=0.001)


def test_swapping_the_arms_mirrors() -> None:
    wins, mine, other = drawn(300, 0.4, 0.5, 3)
    there, back = length_controlled(wins, mine, other), length_controlled(1 - wins, other, mine)
    assert [there.low, there.estimate, there.high] == pytest.approx([1 - back.high, 1 - back.estimate, 1 - back.low])


@pytest.mark.parametrize("wins", [[1.0] * 30, [0.0] * 30])
def test_one_sided_results_stay_inside(wins: list[float]) -> None:
    found = length_controlled(wins, range(30), [3] * 30)
    assert 0 < found.low <= found.estimate <= found.high < 1
    assert abs(found.estimate - wins[0]) < 0.1
    assert found.high - found.low > 0.05


def test_separation_by_length_stays_finite() -> None:
    gap = np.linspace(-100, 100, 50)
    found = length_controlled((gap > 0).astype(float), 200 + gap, np.full(50, 200.0))
    assert found.estimate == pytest.approx(0.5, abs=0.01)


def test_clusters_widen_and_nan_is_left_out() -> None:
    wins, mine, other = drawn(200, 0.0, 0.5, 5)
    groups = np.arange(200) // 2
    twice = [np.repeat(x, 4) for x in (wins, mine, other)]
    alone = length_controlled(*twice)
    together = length_controlled(*twice, clusters=np.repeat(groups, 4))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    gaps = length_controlled(np.append(wins, np.nan), np.append(mine, 5.0), np.append(other, 5.0))
    assert gaps == length_controlled(wins, mine, other)


@pytest.mark.parametrize(("wins", "mine"), [([], []), ([2.0], [1.0]), ([1.0, 0.0], [1.0])])
def test_nonsense_is_refused(wins: list[float], mine: list[float]) -> None:
    with pytest.raises(ValueError, match="need"):
        length_controlled(wins, mine, mine if len(mine) == len(wins) else [1.0])
