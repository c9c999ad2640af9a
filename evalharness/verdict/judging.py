"""How a judge judged: what order and length of the answers did to it, what each judge of a panel said, and what it took.

>>> judged(view, ["tuned"], "pairs")["arms"]["tuned"]["flip_rate"]["value"]                            # doctest: +SKIP
0.18

All of this is the judge's opinion; what people's labels say of it is agreeing.py's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evalharness.metrics.judge import Judge, Vote, read_why
from evalharness.metrics.judge.votes import by_judge
from evalharness.protocols import Floats
from evalharness.records import Score
from evalharness.stats import krippendorff_alpha, length_controlled, mean_evidence, wilson
from evalharness.verdict.agreeing import graded
from evalharness.verdict.measures import Measure
from evalharness.verdict.records import interval_json, plain
from evalharness.verdict.view import View, confidence_of
from evalharness.verdict.wording import UNCORRECTED

_FLIPS, _PAIRS, _MINE, _OTHER = 1, 2, 3, 4
"""Where a pairwise judge's statistics have them; see `Judge`."""


def judged(view: View, arms: Sequence[str], metric: str) -> dict[str, Any] | None:
    """Each arm's flip rate, lengths, length-controlled win rate (pairs), score by each judge (panels), failures and second
    tries; beside it the arms whose model is a judge's relative, how far the judges of a panel agree, and dollars.

    None for a metric that asks nobody for an opinion. Null is what does not apply or cannot be known.
    """
    measure = view.measure(metric)
    if not measure.asks or measure.plugin is None:
        return None
    scores = {arm: list(_scores(view, arm, measure)) for arm in arms}
    votes = {arm: [_votes(measure, score) for score in scores[arm]] for arm in arms}
    return {
        "against": measure.against,
        "range": list(measure.row.range),
        "related": _related(view, arms, measure),
        "cost_usd": _cost([score for each in scores.values() for score in each]),
        "panel_alpha": _panel_alpha(measure, [each for arm in arms for each in votes[arm]]),
        "arms": {arm: _arm(view, arm, measure, scores[arm], votes[arm]) for arm in arms},
    }


def _scores(view: View, arm: str, measure: Measure) -> Iterator[Score]:
    """The stored scores that the view's values come from."""
    mine = set(view.answers(arm).output_ids.ravel().tolist())
    other = set(view.answers(measure.against).output_ids.ravel().tolist()) if measure.against is not None else {None}
    for score in view.store.scores(measure.row.metric_id, view.contender(arm).arm.arm_id, view.dataset.dataset_id):
        if score.output_id in mine and score.other_output_id in other:
            yield score


def _votes(measure: Measure, score: Score) -> tuple[Vote, ...]:
    """What each judge said; nothing for what no judge was asked about."""
    if not isinstance(measure.plugin, Judge) or score.why is None:
        return ()
    try:
        return tuple(vote for vote in read_why(score.why) if vote.judge != "none")
    except ValueError:  # a rehearsal's opinions are nobody's votes
        return ()


def _related(view: View, arms: Sequence[str], measure: Measure) -> dict[str, str]:
    kin = getattr(measure.plugin, "kin", None)
    if kin is None:
        return {}
    found = {}
    for arm in arms:
        each = view.contender(arm)
        found[arm] = kin(each.arm.model, [each.training.base] if each.training is not None else [])
    return {arm: text for arm, text in found.items() if text is not None}


def _cost(scores: Sequence[Score]) -> float | None:
    """Dollars for all opinions that there are; None if the price of one is not known."""
    asked = [score.cost_usd for score in scores if score.error is None]
    known = [score.cost_usd for score in scores if score.cost_usd is not None]
    return None if None in asked or not known else plain(math.fsum(known))


def _arm(view: View, arm: str, measure: Measure, scores: Sequence[Score], votes: Sequence[Sequence[Vote]]) -> dict[str, Any]:
    stats = view.stats(arm, measure.label)
    paired = measure.against is not None and arm != measure.against and stats.shape[2] > _OTHER
    return {
        "asked": sum(1 for each in votes if each),
        "failed": sum(1 for score in scores if score.value is None),
        "asked_twice": sum(vote.tries > 1 for each in votes for vote in each),
        "judges": _by_judge(votes) if len(_seats(measure)) > 1 else None,
        **(_pairs(view, stats, len(_seats(measure))) if paired else dict.fromkeys(_PAIR_KEYS)),
    }


_PAIR_KEYS = ("flip_rate", "length", "other_length", "length_controlled")


def _seats(measure: Measure) -> Sequence[str]:
    return [juror.name for juror in measure.plugin.jurors] if isinstance(measure.plugin, Judge) else []


