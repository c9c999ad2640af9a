"""One pass over all rows of a suite: every rule sees them, then says what it found; `data.allow` is applied.

>>> examine(load_suite(Path("suites/tickets.yaml"))).findings[0].rule                                  # doctest: +SKIP
'leak.exact'

Memory does not grow with the text: rules keep hashes and counts, and read the rows that they name again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from evalharness.data.paths import display
from evalharness.data.stream import Fault, Streamed, stream
from evalharness.doctor.broken import kind
from evalharness.doctor.findings import BrokenRow, Case, Finding, Rule, SeenRow
from evalharness.errors import ConfigError, Problem
from evalharness.reading import LoadedSuite
from evalharness.reading.problems import nearest

_T = TypeVar("_T")
_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Examination:
    """What was looked at and what was found, worst first. `rows` and `broken` count rows by side."""

    suite: str
    findings: tuple[Finding, ...]
    rows: Mapping[str, int]
    broken: Mapping[str, int]
    skipped: tuple[str, ...] = ()
    """Sentences on what could not be looked for here, and why."""

    @property
    def refuses(self) -> bool:
        """Whether there is an error that nobody allowed."""
        return any(finding.refuses for finding in self.findings)

    def count(self, severity: Literal["error", "warning", "note"]) -> int:
        """Findings of this severity that nobody allowed."""
        return sum(finding.severity == severity and finding.allowed is None for finding in self.findings)


def examine(
    loaded: LoadedSuite, rules: Sequence[type[Rule]] | None = None, *, cheap: bool = False, logs: Sequence[Path] = ()
) -> Examination:
    """Looks at every row of the suite (and of `logs`, production inputs). With `cheap` only the rules that need no extra package.

    Raises ConfigError for files that are not there and for a rule id in `data.allow` that no rule has. Never for a bad row.
    """
    from evalharness.doctor.rules import RULES

    check_allow(loaded)
    made = [rule() for rule in (RULES if rules is None else rules)]
    used = [rule for rule in made if rule.cheap or not cheap]
    rows, broken = _pass(loaded, used, logs)
    case = Case(loaded, lambda numbers: read(loaded, numbers, logs))
    findings = [_allowed(found, loaded.suite.data.allow) for rule in used for found in rule.findings(case)]
    return Examination(loaded.suite.name, tuple(sorted(findings, key=_badness)), rows, broken)


def only(loaded: LoadedSuite, candidates: Sequence[str]) -> LoadedSuite:
    """The suite with its baselines and these candidates; all of it if none is named. Raises ConfigError for a label that is none."""
    suite = loaded.suite
    if unknown := [label for label in candidates if label not in suite.candidates]:
        raise ConfigError(
            [Problem(display(loaded.path), "", f"{label!r} is no candidate", nearest(label, suite.candidates)) for label in unknown]
        )
    left = {label for label in suite.candidates if candidates and label not in candidates}
    if not left:
        return loaded

    def kept(each: Mapping[str, _T]) -> dict[str, _T]:
        return {label: value for label, value in each.items() if label not in left}

    return replace(
        loaded, suite=suite.model_copy(update={"candidates": kept(suite.candidates)}), prompts=kept(loaded.prompts),
        models=kept(loaded.models), trainers=kept(loaded.trainers), runners=kept(loaded.runners), outputs=kept(loaded.outputs),
    )  # fmt: skip


def check_allow(loaded: LoadedSuite) -> None:
    """Raises ConfigError for what `data.allow` names and no rule can find."""
    from evalharness.doctor.rules import RULES

    known = [rule_id for rule in RULES for rule_id in rule.ids]
    unknown = [name for name in loaded.suite.data.allow if name not in known]
    if unknown:
        file = display(loaded.path)
        raise ConfigError([Problem(file, f"data.allow.{name}", f"{name!r} is no rule", nearest(name, known)) for name in unknown])


def needs_targets(loaded: LoadedSuite) -> bool:
    """Whether a metric of the suite asks for targets."""
    return any(getattr(metric, "needs_targets", True) for metric in loaded.metrics.values())


def read(loaded: LoadedSuite, numbers: Iterable[int], logs: Sequence[Path] = ()) -> Iterator[SeenRow]:
    """The rows of these numbers that are samples, in order; files are read once, up to the last row that is wanted."""
    wanted = set(numbers)
    if not wanted:
        return
    last = max(wanted)
    for each in stream(loaded.suite.data, loaded.root, answered=needs_targets(loaded), logs=logs, wanted=wanted.__contains__):
        if each.number in wanted and (row := _seen(each)) is not None:
            yield row
        if each.number >= last:
            return


def _pass(loaded: LoadedSuite, rules: Sequence[Rule], logs: Sequence[Path]) -> tuple[Counter[str], Counter[str]]:
    rows: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for each in stream(loaded.suite.data, loaded.root, answered=needs_targets(loaded), logs=logs):
        seen = _seen(each)
        if seen is not None:
            rows[each.side] += 1
            for rule in rules:
                rule.see(seen)
            continue
        broken[each.side] += 1
        lost = _broken(each, loaded)
        for rule in rules:
            rule.broken(lost)
    return rows, broken


def _seen(each: Streamed) -> SeenRow | None:
    if each.row is None or each.sample is None or isinstance(each.sample, Fault):
        return None
    return SeenRow(each.number, each.side, each.sample, each.row.values)


def _broken(each: Streamed, loaded: LoadedSuite) -> BrokenRow:
    assert isinstance(each.sample, Fault)  # what is no sample is a fault
    fault, values = each.sample, None if each.row is None else each.row.values
    return BrokenRow(each.number, each.side, fault.source, fault.found, fault.fix, values, kind(values, loaded.suite.data))


def _allowed(found: Finding, allow: Mapping[str, str]) -> Finding:
    return replace(found, allowed=allow[found.rule]) if found.rule in allow else found


def _badness(found: Finding) -> tuple[bool, int]:
    """Worst first, then in the order of the rules; what the suite allows stands behind everything else."""
    return found.allowed is not None, _ORDER[found.severity]
