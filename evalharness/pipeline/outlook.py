"""What the test set can decide before anything is spent: chances to pass, items needed, and when to look.

>>> outlook(plan, store, looks=4).needed                                                              # doctest: +SKIP
1180
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalharness.protocols import Metric
from evalharness.reading import LoadedSuite
from evalharness.spec import Rule as RuleSpec
from evalharness.store import Store

if TYPE_CHECKING:
    from evalharness.pipeline.plan import Plan
    from evalharness.stats.looks import Look


@dataclass(frozen=True, slots=True)
class Seen:
    """How two arms differed on stored outputs: the share of items on which they did, and the differences' deviation."""

    discordance: float
    deviation: float
    pair: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Chance:
    """One rule of the gate. `passing` is the chance of PASS if nothing changed; None where only answers can tell."""

    metric: str
    margin: float
    passing: float | None
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the gate can do with `n` items. `needed` are the items with which all its right/wrong rules work together.

    None: no number of them can (a margin of 0), or there is no such rule. Levels are at 1 - alpha/K for K candidates.
    """

    n: int
    level: float
    chances: tuple[Chance, ...]
    needed: int | None
    looks: tuple[Look, ...]


def outlook(plan: Plan, store: Store, looks: int | None = None) -> Outlook:
    """The chances of the suite's gate, from the plan and what the store has seen of its arms. Spends nothing."""
    suite, n = plan.loaded.suite, len(plan.splits.test)
    level = suite.level
    rules = [rule for rule in (suite.gate.rules if suite.gate else ()) if rule.margin is not None and _whole(rule)]
    chances = tuple(_chance(rule, plan.loaded, store, n, level) for rule in rules)
    needed = _needed(chances, plan.loaded, level)
    return Outlook(n, level, chances, needed, _looks(needed or n, looks, level) if looks else ())


def _whole(rule: RuleSpec) -> bool:
    return rule.slice is None and not rule.every_slice


def _looks(items: int, looks: int, level: float) -> tuple[Look, ...]:
    from evalharness.stats.looks import schedule

    return tuple(schedule(items, looks, level))


def _chance(rule: RuleSpec, loaded: LoadedSuite, store: Store, n: int, level: float) -> Chance:
    from evalharness.stats import plan as planner

    metric, margin = loaded.metrics[rule.metric], rule.margin or 0.0
    seen = _seen(metric, rule.metric, loaded, store)
    passing = None
    if metric.kind == "binary":
        passing = planner.chance_to_pass(n, planner.Rule(margin, _share(seen)), 0.0, level)
    elif metric.kind == "mean" and seen is not None and seen.deviation > 0:
        passing = planner.mean_chance_to_pass(n, margin, seen.deviation, 0.0, level)
    return Chance(rule.metric, margin, passing, seen)


def _share(seen: Seen | None) -> float:
    from evalharness.stats.plan import DISCORDANCE

    return DISCORDANCE if seen is None else min(1.0, max(seen.discordance, 0.005))


def _needed(chances: Sequence[Chance], loaded: LoadedSuite, level: float) -> int | None:
    from evalharness.stats.plan import Rule, items_needed

    rules = [Rule(each.margin, _share(each.seen)) for each in chances if loaded.metrics[each.metric].kind == "binary"]
    return items_needed(rules, level) if rules else None


def _seen(metric: Metric, label: str, loaded: LoadedSuite, store: Store) -> Seen | None:
    """The newest run's reference and the candidate whose score is nearest to its: the nearest there is to nothing changed."""
    import numpy as np

    from evalharness.pipeline.scoring import metric_id

    run = store.latest_run(loaded.suite.name)
    if run is None:
        return None
    parts = store.run_arms(run.run_id)
    reference = next((part for part in parts if part.arm.label == loaded.suite.reference), None)
    if reference is None:
        return None
    others = [part for part in parts if part.arm.role == "candidate" and part.dataset_id == reference.dataset_id]
    key = metric_id(metric)
    table = store.score_tables([part.arm.arm_id for part in (reference, *others)], reference.dataset_id, [key])[key]
    scored = ~np.isnan(table.values)
    values = np.where(scored, table.values, 0.0).sum(axis=2) / np.where(scored.any(axis=2), scored.sum(axis=2), np.nan)
    found = []
    for row, part in zip(values[1:], others, strict=True):
        differences = (row - values[0])[~np.isnan(row - values[0])]
        if len(differences) >= 20:
            pair = (reference.arm.label, part.arm.label)
            seen = Seen(float(np.mean(differences != 0)), float(np.std(differences, ddof=1)), pair)
            found.append((abs(float(np.mean(differences))), pair, seen))
    return min(found)[2] if found else None
