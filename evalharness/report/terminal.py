"""The report for a terminal: the verdict first, then a leaderboard with intervals drawn as bars, then what it all took.

>>> from rich.console import Console
>>> Console().print(render(report))                                                                   # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import evalharness.report.figures as figures
import evalharness.report.mistakes as mistakes
import evalharness.report.people as people
from evalharness.report.model import Cell, Estimate, MetricHead, Report, Row, SliceCell
from evalharness.report.text import plain, shortened, visible
from evalharness.verdict.wording import percent, several

STYLES = {
    "PASS": "bold green", "ADOPT": "bold green", "better": "green",
    "FAIL": "bold red", "worse": "red", "INVALID": "bold magenta",
    "INCONCLUSIVE": "bold yellow", "UNDECIDED": "bold yellow", "KEEP": "bold cyan",
}  # fmt: skip
NARROW, ROOMY = 72, 110
"""Terminal widths below which only values and differences are shown, and from which tokens are."""
LONGEST_LABEL, NARROWEST_BAR, WIDEST_BAR = 26, 9, 33


@dataclass(frozen=True, slots=True)
class render:
    """The report as something rich prints; it fits the console's width."""

    report: Report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report, width = self.report, options.max_width
        layout = _Layout.of(report, width)
        yield _title(report)
        yield Padding(_verdict(report), (1, 0))
        for metric in report.metrics:
            if any(row.cell(metric.label) for row in report.rows):
                yield _leaderboard(report, metric, layout)
                yield from (Padding(plain(line, "dim"), (0, 0, 0, 2)) for line in people.told(metric))
                yield ""
        yield _outcomes(report, width)
        yield from _section(
            "Cost per 1,000 requests", [plain(arm, "bold").append_text(plain(f": {said}")) for arm, said in figures.prices(report)]
        )
        yield from _section("Training", [_training(row) for row in report.rows if row.training is not None and row.problem is None])
        yield from _section("Not scored", [_not_scored(row) for row in report.rows if row.problem is not None])
        yield from _section(f"Gate against {figures.gate_reference(report)}", _gate(report))
        yield from _section("Decision", [plain(text) for text in (report.decision or {}).get("sentences", [])[1:]])
        yield from _section(f"Slices by {visible(report.ranked_by)}, at {percent(report.level)} each", _slices(report, width))
        yield from _section("Mistakes", [_mistakes(*each) for each in mistakes.told(report)])
        yield from _section("Data", [plain(line) for line in figures.checked(report)])
        yield from _section("Notes", [plain(note) for note in report.notes])
        yield from _section("How", _how(report))


def _title(report: Report) -> Text:
    items = several(report.dataset.n, "held-out item")
    repeats = f" × {report.dataset.repeats} answers" if report.dataset.repeats > 1 else ""
    clusters = f" in {several(report.dataset.clusters, 'cluster')}" if report.dataset.clusters is not None else ""
    title = plain(report.run.suite or "run", "bold")
    return title.append_text(plain(f"  {items}{repeats}{clusters} · {figures.levels(report)}", "dim"))


def _verdict(report: Report) -> Text:
    outcome = str((report.decision or report.gate or {}).get("outcome", ""))
    return plain(report.headline, STYLES.get(outcome, "bold"))


def _leaderboard(report: Report, metric: MetricHead, layout: _Layout) -> Table:
    """One metric: arms best first by the metric that ranks, the reference marked."""
    cells = [(row, cell) for row in report.rows if (cell := row.cell(metric.label)) is not None]
    scale = _Scale.of([cell.score for _, cell in cells if cell.score is not None], layout.bar)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    heads: dict[str, Text] = {
        "arm": plain(shortened(_title_of(metric), layout.label)),
        "score": plain("score"),
        "ends": plain(percent(report.confidence), "dim"),
        "bar": scale.header(metric),
        "gain": plain("difference"),
        "gain ends": plain(percent(report.level), "dim"),
        "word": plain(""),
    }
    for name in layout.columns:
        left = name in ("arm", "bar", "word")
        width = {"arm": layout.label, **_WIDTHS}.get(name)
        table.add_column(heads[name], justify="left" if left else "right", no_wrap=True, width=width, style="dim" if "ends" in name else "")
    for row, cell in cells:
        parts = _parts(metric, row, cell, scale)
        if "word" not in layout.columns:
            parts["gain"] = parts["word"] if cell.gain is None else parts["gain"].append(_SIGNS[figures.reading(cell)])
        table.add_row(*(parts.get(name, Text()) for name in layout.columns))
    return table


