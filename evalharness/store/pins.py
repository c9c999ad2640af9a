"""Looking back: runs that were given a name, and who took part in earlier runs.

>>> store.pin("support", "production", run_id)
>>> store.pinned("support", "production")
'01JD…'
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from evalharness.store.database import Database
from evalharness.store.rows import utc_now
from evalharness.store.runs import to_utc
from evalharness.store.text import decode, encode


class Pin(NamedTuple):
    """A run's name within its suite."""

    suite_name: str
    name: str
    run_id: str
    created: datetime


class Part(NamedTuple):
    """That an arm took part in a run, on a dataset."""

    run_id: str
    started: datetime
    dataset_id: str
    position: int
    arm_id: str
    label: str
    role: str


class Pins(Database):
    """The table `pins`, and reads over many runs at once."""

    def pin(self, suite_name: str, name: str, run_id: str) -> None:
        """Give a run a name in its suite; the name leaves the run that had it before."""
        row = [encode(suite_name), encode(name), run_id, to_utc(utc_now())]
        with self.writing() as con:
            con.execute("INSERT OR REPLACE INTO pins (suite_name, name, run_id, created) VALUES (?, ?, ?, ?)", row)

    def pinned(self, suite_name: str, name: str) -> str | None:
        """The id of the suite's run of this name, or None."""
        with self.reading() as con:
            sql = "SELECT run_id FROM pins WHERE suite_name = ? AND name = ?"
            row = con.execute(sql, [encode(suite_name), encode(name)]).fetchone()
        return row[0] if row else None

    def pins(self, suite_name: str | None = None) -> list[Pin]:
        """All pins (of one suite), by suite and name."""
        named = None if suite_name is None else encode(suite_name)
        sql = "SELECT suite_name, name, run_id, created FROM pins WHERE suite_name = ? OR ? IS NULL ORDER BY suite_name, name"
        with self.reading() as con:
            rows = con.execute(sql, [named, named]).fetchall()
        return [Pin(decode(suite), decode(name), run_id, created.replace(tzinfo=UTC)) for suite, name, run_id, created in rows]

    def parts(self, run_ids: Sequence[str], split: str = "test") -> list[Part]:
        """Who took part in these runs on a split, by run, then in the order they were given."""
        sql = """
            SELECT r.run_id, u.started, r.dataset_id, r.position, r.arm_id, r.label, r.role
            FROM run_arms r JOIN runs u USING (run_id) JOIN datasets d USING (dataset_id)
            WHERE list_contains(?::VARCHAR[], r.run_id) AND d.split = ? ORDER BY r.run_id, r.dataset_id, r.position"""
        with self.reading() as con:
            rows = con.execute(sql, [list(run_ids), split]).fetchall()
        return [_part(row) for row in rows]

    def first_part(self, suite_name: str, label: str) -> Part | None:
        """The earliest time that an arm of this label took part in a run of the suite; None if it never did."""
        sql = """
            SELECT r.run_id, u.started, r.dataset_id, r.position, r.arm_id, r.label, r.role
            FROM run_arms r JOIN runs u USING (run_id) JOIN datasets d USING (dataset_id)
            WHERE u.suite_name = ? AND r.label = ? AND d.split = 'test' ORDER BY r.run_id, r.position LIMIT 1"""
        with self.reading() as con:
            row = con.execute(sql, [encode(suite_name), encode(label)]).fetchone()
        return None if row is None else _part(row)

    def sample_ids(self, dataset_id: str) -> frozenset[str]:
        """The ids of a dataset's samples, without their texts."""
        with self.reading() as con:
            rows = con.execute("SELECT sample_id FROM samples WHERE dataset_id = ?", [dataset_id]).fetchall()
        return frozenset(row[0] for row in rows)


def _part(row: tuple[Any, ...]) -> Part:
    run_id, started, dataset_id, position, arm_id, label, role = row
    return Part(run_id, started.replace(tzinfo=UTC), dataset_id, position, arm_id, decode(label), role)
