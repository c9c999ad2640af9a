from __future__ import annotations

import numpy as np
import pytest

from evalharness.stats import Normal, gate, ppi, ppi_evidence
from evalharness.stats.gates import Check
from evalharness.stats.interval import Floats


def judged(n: int, labelled: int, seed: int, bias: float = 0.06, noise: float = 0.15) -> tuple[Floats, Floats, Floats, float]:
    """Labels, the judge on the labelled, the judge on the rest, and the truth: the judge is noisy and biased."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.6).astype(float)
    opinion = np.where(rng.random(n) < noise, 1 - truth, truth)
    opinion = np.where((opinion == 0) & (rng.random(n) < bias / 0.43), 1.0, opinion)
    return truth[:labelled], opinion[:labelled], opinion[labelled:], 0.6


def test_agrees_with_ppi_python() -> None:
    ppi_py = pytest.importorskip("ppi_py", reason="ppi-python, an oracle, is not installed")
    for seed in range(6):
        y, f, rest, _ = judged(1000, 60 + 20 * seed, seed)
        interval = ppi(y, f, rest)
        low, high = ppi_py.ppi_mean_ci(y, f, rest, alpha=0.05)
        assert (interval.low, interval.high) == pytest.approx((low.item(), high.item()), abs=1e-9)
        weights = np.random.default_rng(seed).random(len(y)) + 0.5
        weighted = ppi_evidence(y, f, rest, weights=weights).interval(0.95)
        low, high = ppi_py.ppi_mean_ci(y, f, rest, alpha=0.05, w=weights)
        assert (weighted.low, weighted.high) == pytest.approx((low.item(), high.item()), abs=1e-3)


def test_a_good_judge_sharpens_and_a_useless_one_does_not_harm() -> None:
    y, f, rest, _ = judged(3000, 100, 1, noise=0.02)
    labels_alone = ppi(y, f, [])
    assert labels_alone.method == "labels alone"
    sharp = ppi(y, f, rest)
    assert sharp.method == "PPI++"
    assert sharp.high - sharp.low < 0.7 * (labels_alone.high - labels_alone.low)
    useless = ppi(y, np.ones(100), np.ones(2900))
    assert (useless.low, useless.high) == pytest.approx((labels_alone.low, labels_alone.high))


def test_judge_evidence_goes_through_the_gate() -> None:
    rng = np.random.default_rng(0)
    differences = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=1000)
    opinions = differences + 0.1
    evidence = ppi_evidence(differences[:150], opinions[:150], opinions[150:], clip=(-1.0, 1.0))
    assert gate([Check.difference(evidence, 0.0)]).outcome == "PASS"
    interval = evidence.interval(0.95)
    assert (interval.low > 0.1) == (evidence.p_above(0.1) < 0.025)
    assert evidence.p_below(interval.high) == pytest.approx(0.025)
    certain = Normal(0.5, 0.0, 10)
    assert (certain.p_below(0.6), certain.p_below(0.4)) == (0.0, 1.0)


def test_labels_must_pair_with_the_judge() -> None:
    with pytest.raises(ValueError, match="found 1 and 1"):
        ppi([1.0], [1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="found 3 and 2"):
        ppi([1.0, 0.0, 1.0], [1.0, 0.0], [0.0, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("labels", [50, 100, 200])
def test_property_9_coverage_with_a_biased_judge(labels: int) -> None:
    draws, covered, naive = 2000, 0, 0
    for seed in range(draws):
        y, f, rest, truth = judged(2000, labels, seed)
        interval = ppi(y, f, rest)
        covered += interval.low <= truth <= interval.high
        opinions = np.concatenate([f, rest])
        half = 1.96 * opinions.std() / np.sqrt(len(opinions))
        naive += abs(opinions.mean() - truth) <= half
    print(f"{labels} labels: PPI++ covers {covered / draws:.3f}, the judge alone {naive / draws:.3f}")
    assert covered / draws >= 0.92
    assert naive / draws < 0.5
