"""Retrain, keep, or return to the prompt? What the store knows about an arm that is in use, as reason codes with evidence.

>>> decide_deployed(view, "tuned").sentences[0]                                                       # doctest: +SKIP
'Keep tuned: nothing in the store speaks for retraining it, 400 items.'

    score_drop   it scores lower than it did when it first ran                                   -> retrain
    new_rows     there are clearly more labelled rows than it was trained on                     -> retrain
    shutdown     its base model is switched off within the lead time                             -> retrain
    better       another candidate of this run is to be adopted in its place                     -> retrain (it is done)
    rival        it is less than min_gain better than a prompt without training, proven          -> return to the prompt
    budget       what training it cost is more than the budget has left                          -> keep, for now

A score drop needs care, because outputs are kept: an arm whose hash did not change has, on an item that it once
answered, the very same output. So two things can have happened, and they are told apart:

* It is asked other things. What it scores on the items of its first run is held against what it scores on the items
  added since. These are different items, so nothing is paired: the two intervals are put together (Zou & Donner 2008,
  Statistics in Medicine 27:1693), which for rates is Newcombe's hybrid score interval.
* It is another arm. Where the hash under the same label changed (a provider moved the model, the prompt was edited), it
  is compared, paired, with the first arm of that label on the items that both answered. Where that shows no drop, it is
  asked about the items added since as well.

Errors that a later run tried again are replaced for good, so the first run counts with its repaired answers. Both need
the suite's name and the arm's label to have stayed the same.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from evalharness.errors import ConfigError, Problem
from evalharness.spec import DecideSpec
from evalharness.stats import Interval, bonferroni_level
from evalharness.store import Part
from evalharness.verdict.deciding import decide
from evalharness.verdict.evidence import gains, scores
from evalharness.verdict.history import Where, beside, find
from evalharness.verdict.money import ends
from evalharness.verdict.records import Outcome, Verdict, interval_json, plain
from evalharness.verdict.view import Contender, View, confidence_of
from evalharness.verdict.wording import Unit, several

LEAD_DAYS = 90
MORE_ROWS = 0.1
"""The share of new labelled rows, of those trained on, from which retraining is worth a try."""
FEWEST_ITEMS = 20
"""Items on each side below which two groups of items are not compared."""

Code = Literal["score_drop", "new_rows", "shutdown", "better", "rival", "budget"]


@dataclass(frozen=True, slots=True)
class Reason:
    """A fact that was looked at. `holds` is None where the store does not know it; `arm` is who it speaks for."""

    code: Code
    holds: bool | None
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)
    arm: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The evidence row."""
        return {"code": self.code, "holds": self.holds, "arm": self.arm, "sentence": self.sentence, "evidence": self.evidence}


@dataclass(frozen=True, slots=True)
class _Case:
    """The arm in use, and by what it is judged."""

    view: View
    label: str
    name: str
    """The label that it has in earlier runs."""
    spec: DecideSpec
    confidence: float
    today: datetime.date
    lead_days: int
    shutdown: datetime.date | None

    @property
    def arm(self) -> Contender:
        return self.view.contender(self.label)

    @property
    def unit(self) -> Unit:
        return Unit.of(self.view.measure(self.spec.metric).row.range)


def decide_deployed(
    view: View,
    deployed: str,
    *,
    lead_days: int = LEAD_DAYS,
    shutdown: datetime.date | None = None,
    today: datetime.date | None = None,
    confidence: float | None = None,
) -> Verdict:
    """RETRAIN, KEEP or RETURN, for the arm `deployed`: a label of this run, or `LABEL@pin:NAME` (run:ID, last) of another.

    `shutdown` is the day on which its base model is switched off, where the store does not know it. Raises ConfigError
    if there is no such arm, or the suite does not say what decides.
    """
    spec = view.suite.decide if view.suite is not None else None
    if spec is None:
        raise ConfigError([Problem("", "decide", "the suite does not say what decides", "Add decide: {metric: ..., min_gain: ...}")])
    name, _, where = deployed.partition("@")
    label = name
    if where:
        view, names = beside(view, replace(find(view, where), arm=name), [name])
        label = names[name]
    day = today or datetime.datetime.now(datetime.UTC).date()
    case = _Case(view, label, name, spec, confidence_of(view, confidence), day, lead_days, shutdown)
    if (problem := case.arm.problem) is not None:
        earlier = "" if where else f" What runs in production may be an arm of an earlier run: {name}@last, {name}@pin:NAME."
        return _verdict(case, "INVALID", [f"No decision: {label} cannot be judged: {problem}.{earlier}"], [])
    reasons = [_score_drop(case), _new_rows(case), _shutdown(case), _better(case), _rival(case), _budget(case)]
    outcome, first, chosen = _outcome(case, {reason.code: reason for reason in reasons})
    return _verdict(case, outcome, [first, *(reason.sentence for reason in reasons)], reasons, chosen)


