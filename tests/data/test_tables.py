from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from evalharness.data import load
from evalharness.data.files import Faults, Row, read_rows
from evalharness.errors import ConfigError, DataError
from evalharness.spec import DataSpec

ROWS = [{"text": f"ž{k}", "label": k % 2, "tags": [0, 1], "meta": {"mood": 1, "n": k}} for k in range(7)]
LABEL = {"names": ["no", "yes"], "_type": "ClassLabel"}
FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": LABEL,
    "tags": {"feature": LABEL, "_type": "List"},
    "meta": {"mood": LABEL, "n": {"dtype": "int64", "_type": "Value"}},
}


def save(folder: Path, rows: list[dict[str, Any]], *, shards: int = 2, features: object = FEATURES) -> Path:
    """A folder as `Dataset.save_to_disk` writes it."""
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    names = [f"data-{k:05}-of-{shards:05}.arrow" for k in range(shards)]
    size = -(-len(rows) // shards)
    for k, name in enumerate(names):
        with pyarrow.OSFile(str(folder / name), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table.slice(k * size, size))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def read(path: Path) -> tuple[list[Row], str]:
    faults = Faults()
    rows = list(read_rows(path, faults))
    try:
        faults.check()
    except DataError as error:
        return rows, str(error)
    return rows, ""


def test_a_saved_data_set_with_the_names_of_its_labels(tmp_path: Path) -> None:
    rows, said = read(save(tmp_path / "d", ROWS))
    assert said == ""
    assert [row.values["label"] for row in rows] == ["no", "yes"] * 3 + ["no"]
    assert rows[3].values == {"text": "ž3", "label": "yes", "tags": ["no", "yes"], "meta": {"mood": "yes", "n": 3}}
    assert [row.line for row in rows] == list(range(1, 8))


@pytest.mark.parametrize("features", [None, {}, {"label": 3}, {"label": {"_type": "ClassLabel"}}])
def test_without_names_the_numbers_stay(features: object, tmp_path: Path) -> None:
    rows, said = read(save(tmp_path / "d", ROWS, features=features))
    assert ([row.values for row in rows], said) == (ROWS, "")


def test_a_label_without_a_name_is_empty(tmp_path: Path) -> None:
    rows, _ = read(save(tmp_path / "d", [{"label": -1}, {"label": 2}, {"label": None}, {"label": 1}]))
    assert [row.values["label"] for row in rows] == [None, None, None, "yes"]


def test_what_datasets_saves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = datasets.Dataset.from_list([{"text": row["text"], "label": row["label"]} for row in ROWS], features=features)
    datasets.DatasetDict({"train": made, "test": made.select([4, 1])}).save_to_disk(tmp_path / "both")
    splits = load(
        DataSpec.model_validate(
            {"train": "both/train", "test": "both/test", "fields": {"input": "text", "target": "label"}, "leaks": "drop_train"}
        ),
        tmp_path,
    )
    assert [(sample.input, sample.targets) for sample in splits.test.samples] == [("ž4", ("no",)), ("ž1", ("yes",))]
    assert len(splits.train) == 5


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    def problem(name: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(DataSpec.model_validate({"test": name}), tmp_path)
        return str(caught.value)

    save(tmp_path / "both" / "train", ROWS)
    (tmp_path / "both" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert "holds 1 data sets. Name one of them: both/train" in problem("both")
    (tmp_path / "empty").mkdir()
    assert "is a folder. Name a file, or a folder that datasets' save_to_disk wrote" in problem("empty")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("{", "is not a saved data set that can be read"),
        ("[]", "is not a saved data set"),
        ("{}", "is not a saved data set"),
        ('{"_data_files": [{"filename": "../secret.arrow"}]}', "names a file elsewhere"),
        ('{"_data_files": [{"filename": 1}]}', "names a file elsewhere"),
        ('{"_data_files": [{"filename": "gone.arrow"}]}', "is not a saved data set"),
    ],
)
def test_damaged_folders_are_faults(state: str, says: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "d", ROWS)
    (folder / "state.json").write_text(state)
    rows, said = read(folder)
    assert rows == []
    assert says in said


def table_with_a_bad_text() -> pyarrow.Table:
    """Row 1,500 of 3,000 holds bytes that are no UTF-8 in a column of text."""
    texts = [b"\xff" if k == 1499 else b"q%d" % k for k in range(3000)]
    array = pyarrow.array(texts, pyarrow.binary())
    return pyarrow.table({"input": pyarrow.Array.from_buffers(pyarrow.string(), len(array), array.buffers())})


def test_one_bad_row_of_a_table_is_one_fault(tmp_path: Path) -> None:
    table = table_with_a_bad_text()
    folder = save(tmp_path / "d", [{"input": "x"}], shards=1)
    with pyarrow.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    for path in (folder, tmp_path / "a.parquet"):
        rows, said = read(path)
        assert len(rows) == 2999
        assert {row.line for row in rows} == {*range(1, 3001)} - {1500}
        assert f"{path.name}:1500: cannot be read: " in said


@pytest.mark.parametrize("seed", range(4))
def test_damaged_tables_are_rows_or_faults(seed: int, tmp_path: Path) -> None:
    r = random.Random(seed)
    folder = save(tmp_path / "d", ROWS, shards=1)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for path, part in ((folder, folder / "data-00000-of-00001.arrow"), (tmp_path / "a.parquet", tmp_path / "a.parquet")):
        good = part.read_bytes()
        for _ in range(40):
            content = bytearray(good)
            for _ in range(r.randint(1, 5)):
                content[r.randrange(len(content))] = r.randrange(256)
            part.write_bytes(content[: r.choice([len(content), r.randrange(len(content))])])
            rows, said = read(path)
            assert said or len(rows) <= len(ROWS)
