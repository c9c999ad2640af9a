"""The report as JSON: the model's fields under their own names, one schema with a version.

`schema` is 1. Fields are only added within a version. Numbers are in the metric's own unit, intervals two-sided, money
in US dollars, times in seconds; null is unknown or unbounded. `rows[].cells[].gain` is positive where the arm is better
than `reference`. `gate` and `decision` hold a verdict: `outcome`, `sentences`, `evidence`.

>>> json.loads(text(report))["rows"][0]["arm"]                                                        # doctest: +SKIP
'tuned'
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evalharness.report.model import Report


def text(report: Report) -> str:
    """The report as ASCII JSON with a line break at the end; the same report gives the same bytes."""
    return json.dumps(as_dict(report), indent=2, allow_nan=False) + "\n"


def as_dict(report: Report) -> dict[str, Any]:
    """The report in dicts, lists, strings and finite numbers; `schema` comes first."""
    found: dict[str, Any] = _finite(asdict(report))
    return {"schema": found.pop("schema"), **found}


def schema() -> dict[str, Any]:
    """The JSON Schema of what `text` writes; docs/report-schema.json is this."""
    from pydantic import TypeAdapter

    found = TypeAdapter(Report).json_schema()
    found["$defs"]["MetricHead"]["properties"]["range"]["prefixItems"] = [{"type": ["number", "null"]}] * 2  # unbounded is null
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
