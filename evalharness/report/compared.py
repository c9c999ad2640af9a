"""A comparison of two arms as lines of text: what each scored, how items fell out, the test, what is missing, cost and time.

>>> facts({"scores": {}, "wins": 3, "losses": 1, "ties": 6, "p": 0.625, "test": "McNemar mid-p", "missing": {}, "visible": None}, POINTS)
'3 items better, 1 worse, 6 alike; McNemar mid-p p = 0.625.'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import evalharness.report.figures as figures
from evalharness.report.model import Estimate
from evalharness.verdict.wording import Unit, percent

POINTS = Unit.of((0.0, 1.0))
LEAST_P = 0.0001


def facts(found: Mapping[str, Any], unit: Unit) -> str:
    """What `compare` found of one metric or slice, beside the difference that its sentence says."""
    parts = [f"{label} {_score(score, unit)}" for label, score in found["scores"].items()]
    text = ", ".join(parts) + "; " if parts else ""
    text += f"{found['wins']:,} items better, {found['losses']:,} worse, {found['ties']:,} alike"
    if found["p"] is not None:
        text += f"; {found['test']} p {'<' if found['p'] < LEAST_P else '='} {max(found['p'], LEAST_P):.3g}"
    if gone := [f"{label} {figures.share(part)}" for label, part in found["missing"].items() if part]:
        text += f"; missing: {', '.join(gone)}"
    if found["visible"] is not None:
        text += f"; {unit.size(found['visible'])} can be seen"
    return f"{text}."


def _score(found: Mapping[str, Any], unit: Unit) -> str:
    ends = " to ".join("∞" if found[end] is None else unit.value(found[end]) for end in ("low", "high"))
    return f"{unit.value(found['value'])} ({percent(found['level'])} {ends})"


def usage(found: Mapping[str, Any]) -> str:
    """Cost and time of each side, as far as known: "Per 1,000 requests: tuned $0.40 (95% $0.38 to $0.42), few-shot unknown."."""
    costs = {label: _cost(each) for label, each in found.items()}
    times = {label: figures.seconds(each["latency_p50_s"]) for label, each in found.items()}
    said = {"Per 1,000 requests": costs, "An answer takes (median)": times}
    lines = [
        f"{what}: {', '.join(f'{label} {text}' for label, text in known.items())}."
        for what, known in said.items()
        if set(known.values()) != {figures.UNKNOWN}
    ]
    return " ".join(lines) or "What they cost and how long they take is unknown."


def _cost(found: Mapping[str, Any]) -> str:
    serving = found["serving"]
    if serving["by_the_hour"]:
        hour = figures.dollars(serving["usd_per_hour"])
        return f"{figures.dollars(found['cost_usd_per_1000'])} while it is never idle ({hour} an hour)"
    return figures.price(None if serving["usd_per_1000"] is None else Estimate(**serving["usd_per_1000"]))
