"""The first screen: which arm to ship, how sure that is, and what it costs.

>>> Answer.of(report).action, Answer.of(report).arm                                                   # doctest: +SKIP
('Ship', 'tuned')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import evalharness.report.figures as figures
from evalharness.report.model import Report, Row
from evalharness.verdict.wording import Unit, percent, several

ACTIONS = {"ADOPT": "Ship", "KEEP": "Keep", "UNDECIDED": "Keep for now:"}
MOST_TOLD = 2
"""Candidates that the first screen speaks of where none is chosen; the others are below."""
TONES = {"ADOPT": "good", "PASS": "good", "FAIL": "bad", "INVALID": "bad", "KEEP": "calm", "UNDECIDED": "open", "INCONCLUSIVE": "open"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader who has ten seconds is told."""

    outcome: str
    tone: str
    action: str
    arm: str
    sure: tuple[str, ...]
    cost: tuple[str, ...]

    @staticmethod
    def of(report: Report) -> Answer:
        """Read off the decision, else the gate, else the leaderboard."""
        verdict = report.decision or report.gate or {}
        outcome = str(verdict.get("outcome", ""))
        action, arm = _action(report, outcome)
        return Answer(outcome or "SCORED", TONES.get(outcome, "calm"), action, arm, tuple(_sure(report, arm)), tuple(_cost(report, arm)))


def _action(report: Report, outcome: str) -> tuple[str, str]:
    evidence = (report.decision or {}).get("evidence", {})
    if report.decision is not None and outcome in ACTIONS:
        return ACTIONS[outcome], str(evidence.get("chosen") or evidence.get("against"))
    judged = (report.gate or {}).get("evidence", {}).get("candidates", [])
    passed = [each["candidate"] for each in judged if each["outcome"] == "PASS"]
    if passed:
        return "May ship:", ", ".join(passed)
    if judged:
        return "Do not ship:" if outcome == "FAIL" else "Not shown yet:", ", ".join(each["candidate"] for each in judged)
    first = next((row.arm for row in report.rows if row.problem is None), "nothing was scored")
    return "Ahead:", first


def _sure(report: Report, arm: str) -> list[str]:
    """How well the verdict is supported, in one to three lines."""
    lines = []
    evidence = (report.decision or {}).get("evidence", {})
    unit = _unit(report, evidence.get("metric", report.ranked_by))
    tried = sorted(evidence.get("candidates", []), key=lambda each: -(each["difference"]["value"] or 0.0))
    told = [each for each in tried if each["candidate"] == arm] or tried[:MOST_TOLD]
    lines += [_gain(report, each["candidate"], each["difference"], unit) for each in told]
    if (report.decision or {}).get("outcome") == "ADOPT":
        wanted = f"not at least {unit.size(evidence['min_gain'])} better" if evidence.get("min_gain") else "no better"
        chance = percent((1 - report.confidence) / 2)
        lines.append(f"Were it {wanted}, this verdict would come up in at most {chance} of such tests.")
    if (report.decision or {}).get("outcome") == "UNDECIDED":
        lines += (
            [text for text in report.decision["sentences"] if "would settle" in text or "hardly settle" in text] if report.decision else []
        )
    lines += _gate_line(report, arm)
    some = any(row.role == "candidate" for row in report.rows)
    lacking = (
        "no verdict was asked for: add gate: and decide: to the suite" if some else "no candidate to judge: add candidates: to the suite"
    )
    return lines[:4] or [f"{several(report.dataset.n, 'held-out item')}; {lacking}."]


def _gain(report: Report, label: str, found: Mapping[str, Any], unit: Unit) -> str:
    """ "tuned: exact_match 92.8, few-shot 49.5; +43.2 points (95% interval +38.3 to +48.2)."; without the scores where the best of
    several was picked on these items: the winner's luck is in its score, and corrected for in the interval alone."""
    evidence = (report.decision or {})["evidence"]
    against, metric = str(evidence["against"]), str(evidence["metric"])
    ends = " to ".join("∞" if found[end] is None else unit.gain(found[end]) for end in ("low", "high"))
    both = [unit.value(score) if score is not None else "" for score in (_score(report, arm, metric) for arm in (label, against))]
    picked_here = len(evidence["candidates"]) > 1
    scores = f"{metric} {both[0]}, {against} {both[1]}; " if all(both) and not picked_here else f"{metric} against {against} "
    return f"{label}: {scores}{unit.gain(found['value'])} {unit.word} ({percent(found['level'])} interval {ends})."


