"""A suite that is in order, its plug-ins, and what is told when one place of it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalharness.errors import ConfigError
from evalharness.reading import load_suite

PLUGINS = """
from typing import ClassVar
from pydantic import Field
from evalharness.errors import ConfigError, Problem
from evalharness.protocols import Options

class Judge:
    class Options(Options):
        shorthand: ClassVar[str | None] = "rubric"
        rubric: str = "good?"
        model: str
    name, version, range, kind = "judge", "1", (0.0, 1.0), "mean"
    def __init__(self, options): self.options = options

class Stub:
    class Options(Options):
        shorthand: ClassVar[str | None] = "base"
        base: str = "default"
        depth: int = Field(default=1, ge=1)
    def __init__(self, options):
        if options.base == "gone":
            raise ConfigError([Problem("", "base", "'gone' is nowhere", "Name another")])
        self.options = options

class Trains:
    class Options(Options):
        rank: int = Field(default=8, ge=1)
        modules: list[str] = []
    def __init__(self, options): self.options = options
"""
SUITE = """
data: {train: train.jsonl, test: test.jsonl, slices: [lang]}
prompt: "Answer in {{ lang }}."
baselines:
  zero-shot: {model: plug.py:Stub}
  few-shot: {model: {"plug.py:Stub": {depth: 3}}, shots: 2, prompt: prompts/few.md}
candidates:
  tuned: {train: quick, params: {rank: 16}, seeds: 2}
  inline: {train: {runner: plug.py:Trains, base: b}}
  old: {outputs: old.jsonl}
metrics: [exact_match, {"plug.py:Judge": {model: m}}]
gate: {against: few-shot, rules: [{metric: exact_match, margin: 0.02, slice: lang=de}, {metric: judge, at_least: 0.5}]}
decide: {metric: judge, min_gain: 0.1}
"""
TRAINER = "runner: plug.py:Trains\nbase: embedded\nparams: {rank: 4, modules: [q]}\n"


def complaints(suite: str | None = None) -> list[str]:
    """What is wrong with the suite, one line each; `suite` is written first."""
    path = Path("suites/demo.yaml")
    if suite is not None:
        path.write_text(suite)
    with pytest.raises(ConfigError) as caught:
        load_suite(path)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def changed(old: str, new: str) -> str:
    """The suite in order but for one place."""
    assert SUITE.count(old) == 1, old
    return SUITE.replace(old, new)
