"""Earlier runs: what every arm scored in them, and their arms beside this run's, on the items that both have.

>>> compare(beside(view, "last"), "tuned", "tuned of the last run").sentences[0]                      # doctest: +SKIP
'exact_match: tuned is better by 1.2 to 7.0 points than tuned of the last run (95%, 400 items).'

A run is named `last` (the suite's run before this one), `run:ID` or `pin:NAME`; `run:ID/ARM` names one of its arms, too.
An arm that did not change has the same outputs in both runs. Errors that a later run tried again are replaced for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evalharness.errors import ConfigError, Problem
from evalharness.records import Arm, Sampling
from evalharness.spec import GateSpec
from evalharness.stats import bonferroni_level
from evalharness.store import Part, Run, RunArm
from evalharness.verdict.comparing import compare
from evalharness.verdict.deciding import decide
from evalharness.verdict.evidence import scores, value
from evalharness.verdict.gating import Gated, compared, gate_each, worst_of
from evalharness.verdict.records import Verdict, plain
from evalharness.verdict.view import View, assembled, confidence_of, reference_of
from evalharness.verdict.wording import percent, several

RUNS, CELLS = 30, 500_000
"""History goes back so many runs, and over so many scores of arms that are not in this run."""


@dataclass(frozen=True, slots=True)
class Past:
    """One arm under one metric in one run; the interval is left out for corpus metrics, which would have to be bootstrapped."""

    part: Part
    metric: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Where:
    """An earlier run as it was named: `said` is "the last run", "run 01JD…" or "pin production"; `arm` if one was named."""

    run: Run
    said: str
    arm: str | None = None


def past(view: View) -> list[Past]:
    """What arms scored in the suite's earlier runs, newest first. Arms of this run on its own items are left out: the view has them."""
    known = {(view.dataset.dataset_id, each.arm.arm_id) for each in view.contenders}
    earlier = view.store.runs(view.run.suite_name, before=view.run.run_id, limit=RUNS)
    parts = sorted(view.store.parts([run.run_id for run in earlier]), key=lambda part: (part.run_id, part.position), reverse=True)
    wanted = _affordable(view, [part for part in parts if (part.dataset_id, part.arm_id) not in known])
    found: dict[tuple[str, str, str], Past] = {}
    for dataset_id in dict.fromkeys(part.dataset_id for part in wanted):
        mine = [part for part in wanted if part.dataset_id == dataset_id]
        found |= {(dataset_id, each.part.arm_id, each.metric): each for each in _scored(view, dataset_id, mine)}
    labels = [label for label, measure in view.measures.items() if measure.ready]
    hits = ((part, found.get((part.dataset_id, part.arm_id, metric))) for part in parts for metric in labels)
    return [replace(hit, part=part) for part, hit in hits if hit is not None]


def unchanged(view: View) -> list[Part]:
    """The parts that this run's own arms took in earlier runs on the same items: they scored what they score now."""
    known = {each.arm.arm_id for each in view.contenders}
    earlier = [run.run_id for run in view.store.runs(view.run.suite_name, before=view.run.run_id, limit=RUNS)]
    return [part for part in view.store.parts(earlier) if part.arm_id in known and part.dataset_id == view.dataset.dataset_id]


def _affordable(view: View, parts: Sequence[Part]) -> list[Part]:
    """The newest parts whose scores are read in no noticeable time; each arm once."""
    heads = {dataset_id: view.store.dataset_head(dataset_id).n for dataset_id in dict.fromkeys(part.dataset_id for part in parts)}
    cells, kept = 0, {}
    for part in parts:
        key = (part.dataset_id, part.arm_id)
        if key in kept:
            continue
        cells += heads[part.dataset_id] * view.repeats * len(view.measures)
        if cells > CELLS:
            break
        kept[key] = part
    return list(kept.values())


