"""Rows out of columnar files: Parquet, and folders that Hugging Face `datasets` saved (Arrow), without that package.

>>> faults = Faults()
>>> [row.values for row in saved_dataset(Path("banking77/train"), "banking77/train", faults)]          # doctest: +SKIP
[{'text': 'I am still waiting on my card?', 'label': 'card_arrival'}, ...]

The number of a class label becomes its name, as the folder's dataset_info.json gives it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.data.row import Faults, Row

if TYPE_CHECKING:
    import pyarrow

SAVED, MANY, INFO = "state.json", "dataset_dict.json", "dataset_info.json"
_DAMAGED = "Write it again"
_Named = Callable[[Any], Any]


def is_saved_dataset(path: Path) -> bool:
    """Whether the folder was written by `Dataset.save_to_disk`."""
    return (path / SAVED).is_file()


def splits_of(path: Path) -> list[str]:
    """The names of the data sets in a folder that was written by `DatasetDict.save_to_disk`; none in another one."""
    if not (path / MANY).is_file():
        return []
    return sorted(each.name for each in path.iterdir() if is_saved_dataset(each))


def parquet(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    """Row by row, a thousand at a time in memory."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                yield from _rows(batch, name, number, faults)
                number += batch.num_rows
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        faults.add(name, 0, f"is not a Parquet file that can be read: {_first_line(error)}", _DAMAGED)


def saved_dataset(path: Path, name: str, faults: Faults) -> Iterator[Row]:
    """The rows of all shards in order, numbered through."""
    yield from _saved(path, name, faults, class_names)


def stored_rows(path: Path) -> Iterator[Row]:
    """The same as they are stored: numbers where class labels have names."""
    yield from _saved(path, "", Faults(), lambda path: dict)


def _saved(path: Path, name: str, faults: Faults, names: Callable[[Path], _Named]) -> Iterator[Row]:
    import pyarrow
    import pyarrow.ipc

    number = 0
    try:
        files, named = shards(path), names(path)
        for shard in files:
            with pyarrow.OSFile(str(shard)) as file, pyarrow.ipc.open_stream(file) as batches:
                for batch in batches:
                    for k in range(0, batch.num_rows, 1000):
                        part = batch.slice(k, 1000)
                        yield from (Row(named(row.values), name, row.line) for row in _rows(part, name, number, faults))
                        number += part.num_rows
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        faults.add(name, 0, f"is not a saved data set that can be read: {_first_line(error)}", _DAMAGED)


def _rows(batch: pyarrow.RecordBatch, name: str, before: int, faults: Faults) -> Iterator[Row]:
    """The batch's rows; if one of them cannot be told, those that can."""
    import pyarrow

    try:
        batch.validate(full=True)
        values = batch.to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        if batch.num_rows > 1:
            for k in range(batch.num_rows):
                yield from _rows(batch.slice(k, 1), name, before + k, faults)
        else:
            faults.add(name, before + 1, f"cannot be read: {_first_line(error)}")
        return
    yield from (Row(each, name, number) for number, each in enumerate(values, before + 1))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def shards(path: Path) -> list[Path]:
    """The Arrow files of a saved data set. Raises ValueError or KeyError for a state.json that is none."""
    state = json.loads((path / SAVED).read_text(encoding="utf-8"))
    names = [each["filename"] for each in state["_data_files"]]
    if strange := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise ValueError(f"{SAVED} names a file elsewhere: {strange[0]!a}")
    return [path / name for name in names]


def class_names(path: Path) -> _Named:
    """What turns the class labels of a row into their names."""
    info = path / INFO
    features = json.loads(info.read_text(encoding="utf-8")).get("features") if info.is_file() else None
    return _named(features or {}) or (lambda row: row)


def _named(feature: Any) -> _Named | None:
    """The same for a value of this feature; None if there are no class labels in it."""
    if not isinstance(feature, Mapping):
        return None
    if feature.get("_type") == "ClassLabel" and isinstance(names := feature.get("names"), list):
        return lambda value: names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    if feature.get("_type") in ("List", "LargeList", "Sequence"):
        inside = _named(feature.get("feature"))
        return inside and (lambda values: [inside(each) for each in values] if isinstance(values, list) else values)
    parts = {key: named for key, each in feature.items() if (named := _named(each))}
    if not parts:
        return None
    return lambda value: {key: parts[key](each) if key in parts else each for key, each in value.items()} if value else value
