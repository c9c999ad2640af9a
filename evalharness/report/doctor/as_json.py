"""The doctor's findings as JSON for programs: ASCII, one object.

>>> json.loads(text(examination))["refuses"]                                                           # doctest: +SKIP
True
"""

from __future__ import annotations

import json
from typing import Any

from evalharness.doctor.examine import Examination
from evalharness.doctor.findings import Finding


def text(seen: Examination) -> str:
    """The whole examination; `rows` of a finding are the numbers that --fix takes out."""
    found = [_finding(finding) for finding in seen.findings]
    whole = {
        "suite": seen.suite,
        "refuses": seen.refuses,
        "rows": dict(seen.rows),
        "broken": dict(seen.broken),
        "errors": seen.count("error"),
        "warnings": seen.count("warning"),
        "notes": seen.count("note"),
        "findings": found,
        "skipped": list(seen.skipped),
    }
    return json.dumps(whole, indent=1) + "\n"


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "count": finding.count,
        "found": finding.found,
        "fix": finding.fix,
        "allowed": finding.allowed,
        "figures": dict(finding.figures),
        "removable": len(finding.rows),
        "worst": [{"source": each.source, "other": each.other, "excerpt": each.excerpt} for each in finding.worst],
    }
