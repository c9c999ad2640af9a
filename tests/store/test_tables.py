"""Scores as arrays equal the scores as records, whatever is missing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evalharness.records import Dataset, Finish, Message, Output, Sample, Score
from evalharness.store import ERROR, MISSING, OK, TRUNCATED, ScoreTable, Store
from tests.store import made

CODES: dict[Finish, int] = {"stop": OK, "length": TRUNCATED, "error": ERROR}
FINISHES: tuple[Finish, ...] = ("stop", "length", "error")


def store_with(path: Path, data: Dataset, records: list[Output | Score]) -> Store:
    store = Store(path / "evalh.duckdb")
    store.put_dataset(data)
    with store.writer() as writer:
        writer.put(*records)
    return store


@pytest.mark.parametrize("seed", range(3))
def test_tables_hold_what_was_put(tmp_path: Path, seed: int) -> None:
    chance, data = random.Random(seed), made.dataset(7)
    cells = [(arm, i, repeat) for arm in "abc" for i in range(7) for repeat in range(2) if chance.random() < 0.7]
    outputs = {
        cell: made.output(cell[0], data.id, data.samples[cell[1]].id, "x", chance.choice(FINISHES), repeat=cell[2]) for cell in cells
    }
    given: dict[tuple[str, str, int, int], Score] = {}
    for cell, metric in ((cell, metric) for cell in cells for metric in ("one", "three") if chance.random() < 0.8):
        stats = [chance.random() for _ in range(1 if metric == "one" else 3)]
        error = "failed" if chance.random() < 0.2 else None
        given[metric, *cell] = made.score(outputs[cell], metric, *([] if error else stats), error=error)
    store = store_with(tmp_path, data, [*outputs.values(), *given.values()])
    tables = store.score_tables(["c", "nobody", "a"], data.id, ["three", "one"])
    assert list(tables) == ["three", "one"]
    for metric, table in tables.items():
        assert table.stats.shape == (3, 7, 2, 1 if metric == "one" else 3)
        assert table.stats.dtype == np.float64
        for index in np.ndindex(3, 7, 2):
            cell = (("c", "nobody", "a")[index[0]], index[1], index[2])
            check_cell(table, index, outputs.get(cell), given.get((metric, *cell)))


def check_cell(table: ScoreTable, index: tuple[int, ...], output: Output | None, score: Score | None) -> None:
    assert table.outcomes[index] == (CODES[output.reply.finish] if output else MISSING)
    assert table.failed[index] == (score is not None and score.error is not None)
    if score is None or score.error is not None:
        assert np.isnan(table.stats[index]).all()
        assert np.isnan(table.values[index])
    else:
        assert tuple(table.stats[index]) == score.stats
        assert table.values[index] == score.value


def test_a_run_in_which_every_score_failed_has_a_table(tmp_path: Path) -> None:
    data = made.dataset(3)
    outputs = [made.output("a", data.id, each.id, None, "error") for each in data.samples]
    store = store_with(tmp_path, data, [*outputs, *(made.score(one, "m", error="no answer") for one in outputs)])
    table = store.score_tables(["a"], data.id, ["m"])["m"]
    assert table.stats.shape == (1, 3, 1, 1)
    assert np.isnan(table.stats).all()
    assert table.failed.all()


def test_samples_clusters_and_slices_in_file_order(tmp_path: Path) -> None:
    data = made.dataset(4)
    table = store_with(tmp_path, data, []).score_tables(["a"], data.id, ["m"])["m"]
    assert table.sample_ids == tuple(sample.id for sample in data.samples)
    assert table.clusters is not None
    assert table.clusters.tolist() == [0, 0, 1, 2]
    assert {name: values.tolist() for name, values in table.slices.items()} == {"lang": ["en", "de", "", "en"]}
    assert table.outcomes.tolist() == [[[MISSING]] * 4]


def test_no_clusters_is_none(tmp_path: Path) -> None:
    data = replace(made.dataset(2), samples=tuple(Sample.of([Message("user", str(i))], ["x"]) for i in range(2)))
    assert store_with(tmp_path, data, []).score_tables(["a"], data.id, ["m"])["m"].clusters is None


def test_an_arm_with_two_labels_fills_both_rows(tmp_path: Path) -> None:
    data = made.dataset(1)
    output = made.output("a", data.id, data.samples[0].id)
    store = store_with(tmp_path, data, [output, made.score(output, "m", 1.0)])
    table = store.score_tables(["a", "a"], data.id, ["m"])["m"]
    assert table.arm_ids == ("a", "a")
    assert table.values.tolist() == [[[1.0]], [[1.0]]]


def test_pairwise_scores_are_read_by_the_other_arm(tmp_path: Path) -> None:
    data = made.dataset(2)
    a, b, c = ([made.output(arm, data.id, sample.id) for sample in data.samples] for arm in "abc")
    alone = [made.score(output, "judge", 0.1) for output in a]
    pairs = [made.score(x, "judge", value, other=y.output_id) for value, ys in ((0.2, b), (0.3, c)) for x, y in zip(a, ys, strict=True)]
    store = store_with(tmp_path, data, [*a, *b, *c, *alone, *pairs])
    for other, value in ((None, 0.1), ("b", 0.2), ("c", 0.3)):
        table = store.score_tables(["a"], data.id, ["judge"], other_arm_id=other)["judge"]
        assert table.values.tolist() == [[[value], [value]]]
    nobody = store.score_tables(["a"], data.id, ["judge"], other_arm_id="nobody")["judge"]
    assert np.isnan(nobody.values).all()
    assert (nobody.outcomes == OK).all()
