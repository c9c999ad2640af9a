"""Plug-ins that a YAML file names: found, their options validated, one instance made, and every error put at its key.

>>> problems = []
>>> take("metrics", "exact_match", At("suites/a.yaml", ("metrics", 0), Path(".")), problems).name
'exact_match'
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalharness import registry
from evalharness.errors import ConfigError, Problem
from evalharness.protocols import Options
from evalharness.reading.problems import Key, explain, join
from evalharness.spec import model_use


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plug-in as a YAML file chose it: its registered name, its validated options, and the instance made of both."""

    name: str
    options: Options
    instance: Any


@dataclass(frozen=True, slots=True)
class At:
    """A place in a YAML file of the workspace `root`."""

    file: str
    key: Key
    root: Path

    def below(self, *parts: str | int) -> At:
        return replace(self, key=(*self.key, *parts))

    def problem(self, found: str, fix: str = "") -> Problem:
        return Problem(self.file, join(self.key), found, fix)

    def place(self, error: ConfigError) -> list[Problem]:
        """An error's problems, put here where they name no file of their own."""
        here = join(self.key)
        return [
            each if each.file else Problem(self.file, ".".join(part for part in (here, each.key) if part), each.found, each.fix)
            for each in error.problems
        ]


def take(kind: registry.Kind, use: object, at: At, problems: list[Problem]) -> Chosen | None:
    """The plug-in that `use` names, or None after a problem. Models may also be named `plugin/shorthand`."""
    try:
        name, argument = model_use(use) if kind == "models" else registry.split_use(use)  # type: ignore[arg-type]
    except ConfigError as error:
        problems.extend(at.place(error))
        return None
    plugin = find(kind, name, at, problems)
    # a missing option of the bare `- judge` is called metrics[2].judge.model, as it would be written
    inside = at if isinstance(use, str) and use != name else at.below(name)
    return make(name, plugin, argument, inside, problems) if plugin is not None else None


def find(kind: registry.Kind, name: str, at: At, problems: list[Problem]) -> Any:
    """The plug-in's class, or None after a problem."""
    try:
        return registry.find(kind, name, at.root)
    except ConfigError as error:
        problems.extend(at.place(error))
    except Exception as error:  # a plug-in is anybody's code: whatever its import raises is told, with the plug-in's name
        found = f"{name!r} cannot be loaded: {type(error).__name__}: {error}"
        problems.append(at.problem(found, "Mend the plug-in or install what it needs"))
    return None


def make(name: str, plugin: Any, argument: object, at: At, problems: list[Problem]) -> Chosen | None:
    """An instance of the plug-in with the argument as its options, or None after a problem."""
    try:
        options = registry.options(plugin, argument, at.root)
        return Chosen(name, options, plugin(options))
    except ValidationError as error:
        problems.extend(explain(error, argument, plugin.Options, at.file, at.key))
    except ConfigError as error:
        problems.extend(at.place(error))
    return None
