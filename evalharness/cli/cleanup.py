"""`evalh cleanup`: release what a dead run left open at a service; with --dry-run only list it and what it costs.

>>> cleanup(dry_run=True)                                                                             # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evalharness.cli.options import AsJson, StoreFile, results_of, store_of

if TYPE_CHECKING:
    from evalharness.store import Resource, Store


def cleanup(
    store: StoreFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what is open and what it costs an hour; release nothing.")] = False,
    cancel_jobs: Annotated[bool, typer.Option("--cancel-jobs", help="Cancel trainings that still run at a service, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Release deployments and endpoints that a dead run left open. Run it in the workspace, with the services' keys set.

    What a living run asks is left to it. Trainings are left alone: the next train-and-score finds and adopts them. Exit
    code 4 if something may still run.
    """
    import json

    from evalharness.pipeline.serving import left_open

    found = store_of(Path.cwd(), store)
    rows = left_open(found, Path.cwd())
    told = [_told(row, found, dry_run=dry_run, cancel=cancel_jobs) for row in rows]
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=True))
    else:
        for one in told:
            typer.echo(_line(one))
        typer.echo(_sum(told, dry_run=dry_run))
    if any(one["error"] for one in told):
        raise typer.Exit(4)


def _told(row: Resource, store: Store, *, dry_run: bool, cancel: bool) -> dict[str, Any]:
    from evalharness.errors import EvalhError
    from evalharness.pipeline.serving import DEPLOYMENT, in_use, release_row
    from evalharness.store.rows import utc_now

    hours = (utc_now() - row.opened).total_seconds() / 3600
    told: dict[str, Any] = {
        "kind": row.kind, "provider": row.provider, "provider_id": row.provider_id, "state": row.state, "note": row.note,
        "opened": row.opened.isoformat(), "hours": round(hours, 3), "usd_per_hour": row.price_usd_per_hour,
        "estimate_usd": row.estimate_usd, "action": "left", "error": None,
    }  # fmt: skip
    if in_use(row, results_of(Path.cwd())):
        told["action"] = "left: a run is asking it"
        return told
    if dry_run or (row.kind != DEPLOYMENT and not cancel):
        return told
    try:
        told["action"] = release_row(row, store, Path.cwd())
    except EvalhError as error:
        told["error"] = str(error)
    return told


def _line(told: dict[str, Any]) -> str:
    from evalharness.report import plain

    price = "price unknown" if told["usd_per_hour"] is None else f"{told['usd_per_hour']:,.2f} USD an hour"
    whole = "" if told["estimate_usd"] is None else f", at most about {told['estimate_usd']:,.2f} USD in all"
    cost = f", {price}" if told["kind"] == "deployment" else whole
    name = f"{told['kind']} {told['provider_id'] or '(not known whether it was made)'} at {told['provider']}"
    end = f"; NOT released: {told['error']}" if told["error"] else f": {told['action']}"
    return plain(f"{name}, open for {told['hours']:.1f} h{cost}{end}").plain


def _sum(told: list[dict[str, Any]], *, dry_run: bool) -> str:
    if not told:
        return "Nothing is open."
    left = [one for one in told if one["action"].startswith("left")]
    open_ones = [one for one in left if one["kind"] == "deployment"]
    going_on = len(left) - len(open_ones)
    told_of = f" Trainings that may go on: {going_on}. The next train-and-score takes them up; --cancel-jobs stops known ones."
    rest = told_of if going_on else ""
    if dry_run:
        known = sum(one["usd_per_hour"] or 0.0 for one in open_ones)
        return f"{len(open_ones)} deployments open, {known:,.2f} USD an hour as far as known. Nothing was touched.{rest}"
    if open_ones:
        return f"{len(open_ones)} deployments may still run.{rest}"
    return f"No deployment is left open.{rest}" if rest else "Everything that was left open is released."
