"""`evalh decide [SUITE]`: adopt a candidate, keep the baseline, or undecided; with evidence and price.

>>> decide(Path("suites/tickets.yaml"))                                                               # doctest: +SKIP
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from evalharness.cli.gate import Against
from evalharness.cli.options import AsJson, MaybeSuite, RunId, StoreFile, store_of

Deployed = Annotated[
    str | None,
    typer.Option(
        "--deployed",
        help="Retrain, keep, or return to the prompt? The arm in use: ARM, or ARM@pin:NAME of another run.",
        show_default=False,
    ),
]
Shutdown = Annotated[
    datetime | None,
    typer.Option(
        "--shutdown", formats=["%Y-%m-%d"], help="When its base model is switched off, if the store does not know.", show_default=False
    ),
]
Volume = Annotated[
    int | None,
    typer.Option("--volume", min=1, help="Requests a month: for hosting by the hour and the pay-back date.", show_default=False),
]


def decide(
    suite: MaybeSuite = None,
    against: Against = None,
    deployed: Deployed = None,
    lead_days: Annotated[int, typer.Option("--lead-days", min=0, help="How long before a shutdown to retrain.")] = 90,
    shutdown: Shutdown = None,
    volume: Volume = None,
    run: RunId = None,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Decide about a run's candidates by the suite's decide metric; the gate is the guardrail."""
    from evalharness import verdict
    from evalharness.cli.gate import told
    from evalharness.cli.report import place, run_of
    from evalharness.errors import ConfigError, Problem

    root, name = place(suite)
    opened = store_of(root, store)
    view = verdict.load(opened, run_of(opened, run, name), root)
    if against is not None and deployed is not None:
        fix = "Leave one out: --deployed holds the arm in use against its own past"
        raise ConfigError([Problem("", "--against", "beside --deployed", fix)])
    if against is not None and verdict.is_past(against):
        found = verdict.decide_past(view, verdict.find(view, against), volume=volume)
    elif deployed is None:
        found = verdict.decide(view, against=against, volume=volume)
    else:
        found = verdict.decide_deployed(view, deployed, lead_days=lead_days, shutdown=shutdown.date() if shutdown else None)
    told(opened, found, as_json=as_json)
