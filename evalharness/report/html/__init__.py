"""The report as one HTML page: no file beside it, no network, plots inline, every item searchable.

>>> Path("report.html").write_text(text(report, items))                                               # doctest: +SKIP

Everything in it that a model or a user wrote is text: Jinja escapes it, the items travel as JSON in a data block, and a
content security policy allows this page's own style and script by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import evalharness.report.figures as figures
import evalharness.report.mistakes as mistakes
import evalharness.report.people as people
from evalharness.report.items import Items
from evalharness.report.model import Cell, Confusion, Estimate, FieldErrors, Flip, MetricHead, Report, Row, SliceCell
from evalharness.report.text import lines_of, visible

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

MOST_WORDS = 600
"""Words of each side that a difference is looked for in: the time it takes grows with their product."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def text(report: Report, items: Items | None = None) -> str:
    """The whole page. Without items it has no search over them."""
    from evalharness.report.html import charts
    from evalharness.report.html.answer import Answer

    style, script = _asset("page.css"), _asset("page.js")
    main = next(metric for metric in report.metrics if metric.label == report.ranked_by)
    return _template().render(
        report=report,
        answer=Answer.of(report),
        main=main,
        boards=[board for metric in (main, *(m for m in report.metrics if m is not main)) if (board := _board(report, metric)) is not None],
        scatter=charts.scatter(report),
        curves=charts.curves(report),
        histories=charts.histories(report),
        slices=_slices(report),
        mistakes=[
            (each, mistakes.table(each) if isinstance(each, Confusion) else None, mistakes.lines(each, 20)) for each in _wrong(report)
        ],
        flips=[(flip, *_differences(flip)) for flip in report.flips],
        items=items,
        data=_data(items, report) if items is not None else None,
        how=_how(report),
        figures=figures,
        unit=figures.unit_of,
        style=style,
        script=script,
        policy=_policy(style, script),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"visible": visible, "lines": lines_of}
    return made.from_string(_read("page.html.j2"))


def _read(name: str) -> str:
    return files("evalharness.report.html").joinpath(name).read_text(encoding="utf-8")


def _asset(name: str) -> Markup:
    """Our own style or script, as it goes between its tags."""
    from markupsafe import Markup

    return Markup(_read(name))


def _policy(style: str, script: str) -> str:
    """Nothing may be fetched, sent, framed or run but the style and the script with these hashes."""
    hashes = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script))
    names = [f"'sha256-{each}'" for each in hashes]
    return f"default-src 'none'; style-src {names[0]}; script-src {names[1]}; img-src data:; base-uri 'none'; form-action 'none'"


