"""What people's labels say of a judge, and how the judge judged, in lines of plain text.

>>> lines({"differences": {"tuned": {"basis": "judge opinion, not corrected"}}, "arms": {}, "between_people": None})
['tuned: judge opinion, not corrected']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import evalharness.report.figures as figures
from evalharness.report.model import MetricHead
from evalharness.verdict.wording import Unit, listed, percent, several


def told(metric: MetricHead) -> list[str]:
    """All lines below a metric's leaderboard."""
    return [*lines(metric.human), *opinions(metric.judging)]


def lines(human: Mapping[str, Any] | None) -> list[str]:
    """Lines for `MetricHead.human`, or for `human` of a comparison; none for a metric that asks nobody and has no labels."""
    if human is None:
        return []
    return [*_bases(human.get("differences", {})), *_arms(human["arms"]), *_between(human["between_people"])]


def opinions(judging: Mapping[str, Any] | None) -> list[str]:
    """Lines for `MetricHead.judging`, or for `judging` of a comparison."""
    if judging is None:
        return []
    found = [f"{kin} as {arm}: judges favour their own kind, so check it with labels" for arm, kin in judging["related"].items()]
    unit = Unit.of((judging["range"][0], judging["range"][1]))
    for arm, each in judging["arms"].items():
        found += [*_order_and_length(arm, each), *_panel(arm, each, unit), *_trouble(arm, each)]
    if judging["panel_alpha"] is not None:
        found.append(f"the judges with each other: alpha {_decimal(judging['panel_alpha'])}")
    if judging["cost_usd"]:
        found.append(f"judging cost {figures.dollars(judging['cost_usd'])}")
    return found


def _bases(differences: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Arms whose differences rest on the same, together."""
    for basis in dict.fromkeys(each["basis"] for each in differences.values()):
        if basis:
            yield f"{listed([arm for arm, each in differences.items() if each['basis'] == basis])}: {basis}"


def _arms(arms: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for arm, each in arms.items():
        if each["compared"]:
            rates = [text for name in ("sensitivity", "specificity") if (text := _rate(name, each[name]))]
            told = "; ".join([_coefficients(each), *rates])
            yield f"{arm}, judge and people on {several(each['compared'], 'answer')}: {told}"


def _coefficients(each: Mapping[str, Any]) -> str:
    named = [(name, each[name]) for name in ("kappa", "alpha")]
    return ", ".join(f"{name} {_decimal(value)}" for name, value in named)


def _decimal(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}".replace("-", "−")


def _rate(name: str, rate: Mapping[str, Any] | None) -> str:
    return "" if rate is None else f"{name} {_share(rate)}"


def _share(rate: Mapping[str, Any]) -> str:
    """ "82% (71 to 90)"."""
    return f"{100 * rate['value']:.0f}% ({100 * rate['low']:.0f} to {100 * rate['high']:.0f})"


def _between(between: Mapping[str, Any] | None) -> Iterator[str]:
    for each in (between or {}).get("pairs", []):
        yield f"{listed(each['annotators'])} on {several(each['compared'], 'answer')}: {_coefficients(each)}"


def _order_and_length(arm: str, each: Mapping[str, Any]) -> Iterator[str]:
    if (rate := each["flip_rate"]) is not None:
        yield f"{arm}: the order of the two answers changed the verdict in {_share(rate)} of {several(rate['n'], 'pair')}"
    if (fair := each["length_controlled"]) is not None:
        unit = Unit.of((0.0, 1.0))
        ends = f"{percent(fair['level'])} {unit.value(fair['low'])} to {unit.value(fair['high'])}"
        lengths = f"{each['length']:,.0f} characters an answer against {each['other_length']:,.0f}"
        yield f"{arm}: {lengths}; the judge's win rate at equal lengths {unit.value(fair['value'])} ({ends})"


def _panel(arm: str, each: Mapping[str, Any], unit: Unit) -> Iterator[str]:
    if any(said["n"] for said in (each["judges"] or {}).values()):
        by_judge = [f"{judge} {unit.value(said['value'])}" for judge, said in each["judges"].items()]
        yield f"{arm}, judge by judge: {', '.join(by_judge)}"


def _trouble(arm: str, each: Mapping[str, Any]) -> Iterator[str]:
    if each["failed"]:
        yield f"{arm}: the judge failed on {several(each['failed'], 'answer')}, counted as missing"
    if each["asked_twice"]:
        yield f"{arm}: {several(each['asked_twice'], 'call')} had to be asked twice"
