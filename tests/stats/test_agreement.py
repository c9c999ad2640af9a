from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.stats import cohen_kappa, krippendorff_alpha
from evalharness.stats.agreement import Scale


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappa_agrees_with_scikit_learn(weights: Literal["linear", "quadratic"] | None) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn, an oracle, is not installed")
    for seed in range(10):
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 2 + seed % 4, 60)
        second = np.where(rng.random(60) < 0.6, first, rng.integers(0, 2 + seed % 4, 60))
        assert cohen_kappa(first, second, weights) == pytest.approx(metrics.cohen_kappa_score(first, second, weights=weights))


@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval", "ratio"])
def test_alpha_agrees_with_krippendorff(scale: Scale) -> None:
    oracle = pytest.importorskip("krippendorff", reason="krippendorff, an oracle, is not installed")
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = rng.integers(1, 6, 25)
        table = np.clip(truth + rng.integers(-1, 2, (2 + seed % 3, 25)), 0, 6).astype(float)
        table[rng.random(table.shape) < 0.2] = np.nan
        expected = oracle.alpha(reliability_data=table, level_of_measurement=scale)
        assert krippendorff_alpha(table, scale) == pytest.approx(expected, abs=1e-12)


ratings = st.lists(st.lists(st.sampled_from([1.0, 2.0, 3.0, math.nan]), min_size=4, max_size=4), min_size=2, max_size=4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ratings, st.sampled_from(["nominal", "ordinal", "interval", "ratio"]))
def test_alpha_is_at_most_one_and_blind_to_order(table: list[list[float]], scale: Scale) -> None:
    alpha = krippendorff_alpha(table, scale)
    turned = krippendorff_alpha([row[::-1] for row in table[::-1]], scale)
    assert alpha == pytest.approx(turned, nan_ok=True)
    assert math.isnan(alpha) or alpha <= 1 + 1e-12


def test_full_agreement_is_one_and_one_label_is_undefined() -> None:
    assert cohen_kappa(["a", "b"], ["a", "b"]) == 1.0
    assert math.isnan(cohen_kappa(["a", "a"], ["a", "a"]))
    assert krippendorff_alpha([[1, 2, 3], [1, 2, 3]]) == 1.0
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]]))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="two equally long lists"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(ValueError, match="shape"):
        krippendorff_alpha([1, 2, 3])
