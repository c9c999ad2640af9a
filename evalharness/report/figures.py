"""Numbers of a report as people read them, shared by all renderers: one decimal of a point, "unknown" where nobody knows.

>>> seconds(0.182), seconds(75.0), dollars(None), count(12345), share(0.0254)
('0.18 s', '1 min 15 s', 'unknown', '12,345', '2.5%')
"""

from __future__ import annotations

from evalharness.report.model import Cell, Counts, Estimate, MetricHead, Report, Row, SliceCell
from evalharness.verdict.wording import Unit, about, percent, several

UNKNOWN = "unknown"


def seconds(value: float | None) -> str:
    """A duration with two digits: milliseconds below 0.1 s, minutes from 60 s on."""
    if value is None:
        return UNKNOWN
    if value < 0.0995:
        return f"{1000 * value:.2g} ms"
    if value < 60:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def dollars(value: float | None) -> str:
    """US dollars with cents, or two digits below a cent."""
    if value is None:
        return UNKNOWN
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.2g}"


def price(found: Estimate | None) -> str:
    """Dollars with the interval, where they vary: "$0.40 (95% $0.38 to $0.42)"."""
    if found is None or found.low == found.high or found.low is None or found.high is None:
        return dollars(found.value if found is not None else None)
    return f"{dollars(found.value)} ({percent(found.level)} {dollars(found.low)} to {dollars(found.high)})"


def count(value: int | None) -> str:
    """A whole number with thousands separators."""
    return UNKNOWN if value is None else f"{value:,}"


def short_count(value: int | None) -> str:
    """A whole number in at most five characters: "980", "48.1k", "3.2M"."""
    if value is None:
        return UNKNOWN
    for limit, scale, letter in ((10_000, 1, ""), (1_000_000, 1e3, "k"), (1_000_000_000, 1e6, "M")):
        if value < limit:
            return f"{value:,}" if scale == 1 else f"{value / scale:.3g}{letter}"
    return f"{value / 1e9:.3g}B"


def hosting(row: Row) -> str:
    """What an arm's deployment costs: "$2.00 an hour, idle or not"; "" where nothing has to stay open."""
    usd = row.usage.usd_per_hour
    return "" if usd is None else f"{dollars(usd)} an hour, idle or not"


def prices(report: Report) -> list[tuple[str, str]]:
    """Arm and price, of those whose price one number does not say: it varies from item to item, or goes by the hour."""
    found = []
    for row in report.rows:
        each, hour = row.usage.cost_per_1000, hosting(row)
        if hour:
            found.append((row.arm, f"{price(each)}; {hour} ({each.method if each is not None else 'its pace is unknown'})"))
        elif each is not None and each.low != each.high:
            found.append((row.arm, price(each)))
    return found


def share(value: float | None) -> str:
    """A share of a whole, with two digits."""
    return UNKNOWN if value is None else f"{100 * value:.2g}%"


def unit_of(metric: MetricHead) -> Unit:
    """How the metric's numbers are shown."""
    return Unit.of(metric.range)


def ends(metric: MetricHead, estimate: Estimate, *, signed: bool = False) -> str:
    """An interval: "67.1 to 76.2", signed "+20.5 to +30.4"."""
    show = unit_of(metric).gain if signed else unit_of(metric).value
    low = "−∞" if estimate.low is None else show(estimate.low)
    return f"{low} to {'∞' if estimate.high is None else show(estimate.high)}"


def reading(cell: Cell) -> str:
    """What the difference shows: "better", "worse" or "no difference shown"; "" for the reference."""
    if cell.gain is None:
        return ""
    if cell.gain.low is not None and cell.gain.low > 0:
        return "better"
    return "worse" if cell.gain.high is not None and cell.gain.high < 0 else "no difference shown"


def levels(report: Report) -> str:
    """What the intervals hold: "95% intervals; differences at 97.5%, corrected for 2 candidates"."""
    text = f"{percent(report.confidence)} intervals"
    if report.candidates > 1:
        text += f"; differences at {percent(report.level)}, corrected for {several(report.candidates, 'candidate')}"
    return text


def gate_reference(report: Report) -> str:
    """The arm that the gate compares with."""
    evidence = (report.gate or {}).get("evidence", {})
    return str(evidence.get("against", report.reference))


def checked(report: Report) -> list[str]:
    """What the data checks found, worst first, without mere notes."""
    told = [each for each in report.data if each.severity != "note"]
    return [f"{each.severity} {each.rule}: {each.found}{_allowed(each.allowed)}" for each in told]


def _allowed(reason: str | None) -> str:
    return "" if reason is None else f" (allowed: {reason})"


def needed(items: int | None) -> str:
    """What an open check lacks: " (about 2,400 items would show it if nothing changed)", or nothing."""
    return "" if items is None else f" ({about(items)} items would show it if nothing changed)"


def sliced(report: Report, metric: str) -> tuple[list[str], list[tuple[str, int, list[SliceCell | None]]]]:
    """Arms, and for each slice its name, its items and every arm's cell under the metric."""
    arms = [row.arm for row in report.rows if row.problem is None]
    mine = {(cell.slice, cell.arm): cell for cell in report.slices if cell.metric == metric}
    names = dict.fromkeys(name for name, _ in mine)
    sizes = {cell.slice: cell.n for cell in mine.values()}
    return arms, [(name, sizes[name], [mine.get((name, arm)) for arm in arms]) for name in names]


def outcome_parts(counts: Counts) -> list[tuple[str, int]]:
    """The counts by name, in a fixed order; "ok" where nothing says what is right."""
    parts = [("right", counts.right), ("wrong", counts.wrong)] if counts.right is not None else [("ok", counts.wrong)]
    parts += [("truncated", counts.truncated), ("error", counts.error)]
    parts += [("missing", counts.missing)] if counts.missing else []
    return [(name, number) for name, number in parts if number is not None]


def training_line(row: Row) -> str:
    """How long training took and how much of the model it changed: "1 min 15 s, 82k parameters (2.6%)"; "" if it was not trained."""
    training = row.training
    if training is None:
        return ""
    parts = [seconds(training.seconds)]
    if training.trained_parameters is not None:
        changed = f"{short_count(training.trained_parameters)} parameters"
        parts.append(f"{changed} ({share(training.trained_share)})" if training.trained_share is not None else changed)
    if training.cost_usd is not None:
        parts.append(dollars(training.cost_usd))
    return ", ".join(parts)
