"""Rows that cannot be samples, by what is wrong with them.

>>> kind({"messages": [{"role": "bot", "content": "Hi"}]}, DataSpec(test="t.jsonl"))
'format.roles'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evalharness.doctor.findings import MOST_PLACES, BrokenRow, Finding, Place
from evalharness.spec import DataSpec

KINDS = {
    "format.unreadable": ("cannot be read", "Mend the line"),
    "format.roles": ("have turns in an order or of a role that no chat has", "Use system (first), user and assistant"),
    "format.answer": ("have no answer to learn or to compare with", "Fill it in, or take the row out"),
    "format.empty": ("have an empty question or turn", "Fill it in, or take the row out"),
    "format.schema": ("lack the question's column or hold something else than text", "Give all rows of a file the same columns"),
    "format.text": ("hold characters that no tokenizer takes", "Take them out"),
}
IDS = tuple(KINDS)
_ROLES = {"system", "user", "assistant"}
_SPEAKERS = {"human": "user", "gpt": "assistant"}


def kind(values: Mapping[str, Any] | None, spec: DataSpec) -> str:
    """The rule that a row which is no sample breaks; `values` is None where it could not be read."""
    if values is None:
        return "format.unreadable"
    chat = _value(values, spec, "messages")
    if chat is not None:
        return _of_chat(chat)
    talk = _value(values, spec, "conversations")
    if talk is not None:
        return _of_chat([_turn(each) for each in talk] if isinstance(talk, list) else talk)
    pair = ("prompt", "completion") if _has(values, spec, "prompt") and not _has(values, spec, "input") else ("input", "target")
    if not _has(values, spec, pair[0]):
        return "format.schema"
    if _empty(_value(values, spec, pair[0])):
        return "format.empty"
    return "format.answer" if _empty(_value(values, spec, pair[1])) else _of_text(values)


def _turn(turn: Any) -> Any:
    """ShareGPT's turn as a chat's."""
    if not isinstance(turn, dict) or not isinstance(turn.get("from"), str):
        return turn
    return {"role": _SPEAKERS.get(turn["from"], turn["from"]), "content": turn.get("value")}


def _columns(spec: DataSpec, name: str) -> tuple[str, ...]:
    return spec.fields.get(name, (name,))


def _has(values: Mapping[str, Any], spec: DataSpec, name: str) -> bool:
    return any(column in values for column in _columns(spec, name))


def _value(values: Mapping[str, Any], spec: DataSpec, name: str) -> Any:
    return next((values[column] for column in _columns(spec, name) if column in values), None)


def _empty(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_empty, value))
    return value is None or (isinstance(value, str) and not value.strip())


def _of_chat(turns: Any) -> str:
    if not isinstance(turns, list):
        return "format.schema"
    if not turns:
        return "format.empty"
    if not all(isinstance(turn, dict) for turn in turns):
        return "format.schema"
    roles = [turn.get("role") for turn in turns]
    if any(role not in _ROLES for role in roles if isinstance(role, str)) or not all(isinstance(role, str) for role in roles):
        return "format.roles"
    if _empty(turns[-1].get("content")) and roles[-1] == "assistant":
        return "format.answer"
    if any(_empty(turn.get("content")) for turn in turns):
        return "format.empty"
    if "user" not in roles or "system" in roles[1:]:
        return "format.roles"
    return "format.answer" if roles[-1] != "assistant" else _of_text({"": [turn.get("content") for turn in turns]})


def _of_text(values: Mapping[str, Any]) -> str:
    """Characters, if any text is to blame; else something that is no text."""
    texts = [text for value in values.values() for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    return "format.text" if any("\0" in text or not _encodes(text) for text in texts) else "format.schema"


def _encodes(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass
class _Kind:
    """Rows of one kind: how many, their numbers, the first few, and what was said how often."""

    numbers: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    fixes: Counter[str] = field(default_factory=Counter)


@dataclass
class Broken:
    """Counts broken rows by rule; numbers of all, places of the first."""

    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def add(self, row: BrokenRow) -> None:
        """One broken row."""
        found = self._kinds.setdefault(row.rule, _Kind())
        found.numbers.append(row.number)
        if len(found.places) < MOST_PLACES:
            found.places.append(Place(row.source, row.found))
            found.fixes[row.fix] += 1

    def findings(self) -> Iterator[Finding]:
        """One error a kind: nothing can be run before they are mended or taken out."""
        for rule, (what, usual) in KINDS.items():
            if (found := self._kinds.get(rule)) is not None:
                n = len(found.numbers)
                fix = next((fix for fix, _ in found.fixes.most_common(1) if fix), usual)
                numbers = tuple(found.numbers)
                out = "; evalh check SUITE --fix OUT writes copies without them"
                yield Finding(rule, "error", n, _said(n, what), fix + out, tuple(found.places), numbers, about=numbers)


def _said(n: int, what: str) -> str:
    one = {"have": "has", "cannot": "cannot", "lack": "lacks", "hold": "holds"}
    verb, _, rest = what.partition(" ")
    return f"1 row {one[verb]} {rest}" if n == 1 else f"{n:,} rows {what}"
