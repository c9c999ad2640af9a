"""A small made-up run in a store: what verdicts and reports are tested on.

>>> made = Made(n=40).arm("few-shot", right=0.5).arm("tuned", "candidate", right=0.8)
>>> store, run_id = made.store(tmp_path)                                                              # doctest: +SKIP
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from evalharness.ids import digest
from evalharness.metrics.exact_match import ExactMatch
from evalharness.metrics.sacrebleu import Bleu
from evalharness.protocols import Metric, Options
from evalharness.records import Arm, Dataset, Message, Output, Reply, Sample, Sampling, Score, TrainedModel
from evalharness.store import MetricRow, Run, Store, Training

RUN = "01JDEMO0000000000000000000"
GATE = {"against": "few-shot", "rules": [{"metric": "exact_match", "margin": 0.02}]}
DECIDE = {"metric": "exact_match", "min_gain": 0.03}
WRONG = "the wrong desk altogether"


class MeanLength:
    """A graded metric for tests: words that are too many or too few; lower is better. It is not registered."""

    Options: ClassVar[type[Options]] = Options
    name = "word_gap"
    version = "1"
    higher_is_better = False
    range = (0.0, 10.0)
    kind: Any = "mean"

    def __init__(self, options: Any = None) -> None:
        self.options = options or self.Options()

    def identity(self) -> dict[str, object]:
        return {"name": self.name, "version": self.version, "options": {}}

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        return (min(10.0, abs(len((reply.text or "").split()) - len(sample.targets[0].split()))),)

    def failed(self, sample: Sample) -> tuple[float, ...]:
        return (10.0,)

    def perfect(self, sample: Sample) -> tuple[float, ...]:
        return (0.0,)

    def finish(self, sums: Any, n: Any) -> Any:
        return sums[..., 0] / n


@dataclass
class MadeArm:
    """An arm's replies in data order; None for an output that is not there."""

    label: str
    role: Any
    replies: list[Reply | None]
    training: Training | None = None
    error: str | None = None
    dev: list[Reply | None] | None = None
    unscored: Sequence[int] = ()
    version: int = 0


@dataclass
class Made:
    """Builds a store with one run. Arms answer the target, or WRONG, by a seeded draw that is shared item by item."""

    n: int = 40
    seed: int = 0
    cluster: int = 0
    slices: bool = False
    dev: int = 0
    arms: list[MadeArm] = field(default_factory=list)
    metrics: Sequence[Metric] = field(default_factory=lambda: [ExactMatch(), Bleu()])
    suite: dict[str, Any] = field(default_factory=lambda: {"gate": GATE, "decide": DECIDE})
    notes: tuple[str, ...] = ()
    order: Sequence[int] | None = None
    run: str = RUN

    def sample(self, i: int, split: str = "test") -> Sample:
        return _sample(i, split, f"c{i // self.cluster}" if self.cluster else None, self.slices)

    def dataset(self, split: Any = "test") -> Dataset:
        n = self.n if split == "test" else self.dev
        order = self.order if self.order is not None and split == "test" else range(n)
        return Dataset("made", split, tuple(self.sample(i, split) for i in order), "made.jsonl")

    def arm(
        self,
        label: str,
        role: str = "baseline",
        *,
        right: float | Sequence[bool] = 0.5,
        missing: Sequence[int] = (),
        errors: Sequence[int] = (),
        truncated: Sequence[int] = (),
        texts: Mapping[int, str] | None = None,
        cost: float | None = None,
        training: Training | None = None,
        error: str | None = None,
        dev_right: float | None = None,
        unscored: Sequence[int] = (),
        version: int = 0,
    ) -> Made:
        """`right` is a share, or says it item by item; an arm with a larger share is right wherever a smaller one is, mostly.

        Metrics fail on the `unscored` items. Another `version` is another arm of the same label.
        """
        flags = self._flags(right, self.n, label)
        replies = [
            self._reply(i, flags[i], i in errors, i in truncated, (texts or {}).get(i), cost) if i not in missing else None
            for i in range(self.n)
        ]
        dev = None
        if dev_right is not None:
            dev = [self._reply(i, flag, False, False, None, cost, "dev") for i, flag in enumerate(self._flags(dev_right, self.dev, label))]
        self.arms.append(MadeArm(label, role, list(replies), training, error, list(dev) if dev is not None else None, unscored, version))
        return self

    def _flags(self, right: float | Sequence[bool], n: int, label: str) -> list[bool]:
        if not isinstance(right, float | int):
            return list(right)
        shared = np.random.default_rng(self.seed).random(n)
        own = np.random.default_rng([self.seed, len(label), *label.encode()]).random(n)
        return [bool(value < right) for value in 0.8 * shared + 0.2 * own]

    def _reply(
        self, i: int, right: bool, failed: bool, truncated: bool, text: str | None, cost: float | None, split: str = "test"
    ) -> Reply:
        if failed:
            return Reply("", None, "error", error="timed out after 60 s", cost_usd=cost)
        answer = text if text is not None else self.sample(i, split).targets[0] if right else WRONG
        return Reply("", answer, "length" if truncated else "stop", 120, 9, 0.2 + i % 5 / 10, cost)

    def yaml(self) -> str:
        parts: dict[str, Any] = {"name": "made", "data": {"test": "made.jsonl"}, "baselines": {}, "candidates": {}}
        for each in self.arms:
            parts[f"{each.role}s"][each.label.partition(" (seed")[0]] = {"outputs": f"{each.label}.jsonl"}
        return yaml.safe_dump({**parts, "metrics": [metric.name for metric in self.metrics], **self.suite}, sort_keys=False)

    def store(self, folder: Path, shuffle: int | None = None) -> tuple[Store, str]:
        """A store with everything in it; `shuffle` is a seed for the order in which rows are written."""
        store = Store(folder / "evalh.duckdb")
        test, dev = self.dataset(), self.dataset("dev") if self.dev else None
        store.start_run(Run(self.run, "made", self.yaml(), "a" * 40, {"evalh": "0"}, ("evalh", "score"), notes=self.notes))
        for each in [test, *([dev] if dev else [])]:
            store.put_dataset(each)
        store.put_metrics(self.run, [_row(metric) for metric in self.metrics])
        for arm in self.arms:
            if arm.training is not None:
                store.put_training(arm.training)
        errors = {arm.label: arm.error for arm in self.arms if arm.error is not None}
        store.put_arms(self.run, test.id, [_arm(each) for each in self.arms], errors)
        if dev is not None:
            store.put_arms(self.run, dev.id, [_arm(each) for each in self.arms if each.dev is not None])
        self._write(store, test, dev, shuffle)
        store.finish_run(self.run, "succeeded")
        return store, self.run

    def _write(self, store: Store, test: Dataset, dev: Dataset | None, shuffle: int | None) -> None:
        keys = [digest(metric.identity()) for metric in self.metrics]
        records = [
            (self.sample(i), reply, arm_id, test, i in unscored)
            for arm in self.arms
            for arm_id, unscored in [(_arm(arm).arm_id, set(arm.unscored))]
            for i, reply in enumerate(arm.replies)
            if reply is not None
        ]
        for arm in self.arms:
            for i, reply in enumerate(arm.dev or []):
                if reply is not None and dev is not None:
                    records.append((self.sample(i, "dev"), reply, _arm(arm).arm_id, dev, False))
        if shuffle is not None:
            np.random.default_rng(shuffle).shuffle(records)
        with store.writer() as writer:
            for sample, reply, arm_id, dataset, failing in records:
                output = _output(sample, reply, arm_id, dataset)
                writer.put(output, *[_score(*which, sample, output, failing) for which in zip(keys, self.metrics, strict=True)])


