"""Runs, the arms and metrics that took part in them, and their verdicts.

>>> store.start_run(Run(ulid(), "support", suite_yaml, git_sha=None, versions={}, argv=("evalh", "score")))
>>> store.latest_run("support").state
'running'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from evalharness.records import Arm, Sampling
from evalharness.store.database import Database
from evalharness.store.rows import MetricRow, Run, RunArm, VerdictRow, utc_now
from evalharness.store.text import decode, decode_or_none, encode, encode_or_none, from_json, to_json

_RUN = "run_id, suite_name, suite_yaml, git_sha, versions, argv, state, started, finished, notes"


def to_utc(time: datetime | None) -> datetime | None:
    """An aware time as the store's columns hold it: naive, in UTC."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)


def from_utc(time: datetime | None) -> datetime | None:
    """A stored time, aware again."""
    return None if time is None else time.replace(tzinfo=UTC)


class Runs(Database):
    """The tables `runs`, `arms`, `run_arms`, `metrics`, `run_metrics` and `verdicts`."""

    def start_run(self, run: Run) -> None:
        """Store a run that begins."""
        texts = [encode(run.suite_name), encode(run.suite_yaml), encode_or_none(run.git_sha), to_json(run.versions), to_json(run.argv)]
        row = [run.run_id, *texts, run.state, to_utc(run.started), to_utc(run.finished), to_json(run.notes)]
        with self.writing() as con:
            con.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def finish_run(self, run_id: str, state: str) -> None:
        """Store how a run ended (succeeded, failed, cancelled), and when."""
        with self.writing() as con:
            con.execute("UPDATE runs SET state = ?, finished = ? WHERE run_id = ?", [state, to_utc(utc_now()), run_id])

    def runs(self, suite_name: str | None = None, *, before: str | None = None, limit: int | None = None) -> list[Run]:
        """Runs, newest first; of one suite if it is named; only those before the run with the id `before`, if given."""
        wanted = "(suite_name = ? OR ? IS NULL) AND (run_id < ? OR ? IS NULL)"
        name = encode_or_none(suite_name)
        with self.reading() as con:
            sql = f"SELECT {_RUN} FROM runs WHERE {wanted} ORDER BY run_id DESC LIMIT ?"
            rows = con.execute(sql, [name, name, before, before, limit]).fetchall()
        return [_run(row) for row in rows]

    def latest_run(self, suite_name: str | None = None) -> Run | None:
        """The newest run (of a suite), or None."""
        return next(iter(self.runs(suite_name, limit=1)), None)

    def run(self, run_id: str) -> Run | None:
        """The run with this id, or None."""
        with self.reading() as con:
            row = con.execute(f"SELECT {_RUN} FROM runs WHERE run_id = ?", [run_id]).fetchone()
        return _run(row) if row else None

    def put_arms(self, run_id: str, dataset_id: str, arms: Sequence[Arm], errors: Mapping[str, str] | None = None) -> None:
        """Store the arms that a run compares on a dataset, in order; replaces what was stored for that run and dataset.

        `errors` maps the labels of arms that failed to why they did.
        """
        with self.writing() as con:
            con.execute("DELETE FROM run_arms WHERE run_id = ? AND dataset_id = ? AND position >= ?", [run_id, dataset_id, len(arms)])
            for position, arm in enumerate(arms):
                named = [encode(arm.label), arm.role, arm.training_id]
                hashed = [to_json(arm.model), to_json(arm.prompt), to_json(_sampling(arm.sampling))]
                con.execute("INSERT OR REPLACE INTO arms VALUES (?, ?, ?, ?, ?, ?, ?)", [arm.arm_id, *named, *hashed])
                part = [run_id, dataset_id, position, arm.arm_id, *named, encode_or_none((errors or {}).get(arm.label))]
                con.execute("INSERT OR REPLACE INTO run_arms VALUES (?, ?, ?, ?, ?, ?, ?, ?)", part)

    def run_arms(self, run_id: str) -> list[RunArm]:
        """The arms of a run, by dataset and in the order they were given."""
        columns = "r.run_id, r.dataset_id, r.position, r.arm_id, r.label, r.role, r.training_id, a.model, a.prompt, a.sampling, r.error"
        sql = f"SELECT {columns} FROM run_arms r JOIN arms a USING (arm_id) WHERE r.run_id = ? ORDER BY r.dataset_id, r.position"
        with self.reading() as con:
            rows = con.execute(sql, [run_id]).fetchall()
        return [_run_arm(row) for row in rows]

    def put_metrics(self, run_id: str, metrics: Sequence[MetricRow]) -> None:
        """Store the metrics that a run uses, in order; replaces what was stored for that run."""
        with self.writing() as con:
            con.execute("DELETE FROM run_metrics WHERE run_id = ? AND position >= ?", [run_id, len(metrics)])
            for position, m in enumerate(metrics):
                row = [m.metric_id, m.name, m.version, to_json(m.options), m.higher_is_better, *m.range, m.kind]
                con.execute("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                part = [run_id, position, m.metric_id, encode(m.label or m.name)]
                con.execute("INSERT OR REPLACE INTO run_metrics VALUES (?, ?, ?, ?)", part)

    def run_metrics(self, run_id: str) -> list[MetricRow]:
        """The metrics of a run, in the order they were given."""
        columns = "metric_id, name, version, options, higher_is_better, range_low, range_high, kind, label"
        sql = f"SELECT {columns} FROM run_metrics JOIN metrics USING (metric_id) WHERE run_id = ? ORDER BY position"
        with self.reading() as con:
            rows = con.execute(sql, [run_id]).fetchall()
        return [_metric(*row) for row in rows]

    def put_verdict(self, verdict: VerdictRow) -> None:
        """Store a verdict; every use of a held-out set is counted by these rows."""
        v = verdict
        row = [v.verdict_id, v.run_id, v.kind, v.dataset_id, v.outcome, to_json(v.json), to_utc(v.created)]
        with self.writing() as con:
            con.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def verdicts(self, dataset_id: str, kind: str | None = None) -> list[VerdictRow]:
        """The verdicts reached on a dataset (of one kind), oldest first."""
        sql = f"SELECT {_VERDICT} FROM verdicts WHERE dataset_id = ? AND (kind = ? OR ? IS NULL) ORDER BY created, verdict_id"
        with self.reading() as con:
            rows = con.execute(sql, [dataset_id, kind, kind]).fetchall()
        return [_verdict(row) for row in rows]

    def verdicts_about(self, dataset_id: str) -> list[VerdictRow]:
        """The verdicts reached on a dataset, and on others that hold half of its samples or more, oldest first."""
        with self.reading() as con:
            rows = con.execute(_ABOUT, [dataset_id] * 3).fetchall()
        return [_verdict(row) for row in rows]


_VERDICT = "verdict_id, run_id, kind, dataset_id, outcome, json, created"
_ABOUT = f"""
    WITH mine AS (SELECT sample_id FROM samples WHERE dataset_id = ?)
    SELECT {_VERDICT} FROM verdicts WHERE dataset_id = ? OR dataset_id IN (
        SELECT dataset_id FROM samples JOIN mine USING (sample_id)
        WHERE dataset_id IN (SELECT dataset_id FROM verdicts WHERE dataset_id <> ?)
        GROUP BY dataset_id HAVING 2 * count(*) >= (SELECT count(*) FROM mine)
    ) ORDER BY created, verdict_id
"""


def _run(row: tuple[Any, ...]) -> Run:
    run_id, name, yaml, sha, versions, argv, state, started, finished, notes = row
    return Run(
        run_id, decode(name), decode(yaml), decode_or_none(sha), from_json(versions), tuple(from_json(argv)), state,
        started.replace(tzinfo=UTC), from_utc(finished), tuple(from_json(notes)),
    )  # fmt: skip


def _sampling(s: Sampling) -> dict[str, object]:
    return {"max_tokens": s.max_tokens, "temperature": s.temperature, "top_p": s.top_p, "stop": s.stop, "seed": s.seed}


def _run_arm(row: tuple[Any, ...]) -> RunArm:
    run_id, dataset_id, position, arm_id, label, role, training_id, model, prompt, sampling, error = row
    settings = from_json(sampling)
    decoding = Sampling(**{**settings, "stop": tuple(settings["stop"])})
    arm = Arm(arm_id, decode(label), role, from_json(model), from_json(prompt), decoding, training_id)
    return RunArm(run_id, dataset_id, position, arm, decode_or_none(error))


def _verdict(row: tuple[Any, ...]) -> VerdictRow:
    verdict_id, run_id, kind, dataset_id, outcome, json, created = row
    return VerdictRow(verdict_id, run_id, kind, dataset_id, outcome, from_json(json), created.replace(tzinfo=UTC))


def _metric(
    metric_id: str, name: str, version: str, options: str, higher: bool, low: float, high: float, kind: Any, label: str
) -> MetricRow:
    return MetricRow(metric_id, name, version, from_json(options), higher, (low, high), kind, decode(label))
