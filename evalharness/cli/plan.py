"""`evalh plan SUITE`: what a run would do, what it may cost, what the test set can see. Spends nothing.

>>> plan(Path("suites/tickets.yaml"))                                                                 # doctest: +SKIP
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.options import AllowLeaks, AsJson, DataRoot, Rehearse, StoreFile, SuiteFile, results_of, store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evalharness.doctor.findings import Finding
    from evalharness.pipeline import ArmPlan, Plan, TrainingPlan
    from evalharness.pipeline.judging_plan import JudgePlan
    from evalharness.pipeline.outlook import Chance, Outlook


def plan(
    suite: SuiteFile,
    data: DataRoot = None,
    store: StoreFile = None,
    rehearse: Rehearse = False,
    allow_leaks: AllowLeaks = False,
    looks: Annotated[int | None, typer.Option("--looks", min=2, max=20, help="Also: when to look early, and at which level.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is missing, its cost and time as far as known, and what the test set can decide. Spends nothing."""
    import json
    from dataclasses import asdict

    from evalharness.doctor.kept import rows_of
    from evalharness.pipeline import make_plan
    from evalharness.pipeline.checked import examined
    from evalharness.pipeline.outlook import outlook
    from evalharness.reading import load_suite

    loaded = load_suite(suite, data_root=data, allow_leaks=allow_leaks)
    found = store_of(loaded.root, store, rehearse=rehearse)
    made = make_plan(loaded, found, results_of(loaded.root), rehearse=rehearse)
    seen, findings = outlook(made, found, looks), examined(made)
    if as_json:
        parts = {
            "trainings": [asdict(t) for t in made.trainings],
            "arms": [asdict(a) for a in made.arms],
            "judging": [asdict(j) for j in made.judging],
            "visible": {name: None if least == math.inf else least for name, least in made.visible.items()},
            "findings": [asdict(row) for row in rows_of(findings)],
            "outlook": asdict(seen),
            "usd": made.usd,
            "spent_usd": made.spent,
        }
        typer.echo(json.dumps(parts | {"nothing_to_do": made.nothing_to_do}))
        return
    for line in lines(made, seen, findings):
        typer.echo(line)


def lines(plan: Plan, seen: Outlook | None = None, findings: Sequence[Finding] = ()) -> list[str]:
    """The plan in words, a line each."""
    from evalharness.pipeline.checked import told
    from evalharness.pipeline.plan import picks_on_dev

    splits = plan.splits
    said = [f"{plan.loaded.suite.name}: {len(splits.train):,} train, {len(splits.dev):,} dev, {len(splits.test):,} held-out rows"]
    said += [f"  note: {note}" for note in splits.notes]
    if picks_on_dev(plan.entries, plan.loaded, splits):
        said.append("  note: trained candidates are asked the dev rows, too: the best one is picked on them")
    said += [f"  check  {text}" for text in [told(findings)] if text]
    said += [f"  train  {_training(training)}" for training in plan.trainings]
    by_the_hour = {training.label for training in plan.trainings if training.usd_per_hour != 0.0}
    said += [f"  ask    {_arm(arm, arm.label in by_the_hour)}" for arm in plan.arms]
    said += [f"  judge  {line}" for each in plan.judging for line in _judging(each)]
    for name, visible in plan.visible.items():
        if visible is not None:
            sees = f"can see {100 * visible:.1f} points" if math.isfinite(visible) else "is too small to see any difference"
            said.append(f"  {name}: this test set {sees} (80% power, one in five answers differing)")
    said += _gate(seen) if seen is not None else []
    said.append(_money(plan))
    said.append("Nothing is missing." if plan.nothing_to_do else "Nothing was spent. evalh train-and-score does all of it.")
    return said


def _training(training: TrainingPlan) -> str:
    if training.done:
        return f"{training.label}: trained before"
    time = "time unknown until a first run" if training.seconds is None else f"about {training.seconds:.0f} s, as before"
    cost = "" if training.usd == 0.0 else f", {_dollars(training.usd)}"
    hour = "" if training.usd_per_hour == 0.0 else f", its deployment by the hour, {_dollars(training.usd_per_hour)} for each"
    return f"{training.label}: {training.runner} on {training.base}, {training.rows:,} rows, {time}{cost}{hour}"


def _dollars(usd: float | None) -> str:
    if usd is None:
        return "cost unknown"
    return f"at most about {usd:,.2f} USD" if usd >= 0.01 or usd == 0.0 else f"at most about {usd:.2g} USD"


def _money(plan: Plan) -> str:
    cap = plan.loaded.suite.budget
    limit = "" if cap is None else f"; of the budget's {cap.usd:,.2f} USD {plan.spent:,.2f} are spent"
    return f"  cost   all of it: {'nothing' if plan.usd == 0.0 else _dollars(plan.usd)}{limit}"


def _gate(seen: Outlook) -> list[str]:
    said = [f"  gate   {_chance(each)}" for each in seen.chances]
    if seen.needed is not None:
        enough = "enough are there" if seen.needed <= seen.n else f"{seen.n:,} are there"
        said.append(f"  gate   all rules together work with {seen.needed:,} items (80% chance either way); {enough}")
    said += [f"  look   after {look.items:,} items, with intervals at {100 * look.level:.2f}%" for look in seen.looks]
    return said


def _chance(each: Chance) -> str:
    if each.passing is None:
        return f"{each.metric}: only answers can tell the chance to pass"
    how = "one in five answers differing" if each.seen is None else f"as {each.seen.pair[1]} differed from {each.seen.pair[0]} before"
    return f"{each.metric}: {100 * each.passing:.0f}% chance to pass with {100 * each.margin:g} points of margin if nothing changed ({how})"


def _judging(each: JudgePlan) -> list[str]:
    if not each.questions:
        return [f"{each.metric}: all opinions stored", *each.warnings]
    return [f"{each.metric}: {each.questions:,} questions, at most {each.calls:,} calls, {_dollars(each.usd)}", *each.warnings]


def _arm(arm: ArmPlan, by_the_hour: bool) -> str:
    if arm.missing == 0:
        return f"{arm.label}: all {arm.total:,} answers stored"
    tokens = f", about {arm.characters // 4:,} prompt tokens" if arm.characters else ""
    cost = "paid by the hour" if by_the_hour else "costs nothing" if arm.local or arm.usd == 0.0 else _dollars(arm.usd)
    return f"{arm.label}: {arm.to_do:,} of {arm.total:,} answers missing{tokens}, {cost}"
