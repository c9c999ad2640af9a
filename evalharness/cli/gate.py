"""`evalh gate [SUITE]`: may the candidates pass? The answer is the exit code.

>>> gate(Path("suites/tickets.yaml"))                                                                 # doctest: +SKIP
"""

from __future__ import annotations

from enum import StrEnum
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


def gate(
    suite: MaybeSuite = None,
    candidate: Candidates = None,
    run: RunId = None,
    inconclusive: Annotated[Inconclusive, typer.Option(help="What an inconclusive gate ends with: 3 or 0.")] = Inconclusive.fail,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Judge a run's candidates by the suite's gate. Exit 0 pass, 1 fail, 3 inconclusive, 4 invalid."""
    from evalharness import verdict
    from evalharness.cli.report import place, run_of

    root, name = place(suite)
    opened = store_of(root, store)
    found = verdict.gate(verdict.load(opened, run_of(opened, run, name), root), candidates=candidate or None)
    told(opened, found, as_json=as_json)
    raise typer.Exit(found.exit_code(inconclusive="pass" if inconclusive is Inconclusive.pass_ else "fail"))


def told(store: Store, found: Verdict, *, as_json: bool) -> None:
    """Print a verdict and note it in the ledger of test-set use."""
    import json

    from evalharness import verdict
    from evalharness.report import visible

    ledger = verdict.note(store, found)
    if as_json:
        typer.echo(json.dumps(found.as_json() | {"ledger": {"number": ledger.number, "candidates": ledger.candidates}}))
        return
    for sentence in (*found.sentences, ledger.sentence()):
        typer.echo(visible(sentence))
