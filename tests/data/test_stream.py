from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalharness.data import load
from evalharness.data.stream import Fault, stream
from evalharness.errors import ConfigError
from evalharness.spec import DataSpec


def write(path: Path, *rows: Any) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def row(text: str, **more: Any) -> dict[str, Any]:
    return {"input": text, "target": "x", **more}


def told(folder: Path, answered: bool = True, logs: tuple[Path, ...] = (), **parts: Any) -> list[tuple[int, str, str]]:
    """(number, side, input or fault) of everything."""
    found: list[tuple[int, str, str]] = []
    for each in stream(DataSpec.model_validate(parts), folder, answered=answered, logs=logs):
        sample = each.sample
        assert sample is not None
        text = f"{Path(sample.source).name} {sample.found}" if isinstance(sample, Fault) else sample.input
        found.append((each.number, each.side, text))
    return found


def test_rows_and_faults_come_in_file_order(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", row("a"), "no", row(""), row("b"), "[1]")
    write(tmp_path / "test.jsonl", "", row("c"))
    said = told(tmp_path, train="train.jsonl", test="test.jsonl")
    assert [(number, side) for number, side, _ in said] == [(k, "train") for k in range(5)] + [(5, "test")]
    assert [text.partition(" is not")[0] for _, _, text in said] == [
        "a", "train.jsonl:2", "train.jsonl:3 'input' is empty", "b", "train.jsonl:5 expected an object, found [1]", "c",
    ]  # fmt: skip


def test_a_whole_file_can_be_a_fault(tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_bytes(b"no")
    ((number, side, text),) = told(tmp_path, test="test.parquet")
    assert (number, side) == (0, "test")
    assert text.startswith("test.parquet is not a Parquet file")
    with pytest.raises(ConfigError, match="there is no file"):
        told(tmp_path, test="none.jsonl")


def test_sides_are_those_of_loading(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", *(row(f"question {k}", group=str(k % 17)) for k in range(200)))
    for split in ({"test": 0.3, "dev": 0.2}, {"test": 0.3, "by": "group"}):
        spec = DataSpec.model_validate({"file": "all.jsonl", "split": split})
        splits = load(spec, tmp_path)
        loaded = {sample.input: each.split for each in (splits.train, splits.dev, splits.test) for sample in each.samples}
        seen = {text: side for _, side, text in told(tmp_path, file="all.jsonl", split=split)}
        assert seen == loaded


def test_rows_that_nobody_wants_come_without_a_sample(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", row("a"), "no", row("b"))
    found = list(stream(DataSpec.model_validate({"test": "test.jsonl"}), tmp_path, wanted=lambda number: number == 2))
    assert [each.sample is None for each in found] == [True, False, False]
    assert isinstance(found[1].sample, Fault)
    assert found[0].row is not None


def test_targets_are_asked_for_where_they_are_needed(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"input": "a"})
    write(tmp_path / "test.jsonl", {"input": "b"})
    write(tmp_path / "logs.jsonl", {"input": "c"})
    said = told(tmp_path, False, (tmp_path / "logs.jsonl",), train="train.jsonl", test="test.jsonl")
    assert said[0][2].startswith("train.jsonl:1 there is no 'target'")
    assert said[1:] == [(1, "test", "b"), (2, "logs", "c")]
