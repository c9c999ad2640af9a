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
    json = "json"


def report(
    suite: MaybeSuite = None,
    run: RunId = None,
    as_format: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.terminal,
    store: StoreFile = None,
) -> None:
    """Show a run's leaderboard, gate and decision; the files are written to results/reports/, too."""
    root, name = place(suite)
    opened = store_of(root, store)
    show(opened, run_of(opened, run, name), as_format.value, root=root)


def place(suite: Path | None) -> tuple[Path, str | None]:
    """The workspace's root, and the suite's name if a file is given."""
    if suite is None:
        return Path.cwd(), None
    from evalharness.reading import name_of, workspace_of

    return workspace_of(suite), name_of(suite)


def run_of(store: Store, run: str | None, suite: str | None) -> str:
    """The id of the run that was named (its beginning is enough), else of the newest one. Raises ConfigError if there is none."""
    from evalharness.errors import ConfigError, Problem

    known = store.runs(suite)
    found = [each.run_id for each in known if run is None or each.run_id.startswith(run.upper())]
    if not found:
        what = f"there is no run {run}" if run else f"there is no run of {suite}" if suite else "there are no runs"
        raise ConfigError([Problem(str(store.path), "", what, "evalh list runs shows what is there; evalh train-and-score makes one")])
    return found[0]


def show(store: Store, run_id: str, as_format: str, *, root: Path) -> Report:
    """Print the run's report and write its files beside the workspace's other results."""
    from evalharness.report import FILES, build, terminal, write

    made = build(store, run_id, root=root)
    write(made, results_of(root) / "reports")
    if as_format == "terminal":
        from rich.console import Console

        Console().print(terminal.render(made))
    else:
        typer.echo(FILES[as_format](made))
    return made
