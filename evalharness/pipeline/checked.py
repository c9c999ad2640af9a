"""The data doctor's cheap rules, run by themselves before anything is trained or asked.

Held-out rows that leaked refuse a run, and so do keys in rows or prompts that would leave this machine.

>>> [finding.rule for finding in examined(plan)]                                                      # doctest: +SKIP
['duplicate.normalised']
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evalharness.data.leaks import input_key
from evalharness.data.paths import display
from evalharness.doctor.examine import examine, read
from evalharness.doctor.findings import Finding
from evalharness.errors import DataError, Problem
from evalharness.pipeline.plan import Plan

ALLOWED = "leaks are allowed"
_STOPS = ("leak.", "secret.")
"""What refuses a run, as an error that nobody allowed; every other error is told."""


def examined(plan: Plan) -> tuple[Finding, ...]:
    """What the rules that need no extra package find, worst first.

    Nothing where nothing is to be done: it was looked at then. Leaks that are allowed are looked for every time.
    """
    data = plan.loaded.suite.data
    lenient = data.leaks == "allow" or any(rule.startswith("leak.") for rule in data.allow)
    if plan.nothing_to_do and not lenient:
        return ()
    found = examine(plan.loaded, cheap=True).findings
    if data.leaks != "allow":
        return found
    return tuple(replace(each, allowed=ALLOWED) if _leak(each) else each for each in found)


def refuse(plan: Plan, findings: Sequence[Finding]) -> None:
    """Raises DataError with every leak and secret that is an error and that nobody allowed, with its worst row."""
    stops = [each for each in findings if each.refuses and each.rule.startswith(_STOPS)]
    if stops:
        raise DataError([Problem(display(plan.loaded.path), each.rule, f"{each.found}{_where(each)}", _fix(each)) for each in stops])


def leaked(plan: Plan, findings: Sequence[Finding]) -> frozenset[str]:
    """Ids of the held-out samples that are also learned from or shown in a prompt, nearly or letter by letter, and allowed to be."""
    allowed = [each for each in findings if each.rule.startswith("leak.") and each.severity == "error" and each.allowed is not None]
    numbers = {number for each in allowed for number in (*each.about, *each.clashes)}
    keys = {input_key(row.sample) for row in read(plan.loaded, numbers) if row.side == "test"}
    return plan.splits.leaked | {sample.id for sample in plan.splits.test.samples if input_key(sample) in keys}


def _leak(each: Finding) -> bool:
    return each.refuses and each.rule.startswith("leak.")


def _fix(each: Finding) -> str:
    return f"{each.fix}. Where it is meant so: data.allow: {{{each.rule}: WHY}}"


def _where(each: Finding) -> str:
    return "".join(f" ({place.source} <-> {place.other})" if place.other else f" ({place.source})" for place in each.worst[:1])


def told(findings: Sequence[Finding]) -> str:
    """One line that says how much was found, "" if it is nothing worse than notes."""
    named = {each.rule: each.rule + (" allowed" if each.allowed else "") for each in findings}
    counts = {bad: [named[each.rule] for each in findings if each.severity == bad] for bad in ("error", "warning")}
    parts = [f"{len(rules)} {bad}{'s' if len(rules) > 1 else ''} ({', '.join(rules)})" for bad, rules in counts.items() if rules]
    return f"{' and '.join(parts)}; evalh check says more" if parts else ""
