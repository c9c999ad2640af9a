"""How fast a report is built from the store, with gate and decision. Prints its figures.

python -m tests.bench.bench_report

Ten arms, five metrics: two right/wrong ones, and BLEU, lower-case BLEU and chrF, which are bootstrapped. More candidates
are dearer: with nine every difference is at 99.4%, which takes 7,200 draws; with three 2,400 do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from evalharness.ids import digest
from evalharness.metrics.exact_match import ExactMatch, ExactMatchOptions
from evalharness.metrics.sacrebleu import Bleu, BleuOptions, Chrf
from evalharness.protocols import Metric
from evalharness.records import Arm, Dataset, Message, Output, Reply, Sample, Sampling, Score
from evalharness.report import Report, as_json, build, markdown
from evalharness.store import MetricRow, Run, Store

ARMS, RUN = 10, "01JBENCH000000000000000000"
METRICS: list[Metric] = [
    ExactMatch(),
    ExactMatch(ExactMatchOptions(ignore_case=True)),
    Bleu(),
    Bleu(BleuOptions(lowercase=True)),
    Chrf(),
]
SUITE = """
name: bench
data: {test: test.jsonl}
baselines: {%s}
candidates: {%s}
metrics: [metric-0, metric-1, metric-2, metric-3, metric-4]
gate: {against: arm-0, rules: [{metric: metric-0, margin: 0.02}, {metric: metric-2, margin: 1.0}]}
decide: {metric: metric-0, min_gain: 0.01}
"""


def fill(path: Path, items: int, candidates: int) -> Store:
    """A store with one run of ten arms. Each answer is one of three whose statistics are computed once."""
    store = Store(path)
    samples = tuple(Sample.of([Message("user", f"item {i}")], ["the answer of this bench is a short line"]) for i in range(items))
    data = Dataset("bench", "test", samples)
    first = ARMS - candidates
    arms = [Arm(digest(["arm", i]), f"arm-{i}", "baseline" if i < first else "candidate", {}, {}, Sampling()) for i in range(ARMS)]
    store.start_run(Run(RUN, "bench", SUITE % tuple(_named(arms, role) for role in ("baseline", "candidate")), None, {}, ()))
    store.put_dataset(data)
    store.put_metrics(RUN, [_row(metric, f"metric-{i}") for i, metric in enumerate(METRICS)])
    store.put_arms(RUN, data.id, arms)
    _write(store, data, arms)
    store.finish_run(RUN, "succeeded")
    return store


def _named(arms: list[Arm], role: str) -> str:
    return ", ".join(f"{arm.label}: {{outputs: x}}" for arm in arms if arm.role == role)


def _row(metric: Metric, label: str) -> MetricRow:
    identity = metric.identity()
    return MetricRow(digest(identity), metric.name, metric.version, identity, metric.higher_is_better, metric.range, metric.kind, label)


def _write(store: Store, data: Dataset, arms: list[Arm]) -> None:
    texts = ("the answer of this bench is a short line", "The answer of this bench is short", "no idea at all")
    known = [
        [(digest(metric.identity()), tuple(map(float, metric.score(data.samples[0], Reply("", text, "stop"))))) for metric in METRICS]
        for text in texts
    ]
    rng = np.random.default_rng(0)
    with store.writer() as writer:
        for number, arm in enumerate(arms):
            share = 0.5 + number / 100
            picks = rng.choice(3, len(data), p=[share, 0.2, 0.8 - share])
            for sample, pick in zip(data.samples, picks, strict=True):
                key = digest([arm.arm_id, sample.id, 0])
                writer.put(Output(key, arm.arm_id, data.id, sample.id, 0, Reply(key, texts[pick], "stop", 40, 6, 0.02, 1e-4), RUN))
                writer.put(*(Score(f"{key}{metric_id[:6]}", key, metric_id, stats[0], stats) for metric_id, stats in known[pick]))


def timed(what: str, work: Callable[[], Report | str]) -> float:
    """The best wall and CPU seconds of three, printed; returns the lesser: a machine that others use shows in the wall time."""
    walls, cpus = [], []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    print(f"{what:<66} {min(walls):6.2f} s   {min(cpus):6.2f} s CPU", flush=True)
    return min(*walls, *cpus)


def measured(items: int, candidates: int) -> float:
    """Seconds from store to report, over ten arms and five metrics."""
    with TemporaryDirectory() as folder:
        store = fill(Path(folder) / "evalh.duckdb", items, candidates)
        report = build(store)
        assert len(report.rows) == ARMS
        assert all(cell.score is not None for row in report.rows for cell in row.cells)
        assert report.gate is not None
        timed("Markdown and JSON", lambda: markdown.text(report) + as_json.text(report))
        return timed(f"report: 10 arms x 5 metrics x {items:,} items, {candidates} candidates", lambda: build(store))


@pytest.mark.bench
def test_leaderboard_with_intervals_over_half_a_million_scores() -> None:
    assert measured(10_000, 9) < 2.0


@pytest.mark.bench
@pytest.mark.parametrize("candidates", [3, 9])
def test_report_over_a_million_scores(candidates: int) -> None:
    assert measured(20_000, candidates) < 2.0


if __name__ == "__main__":
    for size, trained in ((10_000, 9), (20_000, 3), (20_000, 9)):
        measured(size, trained)
