"""`evalh decide [SUITE]`: adopt a candidate, keep the baseline, or undecided; with evidence and price.

>>> decide(Path("suites/tickets.yaml"))                                                               # doctest: +SKIP
"""

from __future__ import annotations

from evalharness.cli.options import AsJson, MaybeSuite, RunId, StoreFile, store_of


def decide(suite: MaybeSuite = None, run: RunId = None, store: StoreFile = None, as_json: AsJson = False) -> None:
    """Decide about a run's candidates by the suite's decide metric; the gate is the guardrail."""
    from evalharness import verdict
    from evalharness.cli.gate import told
    from evalharness.cli.report import place, run_of

    root, name = place(suite)
    opened = store_of(root, store)
    told(opened, verdict.decide(verdict.load(opened, run_of(opened, run, name), root)), as_json=as_json)
