"""`evalh init DIR`: a workspace that runs: suites/, trainers/, results/ and the JSON schemas for editors.

>>> init(Path("my-evals"))                                                                            # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(help="The workspace to make; files that exist are never overwritten.", show_default=False)]


def init(folder: Folder) -> None:
    """Make a workspace with example suites and trainers."""
    from evalharness import scaffold

    written = scaffold.init(folder)
    typer.echo(f"{folder}: {len(written)} files written. Next: cd {folder} && evalh train-and-score suites/tickets.yaml")
