"""A run in the store -> its report. Reads the store alone: no suite file, no data file, no model is needed.

>>> report = build(Store("results/evalh.duckdb"))                                                     # doctest: +SKIP
>>> report.headline                                                                                   # doctest: +SKIP
'Adopt tuned: +16.5 points (95% 11.2 to 21.7) over few-shot, 400 items, no check failed.'
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evalharness.errors import ConfigError, Problem
from evalharness.report.details import Details, estimate
from evalharness.report.model import Cell, Counts, DatasetHead, Estimate, MetricHead, Report, Row, RunHead, TrainingFacts, Usage
from evalharness.store import ERROR, MISSING, TRUNCATED, Store, Training
from evalharness.verdict import Verdict, View, confidence_of, decide, gate, level_of, load, reference_of
from evalharness.verdict.agreeing import summary
from evalharness.verdict.costs import serving
from evalharness.verdict.evidence import gains, scores
from evalharness.verdict.judging import judged
from evalharness.verdict.records import interval_json, plain
from evalharness.verdict.view import Contender
from evalharness.verdict.wording import listed, several


def build(store: Store, run_id: str | None = None, *, suite: str | None = None, root: Path = Path(), notes: Sequence[str] = ()) -> Report:
    """The report of a run: the one named, else the newest (of the suite called `suite`).

    `root` is the workspace, where metrics named `path.py:Name` are found; `notes` are sentences to add. Raises
    ConfigError if there is no such run.
    """
    return of_view(load(store, run_id or _newest(store, suite), root), notes)


def of_view(view: View, notes: Sequence[str] = ()) -> Report:
    """The report of a run that is loaded already."""
    reference, ranked_by = reference_of(view), _ranked_by(view)
    rows = sorted(_rows(view, reference), key=lambda row: _rank(row, ranked_by, view.measures[ranked_by].sign))
    verdicts = _verdicts(view)
    details = Details.of(view, reference, ranked_by, _told_of(view, rows, reference, verdicts), rows)
    return Report(
        run=_run_head(view),
        dataset=_dataset_head(view),
        reference=reference,
        confidence=confidence_of(view),
        level=level_of(view),
        candidates=len(view.candidates),
        ranked_by=ranked_by,
        metrics=tuple(_metric_head(view, label) for label in view.measures),
        rows=tuple(rows),
        headline=_headline(view, verdicts),
        gate=verdicts["gate"].as_json() if "gate" in verdicts else None,
        decision=verdicts["decide"].as_json() if "decide" in verdicts else None,
        notes=(*_notes(view), *details.notes, *notes),
        slices=details.slices,
        curves=details.curves,
        history=details.history,
        flips=details.flips,
        confusions=details.confusions,
        field_errors=details.field_errors,
        data=details.data,
        seed=view.seed,
    )


def _newest(store: Store, suite: str | None) -> str:
    run = store.latest_run(suite)
    if run is None:
        found = f"there is no run of suite {suite!r}" if suite is not None else "there are no runs"
        raise ConfigError([Problem(str(store.path), "", found, "Make one: evalh train-and-score SUITE")])
    return run.run_id


def _ranked_by(view: View) -> str:
    """The metric that decides, else the first that the gate checks, else the first."""
    suite = view.suite
    wanted = [suite.decide.metric] if suite is not None and suite.decide is not None else []
    wanted += [rule.metric for rule in suite.gate.rules] if suite is not None and suite.gate is not None else []
    ready = [label for label, measure in view.measures.items() if measure.ready]
    return next((label for label in [*wanted, *ready] if label in ready), next(iter(view.measures)))


def _rank(row: Row, metric: str, sign: int) -> tuple[bool, float]:
    cell = row.cell(metric)
    value = cell.score.value if cell is not None and cell.score is not None else None
    return row.problem is not None, -sign * value if value is not None else np.inf


def _verdicts(view: View) -> dict[str, Verdict]:
    """The gate's answer and the decision, where the suite asks for them and there is anyone to judge."""
    suite = view.suite
    if suite is None or not any(each.is_candidate for each in view.contenders):
        return {}
    known = {label for label, measure in view.measures.items() if measure.ready}
    found = {}
    if suite.gate is not None and known.issuperset(rule.metric for rule in suite.gate.rules):
        found["gate"] = gate(view)
    if suite.decide is not None and suite.decide.metric in known:
        found["decide"] = decide(view, gate_spec=suite.gate if "gate" in found else None)
    return found


def _told_of(view: View, rows: Sequence[Row], reference: str, verdicts: dict[str, Verdict]) -> str | None:
    """The arm whose items are shown beside the reference's: the one the decision speaks of, else the best other one."""
    if all(row.arm != reference or row.problem is not None for row in rows):
        return None
    chosen = verdicts["decide"].evidence["chosen"] if "decide" in verdicts else None
    others = [row for row in rows if row.arm != reference and row.problem is None]
    best = next((row.arm for row in others if row.role == "candidate"), others[0].arm if others else None)
    return chosen if chosen is not None and chosen != reference else best


def _headline(view: View, verdicts: dict[str, Verdict]) -> str:
    """One line: the decision, else the gate's answer, else how many arms were scored."""
    for kind in ("decide", "gate"):
        if kind in verdicts:
            return verdicts[kind].sentences[0]
    return f"{several(len(view.scored), 'arm')} scored on {several(view.n, 'item')}."


def _rows(view: View, reference: str) -> list[Row]:
    labels = [each.label for each in view.scored]
    ready = [label for label, measure in view.measures.items() if measure.ready]
    cells = {label: _cells(view, labels, reference, label) for label in ready}
    counted_by = next((label for label in ready if view.measures[label].row.kind == "binary"), None)
    return [_row(view, each, reference, [cells[label] for label in ready], counted_by) for each in view.contenders]


