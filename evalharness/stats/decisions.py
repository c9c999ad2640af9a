"""Adopt a candidate, keep the baseline, or undecided: read off the candidates' intervals and their gates.

>>> from evalharness.stats.rates import Tango
>>> good, same = Tango(0.06, (80, 20), (80, 20), 1000), Tango(0.0, (30, 30), (30, 30), 1000)
>>> decide([Contender(good, "PASS"), Contender(same, "PASS")], min_gain=0.02)
Decision(outcome='ADOPT', chosen=0, level=0.975)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from evalharness.stats.gates import Outcome
from evalharness.stats.interval import Evidence
from evalharness.stats.multiple import bonferroni_level


@dataclass(frozen=True, slots=True)
class Contender:
    """A candidate's evidence on the primary metric's difference from the baseline, and its gate's verdict."""

    evidence: Evidence
    gate: Outcome


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict; `chosen` is the index of the candidate to adopt, `level` that of every candidate's interval."""

    outcome: Literal["ADOPT", "KEEP", "UNDECIDED"]
    chosen: int | None
    level: float


def pick_on_dev(values: npt.ArrayLike) -> int:
    """The index of the candidate with the best value on the dev split (oriented upwards; the first of equals).

    Only this one is then compared on the test split, at the full level: its estimate there is unbiased.
    """
    return int(np.argmax(np.asarray(values, dtype=np.float64)))


def decide(contenders: Sequence[Contender], min_gain: float = 0.0, level: float = 0.95) -> Decision:
    """ADOPT the best c with L_c > min_gain and gate PASS; KEEP iff every U_c < min_gain, or some L_c > min_gain and the
    gate of every such c says FAIL; UNDECIDED otherwise.

    All K contenders' intervals are at 1 - (1 - level)/K, so that the chance to adopt any of K that are no better than
    min_gain is at most (1 - level)/2. Pass one contender after `pick_on_dev`, all of them without a dev split.
    Of several to adopt, the largest lower end wins. Raises ValueError without contenders or for min_gain < 0.
    """
    if not contenders or min_gain < 0:
        raise ValueError(f"need at least one contender and min_gain >= 0, found {len(contenders)} and {min_gain}")
    at = bonferroni_level(level, len(contenders))
    intervals = [contender.evidence.interval(at) for contender in contenders]
    winning = [i for i, interval in enumerate(intervals) if interval.low > min_gain]
    adoptable = [i for i in winning if contenders[i].gate == "PASS"]
    if adoptable:
        return Decision("ADOPT", max(adoptable, key=lambda i: intervals[i].low), at)
    beaten = all(interval.high < min_gain for interval in intervals)
    barred = bool(winning) and all(contenders[i].gate == "FAIL" for i in winning)
    return Decision("KEEP" if beaten or barred else "UNDECIDED", None, at)
