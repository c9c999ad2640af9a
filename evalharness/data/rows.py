"""Rows -> samples: chat `messages`, ShareGPT's `conversations`, `prompt`/`completion` or `input`/`target`; columns may be renamed.

>>> spec = DataSpec.model_validate({"test": "t.csv", "fields": {"input": "text", "target": "label"}})
>>> sample_of(Row({"text": "2+2?", "label": "4"}, "t.csv", 2), spec, Faults(), strict=True).targets
('4',)
"""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

from evalharness.data.files import Faults, Row
from evalharness.data.leaks import input_key
from evalharness.records import Message, Sample
from evalharness.spec import DataSpec

_EXAMPLE = 'Rows hold "messages" (or "conversations"), or "prompt" and "completion", or "input" and "target"'
_ANSWERS = ("target", "completion", "messages", "conversations")
_ROLES = ("system", "user", "assistant")
_SPEAKERS = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}
_TURNS = {
    "messages": 'A turn is {"role": "user", "content": "..."}',
    "conversations": 'A turn is {"from": "human", "value": "..."}',
}
_TOOLS = "Rows are texts: write calls and results of tools as text, or take the row out"


class Unfit(Exception):
    """A row that cannot be a sample: what was found, what to do."""

    def __init__(self, found: str, fix: str = "") -> None:
        super().__init__(found)
        self.found, self.fix = found, fix


def sample_of(row: Row, spec: DataSpec, faults: Faults, *, strict: bool, occurrence: int = 0, answered: bool = True) -> Sample | None:
    """The row as a sample, or None after a fault. `strict` (held-out rows) wants cluster and slice fields in the row.

    Without `answered` the row may have no target (an empty one, no such column, a chat that ends with the user's turn).

    Columns that are no answer become `fields`, under evalh's name for them where `fields:` gives one.
    """
    try:
        messages, targets = _content(row, spec, answered)
        return Sample.of(
            messages,
            targets,
            fields=_fields(row, spec),
            cluster=_cluster(row, spec, strict=strict),
            slices={name: _slice(row, spec, name, strict=strict) for name in spec.slices},
            source=row.where,
            occurrence=occurrence,
        )
    except Unfit as unfit:
        faults.add(row.file, row.line, unfit.found, unfit.fix)
        return None


def field_names(row: Row, spec: DataSpec) -> frozenset[str]:
    """What a prompt template may name for rows like this one, `input` included."""
    return frozenset(_fields(row, spec)) | {"input"}


def _columns(spec: DataSpec, name: str) -> tuple[str, ...]:
    return spec.fields.get(name, (name,))


def _has(row: Row, spec: DataSpec, name: str) -> bool:
    return any(column in row.values for column in _columns(spec, name))


def _content(row: Row, spec: DataSpec, answered: bool) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    if _has(row, spec, "messages"):
        return _chat(_value(row, spec, "messages"), answered, "messages")
    if _has(row, spec, "conversations"):
        return _chat(_messages(_value(row, spec, "conversations")), answered, "conversations")
    question, answer = ("prompt", "completion") if _has(row, spec, "prompt") and not _has(row, spec, "input") else ("input", "target")
    message = Message("user", _required(_value(row, spec, question), question))
    if not answered and (not _has(row, spec, answer) or _value(row, spec, answer) in (None, "", [])):
        return (message,), ()
    return (message,), _targets(_value(row, spec, answer), answer)


def _value(row: Row, spec: DataSpec, name: str) -> Any:
    """The field's value; a list where several columns make it. Missing columns are unfit, with those that are there."""
    columns = _columns(spec, name)
    if missing := [column for column in columns if column not in row.values]:
        there = ", ".join(_shown(column) for column in list(row.values)[:20]) or "none"
        fix = f"Columns: {there}. {_EXAMPLE}; for other names write data.fields: {{{name}: COLUMN}}"
        raise Unfit(f"there is no {missing[0]!r}", fix)
    values = [row.values[column] for column in columns]
    return values if len(values) > 1 else values[0]


def _shown(column: str) -> str:
    return column[:80] if column.isprintable() else ascii(column[:80])


