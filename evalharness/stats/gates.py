"""The gate: each check's verdict is read off its interval; the whole gate errs no more often than one check.

>>> from evalharness.stats.rates import Tango
>>> same, worse = Tango(0.0, (20, 20), (20, 20), 1000), Tango(-0.06, (20, 80), (20, 80), 1000)
>>> gate([Check.difference(same, margin=0.02), Check.difference(worse, margin=0.02)]).outcome
'FAIL'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evalharness.stats.interval import Evidence, Interval, alpha_of
from evalharness.stats.multiple import holm

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID"]
MOST_MISSING = 0.02


def gate_rule(low: float, high: float, margin: float = 0.0, floor: float | None = None) -> Outcome:
    """One check's verdict from an interval. Of a difference: PASS iff low > -margin, FAIL iff not PASS and high < 0.

    Of a score with a `floor`: PASS iff low > floor, FAIL iff high < floor. INCONCLUSIVE otherwise. Units as the interval's.
    """
    pass_above, fail_below = (-margin, 0.0) if floor is None else (floor, floor)
    if low > pass_above:
        return "PASS"
    return "FAIL" if high < fail_below else "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of a gate with its evidence; `missing` is the larger share of missing outputs of its arms."""

    evidence: Evidence
    pass_above: float
    fail_below: float
    missing: float = 0.0

    @staticmethod
    def difference(evidence: Evidence, margin: float, missing: float = 0.0) -> Check:
        """The candidate may be worse by less than `margin` (>= 0, in the score's units; differences oriented upwards)."""
        if margin < 0:
            raise ValueError(f"a margin is at least 0, found {margin}")
        return Check(evidence, -margin, 0.0, missing)

    @staticmethod
    def at_least(evidence: Evidence, floor: float, missing: float = 0.0) -> Check:
        """The candidate's own score must be above `floor`."""
        return Check(evidence, floor, floor, missing)


@dataclass(frozen=True, slots=True)
class Checked:
    """A check's verdict. `alone` is what its interval says by itself; `outcome` is INCONCLUSIVE where a FAIL did not
    survive Holm. `p` is the one-sided p-value of "not worse" and inverts the same interval; `adjusted` is after Holm."""

    outcome: Outcome
    alone: Outcome
    interval: Interval
    p: float
    adjusted: float


@dataclass(frozen=True, slots=True)
class Gated:
    """The whole gate's verdict and its checks', in their order."""

    outcome: Outcome
    checks: tuple[Checked, ...]


def gate(checks: Sequence[Check], level: float = 0.95) -> Gated:
    """INVALID if a check misses more than 2% of outputs; FAIL if a check fails after Holm; PASS iff all pass; else INCONCLUSIVE.

    A check's FAIL is the one-sided test of "the truth is at least `fail_below`" at (1 - level)/2, whose p-value inverts
    the check's interval: alone, p < (1 - level)/2 exactly where the upper end is below. Holm's procedure over all
    checks' p-values at (1 - level)/2 bounds the chance of any false FAIL by (1 - level)/2, whatever their dependence.
    A check that passes (a loss, but surely within its margin) never fails. Raises ValueError without checks.
    """
    if not checks:
        raise ValueError("a gate needs at least one check")
    p_values = [check.evidence.p_below(check.fail_below) for check in checks]
    adjusted = holm(p_values)
    done = tuple(_checked(*each, level) for each in zip(checks, p_values, adjusted.tolist(), strict=True))
    found = {each.outcome for each in done}
    order: tuple[Outcome, ...] = ("INVALID", "FAIL", "INCONCLUSIVE", "PASS")
    return Gated(next(outcome for outcome in order if outcome in found), done)


def _checked(check: Check, p: float, adjusted: float, level: float) -> Checked:
    interval = check.evidence.interval(level)

    def outcome(value: float) -> Outcome:
        if check.missing > MOST_MISSING:
            return "INVALID"
        if interval.low > check.pass_above:
            return "PASS"
        return "FAIL" if value < alpha_of(level) / 2 else "INCONCLUSIVE"

    return Checked(outcome(adjusted), outcome(p), interval, p, adjusted)
