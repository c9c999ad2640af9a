from __future__ import annotations

import json
from typing import Any

from evalharness.reading import json_schemas


def properties(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    parts = {"": schema, **schema.get("$defs", {})}
    return {f"{title}.{name}": field for title, part in parts.items() for name, field in part.get("properties", {}).items()}


def test_every_key_says_what_it_is() -> None:
    for schema in json_schemas().values():
        assert not [name for name, field in properties(schema).items() if not field.get("description")]


def test_unknown_keys_are_marked() -> None:
    for schema in json_schemas().values():
        objects = [schema, *schema.get("$defs", {}).values()]
        assert all(part["additionalProperties"] is False for part in objects)


def test_short_forms_are_allowed() -> None:
    suite = properties(json_schemas()["suite"])
    assert {"type": "integer"} in suite["CandidateSpec.shots"]["anyOf"]
    assert {"type": "string"} in suite["DataSpec.slices"]["anyOf"]
    assert {"type": "integer"} in suite["CandidateSpec.seeds"]["anyOf"]
    assert "string" in {option.get("type") for option in suite["DataSpec.test"]["anyOf"]}


def test_schemas_are_json() -> None:
    assert json.loads(json.dumps(json_schemas())) == json_schemas()
