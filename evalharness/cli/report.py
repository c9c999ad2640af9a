"""`evalh report [SUITE]`: a run's leaderboard, from the store alone.

>>> report(Path("suites/tickets.yaml"))                                                               # doctest: +SKIP
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.options import MaybeSuite, RunId, StoreFile, results_of, store_of

if TYPE_CHECKING:
    from evalharness.report import Report
    from evalharness.store import Store


class Format(StrEnum):
    """How a report is printed."""

    terminal = "terminal"
    md = "md"
    html = "html"
    json = "json"
    junit = "junit"


ENDINGS = {"junit": "junit.xml"}
"""Formats whose files end otherwise than they are called."""


def report(
    suite: MaybeSuite = None,
    run: RunId = None,
    as_format: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.terminal,
    store: StoreFile = None,
) -> None:
    """Show a run's leaderboard, gate and decision; Markdown, HTML, JSON and JUnit files go to results/reports/."""
    root, name = place(suite)
    opened = store_of(root, store)
    show(opened, run_of(opened, run, name), as_format.value, root=root)
    if as_format is Format.terminal:
        typer.echo(f"\nIn {results_of(root) / 'reports'}: .html (all items, searchable), .md, .json, .junit.xml")


def place(suite: Path | None) -> tuple[Path, str | None]:
    """The workspace's root, and the suite's name if a file is given."""
    if suite is None:
        return Path.cwd(), None
    from evalharness.reading import name_of, workspace_of

    return workspace_of(suite), name_of(suite)


def run_of(store: Store, run: str | None, suite: str | None) -> str:
    """The id of the run that was named (its beginning is enough), else of the newest one. Raises ConfigError if there is none."""
    from evalharness.errors import ConfigError, Problem

    known = store.runs(suite, limit=1 if run is None else None)
    found = [each.run_id for each in known if run is None or each.run_id.startswith(run.upper())]
    if not found:
        what = f"there is no run {run}" if run else f"there is no run of {suite}" if suite else "there are no runs"
        raise ConfigError([Problem(str(store.path), "", what, "evalh list runs shows what is there; evalh train-and-score makes one")])
    return found[0]


def show(store: Store, run_id: str, as_format: str, *, root: Path) -> Report:
    """Print the run's report and write its files beside the workspace's other results."""
    from evalharness.report import FILES, Items, of_view, terminal, write
    from evalharness.verdict import load

    view = load(store, run_id, root)
    made, items = of_view(view), Items.of(view)
    write(made, results_of(root) / "reports", items)
    if as_format == "terminal":
        from rich.console import Console

        Console().print(terminal.render(made))
    else:
        typer.echo(FILES[ENDINGS.get(as_format, as_format)](made, items), nl=False)
    return made
