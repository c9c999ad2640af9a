"""Planning before any spend: what a test set can see, the chance to pass, the items needed. Right/wrong scores exactly.

Right/wrong scores are planned by enumeration of every possible table of discordant counts, since the usual formula
(z² discordance / margin²) falls far short for small discordance; means by the noncentral t distribution.

>>> items_needed([Rule(margin=0.05, discordance=0.1)])
339
>>> round(chance_to_pass(339, Rule(margin=0.05, discordance=0.1)), 2)
0.8
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, gammaln, nctdtr, nctdtrinc, ndtri, stdtrit, xlog1py, xlogy

from evalharness.stats.interval import Floats, alpha_of
from evalharness.stats.multiple import bonferroni_level
from evalharness.stats.rates import tango_score

DISCORDANCE = 0.2
POWER = 0.8
MOST_ITEMS = 10_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """One gate check to plan for: its margin, and the share of items on which the arms differ (proportions).

    The check passes where Tango's L > -margin; a negative margin asks for a gain.
    """

    margin: float
    discordance: float = DISCORDANCE

    def __post_init__(self) -> None:
        if not (-1 < self.margin < 1 and 0 < self.discordance <= 1):
            raise ValueError(f"margin {self.margin} and discordance {self.discordance} must be proportions")


@dataclass(frozen=True, slots=True)
class Chances:
    """What a check will say at a true difference: probabilities of PASS and FAIL (the rest is INCONCLUSIVE)."""

    passing: float
    failing: float


def chances(n: int, rule: Rule, difference: float = 0.0, level: float = 0.95, fail_level: float | None = None) -> Chances:
    """Exact chances of PASS (Tango's L > -margin) and FAIL (not PASS and U < 0) with n items at a true difference.

    Sums the trinomial probabilities of all discordant counts (b, c) with P(b) = (q + d)/2, P(c) = (q - d)/2, where
    q = max(discordance, |d|); totals b + c more than 7.5 standard deviations from nq are left out (below 1e-12).
    """
    q = min(1.0, max(rule.discordance, abs(difference)))
    table = _table(n, q, rule.margin, level, fail_level or level)
    share = (q + difference) / (2 * q)
    passing = table.weights @ _at_least(table.least, table.totals, share)
    failing = table.weights @ (1 - _at_least(table.worse, table.totals, share))
    return Chances(float(passing), float(failing))


def chance_to_pass(n: int, rule: Rule, difference: float = 0.0, level: float = 0.95) -> float:
    """The exact chance that the check passes with n items (by default: if nothing changed); see `chances`."""
    return chances(n, rule, difference, level).passing


def _at_least(wins: Floats, totals: Floats, share: float) -> Floats:
    """P(X >= wins) for X ~ Binomial(totals, share)."""
    inside = betainc(np.maximum(wins, 1), np.maximum(totals - wins, 0) + 1, share)
    return np.where(wins <= 0, 1.0, np.where(wins > totals, 0.0, inside))


class _Table(NamedTuple):
    """By total s of discordant items: its probability, the least wins b that PASS, and the wins below which it FAILs."""

    totals: Floats
    weights: Floats
    least: Floats
    worse: Floats


@lru_cache(maxsize=64)
def _table(n: int, q: float, margin: float, level: float, fail_level: float) -> _Table:
    reach = 7.5 * math.sqrt(n * q * (1 - q)) + 20
    s = np.arange(max(0, math.floor(n * q - reach)), min(n, math.ceil(n * q + reach)) + 1, dtype=np.float64)
    logs = gammaln(n + 1) - gammaln(s + 1) - gammaln(n - s + 1) + xlogy(s, q) + xlog1py(n - s, -q)
    z, z_fail = (float(-ndtri(alpha_of(at) / 2)) for at in (level, fail_level))
    least = _least_wins(s, n, -margin, z)
    beaten = np.ceil((s - z_fail * np.sqrt(s)) / 2)  # U < 0 where (b - c)/sqrt(s) < -z
    return _Table(s, np.exp(logs), least, np.minimum(beaten, least))


def _least_wins(totals: Floats, n: int, edge: float, z: float) -> Floats:
    """For each total the least b with L > edge; total + 1 if there is none. By bisection: more wins never hurt."""
    if edge == 0.0:
        return np.asarray(np.floor((totals + z * np.sqrt(totals)) / 2) + 1)
    low, high = np.zeros_like(totals), totals + 1
    while (low < high).any():
        middle = np.floor((low + high) / 2)
        found = (tango_score(middle, totals - middle, n, edge) > z) | (middle > totals)
        low, high = np.where(found, low, np.minimum(middle + 1, high)), np.where(found, middle, high)
    return high


def items_needed(rules: Sequence[Rule], level: float = 0.95, power: float = POWER) -> int | None:
    """The least number of items at which the whole gate works, by exact enumeration; None if no number can do.

    If nothing changed, all checks together pass with at least `power` (whatever their dependence: the chances not to
    pass are added up); if one check is truly worse by its margin it fails with at least `power` after Holm; and a
    check errs in either direction with at most (1 - level)/2 + 0.005. The same holds for the next 2% of numbers, since
    these chances go up and down from one number to the next. A margin of 0 can never be shown: None.
    """
    if any(rule.margin <= 0 for rule in rules):
        return None
    return _least_lasting(lambda n: _gate_works(n, rules, level, power))


def _gate_works(n: int, rules: Sequence[Rule], level: float, power: float) -> bool:
    alpha = alpha_of(level)
    slips = 0.0
    for rule in rules:
        same = chances(n, rule, 0.0, level)
        slips += 1 - same.passing
        if slips > 1 - power or same.failing > alpha / 2 + 0.005:
            return False
        worse = chances(n, rule, -rule.margin, level, bonferroni_level(level, len(rules)))
        if worse.failing < power or worse.passing > alpha / 2 + 0.005:
            return False
    return True


def items_to_settle(
    gain: float, difference: float, discordance: float = DISCORDANCE, level: float = 0.95, power: float = POWER
) -> int | None:
    """The least number of items that tell a true difference of two rates from `gain` with chance `power`, exactly.

    Above the gain: Tango's L > gain; below: U < gain. None if the difference is the gain, or beyond ten million.
    """
    if difference == gain:
        return None
    margin, seen = (-gain, difference) if difference > gain else (gain, -difference)  # below: the arms swapped
    rule = Rule(margin, discordance)
    return _least_lasting(lambda n: chances(n, rule, seen, level).passing >= power)


def _least_lasting(works: Callable[[int], bool]) -> int | None:
    """The least n found for which works(n) .. works(n + 2%) hold, given that works is nearly monotone."""
    low, high = 4, 8
    while not works(high):
        low, high = high, high * 2
        if high > MOST_ITEMS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    while True:
        ahead = range(high, high + max(10, high // 50), max(1, high // 1000))
        failing = [n for n in ahead if not works(n)]
        if not failing:
            return high
        high = failing[-1] + 1


def visible_difference(n: int, discordance: float = DISCORDANCE, level: float = 0.95, power: float = POWER) -> float:
    """The smallest true difference of two rates that n paired items show (Tango's L > 0) with chance `power`, exactly.

    Between 0 and 1; infinite if even the largest does not show. The discordance grows to the difference where that is larger.
    """
    rule = Rule(0.0, discordance)
    if chances(n, rule, 1.0, level).passing < power:
        return math.inf
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if chances(n, rule, middle, level).passing >= power else (middle, high)
    return high


def visible_mean_difference(se: float, units: int, level: float = 0.95, power: float = POWER) -> float:
    """The smallest true difference that a t interval with this standard error and u units shows with chance `power`.

    The noncentrality d/se at which P(T' > t(1 - alpha/2; u-1)) = power; about 2.8·se. Infinite below 2 units.
    """
    if units < 2:
        return math.inf
    critical = float(stdtrit(units - 1, 1 - alpha_of(level) / 2))
    return float(nctdtrinc(units - 1, 1 - power, critical)) * se


def mean_chance_to_pass(n: int, margin: float, sd: float, difference: float = 0.0, level: float = 0.95) -> float:
    """Chance that a t interval's L > -margin with n units whose paired differences have standard deviation `sd`."""
    if n < 2:
        return 0.0
    critical = float(stdtrit(n - 1, 1 - alpha_of(level) / 2))
    shift = (difference + margin) * math.sqrt(n) / sd
    return 1.0 - float(nctdtr(n - 1, shift, critical))


def mean_items_needed(margin: float, sd: float, level: float = 0.95, power: float = POWER) -> int | None:
    """The least number of units at which a check on a mean passes with chance `power` if nothing changed; None for margin 0.

    By symmetry the same number fails a true loss of `margin` with that chance.
    """
    if margin <= 0 or sd <= 0:
        return None if margin <= 0 else 2
    low, high = 1, 2
    while mean_chance_to_pass(high, margin, sd, 0.0, level) < power:
        low, high = high, high * 2
        if high > MOST_ITEMS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mean_chance_to_pass(middle, margin, sd, 0.0, level) >= power else (middle, high)
    return high


def rate_items_needed(floor: float, rate: float, level: float = 0.95, power: float = POWER) -> int | None:
    """The least number of items at which Wilson's lower end lies above `floor` with chance `power` at a true `rate`, exactly.

    Wilson's L > floor iff k > n·floor + z·sqrt(n·floor·(1 - floor)); k is Binomial(n, rate). None if the rate is not above
    the floor, or beyond ten million. Both are proportions.
    """
    if rate <= floor:
        return None
    z, floor = float(-ndtri(alpha_of(level) / 2)), max(0.0, floor)

    def chance(n: int) -> float:
        least = math.floor(n * floor + z * math.sqrt(n * floor * (1 - floor))) + 1
        return float(_at_least(np.array([least]), np.array([n]), min(1.0, rate))[0])

    return _least_lasting(lambda n: chance(n) >= power)


def agreeing_items_needed(margin: float, span: float, level: float = 0.95) -> int | None:
    """The least number of units that all agree at which the half width span·(1 - alpha^(1/n)) is below `margin`, or None.

    What data without any spread need: see `unseen_half_width`.
    """
    if margin <= 0 or math.isinf(span):
        return None
    needed = 1 if margin >= span else math.floor(math.log(alpha_of(level)) / math.log1p(-margin / span)) + 1
    return needed if needed <= MOST_ITEMS else None


def miller_sample_size(omega2: float, difference: float, level: float = 0.95, power: float = POWER) -> int:
    """Questions needed to see a paired difference: (z(alpha/2) + z(beta))²·omega²/difference², rounded up.

    omega2 is the variance of the questions' mean differences plus each arm's resampling variance over its repeats.
    Source: Miller 2024 (arXiv 2411.00640), section 5.
    """
    z = float(-ndtri(alpha_of(level) / 2)) + float(ndtri(power))
    return math.ceil(z * z * omega2 / difference**2)
