"""The report's charts: quality against cost, loss curves, and the history of each metric.

>>> scatter(report)                                                                                   # doctest: +SKIP
Markup('<svg class="plot" …')
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

import evalharness.report.figures as figures
from evalharness.report.html.plots import BOTTOM, COLORS, LEFT, RIGHT, TOP, WIDE, WIDTH, Axis, dot, frame, line, spread, svg, word
from evalharness.report.model import Curve, HistoryPoint, MetricHead, Report
from evalharness.report.text import visible

Say = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture with its heading, and a sentence on how to read it."""

    title: str
    picture: Markup | None
    text: str


def color_of(report: Report, arm: str) -> str:
    """The CSS class of an arm's color: the same in every chart."""
    labels = [row.arm for row in report.rows]
    return f"c{labels.index(arm) % COLORS}" if arm in labels else "past"


@dataclass(frozen=True, slots=True)
class _Place:
    arm: str
    x: float
    y: float


def scatter(report: Report) -> Chart:
    """Quality against cost; against time where prices are unknown."""
    metric = next(each for each in report.metrics if each.label == report.ranked_by)
    costs = {row.arm: row.usage.cost_usd_per_1000 for row in report.rows}
    times = {row.arm: row.usage.latency_p50_s for row in report.rows}
    known = sum(value is not None for value in costs.values())
    x, say, name = (
        (costs, figures.dollars, "US dollars per 1,000 answers")
        if known > 1
        else (times, figures.seconds, "seconds an answer takes (median)")
    )
    places = [
        _Place(row.arm, value, cell.score.value)
        for row in report.rows
        if (value := x[row.arm]) is not None
        and (cell := row.cell(metric.label)) is not None
        and cell.score
        and cell.score.value is not None
    ]
    title = "Quality against cost" if known > 1 else "Quality against time"
    why = "" if known > 1 else "Prices of fewer than two arms are known, so time stands in for cost. "
    if len(places) < 2:
        return Chart(title, None, f"{why}Nothing to draw: fewer than two arms have both figures.")
    front = _front(places, metric.higher_is_better)
    best = f"{why}On the line: no other arm is both better and cheaper. Pareto front: {', '.join(visible(each.arm) for each in front)}."
    return Chart(title, _scatter(report, metric, places, front, (say, name)), best)


def _front(places: Sequence[_Place], higher: bool) -> list[_Place]:
    """The places that no other one beats in both ways, cheapest first."""
    sign = 1 if higher else -1
    found: list[_Place] = []
    for place in sorted(places, key=lambda each: (each.x, -sign * each.y)):
        if not found or sign * place.y > sign * found[-1].y:
            found.append(place)
    return found


def _scatter(report: Report, metric: MetricHead, places: Sequence[_Place], front: Sequence[_Place], told: tuple[Say, str]) -> Markup:
    height, unit = 320, figures.unit_of(metric)
    xs = [place.x for place in places]
    log = min(xs) > 0 and max(xs) > 20 * min(xs)
    x = Axis.over(xs, LEFT, WIDE - RIGHT, pad=0.2, log=log)
    y = Axis.over([place.y for place in places], height - BOTTOM, TOP + 8, pad=0.15)
    parts = [frame(height, x, y, (told[1], visible(metric.label)), (told[0], unit.value))]
    if len(front) > 1:
        parts.append(line([(x.at(place.x), y.at(place.y)) for place in front], "front"))
    tops = spread([y.at(place.y) + 4 for place in places])
    for place, top in zip(places, tops, strict=True):
        title = f"{visible(place.arm)}: {unit.value(place.y)}, {told[0](place.x)}"
        parts.append(dot(x.at(place.x), y.at(place.y), f"dot {color_of(report, place.arm)}", title, 6))
        parts.append(word(x.at(place.x), top, visible(place.arm), width=WIDE))
    label = "; ".join(f"{visible(place.arm)}: {unit.value(place.y)} at {told[0](place.x)}" for place in places)
    return svg(height, f"{visible(metric.label)} against {told[1]}. {label}", parts, WIDE)


def curves(report: Report) -> list[Chart]:
    """Loss by step of every tune, the chosen checkpoint marked."""
    return [_curve(curve) for curve in report.curves]


