"""Trainings with their loss points, and the ledger of everything that is paid for.

>>> store.put_points("t1", [Point(10, train_loss=1.2), Point(20, train_loss=0.9)])
>>> [point.step for point in store.points("t1")]
[10, 20]
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

from evalharness.ids import digest
from evalharness.records import Point, TrainedModel
from evalharness.store.database import Database
from evalharness.store.rows import Resource, Training, utc_now
from evalharness.store.runs import from_utc, to_utc
from evalharness.store.text import decode, decode_or_none, encode, encode_or_none, from_json, to_json

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_TRAINING = "training_id, runner, base, params, seed, data_id, state, model, tokens, cost_usd, seconds, error, run_id"
_RESOURCE = (
    "resource_id, kind, provider, intent_key, state, provider_id, price_usd_per_hour, opened, closed, run_id, note, settings, "
    "estimate_usd, cost_usd"
)


class Trainings(Database):
    """The tables `trainings`, `training_points` and `resources`, and the rows that runs can train on."""

    def put_training(self, training: Training, resource: Resource | None = None) -> None:
        """Store a training, or replace what was known of it; with the row of what was paid for it both are stored, or neither."""
        t = training
        given = [t.training_id, t.runner, encode(t.base), to_json(t.params), t.seed, t.data_id]
        result = [t.state, _model_json(t.model), t.tokens, t.cost_usd, t.seconds, encode_or_none(t.error)]
        row = [*given, *result, t.run_id, to_utc(utc_now())]
        with self.writing() as con:
            con.execute(f"INSERT OR REPLACE INTO trainings ({_TRAINING}, updated) VALUES ({', '.join('?' * 14)})", row)
            if resource is not None:
                _put_resource(con, resource)

    def training(self, training_id: str) -> Training | None:
        """The training with this id, or None."""
        with self.reading() as con:
            row = con.execute(f"SELECT {_TRAINING} FROM trainings WHERE training_id = ?", [training_id]).fetchone()
        return _training(row) if row else None

    def put_train_rows(self, run_id: str, sample_ids: Sequence[str]) -> None:
        """Store which labelled rows a run can train on; a set that is known is not stored again."""
        ids = sorted(set(sample_ids))
        with self.writing() as con:
            con.execute("INSERT OR IGNORE INTO row_sets (rows_id, sample_ids) VALUES (?, ?)", [digest(ids), ids])
            con.execute("INSERT OR REPLACE INTO run_rows (run_id, rows_id) VALUES (?, ?)", [run_id, digest(ids)])

    def train_rows(self, run_id: str) -> frozenset[str] | None:
        """The ids of the labelled rows that the run could train on; None if nobody stored them."""
        with self.reading() as con:
            sql = "SELECT sample_ids FROM run_rows JOIN row_sets USING (rows_id) WHERE run_id = ?"
            row = con.execute(sql, [run_id]).fetchone()
        return frozenset(row[0]) if row else None

    def usual_seconds(self, runner: str, base: str) -> float | None:
        """Median seconds of the finished trainings of this base by this runner; None if there is none."""
        sql = "SELECT median(seconds) FROM trainings WHERE runner = ? AND base = ? AND state = 'succeeded'"
        with self.reading() as con:
            row = con.execute(sql, [runner, encode(base)]).fetchone()
        return row[0] if row else None

    def put_points(self, training_id: str, points: Sequence[Point]) -> None:
        """Store a training's logged points; a point of a known step replaces it."""
        import pyarrow as pa

        columns = {name: [getattr(p, name) for p in points] for name in ("train_loss", "dev_loss", "learning_rate", "seconds")}
        floats = {name: pa.array(values, pa.float64()) for name, values in columns.items()}
        steps = pa.array([p.step for p in points], pa.int32())
        table = pa.table({"training_id": pa.array([training_id] * len(points), pa.string()), "step": steps, **floats})
        with self.writing() as con:
            con.register("new_points", table)
            con.execute("INSERT OR REPLACE INTO training_points BY NAME SELECT * FROM new_points")

    def points(self, training_id: str) -> list[Point]:
        """A training's points by step."""
        sql = "SELECT step, train_loss, dev_loss, learning_rate, seconds FROM training_points WHERE training_id = ? ORDER BY step"
        with self.reading() as con:
            return [Point(*row) for row in con.execute(sql, [training_id]).fetchall()]

    def put_resource(self, resource: Resource) -> None:
        """Store a resource or its new state; on disk when this returns, so commit the intent before buying."""
        with self.writing() as con:
            _put_resource(con, resource)

    def open_resources(self) -> list[Resource]:
        """Everything that is not closed and may cost money now, oldest first."""
        return self._resources("closed IS NULL", [])

    def resources(self, intent_key: str) -> list[Resource]:
        """Every resource that was meant by this intent key, oldest first."""
        return self._resources("intent_key = ?", [intent_key])

    def _resources(self, where: str, values: list[str]) -> list[Resource]:
        with self.reading() as con:
            rows = con.execute(f"SELECT {_RESOURCE} FROM resources WHERE {where} ORDER BY opened, resource_id", values).fetchall()
        return [_resource(row) for row in rows]


def _put_resource(con: DuckDBPyConnection, r: Resource) -> None:
    named = [r.resource_id, r.kind, r.provider, r.intent_key, r.state, encode_or_none(r.provider_id)]
    times = [r.price_usd_per_hour, to_utc(r.opened), to_utc(r.closed), r.run_id, encode(r.note)]
    row = [*named, *times, to_json(r.settings), r.estimate_usd, r.cost_usd]
    con.execute(f"INSERT OR REPLACE INTO resources ({_RESOURCE}) VALUES ({', '.join('?' * 14)})", row)


def _model_json(model: TrainedModel | None) -> str | None:
    if model is None:
        return None
    parts = {"model": model.model, "adapter": model.adapter, "identity": model.identity, "facts": model.facts}
    return to_json({**parts, "checkpoints": model.checkpoints})


def _training(row: tuple[Any, ...]) -> Training:
    training_id, runner, base, params, seed, data_id, state, model, tokens, cost_usd, seconds, error, run_id = row
    trained = None
    if model is not None:
        parts = from_json(model)
        trained = TrainedModel(**{**parts, "checkpoints": tuple(parts["checkpoints"])})
    return Training(
        training_id, runner, decode(base), from_json(params), seed, data_id, state, trained, tokens, cost_usd, seconds,
        decode_or_none(error), run_id,
    )  # fmt: skip


def _resource(row: tuple[Any, ...]) -> Resource:
    resource_id, kind, provider, intent_key, state, provider_id, price, opened, closed, run_id, note, settings, estimate, cost = row
    times = opened.replace(tzinfo=UTC), from_utc(closed)
    named = resource_id, kind, provider, intent_key, state, decode_or_none(provider_id), price
    return Resource(*named, *times, run_id, decode(note), from_json(settings), estimate, cost)
