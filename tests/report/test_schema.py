"""docs/report-schema.json is what the code says, and every report obeys it."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from evalharness.report import as_json, build
from tests.report.made import Made, trained

FILE = Path(__file__).parents[2] / "docs" / "report-schema.json"


def now() -> str:
    return json.dumps(as_json.schema(), indent=2) + "\n"


def test_the_documented_schema_is_the_code_s() -> None:
    assert FILE.read_text(encoding="utf-8") == now(), "write it again: python -m tests.report.test_schema"


def test_a_report_obeys_the_schema(tmp_path: Path) -> None:
    schema = json.loads(FILE.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    made = Made(n=40, slices=True).arm("few-shot", cost=0.001, errors=[3]).arm("tuned", "candidate", right=0.9, training=trained("t"))
    report = json.loads(as_json.text(build(made.store(tmp_path)[0])))
    Draft202012Validator(schema).validate(report)
    assert next(iter(report)) == "schema"
    assert report["slices"]
    assert report["flips"]


if __name__ == "__main__":
    FILE.write_text(now(), encoding="utf-8")
