"""Rows as a rule sees them, and a suite around them, without files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evalharness.doctor.findings import Case, Finding, Rule, SeenRow
from evalharness.prompts import Prompt
from evalharness.reading import LoadedSuite
from evalharness.reading.plugins import Chosen
from evalharness.records import Message, Sample
from evalharness.spec import Suite, Trainer


def rows(side: Any, pairs: Iterable[tuple[str, str]], start: int = 0, fields: Mapping[str, str] | None = None) -> list[SeenRow]:
    """(input, target) pairs as rows of one side; row k stands in line k of SIDE.jsonl, the first is 1."""
    return [
        SeenRow(start + k, side, Sample.of([Message("user", text)], [target], fields=fields, source=f"{side}.jsonl:{k + 1}"))
        for k, (text, target) in enumerate(pairs)
    ]


def loaded(
    prompts: Mapping[str, Prompt | None] | None = None,
    models: Mapping[str, Chosen] | None = None,
    trainers: Mapping[str, Trainer] | None = None,
    runners: Mapping[str, Chosen] | None = None,
    suite: Mapping[str, Any] | None = None,
) -> LoadedSuite:
    """A suite of one recorded arm unless `suite` says otherwise."""
    spec = {"data": {"test": "t.jsonl"}, "baselines": {"a": {"outputs": "o.jsonl"}}, "metrics": ["exact_match"], **(suite or {})}
    here = Path()
    return LoadedSuite(
        Suite.model_validate(spec), here, here, here, "", {}, prompts or {}, models or {}, trainers or {}, runners or {}, {}
    )  # fmt: skip


def chosen(name: str, options: Any = None, *, local: bool) -> Chosen:
    """A plug-in of which only its options and its place are asked."""
    return Chosen(name, options, SimpleNamespace(local=local, options=options))


def examine(rule: Rule, seen: Sequence[SeenRow], suite: LoadedSuite | None = None) -> list[Finding]:
    """What the rule finds in these rows."""
    by_number = {row.number: row for row in seen}

    def read(numbers: Iterable[int]) -> Iterator[SeenRow]:
        return (by_number[number] for number in sorted(numbers))

    for row in seen:
        rule.see(row)
    return list(rule.findings(Case(suite or loaded(), read)))
