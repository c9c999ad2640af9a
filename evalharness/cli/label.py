"""`evalh label SUITE --metric M`: people's labels, which correct a judge's scores and say how far it can be trusted.

>>> label(Path("suites/support.yaml"), "judge", n=100)                                                # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.options import RunId, StoreFile, SuiteFile, store_of

if TYPE_CHECKING:
    from evalharness.labelling import Plan
    from evalharness.verdict import View

ARMS = "Label this arm's answers; may be repeated. Left out: the reference and the candidates."


def label(
    suite: SuiteFile,
    metric: Annotated[str, typer.Option("--metric", "-m", help="The metric to label for, e.g. judge.", show_default=False)],
    n: Annotated[int, typer.Option("--n", min=1, help="Labels in all, one for each answer to read; items are never cut in two.")] = 100,
    annotator: Annotated[str | None, typer.Option(help="Who labels; left out: the user's login name.", show_default=False)] = None,
    arm: Annotated[list[str] | None, typer.Option("--arm", "-a", help=ARMS, show_default=False)] = None,
    export: Annotated[Path | None, typer.Option(help="Write what is left to label to a .csv or .jsonl file.", show_default=False)] = None,
    import_: Annotated[Path | None, typer.Option("--import", help="Read labels from such a file.", show_default=False)] = None,
    run: RunId = None,
    store: StoreFile = None,
) -> None:
    """Label answers blind to their arm, at this terminal or through a file; stop and go on whenever you like."""
    from evalharness import labelling, verdict
    from evalharness.cli.report import place, run_of
    from evalharness.errors import ConfigError, Problem

    if export is not None and import_ is not None:
        raise ConfigError([Problem("", "--import", "beside --export", "Do one after the other")])
    root, name = place(suite)
    opened = store_of(root, store)
    view = verdict.load(opened, run_of(opened, run, name), root)
    view.measure(metric)
    plan = labelling.plan(view, metric, n, arm or None)
    who = _name(annotator)
    if export is not None:
        _export(view, plan, metric, who, export)
    elif import_ is not None:
        _import(view, plan, metric, who, import_)
    else:
        _interview(view, plan, metric, who)


def _name(annotator: str | None) -> str:
    """The annotator's name. Raises ConfigError if it is empty or the login has none."""
    import getpass

    from evalharness.errors import ConfigError, Problem

    try:
        found = (annotator if annotator is not None else getpass.getuser()).strip()
    except OSError:
        found = ""
    if not found or len(found) > 80 or not found.isprintable():
        raise ConfigError([Problem("", "--annotator", "no name that can be shown", "Give a name: --annotator ada")])
    return found


def _interview(view: View, plan: Plan, metric: str, who: str) -> None:
    import sys

    from rich.console import Console

    from evalharness.labelling import Scale, Session, flow, texts
    from evalharness.labelling.keyboard import Keyboard
    from evalharness.labelling.screen import Screen

    measure = view.measure(metric)
    session = Session(view.store, plan.question, plan.asks, who, measure.row.range)
    screen = Screen(Console(), Scale.of(measure))
    if session.current is not None:
        shown = texts.read(view, plan.asks, measure)
        with Keyboard(sys.stdin) as keyboard:
            flow.run(session, lambda ask: shown[ask.key], texts.rubric_of(measure), screen, keyboard)
    for line in _summary(view, plan, metric, session.labelled, who):
        screen.say(line)


def _export(view: View, plan: Plan, metric: str, who: str, path: Path) -> None:
    from evalharness.labelling import exchange, texts

    exchange.format_of(path)
    count = exchange.write(plan, texts.read(view, plan.asks, view.measure(metric)), who, path)
    typer.echo(f"{count} of {len(plan.asks)} labels are open; written to {path}. Fill in the column value, then --import it.")


def _import(view: View, plan: Plan, metric: str, who: str, path: Path) -> None:
    from evalharness.labelling import Scale, everything, exchange

    labels = exchange.read(path, everything(view, metric, plan), plan.question, Scale.of(view.measure(metric)), who)
    view.store.put_labels(labels)
    several = len({each.annotator for each in labels})
    typer.echo(f"{len(labels)} labels of {several} annotator{'' if several == 1 else 's'} stored from {path}.")


def _summary(view: View, plan: Plan, metric: str, labelled: int, who: str) -> list[str]:
    """Where things stand, and what follows from it."""
    from evalharness.spec import FEWEST_LABELS

    lines = [f"{labelled} of {len(plan.asks)} labels by {who}."]
    if labelled < len(plan.asks):
        lines.append("The same command goes on from here.")
    elif not plan.whole:
        lines.append(f"More: --n {2 * len(plan.asks)}.")
    if plan.items < FEWEST_LABELS and not plan.whole:
        wanted = -(-FEWEST_LABELS * len(plan.asks) // plan.items)
        lines.append(f"{metric} is corrected from {FEWEST_LABELS} labelled items on; this plan has {plan.items}: --n {wanted} or so.")
    return lines
