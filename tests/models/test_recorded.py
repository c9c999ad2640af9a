"""Recorded outputs: whose they are, and what is said where that cannot be told."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evalharness.errors import DataError
from evalharness.models.recorded import RecordedModel, RecordedOptions
from evalharness.protocols import Model
from evalharness.records import Message, Reply, Request, Sample, Sampling
from tests.contracts import QUESTIONS, ModelContract, ask


class TestContract(ModelContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = write(tmp_path / "out.jsonl", [{"input": question, "output": f"to {question}"} for question in QUESTIONS[:-1]])

    def make(self) -> Model:
        return recorded(self.path)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recorded(path: Path) -> RecordedModel:
    return RecordedModel(RecordedOptions(path=str(path)))


def sample(text: str, **fields: str) -> Sample:
    return Sample.of([Message("system", "Be brief."), Message("user", text)], ["?"], fields=fields)


def request(sample: Sample, repeat: int = 0) -> Request:
    chat = (Message("system", "a prompt"), Message("user", f"Now: {sample.input}"))  # recorded answers know no prompts
    return Request(f"{sample.id}-{repeat}", sample.id, chat, Sampling(), repeat=repeat)


def texts(path: Path, samples: Sequence[Sample], repeats: int = 1) -> list[str | None]:
    model = recorded(path)
    model.bind(samples)
    return [reply.text for reply in ask(model, [request(s, r) for s in samples for r in range(repeats)])]


SAMPLES = [sample("one", id="7"), sample("two", id="8"), sample("three")]


def test_by_the_field_id_the_sample_id_or_the_input(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": 8, "output": "B"}, {"id": SAMPLES[0].id, "output": "A"}, {"input": "three", "output": "C"}]
    assert texts(write(tmp_path / "o.jsonl", rows), SAMPLES) == ["A", "B", "C"]


def test_the_exact_input_before_a_like_one(tmp_path: Path) -> None:
    samples = [sample("Hello World"), sample("hello, world!"), sample("HELLO WORLD?")]
    rows = [{"input": "hello, world!", "output": "exact"}, {"input": "  hello world", "output": "like"}]
    assert texts(write(tmp_path / "o.jsonl", rows), samples) == ["like", "exact", "like"]


def test_csv_and_text_lines(tmp_path: Path) -> None:
    with (tmp_path / "o.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["input", "output"], ["two", "B, with\na line"], ["one", "A"], ["three", ""]])
    assert texts(tmp_path / "o.csv", SAMPLES) == ["A", "B, with\na line", ""]
    (tmp_path / "hyp.system.en").write_text("first\n\nthird\n")
    assert texts(tmp_path / "hyp.system.en", SAMPLES) == ["first", "", "third"]


def test_rows_of_outputs_alone_go_by_position(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "o.jsonl", [{"output": "A"}, {"output": "B"}, {"output": "C"}]), SAMPLES) == ["A", "B", "C"]


def test_samples_bound_twice_are_the_same_samples(tmp_path: Path) -> None:
    path = tmp_path / "o.txt"
    path.write_text("A\nB\nC\n")
    model = recorded(path)
    model.bind([*SAMPLES, *SAMPLES])
    assert [reply.text for reply in ask(model, [request(s) for s in SAMPLES])] == ["A", "B", "C"]


@pytest.mark.parametrize("lines", [2, 4, 0])
def test_too_few_or_too_many_positions(tmp_path: Path, lines: int) -> None:
    (tmp_path / "o.txt").write_text("x\n" * lines)
    with pytest.raises(DataError, match=rf"o\.txt: {lines} outputs for 3 test rows"):
        recorded(tmp_path / "o.txt").bind(SAMPLES)


def test_equal_inputs_take_their_outputs_in_turn_whoever_asks_first(tmp_path: Path) -> None:
    twins = [sample("one"), Sample.of([Message("user", "one")], ["?"], occurrence=1), sample("two")]
    rows = [{"input": "one", "output": "first"}, {"input": "one", "output": "second"}, {"input": "two", "output": "only"}]
    path = write(tmp_path / "o.jsonl", rows)
    assert texts(path, twins) == ["first", "second", "only"]
    model = recorded(path)
    model.bind(twins)
    assert ask(model, [request(twins[1])])[0].text == "second"


def test_repeats_take_outputs_in_turn_and_the_last_one_again(tmp_path: Path) -> None:
    rows = [{"id": "7", "output": "a"}, {"id": "7", "output": "b"}, {"id": "8", "output": "c"}]
    assert texts(write(tmp_path / "o.jsonl", rows), SAMPLES[:2], repeats=3) == ["a", "b", "b", "c", "c", "c"]


def test_one_output_for_twins_serves_both(tmp_path: Path) -> None:
    twins = [sample("one"), Sample.of([Message("user", "one")], ["?"], occurrence=1)]
    assert texts(write(tmp_path / "o.jsonl", [{"input": "one", "output": "x"}]), twins) == ["x", "x"]


def test_what_is_missing_or_null_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", [{"id": "7", "output": None}, {"input": "two", "output": "B"}])
    model = recorded(path)
    model.bind(SAMPLES)
    failed, fine, missing = ask(model, [request(s) for s in SAMPLES])
    assert fine == Reply(f"{SAMPLES[1].id}-0", "B", "stop")
    for reply in (failed, missing):
        assert reply.finish == "error"
        assert (reply.error or "").startswith("no recorded output in ")


def test_unbound_it_knows_samples_by_their_requests(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", [{"input": "Now: one", "output": "A"}, {"id": SAMPLES[1].id, "output": "B"}])
    assert [reply.text for reply in ask(recorded(path), [request(s) for s in SAMPLES])] == ["A", "B", None]
    path = write(tmp_path / "p.jsonl", [{"output": "A"}])
    assert ask(recorded(path), [request(SAMPLES[0])])[0].finish == "error"


def test_bad_rows_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_text('{"id": "a", "output": "x"}\n{"id": \n{"id": "b"}\n{"id": "c", "output": 4}\n')
    with pytest.raises(DataError) as caught:
        recorded(path).bind(SAMPLES)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].rpartition(":")[2] for line in lines] == ["2", "3", "4"]
    assert "is not JSON" in lines[0]
    assert "has no 'output'. Write rows of" in lines[1]
    assert "'output' is int, not text" in lines[2]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    model = recorded(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        model.identity()
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        model.bind(SAMPLES)


def test_identity_is_the_content_and_the_pool_the_file(tmp_path: Path) -> None:
    one, other = (write(tmp_path / name, [{"output": "A"}]) for name in ("a.jsonl", "b.jsonl"))
    assert recorded(one).identity() == recorded(other).identity()
    assert recorded(one).pool != recorded(other).pool
    write(other, [{"output": "B"}])
    assert recorded(one).identity() != recorded(other).identity()
