"""JSON answers: whether one is valid, and which share of its fields is right.

In YAML: `json_valid`, `json_match`, `json_match: {fields: [order.id, items], ignore_order: true}`.

>>> from evalharness.records import Message, Reply, Sample
>>> sample = Sample.of([Message("user", "Read it")], ['{"id": 7, "city": "Paris"}'])
>>> reply = Reply("o1", '{"id": 7, "city": "Rome"}', "stop")
>>> JsonMatch().score(sample, reply), JsonMatch().why(sample, reply)
((0.5,), 'city: "Rome" for "Paris"')
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from evalharness import metrics, protocols
from evalharness.errors import DataError, Problem
from evalharness.metrics import PerSample
from evalharness.records import Reply, Sample

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)
_PLACE = re.compile(r"(?<!\\)\[\d+\]")
_SHOWN, _LISTED, _DEEPEST = 60, 5, 100


class JsonValidOptions(protocols.Options):
    """What counts as JSON (RFC 8259: no NaN, no comments; a key twice in one object is refused, too)."""

    shorthand: ClassVar[str | None] = "type"

    type: Literal["any", "object", "array"] = "any"
    fence: bool = True
    """An answer that is one ```json block, and nothing else, is what the block holds."""


class JsonValid(PerSample):
    """1 if the answer is JSON, else 0. Needs no target."""

    Options: ClassVar[type[protocols.Options]] = JsonValidOptions
    name = "json_valid"
    needs_targets = False
    options: JsonValidOptions
    kind: Literal["binary", "mean", "corpus"] = "binary"

    def __init__(self, options: JsonValidOptions | None = None) -> None:
        super().__init__(options or JsonValidOptions())

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """1 if it parses and has the wanted type."""
        try:
            found = parsed(metrics.text_of(reply), fence=self.options.fence)
        except NotJson:
            return (0.0,)
        wanted = {"any": object, "object": dict, "array": list}[self.options.type]
        return (float(isinstance(found, wanted)),)

    def why(self, sample: Sample, reply: Reply) -> str | None:
        """Why it is no JSON; None if it is."""
        try:
            parsed(metrics.text_of(reply), fence=self.options.fence)
        except NotJson as error:
            return str(error)
        return None


class JsonMatchOptions(protocols.Options):
    """Which fields count, and when two values are the same."""

    shorthand: ClassVar[str | None] = "fields"

    fields: tuple[str, ...] = ()
    """Only these and what is below them: `order.id`, `items`; all of the target's fields if none is given."""
    ignore_order: bool = False
    """Lists are bags: each entry of the target is right if the answer's list holds it."""
    strict: bool = False
    """Fields that the target lacks count as wrong, and 1, 1.0 and "1" are different; else text and numbers that say the same are equal."""
    fence: bool = True
    """An answer that is one ```json block, and nothing else, is what the block holds."""


class JsonMatch(PerSample):
    """Share of the target's fields (leaves of the JSON tree) that the answer has right, 0 to 1; the best of the targets."""

    Options: ClassVar[type[protocols.Options]] = JsonMatchOptions
    name = "json_match"
    options: JsonMatchOptions

    def __init__(self, options: JsonMatchOptions | None = None) -> None:
        super().__init__(options or JsonMatchOptions())

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """0 for an answer that is no JSON. Raises DataError for a target that is none, or that has none of the fields."""
        return (self._compared(sample, reply)[0],)

    def why(self, sample: Sample, reply: Reply) -> str | None:
        """Which fields differ from the nearest target; None if none does."""
        wrong = [text for _, text in self._compared(sample, reply)[1]]
        more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        return "; ".join(wrong[:_LISTED]) + more if wrong else None

    def faults(self, sample: Sample, reply: Reply) -> list[str]:
        """The fields that differ from the nearest target, each once, list positions left out: `items[].id`."""
        return list(dict.fromkeys(_PLACE.sub("[]", path) or "the whole" for path, _ in self._compared(sample, reply)[1]))

    def _compared(self, sample: Sample, reply: Reply) -> tuple[float, list[tuple[str, str]]]:
        """The share of the best target, and (field, what is wrong with it) of each other one."""
        text = metrics.text_of(reply)
        targets = [self._target(sample, target) for target in metrics.targets_of(sample, self.name)]
        try:
            answer = self._fields(parsed(text, fence=self.options.fence))
        except NotJson as error:
            return 0.0, [("", str(error))]
        return max((self._against(answer, target) for target in targets), key=lambda found: found[0])

    def _target(self, sample: Sample, text: str) -> Counter[tuple[str, str]]:
        try:
            found = self._fields(parsed(text, fence=self.options.fence))
        except NotJson as error:
            raise DataError([Problem(sample.source, "target", f"is no JSON ({error})", "json_match compares JSON with JSON")]) from None
        if not found:
            fix = f"Fields asked for: {', '.join(self.options.fields)}" if self.options.fields else ""
            raise DataError([Problem(sample.source, "target", "has none of the fields to compare", fix)])
        return found

    def _fields(self, tree: Any) -> Counter[tuple[str, str]]:
        """(path, value) of every leaf that counts."""
        bag, strict = self.options.ignore_order, self.options.strict
        leaves = ((path, value) for path, value in _leaves(tree, "", bag) if self._counts(path))
        return Counter((path, _written(_same(value, strict=strict, bag=bag))) for path, value in leaves)

    def _counts(self, path: str) -> bool:
        wanted = self.options.fields
        return not wanted or any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in wanted)

    def _against(self, answer: Counter[tuple[str, str]], target: Counter[tuple[str, str]]) -> tuple[float, list[tuple[str, str]]]:
        right = (answer & target).total()
        extra, missed = answer - target, target - answer
        spare: dict[str, list[str]] = {}
        for path, value in extra.elements():
            spare.setdefault(path, []).append(value)
        wrong = [(path, _difference(path, value, spare.get(path))) for path, value in missed.elements()]
        if not self.options.strict:
            return right / target.total(), wrong
        unknown = [(path, f"{path}: {_short(value)} is not in the target") for path, values in spare.items() for value in values]
        return right / (answer | target).total() if right else 0.0, wrong + unknown