def _scored(view: View, dataset_id: str, parts: Sequence[Part]) -> Iterator[Past]:
    """The arms of these parts on their dataset, under this run's metrics."""
    arms = [RunArm(part.run_id, dataset_id, i, _stand_in(part)) for i, part in enumerate(parts)]
    there = assembled(view.store, view.run, view.suite, view.store.dataset_head(dataset_id), arms, list(view.measures.values()), None)
    by_id = {part.arm_id: part for part in parts}
    labels = [each.label for each in there.scored]
    for metric, measure in view.measures.items():
        known = [label for label in labels if measure.ready and there.missing(label, metric) < 1]
        if measure.row.kind == "corpus":
            yield from (Past(by_id[label], metric, plain(value(there, label, metric)), None, None) for label in known)
            continue
        for label, evidence in scores(there, known, metric, confidence_of(view)).items() if known else ():
            interval = evidence.interval(confidence_of(view))
            low, high = sorted(measure.sign * end for end in (interval.low, interval.high))
            yield Past(by_id[label], metric, plain(measure.sign * interval.estimate), plain(low), plain(high))


def _stand_in(part: Part) -> Arm:
    """An arm as far as its scores are concerned; its label is its id, since labels repeat from run to run."""
    return Arm(part.arm_id, part.arm_id, "baseline", {}, {}, Sampling())


def is_past(text: str) -> bool:
    """Whether the text names another run, not an arm of this one."""
    name = text.partition("/")[0]
    return name == "last" or name.startswith(("run:", "pin:"))


def find(view: View, text: str) -> Where:
    """The run that `last`, `run:ID`, `pin:NAME` (each with or without `/ARM`) names. Raises ConfigError if there is none."""
    name, _, arm = text.partition("/")
    kind, _, rest = name.partition(":")
    store, suite = view.store, view.run.suite_name
    if name == "last":
        run, said = next(iter(store.runs(suite, before=view.run.run_id, limit=1)), None), "the last run"
    elif kind == "run" and rest:
        run = next((run for run in store.runs() if run.run_id.startswith(rest.upper())), None)
        said = f"run {run.run_id if run else rest}"
    elif kind == "pin" and rest:
        pinned = store.pinned(suite, rest)
        run, said = store.run(pinned) if pinned is not None else None, f"pin {rest}"
    else:
        raise ConfigError(
            [Problem("", "against", f"{text!r} names no run", "Write last, run:ID or pin:NAME; add /ARM for one of its arms")]
        )
    if run is None:
        pins = ", ".join(pin.name for pin in store.pins(suite)) or "none"
        lacking = "there is no run before this one" if name == "last" else f"there is no {text}"
        fix = f"evalh list runs shows the runs; pins of this suite: {pins}"
        raise ConfigError([Problem(str(store.path), "against", lacking, fix)])
    return Where(run, said, arm or None)


def beside(view: View, where: Where, labels: Sequence[str]) -> tuple[View, dict[str, str]]:
    """This run with arms of the other one, on the items that both have; and label here -> label of its counterpart.

    The counterpart of an arm is the one that was named, else the one with its label, else the other run's reference.
    Missing outputs of shared items count as they always do. Raises ConfigError if nothing can be compared.
    """
    store = view.store
    parts = store.parts([where.run.run_id])
    if not parts:
        raise ConfigError([Problem(str(store.path), "against", f"{where.said} has no arms on held-out items", "Name another run")])
    chosen = {label: _counterpart(view, parts, where, label) for label in labels}
    names = {part.arm_id: f"{part.label} of {where.said}" for part in chosen.values()}
    others = {each.arm.arm_id: each for each in store.run_arms(where.run.run_id) if each.arm.arm_id in names}
    mine = [each for each in store.run_arms(view.run.run_id) if each.dataset_id == view.dataset.dataset_id]
    theirs = [replace(each, arm=replace(each.arm, label=names[arm_id], role="baseline")) for arm_id, each in others.items()]
    both = assembled(store, view.run, view.suite, view.dataset, [*mine, *theirs], list(view.measures.values()), None)
    both = both.only(store.sample_ids(parts[0].dataset_id))
    _need_scores(both, list(names.values()), where)
    return both, {label: names[part.arm_id] for label, part in chosen.items()}


