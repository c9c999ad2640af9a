"""Findings as the store keeps them, and back.

>>> finding = Finding("leak.exact", "error", 2, "2 test inputs are in train", "Take them out", (Place("train.jsonl:7"),))
>>> findings_of(rows_of([finding])) == [finding]
True

The numbers of the rows that `--fix` would take out are not kept: they are true for the files of that moment only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from evalharness.doctor.findings import Finding, Place, Severity
from evalharness.store.findings import FindingRow


def rows_of(findings: Iterable[Finding]) -> list[FindingRow]:
    """What `Store.put_findings` takes."""
    return [
        FindingRow(
            each.rule, each.severity, each.count, each.found, each.fix,
            tuple((place.source, place.excerpt, place.other) for place in each.worst), each.allowed, each.figures,
        )
        for each in findings
    ]  # fmt: skip


def findings_of(rows: Iterable[FindingRow]) -> list[Finding]:
    """What `Store.findings` gave, as findings again."""
    return [
        Finding(
            row.rule, cast(Severity, row.severity), row.count, row.found, row.fix, tuple(Place(*place) for place in row.worst),
            allowed=row.allowed, figures=row.figures,
        )
        for row in rows
    ]  # fmt: skip
