"""What hosted runners share: rows as JSON Lines named by their content, published limits, keys, loss points.

>>> broken_rows("train", [(Message("user", "Hi"),)], Limits(min_rows=1))
["train row 1: its last turn is from 'user'. Training needs an assistant turn to learn"]
"""

from __future__ import annotations

import base64
import binascii
import csv
import datetime
import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalharness.errors import ConfigError, Problem
from evalharness.ids import file_digest
from evalharness.records import Message, Point

Chat = tuple[Message, ...]
USUAL_EPOCHS = 3
"""What services choose for a few hundred rows, where they are left to choose."""
_SHOWN = 5
_STEP = re.compile(
    r"step (\d+)(?:/(\d+))?.*?training loss\s*[=:]\s*([-+.\deE]+)(?:.*?validation loss\s*[=:]\s*([-+.\deE]+))?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Limits:
    """A service's published limits for chat training data."""

    min_rows: int = 1
    max_rows: int | None = None
    max_bytes: int | None = None
    roles: frozenset[str] = frozenset({"system", "user", "assistant"})
    system_first: bool = False


def broken_rows(split: str, rows: Sequence[Chat], limits: Limits) -> list[str]:
    """What the service would refuse, by row number (from 1); at most five rows are named, the rest counted."""
    problems = [f"{split} row {number}: {found}" for number, row in enumerate(rows, 1) for found in _broken(row, limits)]
    if len(problems) > _SHOWN:
        problems = [*problems[:_SHOWN], f"{split}: and {len(problems) - _SHOWN} more such rows"]
    if len(rows) < limits.min_rows:
        problems.append(f"{split}: {len(rows)} rows, and the service wants at least {limits.min_rows}")
    if limits.max_rows is not None and len(rows) > limits.max_rows:
        problems.append(f"{split}: {len(rows)} rows, and the service takes at most {limits.max_rows}")
    if limits.max_bytes is not None and (size := sum(len(line(row)) for row in rows)) > limits.max_bytes:
        problems.append(f"{split}: {size:,} bytes, and the service takes at most {limits.max_bytes:,}")
    return problems


def _broken(row: Chat, limits: Limits) -> list[str]:
    if not row:
        return ["it is empty"]
    problems = [f"it has a turn of role {role!r}; the service knows {', '.join(sorted(limits.roles))}" for role in _unknown(row, limits)]
    if row[-1].role != "assistant":
        problems.append(f"its last turn is from {row[-1].role!r}. Training needs an assistant turn to learn")
    if limits.system_first and any(message.role == "system" for message in row[1:]):
        problems.append("its system turn is not the first")
    return problems


def _unknown(row: Chat, limits: Limits) -> list[str]:
    return sorted({message.role for message in row} - limits.roles)


def line(row: Chat) -> bytes:
    """A chat as a line of JSON."""
    return json.dumps({"messages": [message.as_dict() for message in row]}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def tokens(rows: Iterable[Chat]) -> int:
    """About how many tokens the rows have, rather too many than too few: three bytes a token and eight tokens a turn around it."""
    return sum(len(message.content.encode("utf-8", "replace")) // 3 + 8 for row in rows for message in row)


def write_rows(rows: Iterable[Chat], path: Path) -> str:
    """Write chats as JSON Lines and return the file's name for the service: it holds the content's hash, so equal files have one name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(map(line, rows))
    return f"evalh-{file_digest(path)}.jsonl"


def api_key(variable: str, runner: str) -> str:
    """The key in an environment variable. Raises ConfigError if there is none."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError([Problem("", "", f"the runner {runner!r} needs a key", f"Set {variable}")])
    return key


def suffix(label: str, key: str, longest: int) -> str:
    """A name for the tuned model that people recognise and `find` finds: the label, then the intent key's first 12 digits."""
    words = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[: longest - 13].strip("-")
    return f"{words}-{key[:12]}" if words else key[:12]


def number(value: object) -> float | None:
    """A finite number out of whatever a service sent; None if it is none."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def moment(value: object) -> float | None:
    """Seconds since 1970 out of a time stamp: a number, a number in a text, or a date and time (UTC unless it says otherwise).

    >>> moment("2026-09-21T14:13:20Z") == moment(1790000000) == moment("1790000000")
    True
    """
    seconds = number(value)
    if seconds is not None:
        return seconds or None
    try:
        found = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def point(row: Mapping[str, Any]) -> Point | None:
    """A logged point out of a metrics row, by the names services use; None without a step."""
    step = number(row.get("step", row.get("step_number")))
    if step is None:
        return None
    dev = next((found for key in ("full_valid_loss", "valid_loss", "eval_loss") if (found := number(row.get(key))) is not None), None)
    return Point(int(step), number(row.get("train_loss")), dev, number(row.get("learning_rate")))


def point_said(message: str) -> tuple[dict[str, float], int | None]:
    """A metrics row and the number of steps in a sentence like "Step 12/90: training loss=1.2"; empty if it is none."""
    found = _STEP.search(message)
    if found is None:
        return {}, None
    values = {"step": number(found[1]), "train_loss": number(found[3]), "valid_loss": number(found[4])}
    return {key: value for key, value in values.items() if value is not None}, int(found[2]) if found[2] else None


def merged(points: Iterable[Point]) -> tuple[Point, ...]:
    """One point per step, in order; later ones fill what earlier ones lack and win where both speak."""
    by_step: dict[int, Point] = {}
    for new in points:
        old = by_step.get(new.step, new)
        by_step[new.step] = Point(
            new.step,
            old.train_loss if new.train_loss is None else new.train_loss,
            old.dev_loss if new.dev_loss is None else new.dev_loss,
            old.learning_rate if new.learning_rate is None else new.learning_rate,
            old.seconds if new.seconds is None else new.seconds,
        )
    return tuple(by_step[step] for step in sorted(by_step))


def csv_points(content: bytes) -> list[Point]:
    """The points of a result file: CSV with a `step` column, plain or in base64 (OpenAI sends either). Empty if it is neither."""
    text = content.decode("utf-8", "replace")
    if "step" not in text.partition("\n")[0]:
        try:
            text = base64.b64decode(content, validate=True).decode("utf-8", "replace")
        except binascii.Error:
            return []
    return [found for row in csv.DictReader(io.StringIO(text)) if (found := point(row)) is not None]
