"""The results store: one DuckDB file, opened for milliseconds at a time. The only SQL of the project is in this package.

>>> store = Store("results/evalh.duckdb")
>>> store.put_dataset(dataset)
>>> with store.writer() as writer:
...     writer.put(output, score)
>>> store.score_tables(arm_ids, dataset.id, [metric_id])[metric_id].stats.shape
(2, 1200, 1, 1)

database.py opens, locks, migrates and explains errors; data.py, runs.py, trainings.py, answers.py and tables.py are the
tables by topic; writer.py and flush.py write outputs and scores in groups; text.py is how text is kept.
"""

from __future__ import annotations

from typing import Any

from evalharness.errors import StoreError
from evalharness.store.answers import Answers
from evalharness.store.costs import Costs
from evalharness.store.data import Data
from evalharness.store.database import Database
from evalharness.store.findings import FindingRow, Findings
from evalharness.store.labels import Answered, Label, Labelled, Labels
from evalharness.store.pins import Part, Pin, Pins
from evalharness.store.rows import DatasetHead, KnownOutput, MetricRow, Resource, Run, RunArm, Training, Usage, VerdictRow
from evalharness.store.runs import Runs
from evalharness.store.spending import Spending, Spendings
from evalharness.store.tables import ERROR, MISSING, OK, TRUNCATED, ScoreTable, Tables
from evalharness.store.text import decode
from evalharness.store.texts import Answer, Texts
from evalharness.store.writer import Writer

__all__ = [
    "ERROR",
    "MISSING",
    "OK",
    "TRUNCATED",
    "Answer",
    "Answered",
    "DatasetHead",
    "FindingRow",
    "KnownOutput",
    "Label",
    "Labelled",
    "MetricRow",
    "Part",
    "Pin",
    "Resource",
    "Run",
    "RunArm",
    "ScoreTable",
    "Spending",
    "Store",
    "Training",
    "Usage",
    "VerdictRow",
    "Writer",
]


class Store(Data, Runs, Costs, Answers, Tables, Pins, Spendings, Texts, Labels, Findings):
    """The results store at a path. Making one touches nothing; every method opens the file, works and closes.

    Reading a store that does not exist gives what an empty one would; the first write creates it. While another
    process has the file, methods wait up to `wait_s` seconds, then raise StoreError naming it. Threads may share a
    store. Every method raises StoreError if the file cannot be opened, written or understood.
    """

    def writer(self) -> Writer:
        """A `Writer` for outputs and scores; use it in a `with` block."""
        return Writer(self)

    def sql(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a query. Nothing can be changed, and no file, setting or network reached.

        Times are naive and in UTC. Raises StoreError with DuckDB's words if the query is wrong.
        """
        import duckdb

        try:
            with Database(self.path, wait_s=self.wait_s).reading() as con:  # in an engine of its own, locked for good
                con.execute("SET enable_external_access = false")
                con.execute("SET lock_configuration = true")
                result = con.execute(query)
                names = [column[0] for column in result.description or ()]
                rows = result.fetchall()
        except duckdb.Error as error:
            raise StoreError(f"sql: {error}") from error
        return names, [tuple(decode(value) if isinstance(value, str) else value for value in row) for row in rows]
