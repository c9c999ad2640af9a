"""How often a held-out set was used to decide: every look at it makes the next one a little less honest.

Looks at a set that held half of these items or more count, too: a row that was mended or added makes no fresh test set.

>>> ledger = note(store, gate(view))                                                                  # doctest: +SKIP
>>> ledger.sentence()                                                                                 # doctest: +SKIP
'Verdict 7 on this test set, 23 candidates seen so far.'
"""

from __future__ import annotations

from dataclasses import dataclass

from evalharness.store import Store, VerdictRow
from evalharness.verdict.records import Verdict
from evalharness.verdict.wording import several

WARN_AT = 10


@dataclass(frozen=True, slots=True)
class Ledger:
    """The number of this verdict among those on its test set, and the candidates that all of them looked at; `before` of the
    verdicts are older than the set's rows are now."""

    number: int
    candidates: int
    before: int = 0

    @property
    def worn(self) -> bool:
        """Whether the test set was used so often that a fresh one is due."""
        return self.number >= WARN_AT

    def sentence(self) -> str:
        """What people are told of it."""
        before = f" ({self.before} of them before its rows changed)" if self.before else ""
        text = f"Verdict {self.number} on this test set{before}, {several(self.candidates, 'candidate')} seen so far."
        return f"{text} It has been looked at often: results on fresh held-out rows would be more honest." if self.worn else text


def note(store: Store, verdict: Verdict) -> Ledger:
    """Store a gate's or a decision's verdict and count it. The same verdict on the same scores counts once."""
    rows = store.verdicts_about(verdict.dataset_id)
    if verdict.verdict_id not in {row.verdict_id for row in rows}:
        store.put_verdict(verdict.as_row())
        rows = store.verdicts_about(verdict.dataset_id)
    return _count([row for row in rows if row.kind in ("gate", "decide")], verdict.verdict_id)


def _count(rows: list[VerdictRow], verdict_id: str) -> Ledger:
    number = [row.verdict_id for row in rows].index(verdict_id) + 1
    before = sum(row.dataset_id != rows[number - 1].dataset_id for row in rows[:number])
    seen: set[str] = set()
    for row in rows[:number]:
        evidence = row.json["evidence"]
        assert isinstance(evidence, dict)  # as_row wrote it
        references = evidence["against"].split(", ")  # several where arms are held against another run's; labels have no comma
        seen |= {arm_id for label, arm_id in evidence["arm_ids"].items() if label not in references}
    return Ledger(number, len(seen), before)
