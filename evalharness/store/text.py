"""Text as DuckDB can keep it: any Python string in, the same string out.

DuckDB stores UTF-8, which has no lone surrogates (half an emoji, cut by a tokenizer). Each one is stored as U+10FFFD
followed by the surrogate's private-use twin 0x100000 higher; U+10FFFD itself is stored twice. All other text, NUL and
terminal escapes included, is stored as it is.

>>> decode(encode("cut \\ud83d here")) == "cut \\ud83d here"
True
"""

from __future__ import annotations

import json
import re
from typing import Any

_MARK = "\U0010fffd"
_TWIN = 0x100000
_TO_STORE = re.compile(f"[\ud800-\udfff{_MARK}]")
_STORED = re.compile(f"{_MARK}([{_MARK}\U0010d800-\U0010dfff])")


def encode(text: str) -> str:
    """The string as it is stored: valid UTF-8, equal to `text` but for lone surrogates and U+10FFFD."""
    if _MARK not in text:
        try:
            text.encode()
            return text
        except UnicodeEncodeError:
            pass  # a lone surrogate: escaped below
    return _TO_STORE.sub(lambda hit: _MARK + (_MARK if hit[0] == _MARK else chr(ord(hit[0]) + _TWIN)), text)


def decode(text: str) -> str:
    """The inverse of `encode`."""
    if _MARK not in text:
        return text
    return _STORED.sub(lambda hit: _MARK if hit[1] == _MARK else chr(ord(hit[1]) - _TWIN), text)


def encode_or_none(text: str | None) -> str | None:
    """`encode`, passing None on."""
    return None if text is None else encode(text)


def decode_or_none(text: str | None) -> str | None:
    """`decode`, passing None on."""
    return None if text is None else decode(text)


def to_json(value: object) -> str:
    """A JSON text to store: readable (no \\u escapes), any Python string inside, NaN as Python writes it."""
    return encode(json.dumps(value, ensure_ascii=False))


def from_json(text: str) -> Any:
    """The inverse of `to_json`; tuples come back as lists."""
    return json.loads(decode(text))
