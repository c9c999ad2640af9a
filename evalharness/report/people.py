"""What people's labels say of a judge, in lines: whether a difference is corrected, and how far judge and people agree.

>>> lines({"differences": {"tuned": {"basis": "judge opinion, not corrected"}}, "arms": {}, "between_people": None})
['tuned: judge opinion, not corrected']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalharness.verdict.wording import listed, several


def lines(human: Mapping[str, Any] | None) -> list[str]:
    """Lines of plain text for `MetricHead.human`; none for a metric that asks nobody and has no labels."""
    if human is None:
        return []
    return [*_bases(human["differences"]), *_arms(human["arms"]), *_between(human["between_people"])]


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
    return ", ".join(f"{name} {value:.2f}" if value is not None else f"{name} undefined" for name, value in named)


def _rate(name: str, rate: Mapping[str, Any] | None) -> str:
    if rate is None:
        return ""
    return f"{name} {100 * rate['value']:.0f}% ({100 * rate['low']:.0f} to {100 * rate['high']:.0f})"


def _between(between: Mapping[str, Any] | None) -> Iterator[str]:
    for each in (between or {}).get("pairs", []):
        yield f"{listed(each['annotators'])} on {several(each['compared'], 'answer')}: {_coefficients(each)}"
