"""Labels go in, come out with what they are about, and go when the text they are about goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evalharness.records import Dataset
from evalharness.store import Label, Store
from tests.store import made


@pytest.fixture
def data() -> Dataset:
    return made.dataset(3)


@pytest.fixture
def store(tmp_path: Path, data: Dataset) -> Store:
    store = Store(tmp_path / "evalh.duckdb")
    store.put_dataset(data)
    with store.writer() as writer:
        for arm_id in ("a", "b"):
            writer.put(*[made.output(arm_id, data.id, sample.id, f"yes {arm_id}") for sample in data.samples])
    return store


def test_a_store_that_does_not_exist_has_no_labels(tmp_path: Path) -> None:
    nothing = Store(tmp_path / "no" / "evalh.duckdb")
    assert nothing.labels_on("q", ["a"], "d") == []
    assert nothing.answered(["a"], "d") == []
    assert not nothing.path.parent.exists()


def test_labels_come_back_with_their_output_by_position_and_annotator(store: Store, data: Dataset) -> None:
    first, second = (f"a/{sample.id}/0" for sample in data.samples[:2])
    labels = [Label("q", second, "ada", 4.0), Label("q", first, "bob", 2.5, note="half \ud83d a smile"), Label("q", first, "ada", 3.0)]
    store.put_labels(labels)
    store.put_labels([Label("other question", first, "ada", 1.0), Label("q", f"b/{data.samples[0].id}/0", "ada", 1.0)])
    found = store.labels_on("q", ["a"], data.id)
    assert [each.label for each in found] == [labels[2], labels[1], labels[0]]
    assert (found[0].arm_id, found[0].sample_id, found[0].repeat) == ("a", data.samples[0].id, 0)
    assert len(store.labels_on("q", ["a", "b"], data.id)) == 4
    assert store.labels_on("q", ["a"], "another dataset") == []


def test_a_second_answer_replaces_the_first_and_can_be_taken_back(store: Store, data: Dataset) -> None:
    key = f"a/{data.samples[0].id}/0"
    store.put_labels([Label("q", key, "ada", 1.0)])
    store.put_labels([Label("q", key, "ada", 5.0), Label("q", key, "ada", 0.5, other_output_id="x")])
    assert [(each.label.value, each.label.other_output_id) for each in store.labels_on("q", ["a"], data.id)] == [(5.0, ""), (0.5, "x")]
    store.drop_labels([Label("q", key, "ada", 99.0)])
    store.drop_labels([Label("q", key, "nobody", 1.0)])
    assert [each.label.value for each in store.labels_on("q", ["a"], data.id)] == [0.5]


def test_answers_tell_equal_texts_and_leave_errors_out(store: Store, data: Dataset) -> None:
    with store.writer() as writer:
        writer.put(made.output("c", data.id, data.samples[0].id, "yes a"), made.output("c", data.id, data.samples[1].id, None, "error"))
    found = {(row.arm_id, row.sample_id): row for row in store.answered(["a", "b", "c"], data.id)}
    first = data.samples[0].id
    assert found["a", first].mark == found["c", first].mark != found["b", first].mark
    assert found["c", first].output_id == f"c/{first}/0"
    assert ("c", data.samples[1].id) not in found


def test_labels_of_a_text_go_when_the_text_does(store: Store, data: Dataset) -> None:
    one, two = (f"a/{sample.id}/0" for sample in data.samples[:2])
    beside = f"b/{data.samples[0].id}/0"
    store.put_labels([Label("q", one, "ada", 1.0), Label("q", two, "ada", 1.0), Label("q", beside, "ada", 0.5, other_output_id=one)])
    again = made.output("a", data.id, data.samples[0].id, "another answer")
    with store.writer() as writer:
        writer.put(replace(again, run_id="run2"), made.output("a", data.id, data.samples[1].id, "yes a"))
    assert [each.label.output_id for each in store.labels_on("q", ["a", "b"], data.id)] == [two]
