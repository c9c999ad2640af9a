"""The report in Markdown, for a pull request's comment or a job summary: the verdict in the first line, details folded away.

>>> text(report).splitlines()[0]                                                                      # doctest: +SKIP
'**ADOPT.** Adopt tuned: +16.5 points (95% 11.2 to 21.7) over few-shot, 400 items, no check failed.'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import evalharness.report.figures as figures
import evalharness.report.mistakes as mistakes
import evalharness.report.people as people
from evalharness.report.model import Cell, MetricHead, Report, Row, SliceCell
from evalharness.report.text import for_markdown
from evalharness.verdict.wording import percent, several

MARKS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔", "INVALID": "⚠️"}
SIGNS = {"better": "▲ better", "worse": "▼ worse", "no difference shown": "no difference shown"}


def text(report: Report) -> str:
    """The whole report as Markdown, ending in a line break."""
    main = [metric for metric in report.metrics if metric.label == report.ranked_by]
    others = [metric for metric in report.metrics if metric.label != report.ranked_by]
    blocks = [
        _first_line(report),
        f"{for_markdown(report.run.suite or 'run')}: {several(report.dataset.n, 'held-out item')} · {for_markdown(figures.levels(report))}",
        *(_leaderboard(report, metric) for metric in main),
        *_not_scored(report),
        *_gate(report),
        *_list("Decision", (report.decision or {}).get("sentences", [])[1:]),
        *_list("Notes", report.notes),
        *_folded("Data checks", ["\n".join(f"- {for_markdown(line)}" for line in figures.checked(report))]),
        *_folded("Other metrics", [_leaderboard(report, metric) for metric in others]),
        *_folded("Slices", [_slices(report, metric) for metric in [*main, *others]]),
        *_folded("Mistakes", ["\n".join(_mistakes(report))]),
        *_folded("Outputs, tokens, cost, time", [_outcomes(report)]),
        *_folded("How it was computed", ["\n".join(f"- {for_markdown(line)}" for line in _how(report))]),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _first_line(report: Report) -> str:
    outcome = (report.decision or report.gate or {}).get("outcome")
    mark = f"**{for_markdown(str(outcome))}.** " if outcome is not None else ""
    return mark + for_markdown(report.headline)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _arm(row: Row) -> str:
    label = for_markdown(row.arm)
    return f"{label} *(reference)*" if row.is_reference else f"**{label}**"


def _leaderboard(report: Report, metric: MetricHead) -> str:
    unit, rows = figures.unit_of(metric), []
    for row in report.rows:
        cell = row.cell(metric.label)
        if cell is None or cell.score is None:
            continue
        line = [_arm(row), unit.value(cell.score.value), figures.ends(metric, cell.score)]
        if cell.gain is None:
            rows.append([*line, "", "", ""])
        else:
            ends = figures.ends(metric, cell.gain, signed=True)
            rows.append([*line, unit.gain(cell.gain.value), ends, SIGNS[figures.reading(cell)]])
    label = for_markdown(metric.label) + ("" if metric.higher_is_better else " (lower is better)")
    against = f"against {for_markdown(report.reference)}"
    if not rows:
        return ""
    table = _table([label, "score", percent(report.confidence), against, percent(report.level), ""], rows)
    return "\n\n".join([table, *("\n".join(f"- {for_markdown(line)}" for line in told) for told in [people.told(metric)] if told)])


def _slices(report: Report, metric: MetricHead) -> str:
    arms, slices = figures.sliced(report, metric.label)
    heads = [f"{for_markdown(metric.label)} on", "items", *map(for_markdown, arms)]
    return (
        _table(heads, [[for_markdown(name), f"{n:,}", *(_slice(metric, cell) for cell in cells)] for name, n, cells in slices])
        if slices
        else ""
    )


def _slice(metric: MetricHead, found: SliceCell | None) -> str:
    if found is None:
        return ""
    unit = figures.unit_of(metric)
    score = unit.value(found.score.value)
    if found.gain is None:
        return score
    sign = SIGNS[figures.reading(Cell(found.metric, found.score, found.gain))][:1]
    return f"{score} ({unit.gain(found.gain.value)}{f' {sign}' if sign in '▲▼' else ''})"


def _outcomes(report: Report) -> str:
    rows = [row for row in report.rows if row.problem is None]
    names = list(dict.fromkeys(name for row in rows if row.counts for name, _ in figures.outcome_parts(row.counts)))
    heads = ["arm", *names, "tokens in", "tokens out", "cost", "cost per 1,000", "p50", "p95", "training"]
    return _table(heads, [_outcome_line(row, names) for row in rows])


def _outcome_line(row: Row, names: Sequence[str]) -> list[str]:
    counts = dict(figures.outcome_parts(row.counts)) if row.counts is not None else {}
    usage = row.usage
    return [
        _arm(row),
        *(figures.count(counts.get(name, 0)) for name in names),
        figures.count(usage.prompt_tokens),
        figures.count(usage.completion_tokens),
        for_markdown(figures.dollars(usage.cost_usd)),
        for_markdown(figures.price(usage.cost_per_1000)) + (f", {hosting}" if (hosting := for_markdown(figures.hosting(row))) else ""),
        figures.seconds(usage.latency_p50_s),
        figures.seconds(usage.latency_p95_s),
        for_markdown(figures.training_line(row)),
    ]


def _mistakes(report: Report) -> list[str]:
    return [
        f"- **{for_markdown(arm)}**, {for_markdown(metric)}: {for_markdown('; '.join(told))}"
        for arm, metric, told in mistakes.told(report, 10)
    ]


def _not_scored(report: Report) -> list[str]:
    problems = [f"{row.arm}: {row.problem}" for row in report.rows if row.problem is not None]
    return _list("Not scored", problems)


def _gate(report: Report) -> list[str]:
    """Each candidate's answer with its checks."""
    lines = []
    for each in (report.gate or {}).get("evidence", {}).get("candidates", []):
        reason = f": {for_markdown(each['reason'])}" if each["reason"] else ""
        lines.append(f"- {MARKS.get(each['outcome'], '')} **{each['outcome']}** {for_markdown(each['candidate'])}{reason}")
        for check in each["checks"]:
            found = for_markdown(check["sentence"] + figures.needed(check["items_needed"]))
            lines.append(f"  - {check['result']}: {found}")
    title = f"**Gate against {for_markdown(figures.gate_reference(report))}**"
    return ["\n".join([title, "", *lines])] if lines else []


def _how(report: Report) -> list[str]:
    lines = [f"{metric.label}: {metric.signature}" for metric in report.metrics]
    lines.append(f"items: {report.dataset.dataset_id} ({report.dataset.source})")
    lines.append(f"run: {report.run.run_id}, {report.run.state}, started {report.run.started}")
    lines += [f"commit: {report.run.git_sha}"] if report.run.git_sha else []
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.run.versions.items()))
    return [*lines, *([f"versions: {versions}"] if versions else [])]


def _list(title: str, lines: Iterable[str]) -> list[str]:
    items = [f"- {for_markdown(line)}" for line in lines]
    return ["\n".join([f"**{title}**", "", *items])] if items else []


def _folded(title: str, blocks: Sequence[str]) -> list[str]:
    inside = [block for block in blocks if block]
    return [f"<details><summary>{title}</summary>", *inside, "</details>"] if inside else []
