"""What a verdict is: one outcome, the sentences that say it, and the numbers it was read from.

>>> Verdict("gate", "PASS", ("PASS: tuned holds.",), {}, "d1", "r1", "tickets").exit_code()
0
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evalharness.ids import digest
from evalharness.stats import Interval
from evalharness.store import VerdictRow

Kind = Literal["compare", "gate", "decide"]
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID", "ADOPT", "KEEP", "UNDECIDED", "COMPARED", "RETRAIN", "RETURN"]
EXIT_CODES: Mapping[str, int] = {"FAIL": 1, "INCONCLUSIVE": 3, "INVALID": 4}
"""Every other outcome ends with 0: compare and decide describe, only a gate stops a release."""

_SCORES = {"difference", "rivals", "candidates"}
"""What the evidence of a reason has where scores were looked at."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A comparison, a gate result or a decision. `evidence` is plain JSON: the same scores give the same bytes."""

    kind: Kind
    outcome: Outcome
    sentences: tuple[str, ...]
    evidence: Mapping[str, Any]
    dataset_id: str
    run_id: str
    suite: str

    @property
    def verdict_id(self) -> str:
        """Hash of what was found: asking again about the same scores, at other prices or on another day even, is the same use of
        the held-out set. Of the reasons to retrain those count that scores speak for: not dates, rows or budgets."""
        found = {name: value for name, value in self.evidence.items() if name not in ("costs", "reasons")}
        if "reasons" not in self.evidence:
            return digest([self.kind, self.dataset_id, self.suite, self.outcome, found])
        looked = [each["evidence"] for each in self.evidence["reasons"] if not _SCORES.isdisjoint(each["evidence"])]
        return digest([self.kind, self.dataset_id, self.suite, found, looked])

    @property
    def sentence(self) -> str:
        """All that it says, in one line."""
        return " ".join(self.sentences)

    def exit_code(self, *, inconclusive: Literal["fail", "pass"] = "fail") -> int:
        """What the CLI ends with: 0 pass, 1 fail, 3 inconclusive (0 if that is to pass), 4 invalid."""
        if self.outcome == "INCONCLUSIVE" and inconclusive == "pass":
            return 0
        return EXIT_CODES.get(self.outcome, 0)

    def as_json(self) -> dict[str, Any]:
        """The verdict as plain JSON."""
        return {
            "kind": self.kind,
            "outcome": self.outcome,
            "sentences": list(self.sentences),
            "dataset_id": self.dataset_id,
            "run_id": self.run_id,
            "suite": self.suite,
            "evidence": dict(self.evidence),
        }

    def as_row(self) -> VerdictRow:
        """The verdict as the store keeps it."""
        return VerdictRow(self.verdict_id, self.run_id, self.kind, self.dataset_id, self.outcome, self.as_json())


def plain(value: float | None) -> float | None:
    """A number as JSON can hold it: 9 significant digits, None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.9g}")


def interval_json(interval: Interval, sign: int = 1) -> dict[str, Any]:
    """An interval in the metric's unit; `sign` -1 turns an oriented score back into the metric's own direction."""
    ends = (sign * interval.low, sign * interval.high)
    return {
        "value": plain(sign * interval.estimate),
        "low": plain(min(ends)),
        "high": plain(max(ends)),
        "level": plain(interval.level),
        "method": interval.method,
    }
