"""`evalh gate [SUITE]`: may the candidates pass? The answer is the exit code.

>>> gate(Path("suites/tickets.yaml"))                                                                 # doctest: +SKIP
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.options import AsJson, MaybeSuite, RunId, StoreFile, store_of

if TYPE_CHECKING:
    from evalharness.store import Store
    from evalharness.verdict import Verdict


class Inconclusive(StrEnum):
    """What an inconclusive gate ends with."""

    fail = "fail"
    pass_ = "pass"


Candidates = Annotated[
    list[str] | None, typer.Option("--candidate", "-c", help="Judge this candidate only; may be repeated.", show_default=False)
]
Against = Annotated[
    str | None,
    typer.Option("--against", help="An arm of this run, or its counterpart in another one: last, run:ID or pin:NAME.", show_default=False),
]


def gate(
    suite: MaybeSuite = None,
    candidate: Candidates = None,
    against: Against = None,
    run: RunId = None,
    inconclusive: Annotated[Inconclusive, typer.Option(help="What an inconclusive gate ends with: 3 or 0.")] = Inconclusive.fail,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write the checks as JUnit XML, too.", show_default=False)] = None,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Judge a run's candidates by the suite's gate. Exit 0 pass, 1 fail, 3 inconclusive, 4 invalid."""
    from evalharness import verdict
    from evalharness.cli.report import place, run_of

    root, name = place(suite)
    opened = store_of(root, store)
    view = verdict.load(opened, run_of(opened, run, name), root)
    if against is not None and verdict.is_past(against):
        found = verdict.gate_past(view, verdict.find(view, against), candidates=candidate)
    else:
        found = verdict.gate(view, candidates=candidate or None, against=against)
    told(opened, found, as_json=as_json)
    if junit is not None:
        _write(junit, found)
    _in_github(found)
    raise typer.Exit(found.exit_code(inconclusive="pass" if inconclusive is Inconclusive.pass_ else "fail"))


def told(store: Store, found: Verdict, *, as_json: bool) -> None:
    """Print a verdict and note it in the ledger of test-set use."""
    import json
    from dataclasses import asdict

    from evalharness import verdict
    from evalharness.report import visible

    ledger = verdict.note(store, found)
    if as_json:
        typer.echo(json.dumps(found.as_json() | {"ledger": asdict(ledger)}))
        return
    for sentence in (*found.sentences, ledger.sentence()):
        typer.echo(visible(sentence))


def _write(path: Path, found: Verdict) -> None:
    from evalharness.errors import ConfigError, Problem
    from evalharness.report import junit

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(junit.of_gate(found.as_json()), encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), "--junit", f"cannot be written: {error.strerror}", "Name another file")]) from None


def _in_github(found: Verdict) -> None:
    """In GitHub Actions: annotations on stderr's side of the log, and the job's summary."""
    import os

    from evalharness.cli import in_github

    if not in_github.in_github():
        return
    from evalharness.report import github

    for line in github.commands(found.as_json()):
        in_github.command(line)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(github.summary(found.as_json()))
