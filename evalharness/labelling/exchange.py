"""Files for people who label elsewhere: out with ids that tell no arm, back in with every mistake named by file and line.

>>> write(plan, texts, scale, Path("to_label.csv"))                                                   # doctest: +SKIP
>>> labels = read(Path("labelled.csv"), everything(view, "judge", plan), plan.question, scale, "ada")  # doctest: +SKIP

Columns: id, question, accepted, answer (in pairs: first, second), value, note, annotator. Coming back only id and value
are needed; rows whose value is empty are not labelled. In CSV a text that a spreadsheet would take for a formula begins
with an apostrophe.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalharness.data.files import Faults, Row, read_rows
from evalharness.errors import ConfigError, Problem
from evalharness.labelling.choosing import Ask, Plan
from evalharness.labelling.scale import Scale
from evalharness.labelling.session import labels_of
from evalharness.labelling.texts import Shown
from evalharness.store import Label

FORMATS = (".csv", ".jsonl")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def format_of(path: Path) -> str:
    """`.csv` or `.jsonl`. Raises ConfigError for anything else."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError([Problem(str(path), "", f"{path.suffix or 'no ending'} is no format for labels", "Use .csv or .jsonl")])
    return path.suffix.lower()


def write(plan: Plan, texts: Mapping[str, Shown], annotator: str, path: Path) -> int:
    """Write what this person has not labelled yet; returns how many rows. Raises ConfigError if the file cannot be written."""
    rows = [_row(ask, texts[ask.key]) for ask in plan.asks if annotator not in ask.annotators]
    pairs = plan.against is not None
    names = ["id", "question", "accepted", *(["first", "second"] if pairs else ["answer"]), "value", "note"]
    ending = format_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        encoding = "utf-8-sig" if ending == ".csv" else "utf-8"  # spreadsheets take CSV without the mark for Latin-1
        with path.open("w", encoding=encoding, newline="", errors="backslashreplace") as file:
            if ending == ".jsonl":
                file.writelines(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
            else:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    except OSError as error:
        raise ConfigError(
            [Problem(str(path), "", f"cannot be written: {error.strerror}", "Name a file in a folder that is yours")]
        ) from None
    return len(rows)


def _row(ask: Ask, shown: Shown) -> dict[str, str]:
    names = ("first", "second") if len(shown.answers) == 2 else ("answer",)
    answers = dict(zip(names, shown.answers, strict=True))
    accepted = "\n---\n".join(shown.targets)
    return {"id": ask.key, "question": shown.question, "accepted": accepted, **answers, "value": "", "note": ""}


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def read(path: Path, asks: Sequence[Ask], question: str, scale: Scale, annotator: str) -> list[Label]:
    """The labels in a file, none of them stored yet; `asks` are all that it may name.

    A row's own annotator counts before the one given here.

    Raises DataError with every row that is wrong: unknown ids, values off the scale, an answer labelled twice.
    """
    format_of(path)
    faults, known = Faults(), {ask.key: ask for ask in asks}
    found: list[Label] = []
    seen: dict[tuple[str, str], int] = {}
    rows = list(read_rows(path, faults))
    for row in rows:
        found += _labels(row, known, question, scale, annotator, seen, faults)
    if not rows and not faults:
        faults.add(str(path), 0, "has no rows", "Write it first: evalh label SUITE --metric M --export FILE")
    faults.check()
    return found


def _labels(
    row: Row, known: Mapping[str, Ask], question: str, scale: Scale, annotator: str, seen: dict[tuple[str, str], int], faults: Faults
) -> list[Label]:
    missing = [name for name in ("id", "value") if name not in row.values]
    if missing:
        faults.add(row.file, row.line, f"has no {' and no '.join(missing)}", "Keep the columns id and value of the exported file")
        return []
    key, said = _text(row.values["id"]), _text(row.values["value"])
    who = _text(row.values.get("annotator")) or annotator
    if said == "":
        return []
    if (ask := known.get(key)) is None:
        fix = "Export again: the run, its answers or the compared arms changed since"
        faults.add(row.file, row.line, f"no answer of this run has the id {key!r}", fix)
        return []
    if (value := scale.read(said)) is None:
        faults.add(row.file, row.line, f"{said!r} is no label", f"Write {scale.wanted}")
        return []
    if (key, who) in seen:
        faults.add(row.file, row.line, f"{key} is labelled twice by {who} (first in line {seen[key, who]})", "Keep one of the two")
        return []
    seen[key, who] = row.line
    return labels_of(ask, question, who, value, _text(row.values.get("note")), scale.bounds)


def _text(value: Any) -> str:
    """A cell's text: JSON may hold numbers and nulls, and spreadsheets add spaces."""
    return "" if value is None else str(value).strip()