def _required(value: Any, name: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Unfit(f"{name!r} is empty", "Fill it or take the row out")
    return _text(value, name)


def _text(value: Any, name: str) -> str:
    """A scalar as text. Numbers and booleans as JSON writes them; what no store or tokenizer takes is unfit."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, datetime.date | datetime.time | decimal.Decimal):
        return str(value)
    if not isinstance(value, str):
        raise Unfit(f"{name!r} is {_kind(value)}, expected text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit(f"{name!r} holds half of a surrogate pair", "Write the character itself or both \\u escapes") from None
    if "\0" in value:
        raise Unfit(f"{name!r} holds a NUL character", "Take it out")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bytes: "binary", type(None): "empty"}
    return names.get(type(value), f"a {type(value).__name__}")


def _targets(value: Any, name: str) -> tuple[str, ...]:
    """Accepted answers, best first; empty ones of several are left out, all empty is unfit."""
    if not isinstance(value, list):
        return (_required(value, name),)
    targets = tuple(_text(each, name) for each in value if each is not None and each != "")
    if not any(target.strip() for target in targets):
        raise Unfit(f"{name!r} is empty", "Fill it or take the row out")
    return targets


def _messages(turns: Any) -> Any:
    """ShareGPT's turns ({"from": "human", "value": ...}) as chat turns; what is none stays as it is."""
    if not isinstance(turns, list):
        return turns
    return [
        {"role": _SPEAKERS.get(turn["from"], turn["from"]) if isinstance(turn["from"], str) else None, "content": turn.get("value")}
        if isinstance(turn, dict) and "from" in turn
        else turn
        for turn in turns
    ]


def _chat(value: Any, answered: bool, name: str) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """All turns but the last are the input, the last (assistant) one is the target."""
    if not isinstance(value, list) or not value:
        raise Unfit(f"{name!r} is {_kind(value) if value else 'empty'}, expected turns", _TURNS[name])
    turns = [_turn(turn, i, name) for i, turn in enumerate(value)]
    if turns[-1].role != "assistant" and answered:
        raise Unfit(f"the last turn is of the {turns[-1].role}", "End with the assistant's turn: it is the target")
    if not any(turn.role == "user" for turn in turns):
        raise Unfit("no turn is of the user", "Put the question before the assistant's turn")
    if any(turn.role == "system" for turn in turns[1:]):
        raise Unfit("a system turn is not the first", "Put it first")
    if turns[-1].role != "assistant":
        return tuple(turns), ()
    return tuple(turns[:-1]), (turns[-1].content,)


def _turn(turn: Any, i: int, name: str) -> Message:
    if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
        raise Unfit(f"'{name}[{i}]' has no role", _TURNS[name])
    if turn["role"] not in _ROLES:
        if turn["role"] in ("tool", "function"):
            raise Unfit(f"'{name}[{i}]' is the result of a tool", _TOOLS)
        raise Unfit(f"'{name}[{i}]' has the role {turn['role'][:40]!a}", f"Known: {', '.join(_ROLES if name == 'messages' else _SPEAKERS)}")
    if turn.get("content") in (None, "") and (turn.get("tool_calls") or turn.get("function_call")):
        raise Unfit(f"'{name}[{i}]' calls a tool instead of saying something", _TOOLS)
    return Message(turn["role"], _required(_joined(turn.get("content")), f"{name}[{i}].{'content' if name == 'messages' else 'value'}"))


def _joined(content: Any) -> Any:
    """A list of text parts as one text; anything else as it is."""
    if not isinstance(content, list):
        return content
    said = [part["text"] for part in content if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)]
    return "".join(said) if said and len(said) == len(content) else content


def _fields(row: Row, spec: DataSpec) -> dict[str, str]:
    """Every column but inputs and answers, as text; lists and objects as JSON; empty ones as ''."""
    used = {column for name in ("input", "prompt", *_ANSWERS) for column in _columns(spec, name)}
    renamed = {column: name for name, columns in spec.fields.items() for column in columns if name not in ("input", "prompt", *_ANSWERS)}
    return {
        _text(renamed.get(name, name), "a column's name"): _any_text(value, name) for name, value in row.values.items() if name not in used
    }


def _any_text(value: Any, name: str) -> str:
    if value is None:
        return ""
    return _text(json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value, name)


def _cluster(row: Row, spec: DataSpec, *, strict: bool) -> str | None:
    if spec.cluster is None or (not strict and not _has(row, spec, spec.cluster)):
        return None
    value = _value(row, spec, spec.cluster)
    return _required(value, spec.cluster) if strict else _any_text(value, spec.cluster) or None


def _slice(row: Row, spec: DataSpec, name: str, *, strict: bool) -> str:
    if not strict and not _has(row, spec, name):
        return ""
    return _any_text(_value(row, spec, name), name)


def split_group(row: Row, sample: Sample, spec: DataSpec, faults: Faults) -> str | None:
    """What keeps rows on one side of a split: the field that `split.by` or `cluster` names, else the input. None after a fault."""
    assert spec.split is not None  # `file` and `split` need each other
    by = spec.split.by
    field = (spec.cluster or by) if by in (None, "cluster") else by
    if field is None:
        return input_key(sample)
    try:
        return _required(_value(row, spec, field), field)
    except Unfit as unfit:
        faults.add(row.file, row.line, unfit.found, unfit.fix)
        return None


def stratum_of(row: Row, spec: DataSpec, field: str, faults: Faults) -> str:
    """The value that the row is counted under; empty after a fault."""
    try:
        return _any_text(_value(row, spec, field), field)
    except Unfit as unfit:
        faults.add(row.file, row.line, unfit.found, unfit.fix)
        return ""


def has_answer_name(name: str, spec: DataSpec) -> bool:
    """Whether a template that names this would see the answer."""
    return name in {column for answer in _ANSWERS for column in (answer, *_columns(spec, answer))}
