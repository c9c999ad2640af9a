"""Scores as arrays, for statistics: arms × samples × repeats × statistics, read in one pass.

>>> table = store.score_tables([a.arm_id, b.arm_id], dataset.id, [metric_id])[metric_id]
>>> table.stats.shape
(2, 1200, 1, 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalharness.store.answers import among, find_blocks
from evalharness.store.database import Database
from evalharness.store.text import from_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Floats = npt.NDArray[np.float64]

MISSING, OK, TRUNCATED, ERROR = 0, 1, 2, 3
"""Outcome codes of `ScoreTable.outcomes`: no output stored, finish stop, finish length, finish error."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """One metric's scores of several arms on one dataset. Samples are in file order, arms in the order asked for."""

    metric_id: str
    arm_ids: tuple[str, ...]
    sample_ids: tuple[str, ...]
    stats: Floats
    """(arms, n, repeats, k) statistics; NaN where there is no score or the metric failed."""
    values: Floats
    """(arms, n, repeats) finished value of each score; NaN like `stats`."""
    outcomes: npt.NDArray[np.int8]
    """(arms, n, repeats) MISSING, OK, TRUNCATED or ERROR: what became of the output."""
    failed: npt.NDArray[np.bool_]
    """(arms, n, repeats) True where the metric itself failed on an output."""
    clusters: npt.NDArray[np.int64] | None
    """(n,) cluster numbers, a sample without one being its own; None if no sample has a cluster."""
    slices: dict[str, npt.NDArray[np.object_]]
    """slice name -> (n,) values; "" where a sample has none."""


class Tables(Database):
    """Fast reads for verdicts and leaderboards."""

    def score_tables(
        self, arm_ids: Sequence[str], dataset_id: str, metric_ids: Sequence[str], *, other_arm_id: str | None = None
    ) -> dict[str, ScoreTable]:
        """metric id -> its scores of these arms on the dataset.

        Pairwise metrics: `other_arm_id` picks the scores against that arm's outputs; without it only scores of single
        outputs are read.
        """
        metric_ids = list(dict.fromkeys(metric_ids))
        with self.reading() as con:
            blocks = find_blocks(con, arm_ids)
            samples = con.execute(
                "SELECT sample_id, cluster, slices FROM samples WHERE dataset_id = ? ORDER BY position", [dataset_id]
            ).fetchall()
            other = find_blocks(con, [other_arm_id]) if other_arm_id is not None else None
            outputs = con.sql(_OUTPUTS.format(where=among(blocks, "o.block")), params=[dataset_id]).to_arrow_table()
            condition = f"{among(blocks, 'c.block')} AND {among(blocks, 'o.block')} AND {_other(other)}"
            scores = con.sql(_SCORES.format(where=condition), params=[dataset_id, metric_ids]).to_arrow_table()
        return _tables(tuple(arm_ids), metric_ids, samples, blocks, outputs, scores)


_OUTPUTS = """
SELECT o.block, s.position, o.repeat, (CASE o.finish WHEN 'error' THEN 3 WHEN 'length' THEN 2 ELSE 1 END)::TINYINT AS outcome
FROM outputs o JOIN samples s ON s.sample_id = o.sample_id WHERE s.dataset_id = ? AND {where}
"""
_SCORES = """
SELECT o.block, s.position, o.repeat, (list_position($2::VARCHAR[], c.metric_id) - 1)::INTEGER AS metric,
    coalesce(c.value, 'nan'::DOUBLE) AS value, (c.error IS NULL)::TINYINT AS fine,
    CASE WHEN c.error IS NULL THEN c.stats ELSE [] END AS stats
FROM scores c JOIN outputs o ON o.block = c.block AND o.output_id = c.output_id JOIN samples s ON s.sample_id = o.sample_id
WHERE s.dataset_id = $1 AND list_contains($2::VARCHAR[], c.metric_id) AND {where}
"""


def _other(blocks: dict[str, int] | None) -> str:
    if blocks is None:
        return "c.other_output_id IS NULL"
    return f"c.other_output_id IN (SELECT output_id FROM outputs WHERE {among(blocks)})"


