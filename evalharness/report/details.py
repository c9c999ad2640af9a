"""What a report shows below the leaderboard: slices, loss curves, history over runs, and the largest flips.

>>> details = Details.of(view, "few-shot", "exact_match", "tuned")                                    # doctest: +SKIP
>>> details.curves[0].chosen                                                                          # doctest: +SKIP
114
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import evalharness.report.mistakes as mistakes
from evalharness.report.model import (
    Cell,
    Confusion,
    Curve,
    CurvePoint,
    DataFinding,
    Estimate,
    FieldErrors,
    Flip,
    HistoryPoint,
    Row,
    SliceCell,
)
from evalharness.stats import Evidence
from evalharness.store import Part
from evalharness.verdict import View, confidence_of, level_of
from evalharness.verdict.comparing import largest_flips
from evalharness.verdict.evidence import boards
from evalharness.verdict.history import past, unchanged
from evalharness.verdict.records import interval_json
from evalharness.verdict.view import Contender, Rows
from evalharness.verdict.wording import listed

MOST_SLICES = 24
"""The largest ones are shown; a gate's own rules and `evalh compare` know them all."""
LONGEST_TEXT = 20_000
"""Characters of a flip's texts."""


@dataclass(frozen=True, slots=True)
class Details:
    """The parts of a report that need more than the leaderboard."""

    slices: tuple[SliceCell, ...]
    curves: tuple[Curve, ...]
    history: tuple[HistoryPoint, ...]
    flips: tuple[Flip, ...]
    confusions: tuple[Confusion, ...]
    field_errors: tuple[FieldErrors, ...]
    data: tuple[DataFinding, ...]
    notes: tuple[str, ...]

    @staticmethod
    def of(view: View, reference: str, metric: str, told: str | None, rows: Sequence[Row]) -> Details:
        """All of them; the flips are those of the arm `told` from the reference by the metric."""
        shown, notes = _shown_slices(view)
        dear = [label for label, measure in view.measures.items() if measure.ready and measure.draws is not None]
        if dear and shown:
            notes.append(f"{listed(dear)}: worked out anew on every draw, so not on slices; `evalh compare` has the largest.")
        return Details(
            slices=tuple(each for name, items in shown for each in _slice(view, reference, name, items)),
            curves=tuple(curve for each in view.contenders if (curve := _curve(view, each)) is not None),
            history=tuple(_history(view, rows)),
            flips=tuple(_flips(view, told, reference, metric)) if told is not None else (),
            confusions=tuple(mistakes.confusions(view)),
            field_errors=tuple(mistakes.field_errors(view)),
            data=tuple(_data(view)),
            notes=tuple(notes),
        )


def _data(view: View) -> Iterator[DataFinding]:
    for each in view.store.findings(view.run.run_id):
        places = tuple(source for source, _, _ in each.worst)
        yield DataFinding(each.rule, each.severity, each.count, each.found, each.fix, each.allowed, places)


def _shown_slices(view: View) -> tuple[list[tuple[str, Rows]], list[str]]:
    every = list(view.every_slice())
    if len(every) <= MOST_SLICES:
        return every, []
    largest = {name for name, _ in sorted(every, key=lambda each: (-int(each[1].sum()), each[0]))[:MOST_SLICES]}
    return [each for each in every if each[0] in largest], [f"{len(every)} slices; the {MOST_SLICES} largest are shown."]


def _slice(view: View, reference: str, name: str, items: Rows) -> Iterator[SliceCell]:
    """Every scored arm under every metric on the slice's items."""
    arms = [each.label for each in view.scored]
    ready = [label for label, measure in view.measures.items() if measure.ready and measure.draws is None]
    if not arms:
        return
    level, confidence, n = level_of(view), confidence_of(view), int(items.sum())
    against = reference if reference in arms else arms[-1]
    for metric, (own, gains) in boards(view, arms, against, ready, level, items).items():
        for arm in arms:
            gain = estimate(gains[arm], level) if arm in gains and reference in arms else None
            yield SliceCell(name, n, arm, metric, estimate(own[arm], confidence, view.measures[metric].sign), gain)


def estimate(evidence: Evidence, level: float, sign: int = 1) -> Estimate:
    """What the report shows of evidence; `sign` -1 turns an oriented score back into the metric's own direction."""
    return Estimate(**interval_json(evidence.interval(level), sign))


def _curve(view: View, each: Contender) -> Curve | None:
    if each.training is None:
        return None
    points = view.store.points(each.training.training_id)
    facts = each.training.model.facts if each.training.model is not None else {}
    chosen = facts.get("best_step")
    if not points:
        return None
    kept = tuple(CurvePoint(point.step, point.train_loss, point.dev_loss) for point in points)
    return Curve(each.label, kept, chosen if isinstance(chosen, int) else None)


def _history(view: View, rows: Sequence[Row]) -> Iterator[HistoryPoint]:
    """Earlier runs, oldest first, then this one. An arm that did not change scored on the same items what it scores now."""
    cells = {row.arm_id: row.cells for row in rows}
    found = [(each.part.run_id, each.part.position, _point(each.part, each.metric, each.value, each.low, each.high)) for each in past(view)]
    for part in unchanged(view):
        found += [(part.run_id, part.position, _cell_point(part, cell)) for cell in cells.get(part.arm_id, ())]
    yield from (point for _, _, point in sorted(found, key=lambda each: each[:2]))
    run = view.run
    for row in rows:
        now = Part(run.run_id, run.started, view.dataset.dataset_id, 0, row.arm_id, row.arm, row.role)
        yield from (_cell_point(now, cell) for cell in row.cells)


def _cell_point(part: Part, cell: Cell) -> HistoryPoint:
    score = cell.score
    return _point(part, cell.metric, *((score.value, score.low, score.high) if score is not None else (None, None, None)))


def _point(part: Part, metric: str, value: float | None, low: float | None, high: float | None) -> HistoryPoint:
    started = part.started.isoformat(timespec="seconds")
    return HistoryPoint(part.run_id, started, part.dataset_id, part.label, part.arm_id, metric, value, low, high)


def _flips(view: View, arm: str, reference: str, metric: str) -> Iterator[Flip]:
    for each in largest_flips(view, arm, reference, metric):
        texts = [None if text is None else text[:LONGEST_TEXT] for text in (each["answers"][arm], each["answers"][reference])]
        targets = tuple(target[:LONGEST_TEXT] for target in each["targets"])
        whys = [text[:LONGEST_TEXT] if (text := each["why"].get(label)) else None for label in (arm, reference)]
        asked = each["input"][:LONGEST_TEXT]
        yield Flip(each["sample_id"], metric, each["difference"], asked, targets, arm, texts[0], reference, texts[1], whys[0], whys[1])
