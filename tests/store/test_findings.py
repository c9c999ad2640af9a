"""A run's findings go in and come out as they were, hostile text included."""

from __future__ import annotations

from pathlib import Path

from evalharness.doctor.findings import Finding, Place
from evalharness.doctor.kept import rows_of
from evalharness.store import FindingRow, Store

LEAK = Finding(
    "leak.exact", "error", 2, "2 test inputs are in train", "Take them out",
    (Place("train.jsonl:7", "half \ud83d \x1b[31m \0 \U0010fffd", "test.jsonl:1"), Place("train.jsonl:9")),
    figures={"share": 0.25, "inputs": 2, "looked": "own"},
)  # fmt: skip
NOTE = Finding("outlier.length", "note", 1, "x", "y", allowed="they are all like that \udc00")


def test_findings_come_back_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path / "evalh.duckdb")
    assert store.findings("run1") == []
    store.put_findings("run1", rows_of([NOTE, LEAK]))
    store.put_findings("run2", rows_of([LEAK]))
    assert store.findings("run1") == rows_of([NOTE, LEAK])
    assert [row.refuses for row in store.findings("run1")] == [False, True]
    assert store.sql("SELECT rule, severity, count FROM findings WHERE run_id = 'run1' ORDER BY position")[1] == [
        ("outlier.length", "note", 1),
        ("leak.exact", "error", 2),
    ]


def test_a_run_checked_again_keeps_the_last_findings_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "evalh.duckdb")
    store.put_findings("run1", rows_of([NOTE, LEAK]))
    store.put_findings("run1", [FindingRow("leak.exact", "error", 1, "one", allowed="known")])
    (row,) = store.findings("run1")
    assert (row.found, row.refuses, row.worst) == ("one", False, ())
    store.put_findings("run1", [])
    assert store.findings("run1") == []
