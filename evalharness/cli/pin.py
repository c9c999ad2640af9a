"""`evalh pin NAME [RUN]`: give a run a name, so that later ones can be held against it.

>>> pin("production")                                                                                 # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalharness.cli.options import StoreFile, store_of


def pin(
    name: Annotated[str, typer.Argument(help="What to call the run, e.g. production.", show_default=False)],
    run: Annotated[
        str | None, typer.Argument(help="The run's id (or its beginning); left out: the newest one.", show_default=False)
    ] = None,
    suite: Annotated[Path | None, typer.Option(help="The suite's YAML file; left out: the newest run's suite.", show_default=False)] = None,
    store: StoreFile = None,
) -> None:
    """Name a run, for gate and compare --against pin:NAME; the name leaves the run that had it before."""
    from evalharness.cli.report import place, run_of
    from evalharness.errors import ConfigError, Problem
    from evalharness.spec import LABEL

    if not LABEL.fullmatch(name):
        raise ConfigError([Problem("", "NAME", f"{name!r} cannot be a name", "Use letters, digits, '-', '_', '.', '+' and spaces")])
    root, suite_name = place(suite)
    opened = store_of(root, store)
    found = opened.run(run_of(opened, run, suite_name))
    assert found is not None  # run_of names a run that is there
    opened.pin(found.suite_name, name, found.run_id)
    typer.echo(f"{name}: run {found.run_id} of {found.suite_name}. Use it: evalh gate --against pin:{name}")
