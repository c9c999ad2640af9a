"""Validation errors in plain words: which key, what was found, what to do.

>>> join(("metrics", 2, "judge", "model"))
'metrics[2].judge.model'
>>> nearest("exact_mach", ["bleu", "exact_match"])
"Did you mean 'exact_match'?"
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from evalharness.errors import Problem

Key = tuple[str | int, ...]

_SECRET = re.compile(r"(api|access|private)[_-]?key$|secret|password|authorization|(^|_)token$", re.IGNORECASE)
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "mapping_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "path_type": "a path",
}
_QUOTE = "YAML reads yes, no, on and off as true or false: put a word in quotes"
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def join(key: Sequence[str | int]) -> str:
    """A key as people write it: names by dots, list places in brackets."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def nearest(name: str, known: Iterable[str]) -> str:
    """`Did you mean ...?`, or what is known if nothing is near; empty if nothing is known."""
    there = sorted(set(known))
    if near := difflib.get_close_matches(name, there, n=1):
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(there)}" if there else ""


def explain(error: ValidationError, value: object, model: type[BaseModel], file: str, prefix: Key = ()) -> list[Problem]:
    """One problem for each thing that pydantic refused in `value`, which stands in the file below `prefix`."""
    by_key: dict[str, list[tuple[Key, ErrorDetails]]] = {}
    for detail in error.errors(include_url=False):
        key = (*prefix, *_in_file(detail, value))
        by_key.setdefault(join(key), []).append((key, detail))
    return [problem for key, details in by_key.items() if not _follows(key, details, by_key) for problem in _explain(details, model, file)]


def _follows(key: str, details: list[tuple[Key, ErrorDetails]], keys: Iterable[str]) -> bool:
    """A list is also called too short when all of its items were refused; the items' own errors say more."""
    return all(detail["type"] == "too_short" for _, detail in details) and any(other.startswith(f"{key}[") for other in keys)


def _in_file(detail: ErrorDetails, value: object) -> Key:
    """Pydantic's location without what is not in the file: names of union members, places in lists that were no lists."""
    key: list[str | int] = []
    parts = [part for part in detail["loc"] if part != "[key]"]
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if _holds(value, part):
            value = value[part]  # type: ignore[index]
        elif not (last and detail["type"] == "missing"):
            continue
        key.append(part)
    return tuple(key)


def _holds(value: object, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _explain(details: list[tuple[Key, ErrorDetails]], model: type[BaseModel], file: str) -> Iterator[Problem]:
    """Problems of one key; several refused types (the members of a union) become one problem."""
    types = [(key, detail) for key, detail in details if detail["type"] in _EXPECTED]
    if types:
        key, detail = types[0]
        wanted = list(dict.fromkeys(_EXPECTED[each["type"]] for _, each in types))
        fix = _QUOTE if wanted == ["text"] and isinstance(detail["input"], bool) else ""
        yield Problem(file, join(key), f"expected {' or '.join(wanted)}, found {shown(detail['input'], key)}", fix)
    for key, detail in details:
        if detail["type"] not in _EXPECTED:
            found, fix = _words(key, detail, model)
            yield Problem(file, join(key), found, fix)


def _words(key: Key, detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "evalh":
        return context["found"], context["fix"]
    if kind == "extra_forbidden":
        return "unknown key", nearest(str(key[-1]), fields_at(model, detail["loc"][:-1]))
    if kind == "missing":
        return "missing", f"Add {key[-1]}"
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"expected {words} {context[name]:g}, found {shown(detail['input'], key)}", ""
    if kind == "literal_error":
        return f"expected {context['expected']}, found {shown(detail['input'], key)}", ""
    if kind == "too_short":
        return "is empty", f"Add at least {context['min_length']}"
    return detail["msg"].removeprefix("Value error, "), ""


def shown(value: object, key: Key = ()) -> str:
    """The value for a message: short, and never a secret."""
    if any(isinstance(part, str) and _SECRET.search(part) for part in key):
        return "a value that is not shown"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "keys with values"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def fields_at(annotation: Any, loc: Sequence[str | int]) -> set[str]:
    """The names that are allowed at pydantic's location below a type; empty if it is no model."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not loc:
            return set(annotation.model_fields)
        field = annotation.model_fields.get(str(loc[0]))
        return fields_at(field.annotation, loc[1:]) if field is not None else set()
    if origin is Annotated:
        return fields_at(inner[0], loc)
    if isinstance(origin, type) and issubclass(origin, Mapping | tuple | list):
        return fields_at(inner[-1] if issubclass(origin, Mapping) else inner[0], loc[1:])
    members = (*inner,)  # of a union: its tag may or may not stand in the location
    return {name for member in members for tail in (loc, loc[1:]) for name in fields_at(member, tail) if loc or tail == loc}
