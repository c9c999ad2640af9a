"""Property 11: the numbers that others printed come out of ours, to the digits they printed."""

from __future__ import annotations

import math

import pytest
from scipy.special import ndtri

from evalharness.stats import (
    approximate_randomization,
    benjamini_hochberg,
    bonferroni,
    bootstrap_diff,
    holm,
    krippendorff_alpha,
    mcnemar,
    miller_sample_size,
    obrien_fleming,
    tango,
)
from evalharness.stats.agreement import Scale
from tests.stats.wmt17 import BLEU, bleu_stats, needs_wmt17

NAN = math.nan
BENJAMINI_HOCHBERG_1995 = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0
]  # fmt: skip
KRIPPENDORFF_2011 = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


@pytest.mark.parametrize(
    ("b", "c", "n", "low", "high"),
    [
        (1, 7, 21, "-0.517", "-0.026"),  # Bentur's airway data
        (150, 86, 1600, "0.0214", "0.0590"),  # the prime minister's approval, 794, 150 / 86, 570
        (0, 1, 44, "-0.118", "0.059"),
        (40, 20, 160, "0.0309", "0.2181"),
    ],
)
def test_tango(b: int, c: int, n: int, low: str, high: str) -> None:
    digits = len(low.partition(".")[2])
    interval = tango(b, c, n)
    assert (f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}") == (low, high)


@pytest.mark.parametrize(("kind", "p"), [("asymptotic", ".034"), ("corrected", ".077"), ("exact", ".070"), ("mid-p", ".039")])
def test_mcnemar_fagerland_2013(kind: str, p: str) -> None:
    assert f"{mcnemar(1, 7, kind):.3f}"[1:] == p  # type: ignore[arg-type]


def test_benjamini_hochberg_1995() -> None:
    rejected = [int((adjust(BENJAMINI_HOCHBERG_1995) <= 0.05).sum()) for adjust in (bonferroni, holm, benjamini_hochberg)]
    assert rejected == [3, 3, 4]


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", ".743"), ("ordinal", ".815"), ("interval", ".849"), ("ratio", ".797")])
def test_krippendorff_2011(scale: Scale, alpha: str) -> None:
    assert f"{krippendorff_alpha(KRIPPENDORFF_2011, scale):.3f}"[1:] == alpha


def test_miller_2024() -> None:
    assert miller_sample_size(1 / 9, 0.03) == 969


def test_obrien_fleming_constants() -> None:
    """Jennison & Turnbull 2000, table 2.3: C_B(K, 0.05)."""
    for looks, constant in {1: 1.960, 2: 1.977, 3: 2.004, 4: 2.024, 5: 2.040}.items():
        last = obrien_fleming(looks)[-1]
        assert f"{ndtri((1 + last) / 2):.3f}" == f"{constant:.3f}"


@needs_wmt17
@pytest.mark.slow
@pytest.mark.parametrize(("system", "p"), [("FBK", 0.0218), ("KIT", 0.0410), ("LMU-rerank", 0.0903), ("LMU-single", 0.5849)])
def test_wmt17_approximate_randomization(system: str, p: float) -> None:
    """MultEval's p-values for BLEU against LIUM."""
    found = approximate_randomization(bleu_stats(system), bleu_stats("LIUM"), BLEU.finish)
    print(f"{system}: p = {found:.4f}, published {p:.4f}")
    assert found == pytest.approx(p, abs=0.02)


@needs_wmt17
@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "estimate", "low", "high"),
    [
        ("uedin", 1.777, 1.354, 2.184),
        ("FBK", -0.470, -0.878, -0.051),
        ("KIT", -0.462, -0.927, -0.009),
        ("LMU-rerank", 0.349, -0.067, 0.757),
    ],
)
def test_wmt17_bleu_difference(system: str, estimate: float, low: float, high: float) -> None:
    """The differences to their printed digits; the ends of a bootstrap of 2000 vary by about 0.015 from seed to seed."""
    interval = bootstrap_diff(bleu_stats(system), bleu_stats("LIUM"), BLEU.finish)
    print(f"{system}: {interval}, published {estimate:+.3f} [{low:.3f}, {high:.3f}]")
    assert f"{interval.estimate:.3f}" == f"{estimate:.3f}"
    assert interval.low == pytest.approx(low, abs=0.03)
    assert interval.high == pytest.approx(high, abs=0.03)