def _curve(curve: Curve) -> Chart:
    train = [(p.step, p.train_loss) for p in curve.points if p.train_loss is not None and math.isfinite(p.train_loss)]
    dev = [(p.step, p.dev_loss) for p in curve.points if p.dev_loss is not None and math.isfinite(p.dev_loss)]
    if not train and not dev:
        return Chart(visible(curve.arm), None, "No losses were logged.")
    height = 240
    x = Axis.over([step for step, _ in [*train, *dev]], LEFT, WIDTH - RIGHT, pad=0.03)
    y = Axis.over([0.0, *(loss for _, loss in [*train, *dev])], height - BOTTOM, TOP + 8)
    parts = [
        frame(
            height, x, y, ("step", "loss, nats per token"), (lambda v: f"{v:,.0f}" if v >= 0 and v == int(v) else "", lambda v: f"{v:.2g}")
        )
    ]
    if curve.chosen is not None:
        parts.append(line([(x.at(curve.chosen), height - BOTTOM), (x.at(curve.chosen), TOP + 8)], "chosen"))
        parts.append(word(x.at(curve.chosen), TOP + 20, f"chosen: step {curve.chosen}", "strong"))
    parts.append(line([(x.at(step), y.at(loss)) for step, loss in train], "train"))
    parts.append(line([(x.at(step), y.at(loss)) for step, loss in dev], "dev"))
    parts += [dot(x.at(step), y.at(loss), "devdot", f"step {step}: dev loss {loss:.4g}", 3) for step, loss in dev]
    text = f"{len(train)} logged steps (thin: training loss), {len(dev)} measurements on the dev rows (thick: dev loss)."
    if dev:
        lowest = min(dev, key=lambda each: each[1])
        text += f" Lowest dev loss {lowest[1]:.4g} at step {lowest[0]}."
    return Chart(visible(curve.arm), svg(height, f"Loss of {visible(curve.arm)} by step. {text}", parts), text)


def histories(report: Report) -> list[Chart]:
    """Each metric over the suite's runs, by arm; empty until there is a second run."""
    runs = list(dict.fromkeys(point.run_id for point in report.history))
    if len(runs) < 2:
        return []
    return [_history(report, metric, runs) for metric in report.metrics if any(p.metric == metric.label for p in report.history)]


def _history(report: Report, metric: MetricHead, runs: Sequence[str]) -> Chart:
    height, unit = 240, figures.unit_of(metric)
    points = [point for point in report.history if point.metric == metric.label and point.value is not None]
    x = Axis.over([0, len(runs) - 1], LEFT, WIDTH - 96, pad=0.04)
    y = Axis.over([v for p in points for v in (p.value, p.low, p.high) if v is not None], height - BOTTOM, TOP + 8)
    started = {point.run_id: point.started[:10] for point in report.history}
    parts = [frame(height, x, y, ("run", visible(metric.label)), (lambda v: _day(v, runs, started), unit.value))]
    arms = list(dict.fromkeys(point.arm for point in points))
    ends = []
    for arm in arms:
        mine = [(runs.index(point.run_id), point) for point in points if point.arm == arm]
        ends.append(y.at(mine[-1][1].value or 0.0) + 4)
        parts += _trace(mine, x, y, color_of(report, arm), unit.value, report.dataset.dataset_id)
    parts += [word(WIDTH - 96, top, visible(arm), color_of(report, arm)) for arm, top in zip(arms, spread(ends), strict=True)]
    others = {point.dataset_id for point in points} - {report.dataset.dataset_id}
    text = f"{len(runs)} runs, oldest left. Hollow points were scored on other held-out items: do not compare them." if others else ""
    return Chart(visible(metric.label), svg(height, f"{visible(metric.label)} over {len(runs)} runs.", parts), text)


def _trace(mine: Sequence[tuple[int, HistoryPoint]], x: Axis, y: Axis, color: str, say: Say, dataset_id: str) -> list[Markup]:
    """One arm's line, its intervals, and a point a run; points on other items are hollow and not joined."""
    parts, before = [], None
    for i, point in mine:
        at = (x.at(i), y.at(point.value or 0.0))
        if before is not None and before[1] == point.dataset_id:
            parts.append(line([before[0], at], f"trace {color}"))
        before = (at, point.dataset_id)
        if point.low is not None and point.high is not None:
            parts.append(line([(at[0], y.at(point.low)), (at[0], y.at(point.high))], f"whisker {color}"))
        title = f"{visible(point.arm)}, {point.started[:16]}: {say(point.value or 0.0)}"
        parts.append(dot(*at, f"dot {color}" if point.dataset_id == dataset_id else f"hollow {color}", title, 4))
    return parts


def _day(value: float, runs: Sequence[str], started: dict[str, str]) -> str:
    return started[runs[int(value)]][5:] if value == int(value) and 0 <= value < len(runs) else ""
