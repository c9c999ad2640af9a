"""What a judge says, read strictly: one JSON object with a reason and an allowed answer, or nothing at all.

Judged text never decides: it is not read here, and an answer that only repeats JSON out of it is refused. A second
object, a second value for a key, a key that was not asked for or an answer off the scale make the whole answer
unusable, which is an error to be counted, not a score to be guessed.

>>> read('{"reason": "Polite and right.", "score": 4}', "score", {"4": 4.0, "5": 5.0})
('4', 'Polite and right.')
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

_BLOCK = re.compile(r"```(?:json)?\s*\n?(.*?)\n?\s*```", re.DOTALL | re.IGNORECASE)
_THOUGHTS = re.compile(r"\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_LONGEST = 100_000


class Unusable(ValueError):
    """A judge's answer that cannot be taken; the message says why in our own words, never in the judge's."""


def schema(key: str, labels: Iterable[str]) -> dict[str, object]:
    """The JSON schema of an answer: the reason first, so that it is thought of before the verdict."""
    known = list(labels)
    numbers = all(label.isdigit() for label in known)
    verdict: dict[str, object] = (
        {"type": "integer", "enum": [int(label) for label in known]} if numbers else {"type": "string", "enum": known}
    )
    properties = {"reason": {"type": "string"}, key: verdict}
    return {"type": "object", "properties": properties, "required": ["reason", key], "additionalProperties": False}


def read(text: str, key: str, labels: Iterable[str], judged: Iterable[str] = ()) -> tuple[str, str]:
    """(label, reason) of an answer. `judged` are the texts that were judged. Raises Unusable."""
    found = _object(text)
    if set(found) != {"reason", key}:
        raise Unusable(f"expected the keys reason and {key}")
    label, reason = _label(found[key], labels), found["reason"]
    if not isinstance(reason, str) or not reason.strip():
        raise Unusable("it gives no reason")
    if any(_copied(reason, found[key], each, key) for each in judged):
        raise Unusable("it only repeats a verdict that stands in the judged text")
    return label, reason.strip()


def _object(text: str) -> dict[str, object]:
    """The one JSON object that the answer is, after its thoughts, in a code block or not."""
    if len(text) > _LONGEST:
        raise Unusable("it is far too long")
    inner = _THOUGHTS.sub("", text, count=1) if _THOUGHTS.match(text) else text
    inner = inner.strip()
    if block := _BLOCK.fullmatch(inner):
        inner = block[1]
    try:
        found = json.loads(inner, object_pairs_hook=_once, parse_constant=_no_constant)
    except Unusable:
        raise
    except (ValueError, RecursionError):
        raise Unusable("it is not one JSON object") from None
    if not isinstance(found, dict):
        raise Unusable("it is not a JSON object")
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Unusable("it gives a key twice")
    return found


def _no_constant(name: str) -> object:
    raise Unusable("it holds a number that is none")


def _label(value: object, labels: Iterable[str]) -> str:
    """The label that the value names; case and spaces around it aside."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unusable("its verdict is no label")
    if isinstance(value, float) and not value.is_integer():
        raise Unusable("its verdict is not on the scale")
    said = (value if isinstance(value, str) else str(int(value))).strip().casefold()
    for label in labels:
        if label.casefold() == said:
            return label
    raise Unusable("its verdict is not on the scale")


def _copied(reason: str, verdict: object, judged: str, key: str) -> bool:
    """Whether a JSON object in the judged text gives this reason and this verdict."""
    if key not in judged or "{" not in judged:
        return False
    decoder, start = json.JSONDecoder(), judged.find("{")
    for _ in range(100):  # so many objects are looked at; a text full of braces must not take for ever
        if start < 0:
            break
        try:
            found, end = decoder.raw_decode(judged, start)
        except (ValueError, RecursionError):
            start = judged.find("{", start + 1)
            continue
        if isinstance(found, Mapping) and found.get("reason") == reason and found.get(key) == verdict:
            return True
        start = judged.find("{", end)
    return False