def _tables(
    arm_ids: tuple[str, ...],
    metric_ids: list[str],
    samples: list[tuple[Any, ...]],
    blocks: dict[str, int],
    outputs: pa.Table,
    scores: pa.Table,
) -> dict[str, ScoreTable]:
    import numpy as np

    row_of = np.zeros(max(blocks.values(), default=0) + 1, np.int64)
    known = list(dict.fromkeys(arm_ids))
    for arm_id, block in blocks.items():
        row_of[block] = known.index(arm_id)
    at = _cells(outputs, row_of)
    repeats = int(at[2].max(initial=0)) + 1
    outcomes = np.zeros((len(known), len(samples), repeats), np.int8)
    outcomes[at] = _numbers(outputs, "outcome", np.int8)
    order = np.array([known.index(arm_id) for arm_id in arm_ids], np.int64)  # two labels may name one arm
    clusters, slices = _clusters([row[1] for row in samples]), _slices([row[2] for row in samples])
    tables, found = {}, _Scores.of(scores, row_of)
    for number, metric_id in enumerate(metric_ids):
        stats, finished, failed = _metric(found, number, outcomes.shape)
        ids = tuple(row[0] for row in samples)
        parts = (stats[order], finished[order], outcomes[order], failed[order])
        tables[metric_id] = ScoreTable(metric_id, arm_ids, ids, *parts, clusters, slices)
    return tables


def _numbers(table: pa.Table, name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
    """A column without nulls as its chunks lie in memory. pyarrow's own to_numpy imports pandas first, if there is one."""
    import numpy as np

    parts = [
        np.frombuffer(chunk.buffers()[1], kind)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in table.column(name).chunks
        if len(chunk)
    ]
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _cells(table: pa.Table, row_of: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """The (arm, position, repeat) index of every row."""
    import numpy as np

    return (row_of[_numbers(table, "block", np.int32)], _numbers(table, "position", np.int32), _numbers(table, "repeat", np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """The rows of the score query: where each belongs, its metric's number, its value and its statistics in `flat`."""

    at: tuple[npt.NDArray[np.int64], ...]
    metric: npt.NDArray[np.int32]
    value: Floats
    fine: npt.NDArray[np.bool_]
    flat: Floats
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @staticmethod
    def of(table: pa.Table, row_of: npt.NDArray[np.int64]) -> _Scores:
        import numpy as np

        flats, lengths = [np.empty(0)], [np.empty(0, np.int64)]
        for chunk in table.column("stats").chunks:
            offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            if len(chunk):
                flats.append(np.frombuffer(chunk.values.buffers()[1], np.float64)[chunk.values.offset :][offsets[0] : offsets[-1]])
                lengths.append(np.diff(offsets).astype(np.int64))
        sizes = np.concatenate(lengths)
        fine = _numbers(table, "fine", np.int8).astype(np.bool_)
        values = np.where(fine, _numbers(table, "value", np.float64), np.nan)
        metric = _numbers(table, "metric", np.int32)
        return _Scores(_cells(table, row_of), metric, values, fine, np.concatenate(flats), np.cumsum(sizes) - sizes, sizes)


def _metric(scores: _Scores, number: int, shape: tuple[int, ...]) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Statistics, values and failures of the metric with this number, spread over arms × samples × repeats."""
    import numpy as np

    mine = np.flatnonzero(scores.metric == number)
    at = tuple(index[mine] for index in scores.at)
    lengths, starts = scores.lengths[mine], scores.starts[mine]
    stats = np.full((*shape, int(lengths.max(initial=1))), np.nan)
    if len(lengths) and (lengths == lengths[0]).all():  # as good as always; the way below takes five times as long
        stats[..., : int(lengths[0])][at] = scores.flat[starts[:, None] + np.arange(lengths[0])]
    else:
        row = np.repeat(np.arange(len(lengths)), lengths)
        k = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        stats[at[0][row], at[1][row], at[2][row], k] = scores.flat[starts[row] + k]
    values, failed = np.full(shape, np.nan), np.zeros(shape, np.bool_)
    values[at], failed[at] = scores.value[mine], ~scores.fine[mine]
    return stats, values, failed


def _clusters(names: list[str | None]) -> npt.NDArray[np.int64] | None:
    import numpy as np

    if not any(name is not None for name in names):
        return None
    numbers: dict[object, int] = {}
    keys = ((index if name is None else name) for index, name in enumerate(names))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _slices(texts: list[str]) -> dict[str, npt.NDArray[np.object_]]:
    import numpy as np

    rows: list[dict[str, str]] = [from_json(text) for text in texts]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, "") for row in rows], np.object_) for name in names}
