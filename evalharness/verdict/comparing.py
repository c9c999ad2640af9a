"""compare: two arms on the same items, described. It never says "equal", and never ends with an error code.

>>> compare(view, "tuned", "few-shot").sentences[0]                                                   # doctest: +SKIP
'exact_match: tuned is better by 11.2 to 21.7 points than few-shot (95%, 400 items).'
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from evalharness.errors import ConfigError, Problem
from evalharness.stats import Comparison
from evalharness.store import Answer
from evalharness.verdict.agreeing import human
from evalharness.verdict.costs import serving
from evalharness.verdict.evidence import comparison, differences, said, scores
from evalharness.verdict.judging import judged, reasons
from evalharness.verdict.labels import concerns
from evalharness.verdict.measures import Measure
from evalharness.verdict.records import Verdict, interval_json, plain
from evalharness.verdict.view import View, confidence_of, reference_of
from evalharness.verdict.wording import Unit, percent, several

FLIPS = 10
DEAR_SLICES = 3
"""Of a metric that is worked out anew on every draw so many slices are compared, the largest."""


def compare(view: View, arm: str, against: str | None = None, *, confidence: float | None = None, flips: int = FLIPS) -> Verdict:
    """Describe an arm against another one (the run's reference if left out), by metric and slice, with the largest flips.

    The two are compared as chosen beforehand: the level is not corrected for other candidates. Raises ConfigError for
    unknown arms and for arms that have nothing to compare.
    """
    reference = against or reference_of(view)
    _need(view, arm)
    _need(view, reference)
    level = confidence_of(view, confidence)
    metrics = [label for label, measure in view.measures.items() if measure.ready]
    found = [_metric(view, arm, reference, label, level) for label in metrics]
    evidence = {
        "arm": arm,
        "against": reference,
        "level": plain(level),
        "n": view.n,
        "metrics": found,
        "usage": {label: _usage(view, label) for label in (arm, reference)},
        "flips": largest_flips(view, arm, reference, metrics[0], flips) if metrics else [],
        "arm_ids": {label: view.contender(label).arm.arm_id for label in (arm, reference)},
    }
    sentences = tuple(each["sentence"] for each in found)
    return Verdict(
        "compare", "COMPARED", (*sentences, *view.caution), evidence, view.dataset.dataset_id, view.run.run_id, view.run.suite_name
    )


def _need(view: View, label: str) -> None:
    if (problem := view.contender(label).problem) is not None:
        raise ConfigError([Problem("", label, f"nothing to compare: {problem}", "Run the suite again; what failed is tried again")])


def _metric(view: View, arm: str, other: str, metric: str, level: float) -> dict[str, Any]:
    found, sign = comparison(view, arm, other, metric, level), view.measures[metric].sign
    own = scores(view, [arm, other], metric, level)
    every = list(view.every_slice())
    shown = every if view.measures[metric].draws is None else sorted(every, key=lambda each: -int(each[1].sum()))[:DEAR_SLICES]
    slices = [(name, comparison(view, arm, other, metric, level, rows)) for name, rows in shown]
    facts = {"human": human(view, arm, other, metric, found.evidence)} if concerns(view, metric) else {}
    facts |= {"judging": opinions} if (opinions := judged(view, [arm, other], metric)) is not None else {}
    return {
        "metric": metric,
        **_described(found, arm, other),
        **facts,
        "scores": {label: interval_json(evidence.interval(level), sign) for label, evidence in own.items()},
        "sentence": _sentence(view.measures[metric], arm, other, found),
        "slices": [
            {
                "slice": name,
                **_described(each, arm, other),
                "scores": _scores(view, each, (arm, other), metric),
                "sentence": _sentence(view.measures[metric], arm, other, each, name),
            }
            for name, each in slices
        ],
        "slices_left_out": len(every) - len(shown),
    }


def _scores(view: View, found: Comparison, arms: tuple[str, str], metric: str) -> dict[str, Any]:
    """Both scores on a slice, from what its comparison rests on; a judge's are oriented already."""
    sign = view.measures[metric].sign if view.measures[metric].asks else 1
    both = zip(arms, (found.candidate, found.baseline), strict=True)
    return {label: interval_json(evidence.interval(found.level), sign) for label, evidence in both}


def _described(found: Comparison, arm: str, other: str) -> dict[str, Any]:
    return {
        "n": found.n,
        "difference": interval_json(found.difference),
        "wins": found.wins,
        "losses": found.losses,
        "ties": found.ties,
        "p": plain(found.p),
        "test": found.p_method,
        "visible": plain(found.visible),
        "missing": {arm: plain(found.missing_candidate), other: plain(found.missing_baseline)},
    }


def _sentence(measure: Measure, arm: str, other: str, found: Comparison, name: str = "") -> str:
    unit, low, high = Unit.of(measure.row.range), found.difference.low, found.difference.high
    basis = f"{percent(found.level)}, {several(found.n, 'item')}"
    what = f"{measure.label} ({name})" if name else measure.label
    basis += f"; {told}" if (told := said(found.evidence)) else ""
    if low > 0 or high < 0:
        return f"{what}: {arm} is {unit.better(low, high)} than {other} ({basis})."
    sees = f"this test set can see {unit.size(found.visible)}" if math.isfinite(found.visible) else "too few items to see any"
    return f"{what}: {arm} against {other}: {unit.shown(low, high)}; {sees} ({basis})."


def _usage(view: View, label: str) -> dict[str, Any]:
    usage, spent = view.usage[view.contender(label).arm.arm_id], serving(view, label, confidence_of(view))
    return {
        "cost_usd_per_1000": plain(spent.per_1000(None)),
        "serving": spent.as_json(),
        "latency_p50_s": plain(usage.latency_p50_s),
        "latency_p95_s": plain(usage.latency_p95_s),
    }


def largest_flips(view: View, arm: str, other: str, metric: str, most: int = FLIPS) -> list[dict[str, Any]]:
    """The items whose values differ most, half of them losses and half wins where there are enough of both."""
    gaps = differences(view, arm, other, metric)
    ranked = sorted(np.flatnonzero(gaps), key=lambda i: (-abs(gaps[i]), i))
    losses, wins = ([i for i in ranked if gaps[i] * sign > 0] for sign in (-1, 1))
    half = max(most // 2, most - len(wins))
    chosen = {view.ids[i]: float(gaps[i]) for i in [*losses[:half], *wins[: most - len(losses[:half])]]}
    samples = {sample.id: sample for sample in view.store.samples(view.dataset.dataset_id, list(chosen))}
    arm_ids = {label: view.contender(label).arm.arm_id for label in (arm, other)}
    texts = view.store.answers(list(arm_ids.values()), list(chosen))
    whys = {label: reasons(view, label, metric, list(chosen)) for label in arm_ids}
    return [
        {
            "sample_id": sample_id,
            "difference": plain(gap),
            "input": samples[sample_id].input,
            "targets": list(samples[sample_id].targets),
            "answers": {label: _text(texts[arm_id].get(sample_id)) for label, arm_id in arm_ids.items()},
            "why": {label: found[sample_id] for label, found in whys.items() if sample_id in found},
        }
        for sample_id, gap in chosen.items()
    ]


def _text(answer: Answer | None) -> str | None:
    return None if answer is None else answer.text