def _outcome(case: _Case, known: dict[Code, Reason]) -> tuple[Outcome, str, str | None]:
    """What to do, the sentence that says it, and the arm to change to.

    What is trained already and better (than the prompt, too, if that caught up); else back to a prompt that does as
    well; else retrain if there is reason and money.
    """
    why = [known[code] for code in ("score_drop", "new_rows", "shutdown") if known[code].holds]
    basis = several(case.view.n, "item")
    better = _better_than(case, known["rival"].arm if known["rival"].holds else case.label) if known["better"].holds else None
    if better is not None:
        return "RETRAIN", f"Replace {case.label} by {better}, which is trained already, {basis}.", better
    if known["rival"].holds:
        said = f"Return to {known['rival'].arm}: {case.label} is not worth its training any more, {basis}."
        return "RETURN", said, known["rival"].arm
    codes = ", ".join(reason.code for reason in why)
    if why and known["budget"].holds:
        return "KEEP", f"Keep {case.label} for now: there is reason to retrain ({codes}), but not the budget.", None
    if why:
        return "RETRAIN", f"Retrain {case.label}: {codes}, {basis}.", None
    return "KEEP", f"Keep {case.label}: nothing in the store speaks for retraining it, {basis}.", None


def _better_than(case: _Case, reference: str | None) -> str | None:
    """The candidate that `decide` would adopt over the reference."""
    chosen = decide(case.view, case.spec, against=reference, confidence=case.confidence).evidence["chosen"]
    return None if chosen is None else str(chosen)


def _verdict(case: _Case, outcome: Outcome, sentences: Sequence[str], reasons: Sequence[Reason], chosen: str | None = None) -> Verdict:
    view = case.view
    evidence = {
        "metric": case.spec.metric,
        "min_gain": plain(case.spec.min_gain),
        "against": case.label,
        "deployed": case.label,
        "confidence": plain(case.confidence),
        "n": view.n,
        "chosen": chosen,
        "reasons": [reason.as_json() for reason in reasons],
        "arm_ids": {each.label: each.arm.arm_id for each in [*view.candidates, case.arm]},
    }
    return Verdict("decide", outcome, (*sentences, *view.caution), evidence, view.dataset.dataset_id, view.run.run_id, view.run.suite_name)


def _score_drop(case: _Case) -> Reason:
    first = case.view.store.first_part(case.view.run.suite_name, case.name)
    if first is None or first.run_id == case.view.run.run_id:
        return Reason("score_drop", None, f"{case.label} has no earlier run to be held against.")
    if first.arm_id == case.arm.arm.arm_id:
        return _other_items(case, first)
    changed = _changed_arm(case, first)
    since = changed if changed.holds else _other_items(case, first)
    return since if since.holds else changed


def _changed_arm(case: _Case, first: Part) -> Reason:
    """The arm of this label is another one now: paired, on the items that both answered."""
    run = case.view.store.run(first.run_id)
    assert run is not None  # the part's run is stored
    try:
        both, names = beside(case.view, Where(run, "its first run", case.name), [case.label])
    except ConfigError as error:
        return Reason("score_drop", None, f"{case.label} cannot be held against its first run: {error}.")
    if both.contender(names[case.label]).problem is not None:
        return Reason("score_drop", None, f"{case.label} cannot be held against its first run, which has no outputs.")
    found = gains(both, [case.label], names[case.label], case.spec.metric, case.confidence)[case.label].interval(case.confidence)
    shown = case.unit.shown(found.low, found.high)
    text = f"{case.label} is another arm than in its first run ({first.started:%Y-%m-%d}), on {several(both.n, 'shared item')}: {shown}."
    evidence = {"kind": "another arm", "first_run": first.run_id, "n": both.n, "difference": interval_json(found)}
    return Reason("score_drop", found.high < 0, text, evidence)


def _other_items(case: _Case, first: Part) -> Reason:
    """The arm is the same one, so its old answers are, too: the items added since, against those of its first run."""
    then = case.view.store.sample_ids(first.dataset_id)
    old = np.array([sample_id in then for sample_id in case.view.ids], np.bool_)
    kept, added = int(old.sum()), int((~old).sum())
    counts = {"first_run": first.run_id, "items_then": kept, "items_since": added}
    if min(kept, added) < FEWEST_ITEMS:
        text = f"{case.label} did not change since its first run ({first.started:%Y-%m-%d}); {several(added, 'item')} came since."
        return Reason("score_drop", False if added == 0 else None, text, {"kind": "same arm", **counts})
    before, after = (scores(case.view, [case.label], case.spec.metric, case.confidence, rows)[case.label] for rows in (old, ~old))
    found = apart(after.interval(case.confidence), before.interval(case.confidence))
    shown = case.unit.shown(found.low, found.high)
    text = f"{case.label} on the {several(added, 'item')} that came since its first run ({first.started:%Y-%m-%d}): {shown}."
    return Reason("score_drop", found.high < 0, text, {"kind": "other items", **counts, "difference": interval_json(found)})