def _cells(view: View, labels: Sequence[str], reference: str, metric: str) -> dict[str, Cell]:
    """arm -> its cell under the metric, all arms at the price of one set of draws."""
    if not labels:
        return {}
    others = [label for label in labels if label != reference] if reference in labels else []
    sign, level, confidence = view.measures[metric].sign, level_of(view), confidence_of(view)
    own = scores(view, labels, metric, confidence)
    against = gains(view, others, reference, metric, level) if others else {}
    found = {}
    for label in labels:
        gain = estimate(against[label], level) if label in against else None
        found[label] = Cell(metric, estimate(own[label], confidence, sign), gain, plain(view.missing(label, metric)) or 0.0)
    return found


def _row(view: View, each: Contender, reference: str, cells: Sequence[dict[str, Cell]], counted_by: str | None) -> Row:
    scored = each.problem is None
    return Row(
        arm=each.label,
        arm_id=each.arm.arm_id,
        role=each.arm.role,
        is_reference=each.label == reference,
        problem=each.problem,
        cells=tuple(column[each.label] for column in cells if scored),
        counts=_counts(view, each.label, counted_by),
        usage=_usage(view, each),
        training=_training(each.training) if each.training is not None else None,
    )


def _counts(view: View, label: str, metric: str | None) -> Counts | None:
    """Error if there is no text (or the metric failed on it); right by the metric; truncated if cut and not right; else wrong."""
    if not view.tables:
        return None
    outcomes = view.outcomes(label)
    missing, error = outcomes == MISSING, outcomes == ERROR
    right = np.zeros_like(missing)
    if metric is not None:
        values = view.values(label, metric)
        error |= np.isnan(values) & ~missing
        right = (values == (1.0 if view.measures[metric].sign > 0 else 0.0)) & ~missing & ~error
    truncated = (outcomes == TRUNCATED) & ~right & ~error
    return Counts(
        right=int(right.sum()) if metric is not None else None,
        wrong=int((~(missing | error | right | truncated)).sum()),
        truncated=int(truncated.sum()),
        error=int(error.sum()),
        missing=int(missing.sum()),
        metric=metric,
    )


def _usage(view: View, each: Contender) -> Usage:
    usage = view.usage[each.arm.arm_id]
    cost = usage.cost_usd if usage.n else None
    confidence, decision = confidence_of(view), view.suite.decide if view.suite is not None else None
    spent = serving(view, each.label, confidence)
    found = spent.interval(decision.volume if decision is not None else None, confidence)
    return Usage(
        outputs=usage.n,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=plain(cost),
        cost_usd_per_1000=plain(found.estimate) if found is not None else None,
        latency_p50_s=plain(usage.latency_p50_s),
        latency_p95_s=plain(usage.latency_p95_s),
        cost_per_1000=Estimate(**interval_json(found)) if found is not None else None,
        usd_per_hour=plain(spent.hosting.usd_per_hour) if spent.hosting is not None else None,
    )


def _training(training: Training) -> TrainingFacts:
    facts = dict(training.model.facts) if training.model is not None else {}
    trained, total = _whole(facts.get("trained_parameters")), _whole(facts.get("total_parameters"))
    return TrainingFacts(
        training_id=training.training_id,
        runner=training.runner,
        base=training.base,
        state=training.state,
        seconds=plain(training.seconds),
        cost_usd=plain(training.cost_usd),
        tokens=training.tokens,
        trained_parameters=trained,
        total_parameters=total,
        trained_share=plain(trained / total) if trained is not None and total else None,
        facts=facts,
    )


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _metric_head(view: View, label: str) -> MetricHead:
    measure = view.measures[label]
    row = measure.row
    human = summary(view, label) if measure.ready else None
    judging = judged(view, [each.label for each in view.scored], label) if measure.ready else None
    return MetricHead(label, row.kind, row.higher_is_better, row.range, measure.signature, measure.problem, human, judging)


def _run_head(view: View) -> RunHead:
    run = view.run
    finished = run.finished.isoformat(timespec="seconds") if run.finished is not None else None
    started = run.started.isoformat(timespec="seconds")
    return RunHead(run.run_id, run.suite_name, run.state, started, finished, run.git_sha, dict(run.versions))


def _dataset_head(view: View) -> DatasetHead:
    clusters = int(view.clusters.max()) + 1 if view.clusters is not None else None
    head = view.dataset
    return DatasetHead(head.dataset_id, head.name, head.source, view.n, view.repeats, clusters)


def _notes(view: View) -> list[str]:
    """What a reader has to know to trust the numbers: the run's own notes, and what is incomplete or old."""
    notes = list(view.run.notes)
    if view.suite is None:
        notes.append("The suite stored with this run is not one that this version of evalh reads, so there is no gate and no decision.")
    if view.run.state == "running":
        notes.append("This run is not finished (or was killed): scores are of what is stored so far.")
    notes += [f"{label}: {measure.problem}." for label, measure in view.measures.items() if measure.problem is not None]
    for each in view.contenders:
        facts = each.training.model.facts if each.training is not None and each.training.model is not None else {}
        if truncated := _whole(facts.get("truncated_rows")):
            notes.append(f"{each.label}: {several(truncated, 'training row')} longer than the model takes, cut.")
    open_arms = [each.label for each in view.scored if (view.outcomes(each.label) == MISSING).any()]
    if open_arms:
        notes.append(f"Some outputs of {listed(open_arms)} are not there; they count as the worst that they could be.")
    return notes
