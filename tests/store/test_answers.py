"""Outputs and scores: written in groups, idempotent, replaced by what is newer, summed up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evalharness.errors import StoreError
from evalharness.records import Output, Score
from evalharness.store import KnownOutput, Store, Usage
from tests.store import made

DATA = made.dataset(4)
IDS = [sample.id for sample in DATA.samples]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "evalh.duckdb")
    store.put_dataset(DATA)
    return store


def write(store: Store, *records: Output | Score) -> None:
    with store.writer() as writer:
        writer.put(*records)


def outputs(arm_id: str = "a", sample_ids: Sequence[str] = IDS) -> list[Output]:
    return [made.output(arm_id, DATA.id, sample_id) for sample_id in sample_ids]


def everything(store: Store) -> list[object]:
    queries = ["SELECT * EXCLUDE block FROM outputs ORDER BY ALL", "SELECT * EXCLUDE block FROM scores ORDER BY ALL"]
    return [store.sql(query) for query in queries]


def test_outputs_come_back_in_the_order_of_the_samples(store: Store) -> None:
    mine = [made.output("a", DATA.id, sample_id, repeat=repeat) for sample_id in IDS for repeat in (0, 1)]
    write(store, *reversed(mine), *outputs("b"))
    assert store.outputs("a", DATA.id) == mine
    assert store.outputs("a", DATA.id, IDS[2:3]) == mine[4:6]
    assert store.outputs("c", DATA.id) == [] == store.outputs("a", DATA.id, [])


def test_known_outputs_say_finish_and_outcome(store: Store) -> None:
    failed = made.output("a", DATA.id, IDS[1], None, "error")
    fine = made.output("b", DATA.id, IDS[0])
    write(store, failed, fine, made.output("c", DATA.id, IDS[0]))
    assert store.known_outputs(["a", "b", "unknown"]) == {
        failed.output_id: KnownOutput("error", failed.outcome_key),
        fine.output_id: KnownOutput("stop", fine.outcome_key),
    }


def test_a_test_set_that_grew_keeps_the_answers_it_has(store: Store) -> None:
    write(store, *outputs())
    grown = replace(DATA, samples=(*made.dataset(1, name="new").samples, *reversed(DATA.samples)))
    store.put_dataset(grown)
    assert [output.sample_id for output in store.outputs("a", grown.id)] == IDS[::-1]
    assert {output.dataset_id for output in store.outputs("a", grown.id)} == {grown.id}
    assert store.usage(["a"], grown.id)["a"].n == 4
    assert store.outputs("a", "another") == []


def test_writing_again_changes_nothing(store: Store) -> None:
    mine = outputs()
    records: list[Output | Score] = [
        *mine,
        *(made.score(output, "m", 1.0) for output in mine),
        made.score(mine[0], "pair", 0.5, other=mine[1].output_id),
    ]
    write(store, *records)
    before = everything(store)
    write(store, *records)
    write(store, *records[4:])
    assert everything(store) == before


def test_an_output_replaces_the_one_before_and_its_scores_go(store: Store) -> None:
    failed, others = made.output("a", DATA.id, IDS[0], None, "error"), outputs()[1:]
    write(store, failed, *others, made.score(failed, "m", 0.0), *(made.score(output, "m", 1.0) for output in others))
    write(store, made.score(others[0], "pair", 1.0, other=failed.output_id), made.score(others[0], "pair", 0.0, other=others[1].output_id))
    answered = made.output("a", DATA.id, IDS[0])
    write(store, answered)
    assert store.outputs("a", DATA.id)[0] == answered
    kept = [made.score(output, "m", 1.0) for output in others]
    assert store.scores("m", "a", DATA.id) == kept
    assert [each.other_output_id for each in store.scores("pair", "a", DATA.id)] == [others[1].output_id]
    assert store.known_scores(["m"], ["a"]) == {each.score_id: None for each in kept}


def test_a_score_replaces_the_one_of_the_same_metric_and_pair(store: Store) -> None:
    first, second = outputs()[:2]
    write(
        store, first, second, made.score(first, "m", 1.0), made.score(first, "n", 1.0), made.score(first, "m", 0.5, other=second.output_id)
    )
    newer = replace(made.score(first, "m", 0.25), score_id="newer")
    write(store, newer)
    assert store.scores("m", "a", DATA.id) == [made.score(first, "m", 0.5, other=second.output_id), newer]
    assert store.scores("n", "a", DATA.id) == [made.score(first, "n", 1.0)]


def test_the_newest_of_one_flush_stays(store: Store) -> None:
    write(store, made.output("a", DATA.id, IDS[0], "old"), made.output("a", DATA.id, IDS[0], "new"))
    assert [output.reply.text for output in store.outputs("a", DATA.id)] == ["new"]
    assert store.sql("SELECT count(*) FROM outputs")[1] == [(1,)]


def test_scores_of_outputs_that_were_stored_long_before(store: Store) -> None:
    mine, theirs = outputs("a"), outputs("b")
    write(store, *mine, *theirs)
    with Store(store.path).writer() as writer:
        for output in (*mine, *theirs):
            writer.put(made.score(output, "m", 1.0))
            writer.flush()
    assert len(store.known_scores(["m"], ["a"])) == len(store.known_scores(["m"], ["b"])) == 4


def test_a_score_without_its_output_is_refused_and_so_is_its_flush(store: Store) -> None:
    stored, unknown = outputs()[:2]
    with pytest.raises(StoreError, match=r"1 scores belong to outputs that are not stored, e\.g\. a/"):
        write(store, stored, made.score(unknown, "m", 1.0))
    assert store.known_outputs(["a"]) == {}


def test_known_scores_say_which_failed(store: Store) -> None:
    first, second = outputs()[:2]
    fine, failed = made.score(first, "m", 1.0), made.score(second, "m", error="judge said \ud800")
    write(store, first, second, fine, failed, made.score(first, "other", 1.0))
    assert store.known_scores(["m"], ["a"]) == {fine.score_id: None, failed.score_id: "judge said \ud800"}
    assert store.scores("m", "a", DATA.id, [IDS[1]]) == [failed]


def test_usage(store: Store) -> None:
    mine = outputs()
    slow = replace(mine[1], reply=replace(mine[1].reply, latency_s=2.5, finish="length", completion_tokens=None))
    failed = replace(mine[2], reply=replace(mine[2].reply, finish="error", error="boom", latency_s=99.0, prompt_tokens=None))
    write(store, mine[0], slow, failed, *outputs("b", IDS[:1]))
    free = replace(outputs("c", IDS[:1])[0], reply=replace(mine[0].reply, output_id=f"c/{IDS[0]}/0", cost_usd=None, latency_s=None))
    write(store, free, *outputs("c", IDS[1:2]))
    used = store.usage(["c", "a", "none"], DATA.id)
    assert list(used) == ["c", "a", "none"]
    assert used["a"] == Usage(3, {"stop": 1, "length": 1, "error": 1}, 20, 4, 0.03, 1.5, used["a"].latency_p95_s)
    assert used["a"].latency_p95_s == pytest.approx(2.4)
    assert used["c"].cost_usd is None
    assert used["c"].latency_p95_s == 0.5
    assert used["none"] == Usage(0, {"stop": 0, "length": 0, "error": 0}, None, None, None, None, None)


def test_infinite_values_survive(store: Store) -> None:
    first = outputs()[0]
    write(store, first, replace(made.score(first, "m", math.inf, -math.inf, 1e-300), value=math.nan))
    found = store.scores("m", "a", DATA.id)[0]
    assert found.stats == (math.inf, -math.inf, 1e-300)
    assert found.value is not None
    assert math.isnan(found.value)
