"""`evalh compare ARM [AGAINST]`: two arms of a run side by side; describes and never fails.

>>> compare("tuned", "few-shot")                                                                      # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from evalharness.cli.options import AsJson, RunId, StoreFile, store_of


def compare(
    arm: Annotated[str, typer.Argument(help="An arm's label.", show_default=False)],
    against: Annotated[str | None, typer.Argument(help="Another one; left out: the run's reference.", show_default=False)] = None,
    suite: Annotated[Path | None, typer.Option(help="The suite's YAML file; left out: the newest run's suite.", show_default=False)] = None,
    run: RunId = None,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare two arms metric by metric, with intervals and the largest flips."""
    import json

    from evalharness import verdict
    from evalharness.cli.report import place, run_of
    from evalharness.report import visible

    root, name = place(suite)
    opened = store_of(root, store)
    found = verdict.compare(verdict.load(opened, run_of(opened, run, name), root), arm, against)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
        return
    for sentence in found.sentences:
        typer.echo(visible(sentence))
    for flip in found.evidence["flips"]:
        typer.echo(_flip(flip))


def _flip(flip: dict[str, Any]) -> str:
    """An item on which the two differ; texts are shown as Python writes them, so that nothing in them acts on the terminal."""
    answers = "".join(f"\n  {label:<12} {answer!r}" for label, answer in flip["answers"].items())
    return f"\n{flip['input']!r}\n  {'wanted':<12} {flip['targets'][0]!r}{answers}"
