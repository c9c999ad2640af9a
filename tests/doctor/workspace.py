"""A suite in a folder, and what the doctor says of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalharness.doctor.examine import Examination, examine
from evalharness.doctor.findings import Finding, Rule
from evalharness.reading import LoadedSuite, load_suite


def pairs(*rows: tuple[str, str]) -> list[dict[str, str]]:
    """(input, target) as rows."""
    return [{"input": text, "target": label} for text, label in rows]


def suite(folder: Path, files: Mapping[str, Sequence[Any] | str | bytes], more: str = "", data: str = "") -> LoadedSuite:
    """A suite over these files: lists become JSON Lines, text and bytes stay. train, dev and test are named if they are there."""
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif isinstance(content, str):
            (folder / name).write_text(content, "utf-8")
        else:
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
    sides = {side: name for name in files for side in ("train", "dev", "test") if name.startswith(f"{side}.")}
    named = ", ".join(f"{side}: {name}" for side, name in sides.items())
    text = f"data: {{{named}{', ' if named and data else ''}{data}}}\n"
    path = folder / "suite.yaml"
    path.write_text(text + (more or "baselines: {a: {outputs: suite.yaml}}\n") + "metrics: [exact_match]\n", "utf-8")
    return load_suite(path)


def look(loaded: LoadedSuite, *rules: type[Rule], logs: Iterable[Path] = ()) -> Examination:
    """What these rules find (all cheap ones if none is named)."""
    return examine(loaded, rules or None, cheap=not rules, logs=tuple(logs))


def by_rule(seen: Examination) -> dict[str, list[Finding]]:
    """Findings by rule id."""
    found: dict[str, list[Finding]] = {}
    for finding in seen.findings:
        found.setdefault(finding.rule, []).append(finding)
    return found


def lines(finding: Finding) -> list[str]:
    """`train.jsonl:3 test.jsonl:1` of every place, file names alone."""
    return [" ".join(Path(part).name for part in (each.source, each.other) if part) for each in finding.worst]
