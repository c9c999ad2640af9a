"""Options that several verbs share, and what they stand for.

>>> store_of(Path("suites/tickets.yaml"), None).path.name                                             # doctest: +SKIP
'evalh.duckdb'
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evalharness.store import Store

SuiteFile = Annotated[Path, typer.Argument(help="The suite's YAML file, e.g. suites/tickets.yaml.", show_default=False)]
MaybeSuite = Annotated[Path | None, typer.Argument(help="The suite's YAML file; left out: the newest run's suite.", show_default=False)]
DataRoot = Annotated[Path | None, typer.Option("--data", help="Folder of the data files, over the suite's data.root.", show_default=False)]
StoreFile = Annotated[Path | None, typer.Option("--store", help="The results store, not results/evalh.duckdb.", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
RunId = Annotated[str | None, typer.Option("--run", help="A run's id (or its beginning); left out: the newest run.", show_default=False)]
Rehearse = Annotated[bool, typer.Option("--rehearse", help="Stand-ins for all models and runners: no cost, a store of its own.")]

AllowLeaks = Annotated[bool, typer.Option("--allow-leaks", help="Go on though held-out rows are learned from; every verdict says so.")]


def results_of(root: Path) -> Path:
    """A workspace's results folder."""
    return root / "results"


def store_of(root: Path, file: Path | None, *, rehearse: bool = False) -> Store:
    """The store that was named, else the workspace's; rehearsals have their own."""
    from evalharness.store import Store

    return Store(file or results_of(root) / ("rehearsal.duckdb" if rehearse else "evalh.duckdb"))
