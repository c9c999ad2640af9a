from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from evalharness.data import load
from evalharness.data.written import Written, write_split
from evalharness.errors import ConfigError, DataError
from evalharness.spec import DataSpec

BASE = "please tell me when the parcel with my two grey shirts will be here"
ROWS = [{"q": BASE.replace("grey", f"c{k}") if k % 3 == 0 else f"question {k}", "a": k, "tone": "žx"} for k in range(60)]
PARTS: dict[str, Any] = {
    "file": "all.jsonl", "split": {"test": 0.3, "dev": 0.2, "seed": 1}, "fields": {"input": "q", "target": "a"}, "slices": ["tone"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "all.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    return tmp_path


def write(folder: Path, *, force: bool = False, out: str = "out", **parts: Any) -> Written:
    return write_split(DataSpec.model_validate({**PARTS, **parts}), folder, folder / out, force=force)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_files_hold_every_row_once_in_order(folder: Path) -> None:
    before = (folder / "all.jsonl").read_bytes()
    written = write(folder)
    assert list(written.files) == ["train", "dev", "test", "left_out"]
    by_side = {side: lines(path) for side, path in written.files.items()}
    left_out = [each["row"] for each in by_side.pop("left_out")]
    assert left_out, "the parcels are near each other"
    for rows in (*by_side.values(), left_out):
        assert rows == [row for row in ROWS if row in rows], "the input's own columns and order"
    assert sorted(row["a"] for rows in (*by_side.values(), left_out) for row in rows) == list(range(60))
    assert (folder / "all.jsonl").read_bytes() == before
    assert not list((folder / "out").glob(".*"))


def test_the_files_are_what_load_reads_without_them(folder: Path) -> None:
    written = write(folder)
    divided, named = load(DataSpec.model_validate(PARTS), folder), load(DataSpec.model_validate(written.data), folder)
    for side in ("train", "dev", "test"):
        assert [s.id for s in getattr(divided, side).samples] == [s.id for s in getattr(named, side).samples]
    assert named.notes == ()
    fields = {"input": "q", "target": "a"}
    files = {"train": "out/train.jsonl", "dev": "out/dev.jsonl", "test": "out/test.jsonl"}
    assert dict(written.data) == {**files, "fields": fields, "slices": ["tone"]}


def test_files_that_are_named_win(folder: Path) -> None:
    written = write(folder)
    both = load(DataSpec.model_validate({**PARTS, **written.data}), folder)
    assert len(both.test) == written.made.sizes["test"]
    assert both.notes == ("data.file is not read: test files are named",)
    (folder / "all.jsonl").write_text("not read")
    assert load(DataSpec.model_validate({**PARTS, **written.data}), folder) == both


def test_what_left_a_row_out_is_told(folder: Path) -> None:
    told = lines(write(folder).files["left_out"])
    for each in told:
        place = int(each["source"].rpartition(":")[2]) - 1
        near = int(each["near"].rpartition(":")[2]) - 1
        assert ROWS[place] == each["row"]
        assert near % 3 == 0, "a parcel, too"


def test_nothing_is_overwritten_without_force(folder: Path) -> None:
    write(folder)
    before = {path: path.read_bytes() for path in (folder / "out").iterdir()}
    with pytest.raises(ConfigError) as caught:
        write(folder, split={"test": 0.9})
    assert len(caught.value.problems) == 4
    assert all("is there already. Name another folder, or --force" in str(problem) for problem in caught.value.problems)
    assert {path: path.read_bytes() for path in (folder / "out").iterdir()} == before
    write(folder, split={"test": 0.4, "near": 1.0}, force=True)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["test.jsonl", "train.jsonl"], "no file of the old split stays"


def test_the_input_is_never_overwritten(folder: Path) -> None:
    (folder / "all.jsonl").rename(folder / "train.jsonl")
    with pytest.raises(ConfigError, match="is what the split reads"):
        write(folder, out=".", file="train.jsonl", force=True)
    assert len(lines(folder / "train.jsonl")) == 60


def test_a_bad_row_writes_nothing(folder: Path) -> None:
    (folder / "all.jsonl").write_text('{"q": "x", "a": 1}\n{"q": "y"}\n')
    with pytest.raises(DataError, match=r"all\.jsonl:2: there is no 'a'"):
        write(folder, slices=[])
    assert not (folder / "out").exists()
    (folder / "all.jsonl").write_text('{"q": "x", "a": 1}\n')
    with pytest.raises(DataError, match=r"no rows\. Add rows, or raise split\.test"):
        write(folder, slices=[], split={"test": 1e-9})


def test_without_a_split_there_is_nothing_to_do(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is nothing to split"):
        write_split(DataSpec.model_validate({"test": "all.jsonl"}), folder, folder / "out", force=False)


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a file\. Name a folder"):
        write(folder, out="all.jsonl")


def test_parquet_values_that_json_has_not(folder: Path) -> None:
    import datetime

    rows = [
        {"q": f"question {k}", "a": "x", "share": math.nan, "day": datetime.date(2024, 5, 1), "list": [1.5, math.inf]} for k in range(9)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "all.parquet")
    files = write(folder, file="all.parquet", slices=[]).files
    assert lines(files["train"])[0] == {
        "q": lines(files["train"])[0]["q"],
        "a": "x",
        "share": None,
        "day": "2024-05-01",
        "list": [1.5, None],
    }
