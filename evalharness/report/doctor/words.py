"""What all renderers of the doctor's findings say in the same words.

>>> several(1, "error"), several(3, "error")
('1 error', '3 errors')
"""

from __future__ import annotations

from evalharness.doctor.examine import Examination
from evalharness.doctor.findings import Finding, Place


def several(count: int, noun: str) -> str:
    """ "1 error", "3 errors"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def headline(seen: Examination) -> str:
    """The answer in one line."""
    errors, warnings, notes = (seen.count(severity) for severity in ("error", "warning", "note"))
    if errors:
        return f"{several(errors, 'error')}, {several(warnings, 'warning')}, {several(notes, 'note')}: mend the errors before you train"
    if warnings:
        return f"No errors, {several(warnings, 'warning')}, {several(notes, 'note')}"
    return f"Clean: no errors, no warnings, {several(notes, 'note')}"


def rows(seen: Examination) -> str:
    """How many rows of each side were looked at."""
    parts = [f"{count:,} {side}" for side, count in seen.rows.items()]
    lost = sum(seen.broken.values())
    return f"{', '.join(parts) or 'no'} rows" + (f", {lost:,} that cannot be read" if lost else "")


def level(finding: Finding) -> str:
    """The finding's severity, or that it is allowed."""
    return "allowed" if finding.allowed is not None else finding.severity


def brief(finding: Finding) -> str:
    """What was found, without what follows from it."""
    return finding.found.partition(": ")[0].partition("; ")[0]


def place(each: Place) -> tuple[str, str]:
    """Where ("train.csv:7 ↔ :3" within one file), and what stands there."""
    file = each.source.rpartition(":")[0]
    other = each.other[len(file) :] if file and each.other.startswith(f"{file}:") else each.other
    return (f"{each.source} ↔ {other}" if other else each.source), each.excerpt
