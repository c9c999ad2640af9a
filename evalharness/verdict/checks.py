"""The checks of a gate: each rule on each slice it names, each read off one interval.

    margin m      PASS if L > -m     FAIL if not PASS and U < 0     of the paired difference
    at_least f    PASS if L > f      FAIL if U < f                  of the candidate's own score

A check with `require_labels` that does not rest on so many human labels is INVALID, not INCONCLUSIVE: more items would not
help, and nobody may wave it through with `--inconclusive pass`. Like an arm with missing outputs it cannot be judged.

The FAIL tests of all checks of a candidate are corrected together (Holm). Anything else is INCONCLUSIVE.

>>> check_all(view, suite.gate.rules, ["tuned"], "few-shot", 0.95)["tuned"][0].sentence()             # doctest: +SKIP
'exact_match: better by 11.2 to 21.7 points, 2.0 points of loss allowed'
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import evalharness.verdict.correcting as correcting
from evalharness.spec import Rule
from evalharness.stats import (
    Bootstrap,
    Evidence,
    Labelled,
    StudentT,
    Tango,
    Wilson,
    agreeing_items_needed,
    items_to_settle,
    mean_items_needed,
    rate_items_needed,
)
from evalharness.stats.gates import Check as Test
from evalharness.stats.gates import Checked, Outcome
from evalharness.stats.gates import gate as judge
from evalharness.stats.resample import FEWEST_UNITS
from evalharness.verdict.evidence import Mirrored, Opinion, gains, said, scores
from evalharness.verdict.measures import Measure
from evalharness.verdict.records import interval_json, plain
from evalharness.verdict.view import Rows, View
from evalharness.verdict.wording import Unit


@dataclass(frozen=True, slots=True)
class Check:
    """One rule on one slice for one candidate, and what was found."""

    rule: Rule
    measure: Measure
    slice: str | None
    n: int
    whole: int
    """Items of the test set, of which the slice has `n`."""
    evidence: Evidence
    found: Checked
    labels: int | None = None
    """Items that people labelled, where the metric is a judge."""

    @property
    def name(self) -> str:
        """ "exact_match (lang=de)"."""
        return self.measure.label + (f" ({self.slice})" if self.slice else "")

    @property
    def result(self) -> Outcome:
        """PASS, FAIL or INCONCLUSIVE; INVALID if the labels that it requires are not there."""
        return "INVALID" if self.lacks_labels else self.found.outcome

    @property
    def lacks_labels(self) -> bool:
        """Whether it requires labels and does not rest on them."""
        required = self.rule.require_labels
        return required is not None and ((self.labels or 0) < required or not isinstance(self.evidence, Labelled))

    @property
    def held_back(self) -> bool:
        """Whether it fails by itself, but not once all checks of the gate are counted."""
        return self.found.alone == "FAIL" and self.found.outcome != "FAIL"

    def items_needed(self) -> int | None:
        """Items at which it passes with 80% chance: if nothing changed (margin), or if the score is as found (floor)."""
        units = needed(self.evidence, self._gap(), 0.0, self.found.interval.level)
        return None if units is None else math.ceil(units * self.n / self.evidence.units)

    def items_needed_in_all(self) -> int | None:
        """`items_needed`, counted in items of a test set whose slices grow alike."""
        items = self.items_needed()
        return None if items is None else math.ceil(items * self.whole / self.n)

    def labels_needed(self) -> int | None:
        """`items_needed` in labelled items, where labels correct a judge; None if no number of them is enough."""
        if not isinstance(self.evidence, Labelled):
            return None
        return self.evidence.labels_needed(self._gap(), self.found.interval.level)

    def _gap(self) -> float:
        if self.rule.margin is not None:
            return self.rule.margin
        return self.evidence.estimate - _oriented_floor(self.rule, self.measure)

    def as_json(self) -> dict[str, Any]:
        """The check with its interval, in the metric's unit and direction."""
        own_score = self.rule.at_least is not None
        interval = interval_json(self.found.interval, self.measure.sign if own_score else 1)
        return {
            "metric": self.measure.label,
            "slice": self.slice,
            "n": self.n,
            "margin": self.rule.margin,
            "at_least": self.rule.at_least,
            "result": self.result,
            "score" if own_score else "difference": interval,
            "p_fail": plain(self.found.p),
            "p_fail_adjusted": plain(self.found.adjusted),
            "items_needed": self.items_needed() if self.result == "INCONCLUSIVE" and not self.held_back else None,
            "labels_needed": self.labels_needed() if self.result == "INCONCLUSIVE" else None,
            "require_labels": self.rule.require_labels,
            "labels": self.labels,
            "corrected": isinstance(self.evidence, Labelled) if self.measure.asks else None,
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """What was checked and found: "exact_match: better by 1.9 to 6.3 points, 2.0 points of loss allowed"."""
        unit, interval = Unit.of(self.measure.row.range), self.found.interval
        if self.rule.at_least is None:
            allowed = unit.size(self.rule.margin or 0.0)
            return f"{self.name}: {unit.shown(interval.low, interval.high)}, {allowed} of loss allowed{self._counted()}{self._basis()}"
        ends = sorted(self.measure.sign * end for end in (interval.low, interval.high))
        bound = "at least" if self.measure.sign > 0 else "at most"
        wanted = f"{bound} {unit.value(self.rule.at_least)} wanted"
        return f"{self.name}: {unit.value(ends[0])} to {unit.value(ends[1])}, {wanted}{self._counted()}{self._basis()}"

    def _counted(self) -> str:
        """Why a check that fails by itself is open: people see its interval, and would call it a failure."""
        return "; no failure once all checks are counted" if self.held_back else ""

    def _basis(self) -> str:
        """ "; judge opinion, not corrected", with the labels that are there and required; nothing for other metrics."""
        if not (basis := said(self.evidence)):
            return ""
        required = self.rule.require_labels
        return f"; {basis} ({self.labels or 0} of {required} labels required)" if self.lacks_labels else f"; {basis}"


def needed(evidence: Evidence, gap: float, difference: float, level: float) -> int | None:
    """Units (items or clusters) that show with 80% chance that the truth lies above `difference` - `gap`, or None.

    Right/wrong scores and differences by enumeration, any other number by its standard error here; where there is no spread
    at all, by what can have gone unseen.
    """
    errors = isinstance(evidence, Mirrored)
    while isinstance(evidence, (Opinion, Mirrored)):
        evidence = evidence.inner
    if gap <= 0 or isinstance(evidence, Labelled):  # labels come first: see `Check.labels_needed`
        return None
    if isinstance(evidence, Tango):
        return _settled(difference - gap, difference, max(evidence.discordance, 1 / evidence.n), level)
    if isinstance(evidence, Wilson):
        rate = 1 - evidence.estimate if errors else evidence.estimate  # fewer errors wanted: more items without one
        return rate_items_needed(rate - gap, rate, level)
    if isinstance(evidence, (StudentT, Bootstrap)) and evidence.equal is not None:
        found = agreeing_items_needed(gap, evidence.span, level)
    else:
        spread = evidence.se * math.sqrt(evidence.units)
        found = mean_items_needed(gap, spread, level) if math.isfinite(spread) else None
    return max(found, FEWEST_UNITS) if found is not None and isinstance(evidence, Bootstrap) else found


@lru_cache(maxsize=1024)
def _settled(gain: float, difference: float, discordance: float, level: float) -> int | None:
    """`items_to_settle`, once for what a report, its sentences and its decision all ask."""
    return items_to_settle(gain, difference, discordance, level)


def check_all(view: View, rules: Sequence[Rule], candidates: Sequence[str], reference: str, level: float) -> dict[str, list[Check]]:
    """candidate -> its checks, judged; `level` is that of each interval. Raises ConfigError for unknown metrics and slices."""
    asked = [(rule, name, rows) for rule in rules for name, rows in _slices(view, rule)]
    evidence = [_evidence(view, rule, candidates, reference, level, rows) for rule, _, rows in asked]
    found: dict[str, list[Check]] = {}
    for candidate in candidates:
        tests = [_test(rule, view.measure(rule.metric), each[candidate]) for (rule, _, _), each in zip(asked, evidence, strict=True)]
        checks = zip(asked, tests, judge(tests, level).checks, strict=True)
        found[candidate] = [_check(view, *each, test.evidence, done, candidate, reference) for each, test, done in checks]
    return found


def _check(
    view: View, rule: Rule, name: str | None, rows: Rows | None, evidence: Evidence, done: Checked, candidate: str, reference: str
) -> Check:
    measure, labels = view.measure(rule.metric), None
    if measure.asks and rule.at_least is not None:
        labels = correcting.answers(view, candidate, rule.metric, rows)
    elif measure.asks:
        labels = correcting.pairs(view, candidate, reference, rule.metric, rows)
    return Check(rule, measure, name, view.n if rows is None else int(rows.sum()), view.n, evidence, done, labels)


def _evidence(view: View, rule: Rule, candidates: Sequence[str], reference: str, level: float, rows: Rows | None) -> Mapping[str, Evidence]:
    if rule.at_least is not None:
        return scores(view, candidates, rule.metric, level, rows)
    return gains(view, candidates, reference, rule.metric, level, rows)


def _test(rule: Rule, measure: Measure, evidence: Evidence) -> Test:
    if rule.at_least is not None:
        return Test.at_least(evidence, _oriented_floor(rule, measure))
    return Test.difference(evidence, rule.margin or 0.0)


def _oriented_floor(rule: Rule, measure: Measure) -> float:
    """The floor where higher is better: "at least f" of a metric that counts errors means at most f of them."""
    return measure.sign * (rule.at_least or 0.0)


def _slices(view: View, rule: Rule) -> Iterator[tuple[str | None, Rows | None]]:
    if rule.slice is not None:
        name, _, value = rule.slice.partition("=")
        yield rule.slice, view.rows(name, value)
    elif rule.every_slice:
        yield from view.every_slice()
    else:
        yield None, None