def _title_of(metric: MetricHead) -> str:
    return visible(metric.label) + ("" if metric.higher_is_better else " ↓")


_SIGNS = {"better": " ▲", "worse": " ▼", "no difference shown": " ·"}
_WIDTHS = {"score": 6, "ends": 13, "gain": 10, "gain ends": 15, "word": 9}


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which columns the leaderboards show, the same ones for all metrics, and how wide labels and bars are."""

    columns: tuple[str, ...]
    label: int
    bar: int

    @staticmethod
    def of(report: Report, width: int) -> _Layout:
        names = [visible(row.arm) for row in report.rows] + [_title_of(metric) for metric in report.metrics]
        label = min(LONGEST_LABEL, max(map(len, names)))
        if width < NARROW:
            return _Layout(("arm", "score", "gain", "word"), min(label, max(8, width - 34)), 0)
        columns = ("arm", "score", "ends", "bar", "gain", "gain ends", "word")
        left = width - label - sum(_WIDTHS.values()) - 3 * (len(columns) - 1)
        if left >= NARROWEST_BAR:
            return _Layout(columns, label, min(WIDEST_BAR, left))
        if left + 3 >= 0:
            return _Layout(tuple(name for name in columns if name != "bar"), label, 0)
        room = label + left + 2 * 3 + _WIDTHS["word"]
        return _Layout(tuple(name for name in columns if name not in ("bar", "word")), min(label, room), 0)


def _parts(metric: MetricHead, row: Row, cell: Cell, scale: _Scale) -> dict[str, Text]:
    """The row's texts by column; what is not there stays empty."""
    said, unit = figures.reading(cell), figures.unit_of(metric)
    style = STYLES.get(said, "")
    found = {"arm": _arm(row), "word": plain("reference" if row.is_reference else "", "cyan")}
    if cell.score is not None:
        found["score"] = plain(unit.value(cell.score.value), "bold")
        found["ends"] = plain(figures.ends(metric, cell.score))
        found["bar"] = scale.bar(cell.score, style or ("cyan" if row.is_reference else "dim"))
    if cell.gain is not None:
        found["gain"] = plain(unit.gain(cell.gain.value), style)
        found["gain ends"] = plain(figures.ends(metric, cell.gain, signed=True))
        found["word"] = plain("not shown" if said == "no difference shown" else said, style or "dim")
    return found


def _arm(row: Row) -> Text:
    return plain(shortened(visible(row.arm), LONGEST_LABEL), "bold cyan" if row.is_reference else "bold")


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a value lies on a bar of `width` characters from `low` to `high`."""

    low: float
    high: float
    width: int

    @staticmethod
    def of(estimates: list[Estimate], width: int) -> _Scale:
        """From the lowest interval's end to the highest one's, over so many characters."""
        known = [end for each in estimates for end in (each.low, each.value, each.high) if end is not None]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        return _Scale(low, high if high > low else low + 1.0, max(1, width))

    def at(self, value: float | None, otherwise: int) -> int:
        """The character that a value falls on."""
        if value is None:
            return otherwise
        return round((value - self.low) / (self.high - self.low) * (self.width - 1))

    def bar(self, estimate: Estimate, style: str) -> Text:
        """The interval as a line with its value on it."""
        first, last = self.at(estimate.low, 0), self.at(estimate.high, self.width - 1)
        middle = self.at(estimate.value, first)
        line = [" "] * self.width
        line[first : last + 1] = "─" * (last - first + 1)
        line[middle] = "●"
        return Text("".join(line), style=style)

    def header(self, metric: MetricHead) -> Text:
        """The ends of the scale."""
        unit = figures.unit_of(metric)
        left, right = unit.value(self.low), unit.value(self.high)
        return Text(left + right.rjust(self.width - len(left)), style="dim")


def _outcomes(report: Report, width: int) -> Table:
    """What became of every arm's outputs, and what they took; narrow terminals get the counts alone."""
    rows = [row for row in report.rows if row.problem is None]
    names = list(dict.fromkeys(name for row in rows if row.counts for name, _ in figures.outcome_parts(row.counts)))
    told = {name for row in rows for name, text in _spent(row).items() if text != figures.UNKNOWN} | {"$ per 1,000"}
    spent = ["$ per 1,000", "p50", "p95"] if width >= NARROW else []
    spent = [name for name in (["tokens in", "out"] if width >= ROOMY else []) + spent if name in told]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("outputs", no_wrap=True, max_width=LONGEST_LABEL, overflow="ellipsis")
    for name in [*names, *spent]:
        table.add_column("cut" if name == "truncated" and width < NARROW else name, justify="right", no_wrap=True)
    for row in rows:
        counts = dict(figures.outcome_parts(row.counts)) if row.counts is not None else {}
        numbers = [plain(f"{counts.get(name, 0):,}", _count_style(name, counts.get(name, 0))) for name in names]
        usage = _spent(row)
        table.add_row(_arm(row), *numbers, *(plain(usage[name]) for name in spent))
    return table


