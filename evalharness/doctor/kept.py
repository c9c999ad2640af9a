"""Findings as the store keeps them.

>>> finding = Finding("leak.exact", "error", 2, "2 test inputs are in train", "Take them out", (Place("train.jsonl:7"),))
>>> rows_of([finding])[0].worst
(('train.jsonl:7', '', ''),)

The numbers of the rows that `--fix` would take out are not kept: they are true for the files of that moment only.
"""

from __future__ import annotations

from collections.abc import Iterable

from evalharness.doctor.findings import Finding
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