@functools.cache
def _sample(i: int, split: str, cluster: str | None, slices: bool) -> Sample:
    question, answer = Message("user", f"{split} ticket {i}"), f"answer {i} goes to desk {i % 7}"
    return Sample.of([question], [answer], cluster=cluster, slices={"lang": "de" if i % 3 else "en"} if slices else None)


def trained(key: str, state: str = "succeeded", **facts: Any) -> Training:
    """A finished (or failed) training."""
    error = facts.pop("error", None)
    cost, seconds = facts.pop("cost_usd", None), facts.pop("seconds", 61.0)
    model = TrainedModel("local/embedded", "adapters/x", {}, facts) if state == "succeeded" else None
    return Training(key, "lora", "embedded", {}, 0, "data", state, model, 12345, cost, seconds, error)


def _arm(each: MadeArm) -> Arm:
    training = each.training.training_id if each.training is not None else None
    key = digest(["arm", each.label, *([each.version] if each.version else [])])
    return Arm(key, each.label, each.role, {"model": each.label}, {}, Sampling(), training)


def _row(metric: Metric) -> MetricRow:
    identity = metric.identity()
    return MetricRow(
        digest(identity), metric.name, metric.version, identity, metric.higher_is_better, metric.range, metric.kind, metric.name
    )


def _output(sample: Sample, reply: Reply, arm_id: str, dataset: Dataset) -> Output:
    key = digest([arm_id, sample.id, 0])
    return Output(key, arm_id, dataset.id, sample.id, 0, replace(reply, output_id=key), RUN)


SCORED: dict[tuple[object, ...], tuple[float, ...]] = {}
"""Statistics of a metric by all that it sees: tests make the same few answers again and again."""


def _score(metric_id: str, metric: Metric, sample: Sample, output: Output, unscored: bool) -> Score:
    error = "the metric failed" if unscored else output.reply.error
    seen = (metric_id, type(metric), sample.id, replace(output.reply, output_id=""), error)
    if seen not in SCORED:
        SCORED[seen] = tuple(metric.failed(sample) if error is not None else metric.score(sample, output.reply))
    stats = SCORED[seen]
    value = float(metric.finish(np.array(stats), np.array(1.0)))
    return Score(digest([metric_id, output.outcome_key]), output.output_id, metric_id, value, tuple(map(float, stats)), error=error)