def _counterpart(view: View, parts: Sequence[Part], where: Where, label: str) -> Part:
    by_label = {part.label: part for part in parts}
    if where.arm is not None:
        if where.arm not in by_label:
            raise ConfigError([Problem("", "against", f"{where.said} has no arm {where.arm!r}", f"Its arms: {', '.join(by_label)}")])
        return by_label[where.arm]
    first = next((part for part in parts if part.role == "baseline"), parts[0])
    return by_label.get(label) or by_label.get(reference_of(view)) or first


def _need_scores(view: View, labels: Sequence[str], where: Where) -> None:
    """An arm whose outputs are there, but not its scores by any of this run's metrics, was scored by other ones."""
    for label in labels:
        contender = view.contender(label)
        ready = [metric for metric, measure in view.measures.items() if measure.ready]
        if contender.problem is None and ready and all(view.missing(label, metric) == 1 for metric in ready):
            found = f"{label} has no scores by this run's metrics: they changed since"
            raise ConfigError(
                [Problem("", "against", found, f"Score {contender.arm.model.get('model', 'it')} again in one run with this one")]
            )


def compare_past(view: View, arm: str, where: Where, *, confidence: float | None = None) -> Verdict:
    """`compare` an arm with its counterpart in another run."""
    both, names = beside(view, where, [arm])
    return _about(compare(both, arm, names[arm], confidence=confidence), where, view, both)


def gate_past(view: View, where: Where, *, candidates: Sequence[str] | None = None, spec: GateSpec | None = None) -> Verdict:
    """`gate` each candidate (or arm named; every arm of a run without candidates) against its counterpart in another run.

    With K candidates, or as many arms judged, every interval is at level 1 - α/K, of a few that are named as well.
    """
    spec = spec or (view.suite.gate if view.suite is not None else None)
    if spec is None:
        raise ConfigError([Problem("", "gate", "the suite has no gate", "Add gate: {rules: [{metric: ..., margin: ...}]}")])
    every = [each.label for each in view.contenders if each.is_candidate] or [each.label for each in view.contenders]
    labels = list(dict.fromkeys(candidates)) if candidates else every
    labels = [view.contender(label).label for label in labels]
    both, names = beside(view, where, labels)
    tried = compared(view, labels)
    level = bonferroni_level(confidence_of(view), len(tried))
    found = {label: gate_each(both, spec, [label], names[label], level)[0] for label in labels}
    sentences = [each.sentence(names[label]) for label, each in found.items()]
    if len(tried) > 1:
        sentences.append(f"{several(len(tried), 'arm')} were compared, so every interval is at {percent(level)}.")
    evidence = {**_evidence(both, found, names, level), "candidates_compared": len(tried)}
    answer = worst_of(list(found.values()))
    judged = Verdict("gate", answer, (*sentences, *both.caution), evidence, view.dataset.dataset_id, view.run.run_id, view.run.suite_name)
    return _about(judged, where, view, both)


def decide_past(view: View, where: Where, *, volume: int | None = None) -> Verdict:
    """`decide` with the reference's counterpart in another run (or the arm of it that was named) in the reference's place."""
    label = reference_of(view)
    both, names = beside(view, where, [label])
    return _about(decide(replace(both, dev=view.dev), against=names[label], volume=volume), where, view, both)


def _evidence(both: View, found: Mapping[str, Gated], names: Mapping[str, str], level: float) -> dict[str, object]:
    return {
        "against": ", ".join(dict.fromkeys(names.values())),
        "confidence": plain(confidence_of(both)),
        "level": plain(level),
        "n": both.n,
        "candidates": [each.as_json() for each in found.values()],
        "arm_ids": {label: both.contender(label).arm.arm_id for label in [*found, *dict.fromkeys(names.values())]},
    }


def _about(verdict: Verdict, where: Where, view: View, both: View) -> Verdict:
    """The verdict with the run that it looked back at, and how many of this run's items it is about if not all."""
    shared = f"This is about the {several(both.n, 'item')} of {view.n:,} that both runs have."
    sentences = verdict.sentences if both.n == view.n else (*verdict.sentences, shared)
    return replace(verdict, sentences=sentences, evidence={**verdict.evidence, "against_run": where.run.run_id})
