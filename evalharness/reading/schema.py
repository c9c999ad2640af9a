"""JSON schemas of the two YAML files, so that editors complete keys and show what they mean.

>>> json_schemas()["trainer"]["properties"]["runner"]["description"]
'Who trains: a registered runner or `path.py:Name`.'
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalharness import spec
from evalharness.spec import Suite, Trainer


def json_schemas() -> dict[str, dict[str, Any]]:
    """{"suite": schema, "trainer": schema}, JSON Schema 2020-12; descriptions are the fields' docstrings in spec.py."""
    docs = dict(_docstrings())
    found = {}
    for name, model in (("suite", Suite), ("trainer", Trainer)):
        schema = model.model_json_schema(mode="validation")
        for title, part in {model.__name__: schema, **schema.get("$defs", {})}.items():
            _describe(part, docs.get(title, {}))
        found[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return found


def _describe(part: dict[str, Any], docs: dict[str, str]) -> None:
    for name, field in part.get("properties", {}).items():
        if name in docs:
            field["description"] = docs[name]


def _docstrings() -> Iterator[tuple[str, dict[str, str]]]:
    """(class, field -> docstring) in file order; a class has its parent's, too. Read when asked for: importing stays quick."""
    known: dict[str, dict[str, str]] = {}
    for node in ast.parse(Path(spec.__file__).read_text("utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        docs = dict(next((known[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in known), {}))
        for field, text in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                docs[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
        known[node.name] = docs
        yield node.name, docs
