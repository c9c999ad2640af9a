"""One flush: outputs and scores into their tables inside one transaction, replacing what they supersede.

>>> with database.writing() as con:
...     blocks = write(con, outputs, scores, known={})
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from evalharness.errors import StoreError
from evalharness.records import Output, Score
from evalharness.store.text import encode_or_none

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_CHANGED = """
SELECT o.block, o.output_id FROM outputs o JOIN new_outputs n ON n.block = o.block AND n.output_id = o.output_id
WHERE n.outcome_key <> o.outcome_key
"""
_DROP_STALE_SCORES = f"""
CREATE TEMP TABLE changed AS {_CHANGED};
DELETE FROM scores USING changed c WHERE scores.block = c.block AND scores.output_id = c.output_id;
DELETE FROM scores WHERE other_output_id IN (SELECT output_id FROM changed);
DELETE FROM labels WHERE output_id IN (SELECT output_id FROM changed) OR other_output_id IN (SELECT output_id FROM changed);
DROP TABLE changed
"""
_REPLACE_OUTPUTS = """
DELETE FROM outputs USING new_outputs n WHERE outputs.block = n.block AND outputs.output_id = n.output_id;
INSERT INTO outputs BY NAME SELECT * FROM new_outputs
"""
_REPLACE_SCORES = """
DELETE FROM scores USING new_scores n WHERE scores.block = n.block AND scores.output_id = n.output_id
    AND scores.metric_id = n.metric_id AND scores.other_output_id IS NOT DISTINCT FROM n.other_output_id;
INSERT INTO scores BY NAME SELECT * FROM new_scores
"""


def write(con: duckdb.DuckDBPyConnection, outputs: Sequence[Output], scores: Sequence[Score], known: dict[str, int]) -> dict[str, int]:
    """Write the records. `known` maps output ids to blocks; returns the same for the ids that were not in it.

    An output replaces the one with its id; if its outcome differs, the scores and labels of the old one go. A score replaces the
    one with the same output, metric and other output. Raises StoreError for a score whose output is not stored.
    """
    blocks = _write_outputs(con, outputs) if outputs else {}
    where = ChainMap(blocks, known)
    if unknown := {score.output_id for score in scores if score.output_id not in where}:
        blocks.update(_look_up(con, unknown))
    if scores:
        con.register("new_scores", _score_table(scores, where))
        con.execute(_REPLACE_SCORES)
    return blocks


def _write_outputs(con: duckdb.DuckDBPyConnection, outputs: Sequence[Output]) -> dict[str, int]:
    arms = _blocks(con, {output.arm_id for output in outputs})
    blocks = {output.output_id: arms[output.arm_id] for output in outputs}
    con.register("new_outputs", _output_table(outputs, blocks))
    if con.execute(f"{_CHANGED} LIMIT 1").fetchone():
        con.execute(_DROP_STALE_SCORES)
    con.execute(_REPLACE_OUTPUTS)
    return blocks


def _blocks(con: duckdb.DuckDBPyConnection, arm_ids: Collection[str]) -> dict[str, int]:
    """arm id -> block number; new arms get the next numbers."""
    known: dict[str, int] = dict(con.execute("SELECT arm_id, block FROM blocks").fetchall())
    for arm_id in sorted(arm_ids - known.keys()):
        known[arm_id] = len(known) + 1
        con.execute("INSERT INTO blocks VALUES (?, ?)", [known[arm_id], arm_id])
    return known


def _look_up(con: duckdb.DuckDBPyConnection, output_ids: set[str]) -> dict[str, int]:
    """Blocks of stored outputs, with all their neighbours: this scans the table, and the next flush will ask for those."""
    sql = """
        SELECT output_id, block FROM outputs
        WHERE block IN (SELECT DISTINCT block FROM outputs WHERE list_contains(?::VARCHAR[], output_id))"""
    found = dict(con.execute(sql, [list(output_ids)]).fetchall())
    if missing := output_ids - found.keys():
        raise StoreError(f"{len(missing)} scores belong to outputs that are not stored, e.g. {min(missing)}. Store the output first")
    return found


def _output_table(outputs: Sequence[Output], blocks: Mapping[str, int]) -> pa.Table:
    import pyarrow as pa

    replies = [output.reply for output in outputs]
    return pa.table(
        {
            "block": pa.array([blocks[output.output_id] for output in outputs], pa.int32()),
            "output_id": [output.output_id for output in outputs],
            "arm_id": [output.arm_id for output in outputs],
            "dataset_id": [output.dataset_id for output in outputs],
            "sample_id": [output.sample_id for output in outputs],
            "repeat": pa.array([output.repeat for output in outputs], pa.int32()),
            "text": _texts([reply.text for reply in replies]),
            "finish": [reply.finish for reply in replies],
            "prompt_tokens": pa.array([reply.prompt_tokens for reply in replies], pa.int64()),
            "completion_tokens": pa.array([reply.completion_tokens for reply in replies], pa.int64()),
            "latency_s": pa.array([reply.latency_s for reply in replies], pa.float64()),
            "cost_usd": pa.array([reply.cost_usd for reply in replies], pa.float64()),
            "error": _texts([reply.error for reply in replies]),
            "raw": _texts([reply.raw for reply in replies]),
            "outcome_key": [output.outcome_key for output in outputs],
            "run_id": [output.run_id for output in outputs],
        }
    )


def _score_table(scores: Sequence[Score], blocks: Mapping[str, int]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "block": pa.array([blocks[score.output_id] for score in scores], pa.int32()),
            "score_id": [score.score_id for score in scores],
            "output_id": [score.output_id for score in scores],
            "metric_id": [score.metric_id for score in scores],
            "other_output_id": pa.array([score.other_output_id for score in scores], pa.string()),
            "value": pa.array([score.value for score in scores], pa.float64()),
            "stats": pa.array([score.stats for score in scores], pa.list_(pa.float64())),
            "why": _texts([score.why for score in scores]),
            "error": _texts([score.error for score in scores]),
            "cost_usd": pa.array([score.cost_usd for score in scores], pa.float64()),
        }
    )


def _texts(texts: Sequence[str | None]) -> pa.Array:
    import pyarrow as pa

    return pa.array([encode_or_none(text) for text in texts], pa.large_string())