def _data(items: Items, report: Report) -> Markup:
    """The items as JSON that no HTML parser can take for anything else: ASCII without <, > and &."""
    from markupsafe import Markup

    labels = [row.arm for row in report.rows]
    colors = [labels.index(arm) if arm in labels else 0 for arm in items.arms]
    told = report.flips[0].arm if report.flips else next((arm for arm in items.arms if arm != items.reference), "")
    known = {metric.label: (figures.unit_of(metric), 1 if metric.higher_is_better else -1) for metric in report.metrics}
    units = {label: [unit.scale, unit.digits, sign] for label, (unit, sign) in known.items()}
    raw = json.dumps({**items.as_dict(), "colors": colors, "told": told, "units": units}, separators=(",", ":"), allow_nan=False)
    return Markup(raw.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _board(report: Report, metric: MetricHead) -> dict[str, Any] | None:
    """A metric's leaderboard and its forest plot, each row with its bars."""
    from evalharness.report.html.plots import Axis, bar

    cells = [(row, cell) for row in report.rows if (cell := row.cell(metric.label)) is not None and cell.score is not None]
    if not cells:
        return None
    scores = [value for _, cell in cells for value in _ends(cell.score)]
    gains = [0.0, *(value for _, cell in cells for value in _ends(cell.gain))]
    own, against, unit = Axis.over(scores, 0, 200, pad=0.03), Axis.over(gains, 0, 200), figures.unit_of(metric)
    rows = []
    for row, cell in cells:
        reading = figures.reading(cell)
        label = f"{unit.value(cell.score.value if cell.score else None)}, interval {figures.ends(metric, cell.score) if cell.score else ''}"
        rows.append({
            "row": row, "cell": cell, "reading": reading, "mark": {"better": "▲", "worse": "▼"}.get(reading, ""),
            "bar": _bar(bar, cell.score, own, label, "ref" if row.is_reference else ""),
            "gain": _bar(bar, cell.gain, against, _gain_label(metric, cell), {"better": "good", "worse": "bad"}.get(reading, "")),
        })  # fmt: skip
    return {
        "metric": metric,
        "unit": unit,
        "rows": rows,
        "low": own.low,
        "high": own.high,
        "margin": _margin(report, metric),
        "told": people.told(metric),
    }


def _wrong(report: Report) -> list[Confusion | FieldErrors]:
    """What has mistakes to show."""
    found: list[Confusion | FieldErrors] = [*report.confusions, *report.field_errors]
    return [each for each in found if mistakes.lines(each)]


def _margin(report: Report, metric: MetricHead) -> str:
    checks = [
        check
        for each in (report.gate or {}).get("evidence", {}).get("candidates", [])
        for check in each["checks"]
        if check["metric"] == metric.label and check["margin"] is not None and check["slice"] is None
    ]
    return f"The gate allows a loss of {figures.unit_of(metric).size(checks[0]['margin'])}." if checks else ""


def _gain_label(metric: MetricHead, cell: Cell) -> str:
    if cell.gain is None:
        return ""
    unit = figures.unit_of(metric)
    return f"{unit.gain(cell.gain.value)} {unit.word}, interval {figures.ends(metric, cell.gain, signed=True)}: {figures.reading(cell)}"


def _ends(estimate: Estimate | None) -> list[float]:
    values = (estimate.low, estimate.value, estimate.high) if estimate is not None else ()
    return [value for value in values if value is not None]


def _bar(draw: Any, estimate: Estimate | None, axis: Any, label: str, kind: str) -> Markup | None:
    if estimate is None or estimate.value is None:
        return None
    low = estimate.low if estimate.low is not None else axis.low
    return draw(low, estimate.value, estimate.high if estimate.high is not None else axis.high, axis, label, kind)  # type: ignore[no-any-return]


def _slices(report: Report) -> list[dict[str, Any]]:
    """Metric by metric: slices down, arms across, each with score and difference."""
    found = []
    for metric in report.metrics:
        arms, slices = figures.sliced(report, metric.label)
        rows = [(name, n, [_slice(metric, cell) for cell in cells]) for name, n, cells in slices]
        found += [{"metric": metric, "arms": arms, "rows": rows}] if rows else []
    return found


def _slice(metric: MetricHead, found: SliceCell | None) -> dict[str, str]:
    if found is None:
        return {"score": "", "gain": "", "ends": "", "reading": ""}
    unit, cell = figures.unit_of(metric), Cell(metric.label, found.score, found.gain)
    gain = unit.gain(found.gain.value) if found.gain is not None else ""
    ends = figures.ends(metric, found.gain, signed=True) if found.gain is not None else figures.ends(metric, found.score)
    return {"score": unit.value(found.score.value), "gain": gain, "ends": ends, "reading": figures.reading(cell)}


def _differences(flip: Flip) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The two answers in pieces: (kind, text), kind "same" or "other"."""
    before, after = (_words(each) for each in (flip.reference_text, flip.arm_text))
    matcher = difflib.SequenceMatcher(None, before[:MOST_WORDS], after[:MOST_WORDS], autojunk=False)
    left, right = [], []
    for kind, a, b, c, d in matcher.get_opcodes():
        name = "same" if kind == "equal" else "other"
        left.append((name, "".join(before[a:b])))
        right.append((name, "".join(after[c:d])))
    left.append(("same", "".join(before[MOST_WORDS:])))
    right.append(("same", "".join(after[MOST_WORDS:])))
    return [part for part in left if part[1]], [part for part in right if part[1]]


def _words(found: str | None) -> Sequence[str]:
    return _WORD.findall(found or "")


def _how(report: Report) -> Iterator[tuple[str, str]]:
    """What has to be known to compute it again."""
    run, data = report.run, report.dataset
    yield "run", f"{run.run_id}, {run.state}, started {run.started}" + (f", finished {run.finished}" if run.finished else "")
    yield "held-out items", f"{data.n:,} of {data.name} ({data.source}); hash {data.dataset_id}"
    yield "answers per item", str(data.repeats)
    if data.clusters is not None:
        yield "clusters", f"{data.clusters:,}: intervals are as wide as so many independent units allow"
    for metric in report.metrics:
        yield f"metric {metric.label}", metric.signature
    methods = dict.fromkeys(
        each.method for row in report.rows for cell in row.cells for each in (cell.score, cell.gain) if each is not None
    )
    yield "intervals", f"{', '.join(methods)}; {figures.levels(report)}"
    yield "seed", str(report.seed)
    for row in report.rows:
        yield f"arm {row.arm}", _arm_line(row)
    yield "code", f"commit {run.git_sha or 'unknown'}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))


def _arm_line(row: Row) -> str:
    trained = f"; {row.training.runner} on {row.training.base}, training {row.training.training_id}" if row.training is not None else ""
    return f"{row.role}, hash {row.arm_id}{trained}"
