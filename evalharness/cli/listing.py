"""`evalh list`: the plug-ins that a suite or trainer may name, and the runs in the store.

>>> listing("metrics")                                                                                # doctest: +SKIP
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evalharness.cli.options import AsJson, StoreFile, store_of


class What(StrEnum):
    """What can be listed."""

    all = "all"
    runners = "runners"
    models = "models"
    metrics = "metrics"
    runs = "runs"


def listing(
    what: Annotated[What, typer.Argument(help="What to list.")] = What.all, store: StoreFile = None, as_json: AsJson = False
) -> None:
    """List runners, models, metrics and stored runs."""
    import json

    kinds = ["runners", "models", "metrics"] if what is What.all else [what.value]
    found = {kind: _runs(store) if kind == "runs" else _plugins(kind) for kind in kinds}
    if as_json:
        typer.echo(json.dumps(found))
        return
    for kind, rows in found.items():
        typer.echo(f"{kind}:")
        for name, text in rows.items():
            typer.echo(f"  {name:<14} {text}")


def _plugins(kind: str) -> dict[str, str]:
    """Name -> first line of the plug-in's docstring, or why it cannot be used here."""
    from typing import cast

    from evalharness import registry

    found = {}
    for name in sorted(registry.names(cast(registry.Kind, kind))):
        try:
            found[name] = (registry.find(cast(registry.Kind, kind), name).__doc__ or "").strip().partition("\n")[0]
        except ImportError as error:
            found[name] = f"(cannot be imported: {error})"
    return found


def _runs(file: Path | None) -> dict[str, str]:
    runs = store_of(Path.cwd(), file).runs()
    return {run.run_id: f"{run.started:%Y-%m-%d %H:%M} {run.suite_name} {run.state}" for run in runs}