def _by_judge(votes: Sequence[Sequence[Vote]]) -> dict[str, dict[str, Any]]:
    """Judge -> its mean over the answers that it judged, and how many these are."""
    said: dict[str, list[float]] = {}
    for each in votes:
        for judge, value in by_judge(each).items():
            said.setdefault(judge, [])
            said[judge] += [value] if value is not None else []
    return {
        judge: {"value": plain(math.fsum(values) / len(values)) if values else None, "n": len(values)} for judge, values in said.items()
    }


def _panel_alpha(measure: Measure, votes: Sequence[Sequence[Vote]]) -> float | None:
    """Krippendorff's alpha between the judges of a panel."""
    seats = _seats(measure)
    said = [by_judge(each) for each in votes if each]
    if len(seats) < 2 or not said:
        return None
    table = np.array([[np.nan if (value := each.get(seat)) is None else value for each in said] for seat in seats])
    return plain(krippendorff_alpha(table, "interval" if graded(measure) else "nominal"))


def _pairs(view: View, stats: Floats, seats: int) -> dict[str, Any]:
    """What order and lengths did; answers that have no opinion are left out."""
    level = confidence_of(view)
    units = np.arange(view.n) if view.clusters is None else view.clusters
    groups = np.repeat(units, stats.shape[1])
    rows = stats.reshape(-1, stats.shape[2])
    there = ~np.isnan(rows[:, 0])
    rows, groups = rows[there], groups[there]
    alone = seats == 1 and stats.shape[1] == 1 and view.clusters is None
    if not len(rows):
        return dict.fromkeys(_PAIR_KEYS)
    if not rows[:, [_MINE, _OTHER]].any():  # a rehearsal's opinions know no lengths
        return dict.fromkeys(_PAIR_KEYS)
    fair = length_controlled(rows[:, 0], rows[:, _MINE], rows[:, _OTHER], clusters=None if alone else groups, level=level)
    return {
        "flip_rate": _flip_rate(rows, None if alone else groups, level),
        "length": plain(float(rows[:, _MINE].mean())),
        "other_length": plain(float(rows[:, _OTHER].mean())),
        "length_controlled": {**interval_json(fair), "method": f"{fair.method}, {UNCORRECTED}"},
    }


def _flip_rate(rows: Floats, groups: Any, level: float) -> dict[str, Any] | None:
    """How often a judge that was asked in both orders changed its mind; None if none was."""
    asked = rows[:, _PAIRS] > 0
    if not asked.any():
        return None
    flips, pairs = rows[asked, _FLIPS], rows[asked, _PAIRS]
    if groups is None:
        interval = wilson(int(flips.sum()), int(pairs.sum()), level)
    else:
        rates = flips / pairs
        interval = mean_evidence(rates, rates, clusters=groups[asked], span=1.0, clip=(0.0, 1.0)).interval(level)
    return {"n": int(pairs.sum()), **interval_json(interval)}


def reasons(view: View, arm: str, metric: str, sample_ids: Sequence[str]) -> Mapping[str, str]:
    """sample id -> why the arm's first answer has its value: each judge's verdict and reason, or what the metric says of it."""
    measure, ids = view.measure(metric), list(sample_ids)
    if not ids:
        return {}
    mine = view.store.outputs(view.contender(arm).arm.arm_id, view.dataset.dataset_id, ids)
    firsts = {output.output_id: output.sample_id for output in mine if output.repeat == 0}
    others: set[str | None] = {None}
    if measure.against is not None:
        others = {each.output_id for each in view.store.outputs(view.contender(measure.against).arm.arm_id, view.dataset.dataset_id, ids)}
    scores = view.store.scores(measure.row.metric_id, view.contender(arm).arm.arm_id, view.dataset.dataset_id, ids)
    said = [each for each in scores if each.output_id in firsts and each.other_output_id in others]
    found = {firsts[each.output_id]: _reason(measure, each) for each in said}
    return {sample_id: text for sample_id, text in found.items() if text}


def _reason(measure: Measure, score: Score) -> str:
    votes = _votes(measure, score)
    if not votes:
        return score.error or (score.why if not isinstance(measure.plugin, Judge) else None) or ""
    return "\n".join(_said(vote) for vote in votes)


def _said(vote: Vote) -> str:
    """ "openai/gpt-x: 4. It is polite."; in pairs "openai/gpt-x, this one shown second: worse. B is more polite."."""
    if vote.label is None or vote.value is None:
        return f"{vote.judge}: no verdict ({vote.error})"
    if vote.first is None:
        return f"{vote.judge}: {vote.label}. {vote.reason or ''}".rstrip()
    shown, word = "first" if vote.first == "mine" else "second", {1.0: "better", 0.0: "worse"}.get(vote.value, "a tie")
    return f"{vote.judge}, this one shown {shown}: {word}. {vote.reason or ''}".rstrip()
