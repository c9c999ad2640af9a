"""A suite's YAML file -> everything it names, checked: one error lists all that is wrong, in it and in its trainers.

>>> loaded = load_suite(Path("suites/tickets.yaml"))                               # doctest: +SKIP
>>> list(loaded.suite.arms), list(loaded.metrics)                                  # doctest: +SKIP
(['zero-shot', 'few-shot', 'tuned', 'overfit'], ['exact_match', 'bleu'])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalharness.data.paths import data_root, display
from evalharness.errors import ConfigError, Problem
from evalharness.prompts import Prompt
from evalharness.protocols import Metric
from evalharness.reading.arms import Arms, Found, check_data, is_whole
from evalharness.reading.plugins import At, Chosen
from evalharness.reading.problems import explain
from evalharness.reading.schema import json_schemas
from evalharness.reading.verdicts import check_metrics, check_verdicts
from evalharness.reading.yamlfile import parse, read_text
from evalharness.spec import DataSpec, Suite, Trainer


@dataclass(frozen=True, slots=True)
class LoadedSuite:
    """A suite and what it names. Mappings go by arm label, `metrics` by metric name; all in the suite's order.

    `root` is the workspace: data, prompts, trainers and `path.py:Name` plug-ins are relative to it; `data_root` is
    where data and recorded outputs are. `text` is the YAML as it was read. `prompts` has every arm that is asked
    (None: no prompt), `models` the prompted baselines, `trainers` (settings merged with the candidate's) and `runners`
    the trained candidates, `outputs` the arms whose answers exist already.
    """

    suite: Suite
    path: Path
    root: Path
    data_root: Path
    text: str
    metrics: Mapping[str, Metric]
    prompts: Mapping[str, Prompt | None]
    models: Mapping[str, Chosen]
    trainers: Mapping[str, Trainer]
    runners: Mapping[str, Chosen]
    outputs: Mapping[str, Path]


def workspace_of(path: Path) -> Path:
    """The folder that holds `suites/` if the file lies in one, else the file's own folder."""
    folder = path.resolve().parent
    return folder.parent if folder.name == "suites" else folder


def name_of(path: Path) -> str:
    """The suite's name without checking the rest of the file: what it says, else the file's name without .yaml."""
    raw = parse(read_text(path), display(path))
    return str(raw.get("name") or path.stem)


def load_suite(path: Path, *, data_root: Path | None = None, allow_leaks: bool = False) -> LoadedSuite:
    """Reads and checks a suite; `data_root` (the CLI's --data) is used instead of the suite's data.root, and
    `allow_leaks` (--allow-leaks) over its data.leaks.

    Raises ConfigError with every problem of the suite, its prompts and its trainers. Rows are read by `data.load`.
    """
    text = read_text(path)
    raw = parse(text, display(path))
    if data_root is not None and isinstance(raw.get("data"), dict):
        raw["data"]["root"] = str(data_root.resolve())
    if allow_leaks and isinstance(raw.get("data"), dict):
        raw["data"]["leaks"] = "allow"
    at = At(display(path), (), workspace_of(path))
    problems: list[Problem] = []
    suite = _validate(raw, at, problems)
    found, metrics = _check(raw, at, problems)
    if problems or suite is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    return _loaded(suite, path, text, at, found, metrics)


def _validate(raw: Mapping[str, Any], at: At, problems: list[Problem]) -> Suite | None:
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        problems.extend(explain(error, raw, Suite, at.file))
        return None


def _check(raw: Mapping[str, Any], at: At, problems: list[Problem]) -> tuple[Found, Mapping[str, Metric]]:
    """What shapes alone do not tell: files, plug-ins, names. Parts that are wrong in themselves are left aside."""
    data, fields = check_data(raw, at, problems)
    found = Arms(raw, data, fields, at).check()
    problems.extend(found.problems)
    metrics = check_metrics(raw, at, problems)
    problems.extend(check_verdicts(raw, metrics, _slices(raw, data), at))
    return found, metrics or {}


def _slices(raw: Mapping[str, Any], data: DataSpec | None) -> tuple[str, ...] | None:
    """The fields to slice by; None where they are wrong themselves, so that no rule is blamed for it."""
    return data.slices if data is not None and is_whole(data, raw["data"]) else None


def _loaded(suite: Suite, path: Path, text: str, at: At, found: Found, metrics: Mapping[str, Metric]) -> LoadedSuite:
    return LoadedSuite(
        suite=suite if suite.name else suite.model_copy(update={"name": path.stem}),
        path=path.resolve(),
        root=at.root,
        data_root=data_root(suite.data, at.root),
        text=text,
        metrics=metrics,
        prompts=found.prompts,
        models=found.models,
        trainers=found.trainers,
        runners=found.runners,
        outputs=found.outputs,
    )


__all__ = ["LoadedSuite", "json_schemas", "load_suite", "name_of", "workspace_of"]
