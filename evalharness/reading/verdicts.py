"""Metrics, gate and decision of a suite: every name in them has to be one of the suite's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalharness.errors import Problem
from evalharness.protocols import Metric, opines
from evalharness.reading.plugins import At, take
from evalharness.reading.problems import nearest


def check_metrics(raw: Mapping[str, Any], at: At, problems: list[Problem]) -> dict[str, Metric] | None:
    """The metrics by name, in the suite's order; None if some cannot be named (then no name can be called unknown)."""
    found: dict[str, Metric] = {}
    uses = raw.get("metrics")
    whole = isinstance(uses, list)
    for i, use in enumerate(uses if isinstance(uses, list) else []):
        if not isinstance(use, str | Mapping):
            whole = False
            continue
        here = at.below("metrics", i)
        use, label = _labelled(use)
        chosen = take("metrics", use, here, problems)
        if chosen is None:
            whole = False
            continue
        label = label or chosen.instance.name
        if label in found:
            fix = "Keep one, or give it a label: {exact_match: {label: loose, ...}}"
            problems.append(here.problem(f"a second metric is called {label!r}", fix))
        else:
            found[label] = chosen.instance
    return found if whole else None


def _labelled(use: str | Mapping[str, Any]) -> tuple[str | dict[str, Any], str | None]:
    """The use without its `label`, which any metric may have beside its options, and the label."""
    if isinstance(use, str) or len(use) != 1:
        return use if isinstance(use, str) else dict(use), None
    ((name, argument),) = use.items()
    label = argument.get("label") if isinstance(argument, Mapping) else None
    if not isinstance(label, str):
        return dict(use), None
    rest = {key: value for key, value in argument.items() if key != "label"}
    return {name: rest} if rest else str(name), label


def check_verdicts(raw: Mapping[str, Any], metrics: Mapping[str, Metric] | None, slices: Sequence[str] | None, at: At) -> Iterator[Problem]:
    """Unknown metrics, arms and slices in gate and decide; thresholds outside of a metric's range."""
    labels = {str(label) for part in ("baselines", "candidates") for label in _mapping(raw.get(part))}
    gate, decide = _mapping(raw.get("gate")), _mapping(raw.get("decide"))
    for part, key in ((gate, "gate"), (decide, "decide")):
        against = part.get("against")
        if isinstance(against, str) and against not in labels:
            yield at.below(key, "against").problem(f"no arm is called {against!r}", nearest(against, labels))
    rules = gate.get("rules")
    for i, rule in enumerate(rules if isinstance(rules, list) else []):
        here = at.below("gate", "rules", i)
        yield from _thresholds(_mapping(rule), metrics, here)
        yield from _slices(_mapping(rule), slices, here)
    yield from _thresholds(decide, metrics, at.below("decide"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _thresholds(part: Mapping[str, Any], metrics: Mapping[str, Metric] | None, at: At) -> Iterator[Problem]:
    name = part.get("metric")
    if metrics is None or not isinstance(name, str):
        return
    if name not in metrics:
        yield at.below("metric").problem(f"the suite has no metric {name!r}", nearest(name, metrics))
        return
    if part.get("require_labels") is not None and not opines(metrics[name]):
        yield at.below("require_labels").problem(f"{name} is computed: labels correct only what a model was asked", "Leave it out")
    low, high = metrics[name].range
    for key in ("margin", "min_gain", "at_least"):
        value = part.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        beyond = not low <= value <= high if key == "at_least" else value > high - low
        if beyond:
            yield at.below(key).problem(f"{value:g} is out of reach: {name} lies between {low:g} and {high:g}", "Use the metric's own unit")


def _slices(rule: Mapping[str, Any], slices: Sequence[str] | None, at: At) -> Iterator[Problem]:
    if slices is None:
        return
    if rule.get("every_slice") is True and not slices:
        yield at.below("every_slice").problem("the suite has no slices", "Add data.slices")
    wanted = rule.get("slice")
    name = wanted.partition("=")[0] if isinstance(wanted, str) else ""
    if name and name not in slices:
        fix = nearest(name, slices) or "Add data.slices"
        yield at.below("slice").problem(f"{name!r} is none of data.slices", fix)
