"""gate: may this candidate replace the reference? Every candidate gets its own answer, the run the least good one.

>>> gate(view).exit_code()                                                                            # doctest: +SKIP
0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalharness.errors import ConfigError, Problem
from evalharness.spec import GateSpec
from evalharness.stats import MOST_MISSING, bonferroni_level
from evalharness.stats.gates import Outcome
from evalharness.verdict.checks import Check, check_all
from evalharness.verdict.records import Verdict, plain
from evalharness.verdict.view import Contender, View, confidence_of, reference_of
from evalharness.verdict.wording import about, listed, percent, several

WORST_FIRST: tuple[Outcome, ...] = ("FAIL", "INVALID", "INCONCLUSIVE", "PASS")


@dataclass(frozen=True, slots=True)
class Gated:
    """One candidate's answer. `reason` says why it is INVALID."""

    candidate: str
    answer: Outcome
    checks: tuple[Check, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The answer with its checks, plain."""
        checks = [check.as_json() for check in self.checks]
        return {"candidate": self.candidate, "outcome": self.answer, "reason": self.reason or None, "checks": checks}

    def sentence(self, reference: str) -> str:
        """ "FAIL: tuned against few-shot. exact_match: worse by 1.9 to 6.3 points, 2.0 points of loss allowed."."""
        if self.answer == "INVALID":
            return f"INVALID: {self.candidate} cannot be judged: {self.reason}."
        if self.answer == "PASS":
            return f"PASS: {self.candidate} against {reference}. {_sentences(self.checks)}"
        failed = [check for check in self.checks if check.result == "FAIL"]
        if failed:
            return f"FAIL: {self.candidate} against {reference}. {_sentences(failed)}"
        unsettled = [check for check in self.checks if check.result == "INCONCLUSIVE"]
        return f"INCONCLUSIVE: {self.candidate} against {reference}. {_sentences(unsettled)} {self.remedy()}"

    def remedy(self) -> str:
        """What would settle it: how many items, or why no number of them can."""
        open_checks = [check for check in self.checks if check.result == "INCONCLUSIVE"]
        if self.answer == "INVALID":
            return f"{self.reason}."
        known = [items for check in open_checks if (items := check.items_needed_in_all()) is not None]
        if any(check.held_back for check in open_checks):
            return f"Worse by itself, but not once all {several(len(self.checks), 'check')} are counted (Holm)."
        labels = [number for check in open_checks if (number := check.labels_needed()) is not None]
        if labels and not known:
            return f"If nothing changed, {about(max(labels))} labelled items would settle it (80% chance): evalh label."
        if not known:
            return "No number of items can show it: the margin is 0 or the score is not above the floor."
        if max(known) <= open_checks[0].whole:
            return f"Had nothing changed, {about(max(known))} items would usually do: the candidate may well be worse."
        return f"If nothing changed, {about(max(known))} items would settle it (80% chance)."


def gate(
    view: View,
    spec: GateSpec | None = None,
    *,
    candidates: Sequence[str] | None = None,
    against: str | None = None,
    confidence: float | None = None,
) -> Verdict:
    """Judge the run's candidates (or those named) by the gate's rules; what is left out comes from the run's suite.

    With K candidates every interval is at level 1 - α/K, also where a few of them are named. Raises ConfigError if there are
    no rules, no candidates, or a rule names what the run does not have.
    """
    spec = spec or (view.suite.gate if view.suite is not None else None)
    if spec is None:
        raise ConfigError([Problem("", "gate", "the suite has no gate", "Add gate: {rules: [{metric: ..., margin: ...}]}")])
    reference = against or spec.against or reference_of(view)
    chosen = _chosen(view, candidates, reference)
    tried = compared(view, [label for label in chosen if view.contender(label).problem is None])
    level = bonferroni_level(confidence_of(view, confidence), len(tried))
    found = gate_each(view, spec, chosen, reference, level)
    evidence = {
        "against": reference,
        "confidence": plain(confidence_of(view, confidence)),
        "level": plain(level),
        "candidates_compared": len(tried),
        "n": view.n,
        "candidates": [each.as_json() for each in found],
        "arm_ids": {label: view.contender(label).arm.arm_id for label in [*chosen, reference]},
    }
    sentences = [each.sentence(reference) for each in found]
    if len(tried) > 1:
        sentences.append(_correction(tried, level))
    return Verdict(
        "gate", worst_of(found), (*sentences, *view.caution), evidence, view.dataset.dataset_id, view.run.run_id, view.run.suite_name
    )


def worst_of(found: Sequence[Gated]) -> Outcome:
    """The run's answer: the least good one of its candidates'."""
    return next(answer for answer in WORST_FIRST if any(each.answer == answer for each in found))


def gate_each(view: View, spec: GateSpec, candidates: Sequence[str], reference: str, level: float) -> list[Gated]:
    """Each candidate's answer, intervals at `level`."""
    if reason := invalid(view, view.contender(reference), spec):
        return [Gated(label, "INVALID", reason=f"the reference {reference}: {reason}") for label in candidates]
    reasons = {label: invalid(view, view.contender(label), spec) for label in candidates}
    valid = [label for label, reason in reasons.items() if reason is None]
    checks = check_all(view, spec.rules, valid, reference, level) if valid else {}
    return [Gated(label, "INVALID", reason=reason) if reason else _gated(label, checks[label]) for label, reason in reasons.items()]


def _gated(label: str, checks: Sequence[Check]) -> Gated:
    results = {check.result for check in checks}
    answer = next(answer for answer in WORST_FIRST if answer in results)
    lacking = [check for check in checks if check.lacks_labels]
    reason = listed([_lacking(check) for check in lacking]) if answer == "INVALID" else ""
    return Gated(label, answer, tuple(checks), reason)


def _lacking(check: Check) -> str:
    """What is there of the labels that a check requires, and where more come from."""
    have, required = check.labels or 0, check.rule.require_labels or 0
    there = f"{have} of the {required} labelled items" if have < required else f"labels that are too unevenly spread for the {required}"
    return f"{check.name} has {there} it requires (evalh label --metric {check.measure.label})"


def invalid(view: View, contender: Contender, spec: GateSpec) -> str | None:
    """Why the arm cannot be judged: a failed training, no outputs, more than 2% missing; None if it can."""
    if contender.problem is not None:
        return contender.problem
    missing = max(view.missing(contender.label, rule.metric) for rule in spec.rules if view.measure(rule.metric))
    if missing > MOST_MISSING:
        return f"{percent(missing)} of its outputs are missing or failed, more than {percent(MOST_MISSING)}"
    return None


def _chosen(view: View, candidates: Sequence[str] | None, reference: str) -> list[str]:
    labels = [each.label for each in view.contenders if each.is_candidate and each.label != reference]
    if candidates is not None:
        labels = [view.contender(label).label for label in dict.fromkeys(candidates)]
    if not labels:
        raise ConfigError([Problem("", "candidates", "there is no candidate to judge", "Add candidates: to the suite, or name an arm")])
    return labels


def _sentences(checks: Sequence[Check]) -> str:
    return " ".join(f"{check.sentence()}." for check in checks)


def compared(view: View, chosen: Sequence[str]) -> list[str]:
    """Whose luck is corrected for: all candidates of the run, also where a few are named, or the arms named if those are more."""
    candidates = [each.label for each in view.candidates]
    return candidates if len(candidates) >= len(chosen) else [*chosen]


def _correction(tried: Sequence[str], level: float) -> str:
    return f"{several(len(tried), 'candidate')} ({listed([*tried])}), so every interval is at {percent(level)}."