class NotJson(ValueError):
    """A text that is no JSON, and why."""


def parsed(text: str, *, fence: bool) -> Any:
    """The value of a JSON text. Raises NotJson."""
    block = _FENCE.fullmatch(text.strip()) if fence else None
    try:
        found = json.loads(block[1] if block else text, parse_constant=_refuse, object_pairs_hook=_object)
        if _deep(found):
            raise NotJson(f"nested more than {_DEEPEST} deep")
    except NotJson:
        raise
    except RecursionError:
        raise NotJson("nested too deep") from None
    except ValueError as error:
        raise NotJson(f"no JSON: {error}") from None
    return found


def _refuse(name: str) -> Any:
    raise NotJson(f"no JSON: {name} is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise NotJson(f"the key {_short(twice)} comes twice in one object")
    return found


def _deep(tree: Any) -> bool:
    level, depth = [tree], 0
    while level and depth <= _DEEPEST:
        level = [
            each for value in level if isinstance(value, dict | list) for each in (value.values() if isinstance(value, dict) else value)
        ]
        depth += 1
    return bool(level)


def _leaves(tree: Any, path: str, bag: bool) -> Iterator[tuple[str, Any]]:
    """(path, value): `items[0].id`; in bags `items[]` with the whole entry. Empty objects and lists are leaves."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            name = re.sub(r"([\\.\[\]])", r"\\\1", str(key))
            yield from _leaves(value, f"{path}.{name}" if path else name, bag)
    elif isinstance(tree, list) and tree:
        for number, value in enumerate(tree):
            if bag:
                yield f"{path}[]", value
            else:
                yield from _leaves(value, f"{path}[{number}]", bag)
    else:
        yield path, tree


def _same(value: Any, *, strict: bool, bag: bool) -> Any:
    """The value with what says the same written the same: 1, 1.0 and " 1 " are "1", lists that are bags sorted."""
    if isinstance(value, Mapping):
        return {key: _same(each, strict=strict, bag=bag) for key, each in value.items()}
    if isinstance(value, list):
        entries = [_same(each, strict=strict, bag=bag) for each in value]
        return sorted(entries, key=_written) if bag else entries
    if strict or isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split())


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _difference(path: str, wanted: str, found: list[str] | None) -> str:
    where = path or "the whole"
    return f"{where}: {_short(found.pop(0))} for {_short(wanted)}" if found else f"{where}: missing, {_short(wanted)} expected"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
