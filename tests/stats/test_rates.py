from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, ndtri, xlogy

from evalharness.stats import Tango, Wilson, mcnemar, mcnemar_midp, tango, tango_limits, tango_score, wilson
from evalharness.stats.interval import Floats

DISCORDANCES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
DIFFERENCES = (0.0, 0.02, -0.02, 0.05, -0.05, 0.1, -0.1, 0.15, -0.15, 0.2, -0.2)


def tables(n: int) -> tuple[Floats, Floats]:
    """All discordant counts (b, c) of n items."""
    b, c = np.meshgrid(np.arange(n + 1.0), np.arange(n + 1.0), indexing="ij")
    return b[b + c <= n], c[b + c <= n]


def chance(b: Floats, c: Floats, n: int, q: float, d: float) -> Floats:
    """Their probabilities when a share q is discordant and the true difference is d."""
    logs = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    return np.asarray(np.exp(logs + xlogy(b, max(0.0, (q + d) / 2)) + xlogy(c, max(0.0, (q - d) / 2)) + xlogy(n - b - c, 1 - q)))


def coverage(n: int) -> list[float]:
    """The exact coverage of the 95% interval at every discordance and difference (an end solves T(d) = z, so T decides)."""
    (b, c), z, found = tables(n), -ndtri(0.025), []
    for d in DIFFERENCES:
        covered = np.abs(tango_score(b, c, n, d)) <= z
        found += [float(chance(b, c, n, q, d)[covered].sum()) for q in DISCORDANCES if abs(d) <= q]
    return found


def test_property_1_tango_coverage_by_enumeration() -> None:
    found = {n: coverage(n) for n in (20, 50, 100, 200, 500)}
    everything = [value for values in found.values() for value in values]
    print(f"Tango coverage: min {min(everything):.4f}, mean {np.mean(everything):.4f} over {len(everything)} settings")
    assert min(everything) >= 0.93
    assert np.mean(everything) >= 0.95


def test_trap_wald_covers_a_third_of_the_time_where_tango_holds() -> None:
    n, q, d = 20, 0.02, 0.02
    b, c = tables(n)
    estimate = (b - c) / n
    half = -ndtri(0.025) * np.sqrt(np.maximum((b + c) / n - estimate**2, 0) / n)
    weights = chance(b, c, n, q, d)
    wald = float(weights[np.abs(estimate - d) <= half].sum())
    low, high = tango_limits(b, c, n)
    score = float(weights[(low <= d) & (d <= high)].sum())
    assert wald < 0.34
    assert score >= 0.93


def test_trap_three_identical_items_say_nothing() -> None:
    interval = tango(0, 0, 3)
    assert interval.low < -0.5
    assert interval.high > 0.5
    assert wilson(3, 3).low < 0.5


counts = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60)).map(lambda t: (t[0], t[1], max(1, sum(t))))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(counts, st.sampled_from([0.8, 0.95, 0.995]))
def test_property_12_swapping_mirrors_and_ends_solve_the_score(table: tuple[int, int, int], level: float) -> None:
    b, c, n = table
    here, swapped = tango(b, c, n, level), tango(c, b, n, level)
    assert here.low == pytest.approx(-swapped.high, abs=1e-14)
    assert here.high == pytest.approx(-swapped.low, abs=1e-14)
    assert -1 <= here.low <= here.estimate <= here.high <= 1
    z = -ndtri((1 - level) / 2)
    for end, target in ((here.low, z), (here.high, -z)):
        if abs(end) < 1 - 1e-9:
            assert float(tango_score(b, c, n, end)) == pytest.approx(target, abs=1e-6)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(counts, st.floats(-0.5, 0.5), st.sampled_from([0.9, 0.95, 0.99]))
def test_p_values_invert_the_interval(table: tuple[int, int, int], x: float, level: float) -> None:
    b, c, n = table
    successes = b
    for evidence in (Tango((b - c) / n, (b, c), (b, c), n), Wilson(successes / n, successes, successes, n)):
        interval, edge = evidence.interval(level), (1 - level) / 2
        if min(abs(interval.high - x), abs(interval.low - x)) > 1e-9:
            assert (interval.high < x) == (evidence.p_below(x) < edge)
            assert (interval.low > x) == (evidence.p_above(x) < edge)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(counts, st.integers(0, 5), st.integers(0, 5))
def test_missing_outputs_only_widen(table: tuple[int, int, int], from_wins: int, from_ties: int) -> None:
    """Whatever the missing outputs were, the interval reaches at least as far: every candidate win or tie that goes missing."""
    b, c, n = table
    from_wins, from_ties = min(from_wins, b), min(from_ties, n - b - c)
    known = tango(b, c, n)
    gaps = Tango(known.estimate, (b - from_wins, c + from_ties), (b, c), n).interval(0.95)
    assert gaps.low <= known.low
    assert gaps.high >= known.high - 1e-15


def test_wilson_agrees_with_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion", reason="statsmodels, an oracle, is not installed")
    for n, level in product((1, 5, 40, 1000), (0.9, 0.95, 0.999)):
        for k in {0, 1, n // 3, n}:
            expected = proportion.proportion_confint(k, n, alpha=1 - level, method="wilson")
            interval = wilson(k, n, level)
            assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


def test_mcnemar_agrees_with_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels, an oracle, is not installed")
    for b, c in ((1, 7), (12, 3), (5, 5), (0, 4), (30, 41)):
        exact = tables.mcnemar([[10, b], [c, 10]], exact=True).pvalue
        corrected = tables.mcnemar([[10, b], [c, 10]], exact=False, correction=True).pvalue
        plain = tables.mcnemar([[10, b], [c, 10]], exact=False, correction=False).pvalue
        assert mcnemar(b, c, "exact") == pytest.approx(min(1.0, exact))
        assert mcnemar(b, c, "asymptotic") == pytest.approx(plain)
        if b != c:
            assert mcnemar(b, c, "corrected") == pytest.approx(corrected)
        assert mcnemar_midp(b, c) == mcnemar_midp(c, b)


def test_mcnemar_without_disagreement_shows_nothing() -> None:
    assert mcnemar_midp(0, 0) == 1.0
    assert mcnemar_midp(6, 6) == 1.0
    assert mcnemar(6, 6, "exact") == 1.0


@pytest.mark.parametrize("wrong", [(-1, 2, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="discordant counts"):
        tango(*wrong)


def test_impossible_rates_and_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="6 to 6 successes of 5"):
        wilson(6, 5)
    with pytest.raises(ValueError, match="discordant counts"):
        mcnemar(-1, 3)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        wilson(1, 5, 95)


def test_evidence_knows_its_standard_error() -> None:
    assert Wilson(0.5, 50, 50, 100).se == pytest.approx(0.05)
    evidence = Tango(0.1, (20, 10), (20, 10), 100)
    assert evidence.se == pytest.approx(math.sqrt((0.3 - 0.01) / 100))
    assert (evidence.units, Wilson(0.5, 50, 50, 100).units) == (100, 100)


def test_certain_rates_have_certain_p_values() -> None:
    all_right = Wilson(1.0, 10, 10, 10)
    assert all_right.p_below(1.0) > 0.4
    assert all_right.p_above(0.0) == 0.0
    assert all_right.p_below(0.0) == 1.0
