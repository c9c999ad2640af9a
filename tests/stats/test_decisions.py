from __future__ import annotations

import numpy as np
import pytest

from evalharness.stats import Contender, bonferroni_level, decide, pick_on_dev
from evalharness.stats.gates import Outcome
from evalharness.stats.interval import Floats
from tests.stats.evidence import counted

BETTER, SAME, WORSE = counted(80, 20, 1000), counted(30, 30, 1000), counted(20, 80, 1000)


@pytest.mark.parametrize(
    ("contenders", "min_gain", "outcome", "chosen"),
    [
        ([(BETTER, "PASS")], 0.0, "ADOPT", 0),
        ([(SAME, "PASS"), (BETTER, "PASS")], 0.0, "ADOPT", 1),
        ([(BETTER, "FAIL")], 0.0, "KEEP", None),
        ([(BETTER, "INCONCLUSIVE")], 0.0, "UNDECIDED", None),
        ([(BETTER, "INVALID")], 0.0, "UNDECIDED", None),
        ([(SAME, "PASS")], 0.0, "UNDECIDED", None),
        ([(SAME, "PASS")], 0.05, "KEEP", None),
        ([(WORSE, "FAIL"), (WORSE, "PASS")], 0.0, "KEEP", None),
        ([(BETTER, "PASS")], 0.05, "UNDECIDED", None),
        ([(BETTER, "PASS")], 0.10, "KEEP", None),
        ([(BETTER, "FAIL"), (BETTER, "PASS")], 0.0, "ADOPT", 1),
        ([(BETTER, "FAIL"), (WORSE, "PASS")], 0.0, "KEEP", None),
    ],
)
def test_the_rules(contenders: list[tuple[object, Outcome]], min_gain: float, outcome: str, chosen: int | None) -> None:
    decision = decide([Contender(evidence, verdict) for evidence, verdict in contenders], min_gain)  # type: ignore[arg-type]
    assert (decision.outcome, decision.chosen) == (outcome, chosen)
    assert decision.level == bonferroni_level(0.95, len(contenders))


def test_of_several_the_surest_is_adopted() -> None:
    larger, surer = counted(30, 5, 100), counted(220, 20, 1000)
    assert larger.estimate > surer.estimate
    assert decide([Contender(larger, "PASS"), Contender(surer, "PASS")]).chosen == 1


def test_the_first_of_equals_is_picked() -> None:
    assert pick_on_dev([0.1, 0.5, 0.5]) == 1


def test_nonsense_is_refused() -> None:
    for contenders, gain in (([], 0.0), ([Contender(SAME, "PASS")], -0.1)):
        with pytest.raises(ValueError, match="at least one contender and min_gain >= 0"):
            decide(contenders, gain)


def null_candidates(tries: int, k: int, n: int, seed: int) -> Floats:
    """Discordant counts (tries, k, 2) of k candidates that are as good as the baseline they share: 60% right, 10% by luck."""
    rng = np.random.default_rng(seed)
    counts = np.empty((tries, k, 2))
    for i in range(tries):
        skill = rng.random(n)
        base = np.where(rng.random(n) < 0.2, rng.random(n) < 0.6, skill < 0.6)
        arms = np.where(rng.random((k, n)) < 0.2, rng.random((k, n)) < 0.6, skill < 0.6)
        counts[i] = np.stack([(arms & ~base).sum(axis=1), (~arms & base).sum(axis=1)], axis=1)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 5, 20])
def test_property_4_null_candidates_are_rarely_adopted(k: int) -> None:
    tries, n = 5000, 400
    counts = null_candidates(tries, k, n, seed=k).astype(int)
    contenders = [[Contender(counted(int(b), int(c), n), "PASS") for b, c in row] for row in counts]
    adopted = [decide(row).outcome == "ADOPT" for row in contenders]
    naive = [any(each.evidence.interval(0.95).low > 0 for each in row) for row in contenders]
    print(f"{k} null candidates: P(ADOPT) {np.mean(adopted):.4f}; each at 95% alone {np.mean(naive):.4f}")
    assert np.mean(adopted) <= 0.03


@pytest.mark.slow
def test_property_5_dev_pick_and_test_confirm_is_unbiased() -> None:
    """Trap: of ten equal candidates on one test set, one in five tests finds a "significant" winner, 2 points too good."""
    tries, n, k = 5000, 400, 10
    dev, test = (null_candidates(tries, k, n, seed=s) for s in (50, 51))
    gains_dev, gains = ((each[:, :, 0] - each[:, :, 1]) / n for each in (dev, test))
    picked = np.array([gains[i, pick_on_dev(gains_dev[i])] for i in range(tries)])
    winners = gains.max(axis=1)
    print(f"bias in points: picked on dev {100 * picked.mean():+.3f}, picked on test {100 * winners.mean():+.2f}")
    assert abs(picked.mean()) < 0.001
    assert winners.mean() > 0.015
    adopted = [
        decide([Contender(counted(int(b), int(c), n), "PASS")]).outcome == "ADOPT"
        for b, c in (test[i, pick_on_dev(gains_dev[i])] for i in range(tries))
    ]
    naive = [any(counted(int(b), int(c), n).interval(0.95).low > 0 for b, c in row) for row in test]
    print(f"P(ADOPT) after dev pick {np.mean(adopted):.4f}; a 'significant' winner on one test set {np.mean(naive):.3f}")
    assert np.mean(adopted) <= 0.03
    assert np.mean(naive) > 0.10
