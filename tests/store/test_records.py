"""What goes into the store comes out again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from evalharness.errors import StoreError
from evalharness.ids import ulid
from evalharness.records import Point, TrainedModel
from evalharness.store import MetricRow, Resource, Run, Store, Training, VerdictRow
from tests.store import made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results" / "evalh.duckdb")


def run(name: str = "support") -> Run:
    return Run(ulid(), name, "data: {}\n", None, {"evalh": "0.1.0"}, ("evalh", "score", "a b"), notes=("two rows left out",))


def test_reading_a_store_that_does_not_exist_finds_nothing_and_creates_nothing(store: Store) -> None:
    assert store.runs() == []
    assert store.latest_run() is None
    assert store.run("x") is None
    assert store.run_arms("x") == []
    assert store.run_metrics("x") == []
    assert store.verdicts("d") == []
    assert store.known_outputs(["a"]) == {}
    assert store.known_scores(["m"], ["a"]) == {}
    assert store.outputs("a", "d") == []
    assert store.training("t") is None
    assert store.points("t") == []
    assert store.open_resources() == []
    assert store.usage(["a"], "d")["a"].n == 0
    assert store.score_tables(["a"], "d", ["m"])["m"].stats.shape[:2] == (1, 0)
    assert store.sql("SELECT count(*) AS n FROM runs") == (["n"], [(0,)])
    assert not store.path.parent.exists()


def test_dataset(store: Store) -> None:
    data = made.dataset(5)
    assert store.put_dataset(data) == data.id
    assert store.put_dataset(data) == data.id
    assert store.dataset(data.id) == data
    assert store.sql("SELECT input, target FROM samples ORDER BY position LIMIT 1")[1] == [("tickets 0?", "yes 0")]


def test_dataset_with_new_slices_replaces_the_old_ones(store: Store) -> None:
    data = made.dataset(3)
    store.put_dataset(data)
    sliced = replace(data, samples=tuple(replace(sample, slices={"lang": "fr"}) for sample in data.samples))
    assert sliced.id == data.id
    store.put_dataset(sliced)
    assert store.dataset(data.id) == sliced


def test_dataset_that_is_not_stored(store: Store) -> None:
    with pytest.raises(StoreError, match="there is no dataset abc"):
        store.dataset("abc")


def test_runs_newest_first_and_by_suite(store: Store) -> None:
    runs = [replace(run(name), run_id=f"{i}") for i, name in enumerate(["a", "b", "a"])]
    for each in runs:
        store.start_run(each)
    assert store.runs() == [runs[2], runs[1], runs[0]]
    assert store.runs("a") == [runs[2], runs[0]]
    assert store.runs("a", limit=1) == [runs[2]]
    assert store.latest_run("b") == runs[1] == store.run("1")
    assert store.latest_run("c") is None


def test_a_run_is_running_until_it_is_finished(store: Store) -> None:
    started = run()
    store.start_run(started)
    store.finish_run(started.run_id, "failed")
    found = store.latest_run()
    assert found is not None
    assert found.finished is not None
    assert found.state == "failed"
    assert timedelta(0) <= found.finished - started.started < timedelta(minutes=1)
    assert replace(found, state="running", finished=None) == started


def test_arms_keep_order_and_each_run_its_labels(store: Store) -> None:
    arms = [made.arm("a2", "few-shot", name="m", extra=[1, None]), made.arm("a1", "zero-shot", name="m")]
    store.put_arms("r1", "d1", arms, {"zero-shot": "no such model"})
    store.put_arms("r2", "d1", [replace(arms[0], label="renamed", role="candidate", training_id="t")])
    assert [each.arm for each in store.run_arms("r1")] == arms
    assert [(each.dataset_id, each.position, each.error) for each in store.run_arms("r1")] == [("d1", 0, None), ("d1", 1, "no such model")]
    renamed = store.run_arms("r2")[0].arm
    assert (renamed.label, renamed.role, renamed.training_id) == ("renamed", "candidate", "t")


def test_arms_put_again_replace_those_of_the_run(store: Store) -> None:
    store.put_arms("r", "d", [made.arm("a"), made.arm("b"), made.arm("a", "twin")])
    store.put_arms("r", "d", [made.arm("c")])
    assert [each.arm.arm_id for each in store.run_arms("r")] == ["c"]


def test_metrics(store: Store) -> None:
    first = MetricRow("m1", "exact_match", "1", {"case": False}, True, (0.0, 1.0), "binary", "exact")
    second = MetricRow("m2", "latency", "1", {}, False, (0.0, float("inf")), "mean", "latency")
    store.put_metrics("r", [second, first])
    assert store.run_metrics("r") == [second, first]
    store.put_metrics("r", [replace(first, label="")])
    assert store.run_metrics("r") == [replace(first, label="exact_match")]


def test_training_and_what_came_of_it(store: Store) -> None:
    queued = Training("t", "lora", "my/base", {"rank": 8, "layers": ["q", "v"]}, 7, "data", "queued", run_id="r")
    model = TrainedModel("my/base", "results/adapters/t", {"adapter": "ab"}, {"loss": 0.5, "note": None}, ("c1", "c2"))
    done = replace(queued, state="succeeded", model=model, tokens=10**10, cost_usd=3.1, seconds=61.5)
    for training in (queued, done):
        store.put_training(training)
        assert store.training("t") == training
    assert store.usual_seconds("lora", "my/base") == 61.5
    assert store.usual_seconds("lora", "other") is None


def test_a_training_and_its_row_in_the_ledger_are_stored_both_or_neither(store: Store) -> None:
    training = Training("t", "lora", "base", {}, 0, "data", "running", run_id="r")
    row = Resource("r1", "training", "lora", "key", "open")
    store.put_training(training, row)
    ended, closed = replace(training, state="succeeded"), replace(row, state="closed", closed=datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(TypeError):
        store.put_training(ended, replace(closed, settings={"no": object()}))
    assert (store.training("t"), store.resources("key")) == (training, [row])
    store.put_training(ended, closed)
    assert (store.training("t"), store.resources("key")) == (ended, [closed])


def test_points_are_replaced_by_step(store: Store) -> None:
    store.put_points("t", [Point(10, 1.5, None, 2e-4, 1.0), Point(20, 1.0)])
    store.put_points("t", [Point(20, 1.1, 1.2), Point(30, 0.5)])
    store.put_points("t", [])
    store.put_points("u", [Point(1)])
    assert store.points("t") == [Point(10, 1.5, None, 2e-4, 1.0), Point(20, 1.1, 1.2), Point(30, 0.5)]


def test_resources_are_open_until_closed(store: Store) -> None:
    intent = Resource("r1", "deployment", "together", "key", "intent", run_id="run", note="for arm llama")
    store.put_resource(intent)
    assert store.open_resources() == [intent]
    running = replace(intent, state="open", provider_id="dep-\ud800", price_usd_per_hour=2.5)
    store.put_resource(running)
    assert store.open_resources() == [running] == store.resources("key")
    closed = replace(running, state="released", closed=datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    store.put_resource(closed)
    assert store.open_resources() == []
    assert store.resources("key") == [closed]
    assert store.sql("SELECT closed FROM resources")[1] == [(datetime(2030, 1, 1, 10),)]


def test_verdicts_count_the_uses_of_a_dataset(store: Store) -> None:
    when = datetime(2030, 1, 1, tzinfo=UTC)
    verdicts = [VerdictRow(f"v{i}", "r", kind, "d", "PASS", {"L": [0.1]}, when) for i, kind in enumerate(["gate", "decide", "gate"])]
    for verdict in verdicts:
        store.put_verdict(verdict)
    assert store.verdicts("d") == verdicts
    assert store.verdicts("d", "gate") == [verdicts[0], verdicts[2]]
    assert store.verdicts("other") == []
