from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from evalharness.stats import Rule, items_needed, obrien_fleming, schedule, tango_score
from evalharness.stats.interval import Floats


def test_four_looks() -> None:
    z = ndtri((1 + np.array(obrien_fleming(4))) / 2)
    assert z == pytest.approx([4.049, 2.863, 2.337, 2.024], abs=0.001)
    assert z * np.sqrt([1, 2, 3, 4]) == pytest.approx(np.full(4, 2 * 2.024), abs=0.002)
    assert obrien_fleming(1) == pytest.approx((0.95,))


def test_schedule_ends_with_all_items() -> None:
    looks = schedule(1001)
    assert [look.items for look in looks] == [251, 501, 751, 1001]
    assert looks[0].level > looks[-1].level > 0.95
    assert [look.items for look in schedule(90, looks=3)] == [30, 60, 90]


def verdicts(n: int, q: float, d: float, margin: float, stages: list[tuple[int, float]], tries: int, seed: int) -> Floats:
    """+1 PASS, -1 FAIL, 0 INCONCLUSIVE of each try: the first look that says PASS or FAIL ends it."""
    rng = np.random.default_rng(seed)
    said, counts, seen = np.zeros(tries), np.zeros((tries, 2)), 0
    for items, level in stages:
        counts += rng.multinomial(items - seen, [(q + d) / 2, (q - d) / 2, 1 - q], size=tries)[:, :2]
        seen, z = items, -ndtri((1 - level) / 2)
        passing = tango_score(counts[:, 0], counts[:, 1], items, -margin) > z
        failing = ~passing & (tango_score(counts[:, 0], counts[:, 1], items, 0.0) < -z)
        said = np.where(said == 0, passing * 1.0 - failing, said)
    return said


@pytest.mark.slow
@pytest.mark.parametrize(("q", "margin"), [(0.2, 0.05), (0.1, 0.05), (0.1, 0.03)])
def test_property_8_four_looks_err_no_more_and_lose_little(q: float, margin: float) -> None:
    tries = 20_000
    n = items_needed([Rule(margin, q)])
    assert n is not None
    stages = [(look.items, look.level) for look in schedule(n)]
    found = {}
    for name, plan in (("four looks", stages), ("one look", [(n, 0.95)])):
        same, worse = (verdicts(n, q, d, margin, plan, tries, seed=8) for d in (0.0, -margin))
        found[name] = np.array([(same == -1).mean(), (worse == 1).mean(), (same == 1).mean(), (worse == -1).mean()])
        print(f"{name}, n = {n}: P(FAIL|0), P(PASS|-m), P(PASS|0), P(FAIL|-m) = {np.round(found[name], 4)}")
    early = verdicts(n, q, 0.0, margin, stages[:3], tries, seed=8)
    print(f"stopped before the last look when nothing changed: {(early != 0).mean():.2f}")
    assert (found["four looks"][:2] <= 0.03).all()  # one side of alpha = 0.05, and 0.005 for the score test
    assert (found["one look"][2:] - found["four looks"][2:] <= 0.02).all()
