"""decide: adopt the tune, or keep the prompt? The gate is the guardrail; the verdict is about these checkpoints.

    ADOPT c      if L > min_gain and the gate on c passes
    KEEP         if every candidate has U < min_gain, or every one with L > min_gain fails the gate
    UNDECIDED    otherwise, with the cheapest remedy

Where candidates were scored on a dev split, the best one there is the only one compared on the test set. Without, all
K are, each at level 1 - α/K: the winner's luck is paid for.

>>> decide(view).sentences[0]                                                                         # doctest: +SKIP
'Adopt tuned: +16.5 points (95% 11.2 to 21.7) over few-shot, 400 items, no check failed.'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalharness.errors import ConfigError, Problem
from evalharness.spec import DecideSpec, GateSpec, Rule
from evalharness.stats import Contender, Decision, Evidence, Labelled, bonferroni_level, pick_on_dev
from evalharness.stats import decide as judge
from evalharness.verdict.checks import needed
from evalharness.verdict.evidence import gains, said, scores
from evalharness.verdict.gating import Gated, gate_each, invalid
from evalharness.verdict.money import Money
from evalharness.verdict.records import Outcome, Verdict, interval_json, plain
from evalharness.verdict.seeds import FEWEST_SEEDS, Recipe, recipes
from evalharness.verdict.view import View, confidence_of, reference_of
from evalharness.verdict.wording import Unit, about, listed, percent, several


@dataclass(frozen=True, slots=True)
class Tried:
    """One candidate on the test set: its gain, and what the gate says of it."""

    label: str
    gain: Evidence
    gated: Gated
    level: float

    def as_json(self) -> dict[str, Any]:
        """Gain and gate, plain."""
        gain = interval_json(self.gain.interval(self.level))
        return {"candidate": self.label, "difference": gain, "gate": self.gated.as_json()}


@dataclass(frozen=True, slots=True)
class _Question:
    """What is decided, and between whom."""

    view: View
    metric: str
    min_gain: float
    reference: str
    rules: GateSpec | None
    candidates: tuple[str, ...]
    invalid: dict[str, str]
    picked_among: int
    """How many candidates the dev split chose from; 0 if it did not choose."""
    confidence: float
    volume: int | None = None
    """Requests a month in use."""

    @property
    def level(self) -> float:
        return bonferroni_level(self.confidence, len(self.candidates))

    @property
    def unit(self) -> Unit:
        return Unit.of(self.view.measure(self.metric).row.range)


def decide(
    view: View,
    spec: DecideSpec | None = None,
    gate_spec: GateSpec | None = None,
    *,
    against: str | None = None,
    confidence: float | None = None,
    volume: int | None = None,
) -> Verdict:
    """Decide about the run's candidates; what is left out comes from the run's suite. `volume` is requests a month.

    Raises ConfigError if nothing says which metric decides, there are no candidates, or a name is unknown.
    """
    suite = view.suite
    spec = spec or (suite.decide if suite is not None else None)
    if spec is None:
        raise ConfigError([Problem("", "decide", "the suite does not say what decides", "Add decide: {metric: ..., min_gain: ...}")])
    rules = gate_spec or (suite.gate if suite is not None else None)
    reference = against or spec.against or (rules.against if rules is not None else None) or reference_of(view)
    question = _question(view, spec, rules, reference, confidence_of(view, confidence))
    question = replace(question, volume=volume or spec.volume)
    tried = _try(question)
    decision = judge([Contender(each.gain, each.gated.answer) for each in tried], spec.min_gain, question.confidence) if tried else None
    outcome: Outcome = decision.outcome if decision is not None else "INVALID"
    best = _best(question, tried, decision)
    sentences = _sentences(question, tried, outcome, best)
    evidence = _evidence(question, tried, decision)
    return Verdict("decide", outcome, (*sentences, *view.caution), evidence, view.dataset.dataset_id, view.run.run_id, view.run.suite_name)


def _question(view: View, spec: DecideSpec, rules: GateSpec | None, reference: str, confidence: float) -> _Question:
    everyone = [each for each in view.contenders if each.is_candidate and each.label != reference]
    if not everyone:
        raise ConfigError([Problem("", "candidates", "there is no candidate to decide about", "Add candidates: to the suite")])
    needed = GateSpec(rules=(Rule(metric=spec.metric, margin=0.0), *(rules.rules if rules is not None else ())))
    reasons = {each.label: invalid(view, each, needed) for each in everyone}
    if problem := invalid(view, view.contender(reference), needed):
        reasons = dict.fromkeys(reasons, f"the reference {reference}: {problem}")
    valid = [label for label, reason in reasons.items() if reason is None]
    picked = _picked_on_dev(view, spec.metric, valid)
    return _Question(
        view=view,
        metric=spec.metric,
        min_gain=spec.min_gain,
        reference=reference,
        rules=rules,
        candidates=tuple(valid if picked is None else [picked]),
        invalid={label: reason for label, reason in reasons.items() if reason is not None},
        picked_among=len(valid) if picked is not None else 0,
        confidence=confidence,
    )


def _picked_on_dev(view: View, metric: str, labels: Sequence[str]) -> str | None:
    """The candidate with the best dev score, the first one of equals; None if one or more were not scored on dev."""
    if view.dev is None or len(labels) < 2:
        return None
    scored = {each.label for each in view.dev.scored}
    if not scored.issuperset(labels):
        return None
    found = scores(view.dev, labels, metric, confidence_of(view))
    return labels[pick_on_dev([found[label].estimate for label in labels])]


def _try(question: _Question) -> list[Tried]:
    view, labels, reference = question.view, question.candidates, question.reference
    if not labels:
        return []
    found = gains(view, labels, reference, question.metric, question.level)
    if question.rules is None:
        gated = {label: Gated(label, "PASS") for label in labels}
    else:
        against = question.rules.against or reference
        gated = {each.candidate: each for each in gate_each(view, question.rules, labels, against, question.level)}
    return [Tried(label, found[label], gated[label], question.level) for label in labels]


def _best(question: _Question, tried: Sequence[Tried], decision: Decision | None) -> Tried | None:
    """Who the verdict speaks of: the one to adopt, else the one with the largest gain that is not shown to be too small."""
    if decision is not None and decision.chosen is not None:
        return tried[decision.chosen]
    still_open = [each for each in tried if each.gain.interval(each.level).high >= question.min_gain]
    return max(still_open or tried, key=lambda each: each.gain.estimate, default=None)


def _sentences(question: _Question, tried: Sequence[Tried], outcome: Outcome, best: Tried | None) -> list[str]:
    invalid_ones = [f"{label} cannot be judged: {reason}." for label, reason in question.invalid.items()]
    if best is None:
        return ["No decision: no candidate can be judged.", *invalid_ones]
    sentences = [_verdict(question, outcome, best), *invalid_ones]
    if outcome != "ADOPT":
        sentences += [_why(question, each) for each in tried]
    if outcome == "UNDECIDED":
        sentences.append(_remedy(question, best))
    if outcome != "KEEP":
        money = _money(question, best.label)
        sentences += [money.sentence(), *money.details()]
    return [*sentences, *_small_print(question, best)]


def _verdict(question: _Question, outcome: Outcome, best: Tried) -> str:
    if outcome == "KEEP":
        return f"Keep {question.reference}: no candidate is worth the change, {several(question.view.n, 'item')}."
    if outcome == "UNDECIDED":
        return f"Undecided between {question.reference} and {best.label}, {several(question.view.n, 'item')}."
    checks = len(best.gated.checks)
    guard = "no check failed" if checks else "no gate"
    found = question.unit.measured(best.gain.interval(best.level))
    return f"Adopt {best.label}: {found} over {question.reference}, {several(question.view.n, 'item')}, {guard}."


def _why(question: _Question, each: Tried) -> str:
    """What stands against a candidate."""
    found = question.unit.measured(each.gain.interval(each.level))
    text = f"{each.label}: {found}, at least {question.unit.size(question.min_gain)} wanted"
    if each.gated.answer == "FAIL":
        failed = [check.name for check in each.gated.checks if check.result == "FAIL"]
        return f"{text}; it fails the gate on {listed(failed)}."
    if each.gated.answer == "INVALID":
        return f"{text}; the gate cannot be answered."
    if each.gated.answer == "INCONCLUSIVE" and each.gain.interval(each.level).high >= question.min_gain:
        return f"{text}; the gate is inconclusive."
    return f"{text}."


def _remedy(question: _Question, best: Tried) -> str:
    """The cheapest thing that would settle it."""
    found = best.gain.interval(best.level)
    if found.low > question.min_gain:
        return f"What is open is the gate: {best.gated.remedy()}"
    gap, estimate = abs(found.estimate - question.min_gain), found.estimate
    if isinstance(best.gain, Labelled):
        return _label_remedy(best.gain.labels_needed(gap, best.level))
    units = needed(best.gain, gap, max(estimate, question.min_gain), best.level)
    items = None if units is None else math.ceil(units * question.view.n / best.gain.units)
    if items is None or items > 1000 * question.view.n:
        return "The gain is so close to what is wanted that more items would hardly settle it: lower min_gain, or train a better candidate."
    repeats = " Repeated answers per item help too: outputs are sampled." if _sampled(question, best) else ""
    return f"If the gain is as found, {about(max(items, question.view.n + 1))} items would settle it (80% chance).{repeats}"


def _label_remedy(labels: int | None) -> str:
    if labels is None:
        return "Labels alone would not settle it: more items, labelled, would."
    return f"If the gain is as found, {about(labels)} labelled items would settle it (80% chance): evalh label."


def _sampled(question: _Question, best: Tried) -> bool:
    return question.view.contender(best.label).arm.sampling.temperature > 0


def _small_print(question: _Question, best: Tried) -> list[str]:
    """How many were compared, who picked the winner, and what the verdict is not about."""
    notes = [f"{question.metric}: {basis}."] if (basis := said(best.gain)) else []
    if question.picked_among:
        among = several(question.picked_among, "candidate")
        notes.append(f"{best.label} was picked on the dev split among {among}; only it was compared on the test set.")
    elif len(question.candidates) > 1:
        notes.append(f"{several(len(question.candidates), 'candidate')} were compared, so every interval is at {percent(question.level)}.")
    found = _recipes(question)
    notes += [recipe.sentence(question.unit) for recipe in found]
    trained = question.view.contender(best.label).training is not None
    if trained and not any(best.label in recipe.labels for recipe in found):
        notes.append(f"This is about this checkpoint of {best.label}: fewer than {FEWEST_SEEDS} seeds say nothing of its recipe.")
    return notes


def _money(question: _Question, label: str) -> Money:
    return Money.of(question.view, label, question.reference, volume=question.volume, level=question.confidence)


def _recipes(question: _Question) -> list[Recipe]:
    """Seeds are only looked at on the test set where all candidates are compared there anyway."""
    if question.picked_among or not question.candidates:
        return []
    return recipes(question.view, question.metric, question.reference, question.level)


def _evidence(question: _Question, tried: Sequence[Tried], decision: Decision | None) -> dict[str, Any]:
    view = question.view
    chosen = decision.chosen if decision is not None else None
    labels = [*question.candidates, *question.invalid, question.reference]
    return {
        "metric": question.metric,
        "min_gain": plain(question.min_gain),
        "against": question.reference,
        "confidence": plain(question.confidence),
        "level": plain(question.level),
        "picked_on_dev_among": question.picked_among,
        "n": view.n,
        "chosen": tried[chosen].label if chosen is not None else None,
        "candidates": [each.as_json() for each in tried],
        "invalid": question.invalid,
        "recipes": [recipe.as_json() for recipe in _recipes(question)],
        "costs": {each.label: _money(question, each.label).as_json() for each in tried},
        "arm_ids": {label: view.contender(label).arm.arm_id for label in labels},
    }
