"""What the data checks found when a run began.

>>> store.put_findings(run_id, [FindingRow("leak.exact", "error", 2, "2 test inputs are in train", allowed="known")])
>>> [(row.rule, row.refuses) for row in store.findings(run_id)]
[('leak.exact', False)]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from evalharness.store.database import Database
from evalharness.store.text import decode_or_none, encode, encode_or_none, from_json, to_json

_LEAKED = "leaked"
"""The rule of the row that holds which items were also learned from."""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding as stored. `worst` are (file:line, excerpt, what it clashes with); `allowed` is the suite's reason."""

    rule: str
    severity: str
    count: int
    found: str
    fix: str = ""
    worst: tuple[tuple[str, str, str], ...] = ()
    allowed: str | None = None
    figures: Mapping[str, float | int | str] = field(default_factory=dict)

    @property
    def refuses(self) -> bool:
        """An error that nobody allowed."""
        return self.severity == "error" and self.allowed is None


class Findings(Database):
    """The table `findings`."""

    def put_findings(self, run_id: str, findings: Sequence[FindingRow], leaked: Collection[str] = ()) -> None:
        """Store a run's findings in order; replaces what was stored for the run.

        `leaked` are the ids of held-out samples that the run also learned from, and was allowed to.
        """
        with self.writing() as con:
            con.execute("DELETE FROM findings WHERE run_id = ?", [run_id])
            for position, each in enumerate(findings):
                rest = to_json({"found": each.found, "fix": each.fix, "worst": each.worst, "figures": dict(each.figures)})
                row = [run_id, position, each.rule, each.severity, each.count, encode_or_none(each.allowed), rest]
                con.execute(
                    "INSERT INTO findings (run_id, position, rule, severity, count, allowed, json) VALUES (?, ?, ?, ?, ?, ?, ?)", row
                )
            if leaked:
                row = [run_id, len(findings), _LEAKED, "note", len(leaked), to_json(sorted(leaked))]
                con.execute("INSERT INTO findings (run_id, position, rule, severity, count, json) VALUES (?, ?, ?, ?, ?, ?)", row)

    def leaked(self, run_id: str) -> frozenset[str]:
        """Ids of the held-out samples that the run also learned from."""
        with self.reading() as con:
            row = con.execute("SELECT json FROM findings WHERE run_id = ? AND rule = ?", [run_id, _LEAKED]).fetchone()
        return frozenset(from_json(row[0])) if row else frozenset()

    def last_findings(self, suite_name: str, dataset_id: str) -> list[FindingRow]:
        """What was found for the suite's newest run on these items whose data was checked."""
        sql = (
            "SELECT max(run_id) FROM findings JOIN runs USING (run_id) JOIN run_arms USING (run_id) "
            "WHERE suite_name = ? AND dataset_id = ? AND rule != ?"
        )
        with self.reading() as con:
            row = con.execute(sql, [encode(suite_name), dataset_id, _LEAKED]).fetchone()
        return self.findings(row[0]) if row and row[0] is not None else []

    def findings(self, run_id: str) -> list[FindingRow]:
        """The findings of a run, in the order they were given; empty for a run whose data nobody checked."""
        with self.reading() as con:
            sql = "SELECT rule, severity, count, allowed, json FROM findings WHERE run_id = ? AND rule != ? ORDER BY position"
            rows = con.execute(sql, [run_id, _LEAKED]).fetchall()
        return [_row(*row) for row in rows]


def _row(rule: str, severity: str, count: int, allowed: str | None, rest: str) -> FindingRow:
    told = from_json(rest)
    worst = tuple((source, excerpt, other) for source, excerpt, other in told["worst"])
    return FindingRow(rule, severity, count, told["found"], told["fix"], worst, decode_or_none(allowed), told["figures"])
