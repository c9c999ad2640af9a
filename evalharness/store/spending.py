"""What a suite has cost so far, over all its runs: answers, scores, and everything in the ledger.

>>> store.spending("support").usd
0.0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalharness.store.answers import among, find_blocks
from evalharness.store.database import Database


@dataclass(frozen=True, slots=True)
class Spending:
    """US dollars of one suite, all its runs together.

    `jobs` holds trainings and deployments: what was charged, else what was expected; what is open counts as expected,
    an open deployment by the hours since it was opened if that is more. `unknown` counts what has neither figure.
    """

    answers: float
    scores: float
    jobs: float
    unknown: int

    @property
    def usd(self) -> float:
        """All of it."""
        return self.answers + self.scores + self.jobs


class Spendings(Database):
    """What was paid, out of the tables `outputs`, `scores` and `resources`."""

    def spending(self, suite_name: str) -> Spending:
        """What the suite of this name has cost so far."""
        with self.reading() as con:
            answers, scores, jobs, unknown = [
                con.execute(sql, [suite_name]).fetchall()[0][0] for sql in (_OUTPUTS, _SCORES, _JOBS, _UNKNOWN)
            ]
        return Spending(answers or 0.0, scores or 0.0, jobs or 0.0, unknown)

    def wasted_answers(self, arm_ids: Sequence[str]) -> dict[str, float]:
        """output id -> dollars that a stored failure of these arms has cost: asking again comes on top."""
        return self._wasted("SELECT output_id, cost_usd FROM outputs WHERE finish = 'error' AND cost_usd > 0 AND ", arm_ids)

    def wasted_scores(self, metric_id: str, arm_ids: Sequence[str]) -> dict[str, float]:
        """score id -> dollars that a metric's failed question about these arms has cost."""
        sql = "SELECT score_id, cost_usd FROM scores WHERE error IS NOT NULL AND cost_usd > 0 AND metric_id = ? AND "
        return self._wasted(sql, arm_ids, metric_id)

    def _wasted(self, sql: str, arm_ids: Sequence[str], *values: str) -> dict[str, float]:
        with self.reading() as con:
            found = con.execute(sql + among(find_blocks(con, arm_ids)), list(values)).fetchall()
        return {key: float(usd) for key, usd in found}

    def share(self, arm_ids: Sequence[str], run_id: str, usd: float) -> float | None:
        """Share what an hourly machine cost among this run's answers of these arms, equally.

        Answers of theirs from killed runs, whose cost nobody knows, count as much each. Returns dollars an answer; None without any.
        """
        with self.writing() as con:
            where = among(find_blocks(con, arm_ids))
            sql = f"SELECT count(*) FROM outputs WHERE {where} AND run_id = ? AND cost_usd IS NULL"
            n: int = con.execute(sql, [run_id]).fetchall()[0][0]
            if n == 0:
                return None
            con.execute(f"UPDATE outputs SET cost_usd = ? WHERE {where} AND cost_usd IS NULL", [usd / n])
        return usd / n


_RUNS = "(SELECT run_id FROM runs WHERE suite_name = ?)"
_SHARED = """
arm_id IN (SELECT arm_id FROM run_arms WHERE training_id IN (
    SELECT json_extract_string(settings, '$.training_id') FROM resources WHERE kind = 'deployment'))
"""
"""Answers whose cost is a share of a deployment's, which is counted as a job already."""
_OUTPUTS = f"SELECT sum(cost_usd) FROM outputs WHERE run_id IN {_RUNS} AND NOT {_SHARED}"
_SCORES = f"""
SELECT sum(cost_usd) FROM scores c WHERE cost_usd IS NOT NULL AND EXISTS (
    SELECT 1 FROM outputs o WHERE o.block = c.block AND o.output_id = c.output_id AND o.run_id IN {_RUNS})
"""
_HOURS = "greatest(0, epoch((now() AT TIME ZONE 'UTC')::TIMESTAMP - opened)) / 3600"
_JOBS = f"""
SELECT sum(coalesce(cost_usd, CASE WHEN closed IS NULL THEN greatest(coalesce(estimate_usd, 0), coalesce(price_usd_per_hour, 0) * {_HOURS})
    ELSE coalesce(estimate_usd, 0) END))
FROM resources WHERE state <> 'refused' AND run_id IN {_RUNS}
"""
_UNKNOWN = f"""
SELECT count(*) FROM resources
WHERE state <> 'refused' AND coalesce(cost_usd, estimate_usd, price_usd_per_hour) IS NULL AND run_id IN {_RUNS}
"""
