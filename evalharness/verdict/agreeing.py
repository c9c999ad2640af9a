"""How far the judge agrees with people, arm by arm, and people with each other: what a reader needs to trust a judge.

A judge that is kinder to one arm than to another spoils exactly the difference that is asked for; so sensitivity (the
share of good answers that it calls good) and specificity (of bad ones that it calls bad) are told for each arm.

>>> agreement(view, ["tuned"], "judge")["arms"]["tuned"]["kappa"]                                     # doctest: +SKIP
0.71
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from evalharness.protocols import Floats
from evalharness.stats import Evidence, Labelled, cohen_kappa, krippendorff_alpha, wilson
from evalharness.verdict.correcting import answers, pairs
from evalharness.verdict.evidence import Opinion, gains, said
from evalharness.verdict.labels import People, Read, concerns, people
from evalharness.verdict.measures import Measure
from evalharness.verdict.records import interval_json, plain
from evalharness.verdict.view import View, level_of, reference_of
from evalharness.verdict.wording import UNCORRECTED


def human(view: View, arm: str, reference: str, metric: str, evidence: Evidence) -> dict[str, Any]:
    """What people's labels say of a difference: whether it is corrected by them, how many there are, and the agreement."""
    return {
        "corrected": isinstance(evidence, Labelled),
        "opinion": UNCORRECTED if isinstance(evidence, Opinion) else None,
        "labels": pairs(view, arm, reference, metric),
        "judge_weight": plain(evidence.strength) if isinstance(evidence, Labelled) else None,
        **agreement(view, [arm, reference], metric),
    }


def summary(view: View, metric: str) -> dict[str, Any] | None:
    """The agreement on all scored arms, and what each one's difference from the reference rests on; None without judge or labels."""
    measure, reference = view.measure(metric), reference_of(view)
    if not concerns(view, metric):
        return None
    arms = [each.label for each in view.scored]
    others = [arm for arm in arms if arm != reference] if measure.asks and reference in arms else []
    found = gains(view, others, reference, metric, level_of(view)) if others else {}
    bases = {arm: {"labels": pairs(view, arm, reference, metric), "basis": said(found[arm])} for arm in others}
    return {"differences": bases, **agreement(view, arms, metric)}


def agreement(view: View, arms: Sequence[str], metric: str) -> dict[str, Any]:
    """The judge's agreement with people per arm, and people's with each other where two or more labelled the same answers.

    Of a scale with two values: kappa without weights and nominal alpha; of a graded one: kappa with quadratic weights
    and interval alpha. `good_above` is what counts as good for sensitivity and specificity (below it, where lower is
    better): the middle of the range. Null is what cannot be computed.
    """
    found, measure = people(view, metric), view.measure(metric)
    return {
        "question": found.question,
        "annotators": list(found.annotators),
        "kappa_weights": "quadratic" if graded(measure) else None,
        "alpha_scale": "interval" if graded(measure) else "nominal",
        "good_above": plain(sum(measure.row.range) / 2),
        "arms": {arm: _arm(measure, found.arms[arm].reads, answers(view, arm, metric)) for arm in arms},
        "between_people": _between(measure, found, arms),
    }


def graded(measure: Measure) -> bool:
    """Whether the metric knows more than two values."""
    return len(measure.choices) != 2


def _arm(measure: Measure, reads: Sequence[Read], items: int) -> dict[str, Any]:
    answered: dict[tuple[int, int], list[Read]] = {}
    for read in reads:
        if not np.isnan(read.judged):
            answered.setdefault((read.item, read.repeat), []).append(read)
    people_said = np.array([np.mean([read.value for read in each]) for each in answered.values()])
    judge_said = np.array([each[0].judged for each in answered.values()])
    return {
        "labels": items,
        "compared": len(people_said),
        **_coefficients(measure, people_said, judge_said),
        "sensitivity": _rate(measure, people_said, judge_said, good=True),
        "specificity": _rate(measure, people_said, judge_said, good=False),
    }


def _coefficients(measure: Measure, first: Floats, second: Floats) -> dict[str, float | None]:
    if not len(first):
        return {"kappa": None, "alpha": None}
    levels = np.array(list(measure.choices.values()))
    kappa = None
    if len(levels):
        codes = [np.abs(np.subtract.outer(values, levels)).argmin(axis=1) for values in (first, second)]
        kappa = plain(cohen_kappa(codes[0], codes[1], "quadratic" if graded(measure) else None))
    alpha = krippendorff_alpha(np.array([first, second]), "interval" if graded(measure) else "nominal")
    return {"kappa": kappa, "alpha": plain(alpha)}


def _rate(measure: Measure, people_said: Floats, judge_said: Floats, *, good: bool) -> dict[str, Any] | None:
    """Of the answers that people call good (or not), the share that the judge calls so, with Wilson's interval."""
    middle, sign = sum(measure.row.range) / 2, measure.sign
    mine = (sign * people_said > sign * middle) == good
    n = int(mine.sum())
    if not n:
        return None
    hits = int((((sign * judge_said > sign * middle) == good) & mine).sum())
    return {"n": n, **interval_json(wilson(hits, n))}


def _between(measure: Measure, people_said: People, arms: Sequence[str]) -> dict[str, Any] | None:
    """Agreement of people on the texts that two or more of them labelled (one text of two arms is one); None if there are none."""
    by_person: dict[str, dict[tuple[int, str], float]] = {}
    for arm in arms:
        for read in people_said.arms[arm].reads:
            by_person.setdefault(read.annotator, {})[read.item, people_said.marks[arm][read.item, read.repeat]] = read.value
    found = [each for a, b in combinations(sorted(by_person), 2) if (each := _two(measure, a, b, by_person)) is not None]
    if not found:
        return None
    keys = sorted({key for values in by_person.values() for key in values})
    table = np.array([[values.get(key, np.nan) for key in keys] for values in by_person.values()])
    alpha = krippendorff_alpha(table, "interval" if graded(measure) else "nominal")
    return {"alpha": plain(alpha), "pairs": found}


def _two(measure: Measure, a: str, b: str, by_person: Mapping[str, Mapping[tuple[int, str], float]]) -> dict[str, Any] | None:
    shared = sorted(by_person[a].keys() & by_person[b].keys())
    if not shared:
        return None
    first, second = (np.array([by_person[name][key] for key in shared]) for name in (a, b))
    return {"annotators": [a, b], "compared": len(shared), **_coefficients(measure, first, second)}
