"""Outputs and scores as records, and what outputs took.

>>> store.known_outputs([arm.arm_id])
{'9f…': KnownOutput(finish='stop', outcome_key='5c…')}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evalharness.records import Output, Reply, Score
from evalharness.store.database import Database
from evalharness.store.rows import KnownOutput, Usage
from evalharness.store.text import decode_or_none

if TYPE_CHECKING:
    import duckdb

_REPLY = "text, finish, prompt_tokens, completion_tokens, latency_s, cost_usd, error, raw"
_USAGE = """
SELECT block, count(*), count(*) FILTER (finish = 'stop'), count(*) FILTER (finish = 'length'), count(*) FILTER (finish = 'error'),
    sum(prompt_tokens)::BIGINT, sum(completion_tokens)::BIGINT,
    CASE WHEN count(cost_usd) = count(*) THEN sum(cost_usd ORDER BY output_id) END,
    quantile_cont(latency_s, [0.5, 0.95]) FILTER (finish <> 'error')
FROM outputs WHERE {where} AND sample_id IN (SELECT sample_id FROM samples WHERE dataset_id = ?) GROUP BY block
"""


def find_blocks(con: duckdb.DuckDBPyConnection, arm_ids: Sequence[str]) -> dict[str, int]:
    """arm id -> number of the block that holds its outputs; arms without outputs are left out."""
    sql = "SELECT arm_id, block FROM blocks WHERE list_contains(?::VARCHAR[], arm_id)"
    return dict(con.execute(sql, [list(arm_ids)]).fetchall())


def among(blocks: dict[str, int], column: str = "block") -> str:
    """An SQL condition on block numbers, written out so that DuckDB can skip what lies elsewhere in the file."""
    return f"{column} IN ({', '.join(map(str, sorted(blocks.values())))})" if blocks else "false"


class Answers(Database):
    """The tables `outputs` and `scores`, row by row. They are written by `Writer`."""

    def known_outputs(self, arm_ids: Sequence[str]) -> dict[str, KnownOutput]:
        """output id -> finish and outcome key, of everything these arms answered, on whatever dataset."""
        with self.reading() as con:
            where = among(find_blocks(con, arm_ids))
            rows = con.execute(f"SELECT output_id, finish, outcome_key FROM outputs WHERE {where}").fetchall()
        return {output_id: KnownOutput(finish, key) for output_id, finish, key in rows}

    def outputs(self, arm_id: str, dataset_id: str, sample_ids: Sequence[str] | None = None) -> list[Output]:
        """An arm's outputs on a dataset (for these samples), by the samples' position, then by repeat."""
        with self.reading() as con:
            where = among(find_blocks(con, [arm_id]), "o.block")
            sql = f"""
                SELECT o.output_id, o.sample_id, o.repeat, o.run_id, {_REPLY}
                FROM outputs o JOIN samples s ON s.dataset_id = ? AND s.sample_id = o.sample_id
                WHERE {where} AND (? IS NULL OR list_contains(?::VARCHAR[], o.sample_id)) ORDER BY s.position, o.repeat"""
            wanted = None if sample_ids is None else list(sample_ids)
            rows = con.execute(sql, [dataset_id, wanted, wanted]).fetchall()
        return [_output(arm_id, dataset_id, row) for row in rows]

    def known_scores(self, metric_ids: Sequence[str], arm_ids: Sequence[str]) -> dict[str, str | None]:
        """score id -> error (None if it has none), of these metrics on everything that these arms answered."""
        with self.reading() as con:
            where = among(find_blocks(con, arm_ids))
            sql = f"SELECT score_id, error FROM scores WHERE {where} AND list_contains(?::VARCHAR[], metric_id)"
            rows = con.execute(sql, [list(metric_ids)]).fetchall()
        return {score_id: decode_or_none(error) for score_id, error in rows}

    def scores(self, metric_id: str, arm_id: str, dataset_id: str, sample_ids: Sequence[str] | None = None) -> list[Score]:
        """An arm's scores by one metric on a dataset (for these samples), in the order of `outputs`. For numbers use `score_tables`."""
        with self.reading() as con:
            where = among(find_blocks(con, [arm_id]), "o.block")
            sql = f"""
                SELECT c.score_id, c.output_id, c.metric_id, c.value, c.stats, c.why, c.error, c.cost_usd, c.other_output_id
                FROM scores c JOIN outputs o ON o.block = c.block AND o.output_id = c.output_id
                JOIN samples s ON s.dataset_id = ? AND s.sample_id = o.sample_id
                WHERE {where} AND c.metric_id = ? AND (? IS NULL OR list_contains(?::VARCHAR[], o.sample_id))
                ORDER BY s.position, o.repeat, c.other_output_id"""
            wanted = None if sample_ids is None else list(sample_ids)
            rows = con.execute(sql, [dataset_id, metric_id, wanted, wanted]).fetchall()
        return [_score(row) for row in rows]

    def usage(self, arm_ids: Sequence[str], dataset_id: str) -> dict[str, Usage]:
        """arm id -> tokens, cost, latency and counts by finish; an arm without outputs has n = 0."""
        with self.reading() as con:
            blocks = find_blocks(con, arm_ids)
            rows = con.execute(_USAGE.format(where=among(blocks)), [dataset_id]).fetchall()
        found = {row[0]: _usage(row) for row in rows}
        nothing = Usage(0, {"stop": 0, "length": 0, "error": 0}, None, None, None, None, None)
        return {arm_id: found.get(blocks.get(arm_id), nothing) for arm_id in arm_ids}


def _output(arm_id: str, dataset_id: str, row: tuple[Any, ...]) -> Output:
    output_id, sample_id, repeat, run_id, text, finish, prompt_tokens, completion_tokens, latency_s, cost_usd, error, raw = row
    reply = Reply(
        output_id, decode_or_none(text), finish, prompt_tokens, completion_tokens, latency_s, cost_usd,
        decode_or_none(error), decode_or_none(raw),
    )  # fmt: skip
    return Output(output_id, arm_id, dataset_id, sample_id, repeat, reply, run_id)


def _score(row: tuple[Any, ...]) -> Score:
    score_id, output_id, metric_id, value, stats, why, error, cost_usd, other = row
    return Score(score_id, output_id, metric_id, value, tuple(stats), decode_or_none(why), decode_or_none(error), cost_usd, other)


def _usage(row: tuple[Any, ...]) -> Usage:
    _, n, stop, length, error, prompt_tokens, completion_tokens, cost_usd, latency = row
    p50, p95 = latency or (None, None)
    return Usage(n, {"stop": stop, "length": length, "error": error}, prompt_tokens, completion_tokens, cost_usd, p50, p95)
