"""How fast the store writes and reads. Prints its figures.

python -m tests.bench.bench_store            1 million scores: the bars
python -m tests.bench.bench_store 10         10 million scores over 1,000 runs
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from evalharness.ids import digest
from evalharness.records import Dataset, Message, Output, Reply, Sample, Score
from evalharness.runners.lora.memory import peak_mib
from evalharness.store import Store

ARMS, SAMPLES, METRICS = 10, 20_000, 5


@contextmanager
def clock(what: str, figures: dict[str, float]) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    figures[what] = time.perf_counter() - wall
    print(f"{what:<58} {figures[what]:8.3f} s   {time.process_time() - cpu:8.3f} s CPU", flush=True)


def dataset(n: int, name: str = "bench") -> Dataset:
    """n samples of one short question each."""
    samples = (Sample.of([Message("user", f"{name} {i}: what is {i} + {i}?")], [str(2 * i)], slices={"lang": "en"}) for i in range(n))
    return Dataset(name, "test", tuple(samples))


def answers(arm_id: str, data: Dataset, run_id: str = "run") -> list[Output]:
    """One output per sample; the texts differ, so they do not compress to nothing."""
    dataset_id = data.id
    return [
        Output(output_id, arm_id, dataset_id, sample.id, 0, Reply(output_id, f"It is {i * 7919}.", "stop", 40, 6, 0.02, 0.0001), run_id)
        for i, sample in enumerate(data.samples)
        for output_id in [digest([arm_id, sample.id, 0])]
    ]


def scores(outputs: list[Output], metric_id: str) -> list[Score]:
    """A right/wrong score of each output."""
    values = (float(i % 3 == 0) for i in range(len(outputs)))
    return [
        Score(digest([o.output_id, metric_id]), o.output_id, metric_id, value, (value,)) for o, value in zip(outputs, values, strict=True)
    ]


def million_scores(path: Path) -> dict[str, float]:
    """10 arms × 20,000 samples × 5 metrics, written one by one through a Writer, then read as for a report."""
    store, data, figures = Store(path), dataset(SAMPLES), dict[str, float]()
    arm_ids, metric_ids = [digest(["arm", i]) for i in range(ARMS)], [digest(["metric", i]) for i in range(METRICS)]
    with clock("dataset of 20,000 samples written", figures):
        store.put_dataset(data)
    outputs = {arm_id: answers(arm_id, data) for arm_id in arm_ids}
    with clock("200,000 outputs written", figures), store.writer() as writer:
        for arm_id in arm_ids:
            for output in outputs[arm_id]:
                writer.put(output)
    made = [score for arm_id in arm_ids for metric_id in metric_ids for score in scores(outputs[arm_id], metric_id)]
    with clock("1,000,000 scores written", figures), store.writer() as writer:
        for score in made:
            writer.put(score)
    with clock("report read: 10 arms x 20,000 samples x 5 metrics", figures):
        tables = store.score_tables(arm_ids, data.id, metric_ids)
        usage = store.usage(arm_ids, data.id)
    assert all(table.stats.shape == (ARMS, SAMPLES, 1, 1) and not np.isnan(table.stats).any() for table in tables.values())
    assert all(used.n == SAMPLES for used in usage.values())
    with clock("200 of the scores written again", figures), store.writer() as writer:
        writer.put(*made[:200])
    with clock("known outputs and scores of one arm", figures):
        assert len(store.known_outputs(arm_ids[:1])) == SAMPLES
        assert len(store.known_scores(metric_ids, arm_ids[:1])) == SAMPLES * METRICS
    return figures


def small_pieces(path: Path) -> dict[str, float]:
    """What one operation costs: open, write 200, close; open, read one row, close."""
    store, data, figures = Store(path), dataset(10_000, "small"), dict[str, float]()
    outputs = answers("small arm", data)
    store.put_dataset(data)
    with clock("50 flushes of 200 outputs, the file opened for each", figures), store.writer() as writer:
        for start in range(0, 10_000, 200):
            writer.put(*outputs[start : start + 200])
            writer.flush()
    with clock("50 reads of one row, the file opened for each", figures):
        for _ in range(50):
            store.latest_run()
    return figures


def thousand_runs(path: Path, millions: int) -> dict[str, float]:
    """1,000 runs, 2 new arms each, 5 metrics, `millions` million scores in all; then the report of one run in the middle."""
    store, figures, runs = Store(path), dict[str, float](), 1_000
    data = dataset(millions * 1_000_000 // (runs * 2 * METRICS))
    metric_ids = [digest(["metric", i]) for i in range(METRICS)]
    store.put_dataset(data)
    arms_of = [[digest(["arm", run, i]) for i in range(2)] for run in range(runs)]
    with clock(f"{millions} million scores of 1,000 runs written", figures), store.writer() as writer:
        for run, arm_ids in enumerate(arms_of):
            for arm_id in arm_ids:
                outputs = answers(arm_id, data, f"run{run}")
                writer.put(*outputs)
                writer.put(*(score for metric_id in metric_ids for score in scores(outputs, metric_id)))
    with clock("report read: one run of 1,000", figures):
        arm_ids = [arms_of[0][0], *arms_of[500]]
        tables = store.score_tables(arm_ids, data.id, metric_ids)
        store.usage(arm_ids, data.id)
    assert not any(np.isnan(table.stats).any() for table in tables.values())
    with clock("200 scores of one run written again", figures), store.writer() as writer:
        writer.put(*scores(answers(arms_of[700][0], data), metric_ids[0])[:200])
    return figures


def in_new_store(bench: Callable[[Path], dict[str, float]]) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "evalh.duckdb"
        figures = bench(path)
        print(f"file {path.stat().st_size / 1e6:.0f} MB, peak memory {peak_mib()} MiB")
    return figures


@pytest.mark.bench
def test_a_million_scores_are_written_in_30_s_and_read_in_2_s() -> None:
    figures = in_new_store(million_scores)
    assert figures["1,000,000 scores written"] <= 30
    assert figures["report read: 10 arms x 20,000 samples x 5 metrics"] <= 2


@pytest.mark.bench
def test_a_flush_of_200_rows_is_cheap() -> None:
    assert in_new_store(small_pieces)["50 flushes of 200 outputs, the file opened for each"] / 50 <= 0.25


if __name__ == "__main__":
    if len(sys.argv) > 1:
        in_new_store(lambda path: thousand_runs(path, int(sys.argv[1])))
    else:
        in_new_store(small_pieces)
        in_new_store(million_scores)
