"""`evalh plan SUITE`: what a run would do, what it may cost, what the test set can see. Spends nothing.

>>> plan(Path("suites/tickets.yaml"))                                                                 # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from evalharness.cli.options import AsJson, DataRoot, Rehearse, StoreFile, SuiteFile, results_of, store_of

if TYPE_CHECKING:
    from evalharness.pipeline import ArmPlan, Plan, TrainingPlan
    from evalharness.pipeline.judging_plan import JudgePlan


def plan(suite: SuiteFile, data: DataRoot = None, store: StoreFile = None, rehearse: Rehearse = False, as_json: AsJson = False) -> None:
    """Show which trainings and answers are missing, their cost and time as far as known, and the smallest visible difference."""
    import json
    from dataclasses import asdict

    from evalharness.pipeline import make_plan
    from evalharness.reading import load_suite

    loaded = load_suite(suite, data_root=data)
    made = make_plan(loaded, store_of(loaded.root, store, rehearse=rehearse), results_of(loaded.root), rehearse=rehearse)
    if as_json:
        parts = {
            "trainings": [asdict(t) for t in made.trainings],
            "arms": [asdict(a) for a in made.arms],
            "judging": [asdict(j) for j in made.judging],
            "visible": dict(made.visible),
        }
        typer.echo(json.dumps(parts | {"nothing_to_do": made.nothing_to_do}))
        return
    for line in lines(made):
        typer.echo(line)


def lines(plan: Plan) -> list[str]:
    """The plan in words, a line each."""
    splits = plan.splits
    said = [f"{plan.loaded.suite.name}: {len(splits.train):,} train, {len(splits.dev):,} dev, {len(splits.test):,} held-out rows"]
    said += [f"  note: {note}" for note in splits.notes]
    said += [f"  train  {_training(training)}" for training in plan.trainings]
    said += [f"  ask    {_arm(arm)}" for arm in plan.arms]
    said += [f"  judge  {line}" for each in plan.judging for line in _judging(each)]
    for name, visible in plan.visible.items():
        if visible is not None:
            said.append(f"  {name}: this test set can see {100 * visible:.1f} points (80% power, one in five answers differing)")
    said.append("Nothing is missing." if plan.nothing_to_do else "Nothing was spent. evalh train-and-score does all of it.")
    return said


def _training(training: TrainingPlan) -> str:
    if training.done:
        return f"{training.label}: trained before"
    time = "time unknown until a first run" if training.seconds is None else f"about {training.seconds:.0f} s, as before"
    return f"{training.label}: {training.runner} on {training.base}, {training.rows:,} rows, {time}"


def _judging(each: JudgePlan) -> list[str]:
    if not each.questions:
        return [f"{each.metric}: all opinions stored", *each.warnings]
    cost = "cost unknown" if each.usd is None else f"at most about {each.usd:,.2f} USD"
    return [f"{each.metric}: {each.questions:,} questions, at most {each.calls:,} calls, {cost}", *each.warnings]


def _arm(arm: ArmPlan) -> str:
    if arm.missing == 0:
        return f"{arm.label}: all {arm.total:,} answers stored"
    tokens = f", about {arm.characters // 4:,} prompt tokens" if arm.characters else ""
    cost = "nothing, on this machine" if arm.local else "unknown"
    return f"{arm.label}: {arm.to_do:,} of {arm.total:,} answers missing{tokens}, cost {cost}"
