"""Arms judged by a biased judge and labelled by people who know the truth, in memory or in a store.

>>> view = judged_view(Trial(seed=1))                                                                 # doctest: +SKIP
>>> gains(view, ["tuned"], "few-shot", "style", 0.95)["tuned"].method                                 # doctest: +SKIP
'PPI++'
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from evalharness.ids import digest
from evalharness.labelling import Plan, plan
from evalharness.labelling.session import labels_of
from evalharness.metrics import PerSample
from evalharness.protocols import AskingMetric, Floats, Opinion, Options, Question
from evalharness.records import Arm, Dataset, Message, Output, Reply, Sample, Sampling, Score
from evalharness.store import Label, Labelled, MetricRow, Run, Store
from evalharness.verdict import View, load
from evalharness.verdict.measures import Measure
from evalharness.verdict.view import Answers
from tests.report.views import made_view

PLUGIN = "judged.py:StyleJudge"
RUN = "01JDJUDGED0000000000000000"
SOURCE = "from tests.judged import PairJudge, StyleJudge  # what a suite finds in its workspace\n"


class StyleJudge(PerSample):
    """A judge whose opinions are given, not asked for."""

    name = "style"
    choices: ClassVar[Mapping[str, float]] = {"fail": 0.0, "pass": 1.0}
    kind: Any = "binary"
    against: str | None = None
    local = True

    def question_id(self) -> str:
        return digest(["Is it right?", dict(self.choices)])

    def calls(self, questions: int) -> int:
        return questions

    def estimate(self, questions: Sequence[Question]) -> float | None:
        return 0.0

    async def ask(self, questions: Sequence[Question]) -> AsyncGenerator[Opinion]:
        for question in questions:
            yield Opinion(question.key, (1.0,))

    async def close(self) -> None:
        return None


class PairJudge(StyleJudge):
    """The same for pairs."""

    name = "pairs"
    choices: ClassVar[Mapping[str, float]] = {"A": 1.0, "tie": 0.5, "B": 0.0}
    kind: Any = "mean"
    against = "few-shot"


class Graded(StyleJudge):
    """The same on a scale from 1 to 5."""

    name = "graded"
    choices: ClassVar[Mapping[str, float]] = {str(step): float(step) for step in range(1, 6)}
    kind: Any = "mean"
    range = (1.0, 5.0)


assert isinstance(StyleJudge(), AskingMetric)


@dataclass(frozen=True)
class Trial:
    """One draw: truth of two arms on n items, and what a judge makes of it.

    `bias` is by how much more often the judge lets the tuned arm pass than it should, `same` the share of items on which
    both arms gave one text, `noise` how often the judge errs either way.
    """

    seed: int = 0
    n: int = 1000
    base: float = 0.55
    tuned: float = 0.60
    bias: float = 0.06
    noise: float = 0.1
    same: float = 0.15
    clusters: int = 0

    @property
    def truth(self) -> float:
        """The difference in the population that the items are drawn from."""
        return (1 - self.same) * (self.tuned - self.base)

    @cached_property
    def right(self) -> Floats:
        """(2, n) whether each arm's answer is right; some ease of an item is shared by both arms, and by a cluster."""
        rng = np.random.default_rng([self.seed, 1])
        ease = rng.random(self.n)
        if self.clusters:
            ease = np.repeat(rng.random(self.n // self.clusters + 1), self.clusters)[: self.n]
        own = rng.random((2, self.n))
        shared = rng.random((2, self.n)) < 0.5
        draw = np.where(shared, ease, own)  # uniform, and alike on half of the items
        right = (draw < np.array([[self.base], [self.tuned]])).astype(float)
        equal = rng.random(self.n) < self.same
        right[1, equal] = right[0, equal]
        self.__dict__["equal"] = equal
        return right

    @property
    def equal_text(self) -> Any:
        """(n,) where both arms gave the same text."""
        assert self.right is not None
        return self.__dict__["equal"]

    @cached_property
    def opinions(self) -> Floats:
        """(2, n) the judge: noisy on both arms, and taken in by the tuned one's style."""
        rng = np.random.default_rng([self.seed, 2])
        found = np.where(rng.random(self.right.shape) < self.noise, 1 - self.right, self.right)
        wrong = found[1] == 0
        fooled = rng.random(self.n) < self.bias * self.n / max(1, int((wrong & ~self.equal_text).sum()))
        found[1] = np.where(wrong & fooled & ~self.equal_text, 1.0, found[1])
        return np.asarray(found)

    def text(self, arm: int, item: int) -> str:
        """What an arm answered: nothing in it tells the arm."""
        word = "good" if self.right[arm, item] else "bad"
        name = (item * 7919 + (0 if self.equal_text[item] else arm) * 104_729 + self.seed * 15_485_863) * 2_654_435_761 % 2**32
        return f"reply {name:08x} {word}"


def judged_view(trial: Trial, judge: StyleJudge | None = None, **options: Any) -> View:
    """The trial without a store; label it with `labelled`."""
    judge = judge or StyleJudge()
    view = _unjudged(trial.n, trial.clusters) if not options else made_view(_zeros(trial.n), **options)
    row = MetricRow("j", judge.name, "1", {}, True, judge.range, judge.kind, judge.name)
    values = trial.opinions[:, :, None].copy()
    if judge.against is not None:
        values = (1 + values - values[0]) / 2
    table = replace(view.tables["exact_match"], metric_id="j", values=values, stats=values[..., None], failed=values > 9)
    view = replace(view, measures={judge.name: Measure(row, judge)}, tables={judge.name: table})
    vars(view)["_answers"] = _answers(trial, view)
    vars(view)["store"] = _Memory(view.store.path)
    return view


def _zeros(n: int) -> dict[str, list[float | None]]:
    return {"few-shot": [0.0] * n, "tuned": [0.0] * n}


@lru_cache(maxsize=4)
def _unjudged(n: int, clusters: int) -> View:
    """The same items for all trials of a size: making thousands of them is what takes time."""
    return made_view(_zeros(n), clusters=[i // clusters for i in range(n)] if clusters else None)


def _answers(trial: Trial, view: View) -> dict[str, Answers]:
    found = {}
    for place, each in enumerate(view.contenders):
        texts = [trial.text(place, int(i)) for i in view._order]
        ids = [[f"{place}/{i}"] for i in view._order]
        found[each.arm.arm_id] = Answers(np.array(ids, np.object_), np.array([[text] for text in texts], np.object_))
    return found


class _Memory(Store):
    """Labels in memory; nothing else is stored."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.found: list[Labelled] = []

    def labels_on(self, question: str, arm_ids: Sequence[str], dataset_id: str) -> list[Labelled]:
        return [each for each in self.found if each.label.question == question]


def labelled(view: View, n: int = 100, annotator: str = "ada") -> View:
    """The same view after somebody who knows the truth labelled what the plan asks for."""
    metric = next(iter(view.measures))
    found = plan(view, metric, n)
    store = _Memory(view.store.path)
    places = {
        each.output_ids[i, 0]: (view.contenders[place].arm.arm_id, view.ids[i], each.marks[i, 0])
        for place, each in enumerate(vars(view)["_answers"].values())
        for i in range(view.n)
    }
    for ask in found.asks:
        value = float(places[ask.outputs[0]][2].endswith("good"))
        if ask.other:
            value = (1 + value - float(places[ask.other][2].endswith("good"))) / 2
            value = 1 - value if ask.turned else value
        for label in labels_of(ask, found.question, annotator, value, "", (0.0, 1.0)):
            arm_id, sample_id, _ = places[label.output_id]
            store.found.append(Labelled(label, arm_id, sample_id, 0))
    after = replace(view)
    vars(after)["_answers"] = vars(view)["_answers"]
    vars(after)["store"] = store
    return after


def stored(trial: Trial, folder: Path, judge: StyleJudge | None = None, suite: Mapping[str, Any] | None = None) -> Store:
    """The trial as a run in a store, in a workspace whose suite is `suites/judged.yaml`."""
    judge = judge or StyleJudge()
    (folder / "suites").mkdir(parents=True, exist_ok=True)
    (folder / "judged.py").write_text(SOURCE)
    parts = {
        "name": "judged",
        "data": {"test": "test.jsonl"},
        "baselines": {"few-shot": {"outputs": "a.jsonl"}},
        "candidates": {"tuned": {"outputs": "b.jsonl"}},
        "metrics": [f"judged.py:{type(judge).__name__}"],
        **(suite or {}),
    }
    text = yaml.safe_dump(parts, sort_keys=False)
    (folder / "suites" / "judged.yaml").write_text(text)
    samples = tuple(Sample.of([Message("user", f"ticket {i}\nwith a second line")], [f"desk {i}"]) for i in range(trial.n))
    data = Dataset("judged", "test", samples, "test.jsonl")
    store = Store(folder / "results" / "evalh.duckdb")
    store.start_run(Run(RUN, "judged", text, None, {}, ("evalh",)))
    store.put_dataset(data)
    identity = judge.identity()
    row = MetricRow(digest(identity), judge.name, judge.version, identity, True, judge.range, judge.kind, judge.name)
    store.put_metrics(RUN, [row])
    arms = [Arm(digest([label]), label, role, {"model": label}, {}, Sampling()) for label, role in _ROLES]
    store.put_arms(RUN, data.id, arms)
    with store.writer() as writer:
        for i, sample in enumerate(samples):
            outputs = [_output(arm, data, sample, trial.text(place, i)) for place, arm in enumerate(arms)]
            writer.put(*outputs)
            for place, output in enumerate(outputs):
                value = float(trial.opinions[place, i])
                other = None
                if judge.against is not None:
                    value, other = (1 + value - float(trial.opinions[0, i])) / 2, outputs[0].output_id
                key = digest([row.metric_id, output.output_id, other])
                writer.put(Score(key, output.output_id, row.metric_id, value, (value,), other_output_id=other))
    store.finish_run(RUN, "succeeded")
    return store


_ROLES: tuple[tuple[str, Any], ...] = (("few-shot", "baseline"), ("tuned", "candidate"))


def _output(arm: Arm, data: Dataset, sample: Sample, text: str) -> Output:
    key = digest([arm.arm_id, sample.id, 0])
    return Output(key, arm.arm_id, data.id, sample.id, 0, Reply(key, text, "stop"), RUN)


def label_all(store: Store, folder: Path, metric: str = "style", n: int = 100, annotator: str = "ada") -> Plan:
    """Label in the store what the plan asks for, by the texts' own words."""
    view = load(store, RUN, folder)
    found = plan(view, metric, n)
    bounds = view.measure(metric).row.range
    texts = {
        output.output_id: output.reply.text or ""
        for each in view.contenders
        for output in store.outputs(each.arm.arm_id, view.dataset.dataset_id)
    }
    labels: list[Label] = []
    for ask in found.asks:
        value = float(texts[ask.outputs[0]].endswith("good"))
        if ask.other:
            value = (1 + value - float(texts[ask.other].endswith("good"))) / 2
            value = 1 - value if ask.turned else value
        labels += labels_of(ask, found.question, annotator, value, "", bounds)
    store.put_labels(labels)
    return found


__all__ = ["RUN", "Graded", "Options", "PairJudge", "StyleJudge", "Trial", "judged_view", "label_all", "labelled", "stored"]