def apart(one: Interval, other: Interval) -> Interval:
    """The difference `one` - `other` of scores on different items, from the interval of each (MOVER, Zou & Donner 2008)."""
    gap = one.estimate - other.estimate
    low = gap - math.hypot(one.estimate - one.low, other.high - other.estimate)
    high = gap + math.hypot(one.high - one.estimate, other.estimate - other.low)
    return Interval(gap, low, high, f"MOVER of {one.method}", one.level)


def _new_rows(case: _Case) -> Reason:
    """Labelled rows of this run that those of the run that trained the arm did not have; a row with another label is another row."""
    training, store = case.arm.training, case.view.store
    then = store.train_rows(training.run_id) if training is not None and training.run_id is not None else None
    now = store.train_rows(case.view.run.run_id)
    if then is None or now is None:
        return Reason("new_rows", None, f"How many labelled rows there are since {case.label} was trained is unknown.")
    new = len(now - then)
    share = new / max(1, len(then))
    text = f"{case.label} was trained on {several(len(then), 'row')}; {several(new, 'labelled row')} came since ({share:+.0%})."
    counts = {"rows_then": len(then), "rows_now": len(now), "rows_new": new, "rows_gone": len(then - now), "wanted_share": MORE_ROWS}
    return Reason("new_rows", share >= MORE_ROWS, text, {"trained_in_run": training.run_id if training is not None else None, **counts})


def _shutdown(case: _Case) -> Reason:
    found = case.shutdown or ends(case.view, case.label)
    if found is None:
        return Reason("shutdown", None, f"When the base model of {case.label} is switched off is unknown.")
    days = (found - case.today).days
    when = f"in {several(days, 'day')}" if days >= 0 else f"{several(-days, 'day')} ago"
    text = (
        f"The base model of {case.label} is switched off on {found.isoformat()}, {when}; {several(case.lead_days, 'day')} of lead wanted."
    )
    return Reason("shutdown", days <= case.lead_days, text, {"date": found.isoformat(), "days": days, "lead_days": case.lead_days})


def _better(case: _Case) -> Reason:
    """Whether `decide` would adopt another candidate with the deployed arm as the reference."""
    if not any(each.is_candidate and each.label != case.label for each in case.view.contenders):
        return Reason("better", None, f"This run has no other candidate than {case.label}.")
    found = decide(case.view, case.spec, against=case.label, confidence=case.confidence)
    chosen = found.evidence["chosen"]
    evidence = {"outcome": found.outcome, "candidates": found.evidence["candidates"]}
    if chosen is None:
        return Reason("better", False, f"No other candidate is shown to be worth replacing {case.label}.", evidence)
    return Reason("better", True, found.sentences[0], evidence, str(chosen))


def _rival(case: _Case) -> Reason:
    """decide's rule to keep a prompt, asked of every arm without training: is the deployed one less than min_gain better, proven?"""
    rivals = [each.label for each in case.view.scored if each.training is None and not each.is_candidate and each.label != case.label]
    if case.arm.training is None or not rivals:
        what = f"{case.label} was not trained here" if case.arm.training is None else "This run has no prompt without training"
        return Reason("rival", None, f"{what}: there is nothing to return to.")
    level = bonferroni_level(case.confidence, len(rivals))
    found = {rival: gains(case.view, [case.label], rival, case.spec.metric, level)[case.label].interval(level) for rival in rivals}
    closest = min(found, key=lambda rival: found[rival].estimate)
    lead, unit = found[closest], case.unit
    text = f"{case.label} against {closest}, the closest prompt: {unit.measured(lead)}; {unit.size(case.spec.min_gain)} wanted."
    rows = [{"rival": rival, "lead": interval_json(each)} for rival, each in found.items()]
    return Reason("rival", lead.high < case.spec.min_gain, text, {"level": plain(level), "rivals": rows}, closest)


def _budget(case: _Case) -> Reason:
    """Whether the budget has less left than training it cost."""
    suite, training = case.view.suite, case.arm.training
    cost = training.cost_usd if training is not None else None
    if suite is None or suite.budget is None or cost is None:
        said = "unknown" if cost is None else f"{cost:,.2f} USD"
        return Reason(
            "budget", None, f"Training {case.label} cost {said}; the suite has {'no' if suite is None or not suite.budget else 'a'} budget."
        )
    left = suite.budget.usd - case.view.store.spending(suite.name).usd
    text = f"Training {case.label} cost {cost:,.2f} USD; the budget has {left:,.2f} of {suite.budget.usd:,.2f} USD left."
    return Reason(
        "budget", left < cost, text, {"left_usd": plain(left), "training_usd": plain(cost), "budget_usd": plain(suite.budget.usd)}
    )
