from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.stats import benjamini_hochberg, bonferroni, bonferroni_level, holm

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(p_lists)
def test_order_of_strictness(p: list[float]) -> None:
    """Holm rejects whatever Bonferroni does, Benjamini-Hochberg whatever Holm does."""
    strict, step, discovery = bonferroni(p), holm(p), benjamini_hochberg(p)
    assert (strict >= step - 1e-15).all()
    assert (step >= discovery - 1e-15).all()
    assert (discovery >= np.array(p) - 1e-15).all()
    assert (step <= 1).all()


def test_agrees_with_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels, an oracle, is not installed")
    p = np.random.default_rng(0).random(20) ** 3
    for ours, name in ((bonferroni, "bonferroni"), (holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        assert ours(p) == pytest.approx(multitest.multipletests(p, method=name)[1])


def test_level_of_each_of_k() -> None:
    assert bonferroni_level(0.95, 20) == pytest.approx(0.9975)
    assert bonferroni_level(0.95, 1) == 0.95
    assert bonferroni_level(0.95, 0) == 0.95


@pytest.mark.parametrize("wrong", [[1.2], [-0.1], [[0.5]]])
def test_nonsense_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm(wrong)  # type: ignore[arg-type]