def _score(report: Report, arm: str, metric: str) -> float | None:
    cell = next((row.cell(metric) for row in report.rows if row.arm == arm), None)
    return cell.score.value if cell is not None and cell.score is not None else None


def _gate_line(report: Report, arm: str) -> list[str]:
    judged = {each["candidate"]: each for each in (report.gate or {}).get("evidence", {}).get("candidates", [])}
    if arm not in judged:
        tally = [each["outcome"] for each in judged.values()]
        return [f"Gate: {', '.join(f'{tally.count(name)} {name}' for name in dict.fromkeys(tally))}."] if tally else []
    found = judged[arm]
    return [f"Gate against {figures.gate_reference(report)}: {found['outcome']}, {several(len(found['checks']), 'check')}."]


def _cost(report: Report, arm: str) -> list[str]:
    """Money where it is known, and time."""
    row = next((each for each in report.rows if each.arm == arm), None)
    if row is None:
        return ["unknown"]
    reference = next((each for each in report.rows if each.is_reference), None)
    other = reference if reference is not None and reference.arm != arm else None
    lines = [*_training(report, row), *_serving(report, row, other)]
    if row.usage.latency_p50_s is not None:
        against = f", {other.arm} {figures.seconds(other.usage.latency_p50_s)}" if other is not None and other.usage.latency_p50_s else ""
        lines.append(f"An answer takes {figures.seconds(row.usage.latency_p50_s)}{against} (median).")
    return lines


def _training(report: Report, row: Row) -> list[str]:
    if row.training is None:
        return ["Nothing to train."] if row.role == "baseline" else []
    price = "price unknown" if row.training.cost_usd is None else figures.dollars(row.training.cost_usd)
    return [f"Training, once: {price}; took {figures.seconds(row.training.seconds)}."]


def _serving(report: Report, row: Row, other: Row | None) -> list[str]:
    found = row.usage.cost_per_1000
    line = f"1,000 answers: {figures.price(found)}" if found is not None else "1,000 answers: price unknown, none was given"
    if other is not None and other.usage.cost_per_1000 is not None:
        line += f"; {other.arm} {figures.price(other.usage.cost_per_1000)}"
    lines = [f"{line}."]
    if hosting := figures.hosting(row):
        lines.append(f"Its deployment: {hosting}; counted here as {found.method if found is not None else 'unknown'}.")
    return [*lines, *_pays_back((report.decision or {}).get("evidence", {}).get("costs", {}).get(row.arm, {}))]


def _pays_back(costs: Mapping[str, Any]) -> list[str]:
    """When the training has paid for itself, as the decision found it."""
    after, day, end = (costs.get(name) for name in ("pays_back_after_requests", "pays_back_on", "base_model_ends"))
    end = f" Its base model is switched off on {end}." if end else ""
    volume = costs.get("requests_per_month")
    if after and volume and not day:
        late = f"before its base model is switched off on {costs['base_model_ends']}" if end else "in a lifetime"
        return [f"At {several(volume, 'request')} a month the training does not pay back {late}: it takes {after:,} requests."]
    if after:
        return [f"The training pays back after {after:,} requests{f', on {day}' if day else ''}.{end}"]
    if least := costs.get("cheaper_from_requests_per_month"):
        return [f"Cheaper than now from {least:,} requests a month on.{end}"]
    return [end.strip()] if end else []


def _unit(report: Report, metric: str) -> Unit:
    found: Sequence[Unit] = [figures.unit_of(each) for each in report.metrics if each.label == metric]
    return found[0] if found else Unit.of((0.0, 1.0))
