"""Chats as the rows that Vertex AI tunes Gemini on: `contents` and `systemInstruction`, checked against its published limits.

>>> from evalharness.records import Message
>>> line((Message("system", "Be brief."), Message("user", "2+2?"), Message("assistant", "4")))
b'{"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [{"role": "user", "parts": [{"text": "2+2?"}]}, \
{"role": "model", "parts": [{"text": "4"}]}]}\\n'
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from evalharness.ids import file_digest
from evalharness.runners import hosted

LIMITS = hosted.Limits(max_rows=10**6, max_bytes=10**9, system_first=True)
DEV_LIMITS = hosted.Limits(max_rows=5000, system_first=True)
MAX_TOKENS = 131_072
"""A row's. docs.cloud.google.com, "About supervised fine-tuning for Gemini models", limitations of Gemini 2.5 Flash and Flash-Lite as
read in 2026-11: 1 GB of JSONL, 1M text examples, 5000 validation examples, 131,072 tokens of input and output."""
_MOST_BYTES_A_TOKEN = 6
"""More than text has: what is too long by this measure is too long by any, so that no row is refused that would fit."""


def line(row: hosted.Chat) -> bytes:
    """A chat as a line of JSON."""
    found: dict[str, Any] = {}
    if told := [{"text": message.content} for message in row if message.role == "system"]:
        found["systemInstruction"] = {"parts": told}
    found["contents"] = [
        {"role": "model" if message.role == "assistant" else "user", "parts": [{"text": message.content}]}
        for message in row
        if message.role != "system"
    ]
    return json.dumps(found, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def write(rows: Sequence[hosted.Chat], path: Path) -> str:
    """Write chats as JSON Lines and return the object's name in the bucket: it holds the content's hash, so equal files have one name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(map(line, rows))
    return f"evalh-{file_digest(path)}.jsonl"


def broken(split: Literal["train", "dev"], rows: Sequence[hosted.Chat]) -> list[str]:
    """What the service would refuse or drop, by row number (from 1)."""
    problems = hosted.broken_rows(split, rows, LIMITS if split == "train" else DEV_LIMITS)
    if not problems:  # the first kind of problem often causes the second
        problems = [f"{split} row {number}: {found}" for number, row in enumerate(rows, 1) if (found := _unfit(row))]
    return problems[:5] + ([f"{split}: and {len(problems) - 5} more problems"] if len(problems) > 5 else [])


def _unfit(row: hosted.Chat) -> str:
    if not any(message.role == "user" for message in row):
        return "it has no user turn"
    if empty := next((message for message in row if not message.content), None):
        return f"a turn from {empty.role!r} is empty, and the service takes no empty text"
    size = sum(len(message.content.encode("utf-8", "replace")) for message in row)
    if size > MAX_TOKENS * _MOST_BYTES_A_TOKEN:
        return f"it has {size:,} bytes, and the service drops rows of more than {MAX_TOKENS:,} tokens"
    return ""