def _slices(report: Report, width: int) -> list[RenderableType]:
    """Scores of the metric that ranks, slice by slice, marked where an arm differs; as many arms as there is room for."""
    arms, slices = figures.sliced(report, report.ranked_by)
    if not slices:
        return []
    metric = next(each for each in report.metrics if each.label == report.ranked_by)
    longest = min(LONGEST_LABEL, max(len(visible(name)) for name, _, _ in slices))
    room = max(1, (width - longest - 9) // 14)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("slice", no_wrap=True, max_width=LONGEST_LABEL, overflow="ellipsis")
    table.add_column("items", justify="right", no_wrap=True)
    for arm in arms[:room]:
        table.add_column(plain(shortened(visible(arm), 12)), justify="right", no_wrap=True)
    for name, n, cells in slices:
        table.add_row(plain(name), f"{n:,}", *(_slice(metric, cell) for cell in cells[:room]))
    return [table]


def _slice(metric: MetricHead, found: SliceCell | None) -> Text:
    if found is None:
        return Text()
    word = figures.reading(Cell(found.metric, found.score, found.gain))
    return plain(figures.unit_of(metric).value(found.score.value) + _SIGNS.get(word, "  "), STYLES.get(word, ""))


def _spent(row: Row) -> dict[str, str]:
    usage = row.usage
    return {
        "tokens in": figures.short_count(usage.prompt_tokens),
        "out": figures.short_count(usage.completion_tokens),
        "$ per 1,000": figures.dollars(usage.cost_usd_per_1000),
        "p50": figures.seconds(usage.latency_p50_s),
        "p95": figures.seconds(usage.latency_p95_s),
    }


def _training(row: Row) -> Text:
    assert row.training is not None  # asked only of trained arms
    how = f": {row.training.runner} on {row.training.base}, {figures.training_line(row)}"
    return plain(row.arm, "bold").append_text(plain(how))


def _count_style(name: str, number: int) -> str:
    return "red" if name in ("error", "missing") and number else "yellow" if name == "truncated" and number else ""


def _mistakes(arm: str, metric: str, told: list[str]) -> Text:
    return plain(arm, "bold").append_text(plain(f", {metric}: {'; '.join(told)}"))


def _not_scored(row: Row) -> Text:
    return plain(row.arm, "bold").append_text(plain(f": {row.problem}", "magenta"))


def _gate(report: Report) -> list[RenderableType]:
    """One line for each candidate's answer and each of its checks."""
    lines: list[RenderableType] = []
    for each in (report.gate or {}).get("evidence", {}).get("candidates", []):
        lines.append(_answered(each["outcome"], each["candidate"], each["reason"] or ""))
        for check in each["checks"]:
            lines.append(Padding(_checked(check), (0, 0, 0, 2)))
    return lines


def _answered(outcome: str, label: str, reason: str) -> Text:
    text = plain(outcome, STYLES.get(outcome, "")).append_text(plain(f" {label}", "bold"))
    return text.append_text(plain(f": {reason}")) if reason else text


def _checked(check: Mapping[str, Any]) -> Text:
    mark = {"PASS": "✓ ", "FAIL": "✗ "}.get(check["result"], "? ")
    return plain(mark, STYLES.get(check["result"], "")).append_text(plain(check["sentence"] + figures.needed(check["items_needed"])))


def _how(report: Report) -> list[RenderableType]:
    lines: list[RenderableType] = [plain(f"{metric.label}: {metric.signature}", "dim") for metric in report.metrics]
    methods = dict.fromkeys(cell.score.method for row in report.rows for cell in row.cells if cell.score is not None)
    methods |= dict.fromkeys(cell.gain.method for row in report.rows for cell in row.cells if cell.gain is not None)
    sha = f" · commit {report.run.git_sha[:10]}" if report.run.git_sha else ""
    lines.append(plain(f"intervals: {', '.join(methods)}", "dim"))
    lines.append(plain(f"run {report.run.run_id} · items {report.dataset.dataset_id}{sha}", "dim"))
    return lines


def _section(title: str, lines: list[RenderableType] | list[Text]) -> Iterator[RenderableType]:
    if lines:
        yield Text()
        yield plain(title, "bold")
        yield Padding(Group(*lines), (0, 0, 0, 2))
