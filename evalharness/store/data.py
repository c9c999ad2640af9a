"""Datasets in the store.

>>> store.put_dataset(dataset)
>>> store.dataset(dataset.id) == dataset
True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalharness.errors import StoreError
from evalharness.ids import digest
from evalharness.records import Dataset, Message, Sample
from evalharness.store.database import Database
from evalharness.store.rows import DatasetHead
from evalharness.store.text import decode, decode_or_none, encode, encode_or_none, from_json, to_json

if TYPE_CHECKING:
    import pyarrow as pa


class Data(Database):
    """The tables `datasets` and `samples`."""

    def put_dataset(self, dataset: Dataset) -> str:
        """Store the dataset and its samples unless they are there; returns its id.

        Clusters, slices, fields and sources are outside the id: when they changed, the newest ones stay.
        """
        dataset_id, details = dataset.id, _details(dataset)
        row = [dataset_id, encode(dataset.name), dataset.split, encode(dataset.source), len(dataset), details]
        with self.writing() as con:
            known = con.execute("SELECT details FROM datasets WHERE dataset_id = ?", [dataset_id]).fetchone()
            con.execute("INSERT OR REPLACE INTO datasets VALUES (?, ?, ?, ?, ?, ?)", row)
            if known != (details,):
                con.execute("DELETE FROM samples WHERE dataset_id = ?", [dataset_id])
                con.register("new_samples", _table(dataset_id, dataset.samples))
                con.execute("INSERT INTO samples BY NAME SELECT * FROM new_samples")
        return dataset_id

    def dataset_head(self, dataset_id: str) -> DatasetHead:
        """What the dataset is called and how many samples it has. Raises StoreError if it is not stored."""
        with self.reading() as con:
            head = con.execute("SELECT name, split, source, n FROM datasets WHERE dataset_id = ?", [dataset_id]).fetchone()
        if head is None:
            raise StoreError(f"{self.path}: there is no dataset {dataset_id}")
        return DatasetHead(dataset_id, decode(head[0]), head[1], decode(head[2]), head[3])

    def dataset(self, dataset_id: str) -> Dataset:
        """The dataset with its samples in order. Raises StoreError if it is not stored."""
        columns = "sample_id, messages, targets, fields, cluster, slices, source"
        with self.reading() as con:
            head = con.execute("SELECT name, split, source FROM datasets WHERE dataset_id = ?", [dataset_id]).fetchone()
            rows = con.execute(f"SELECT {columns} FROM samples WHERE dataset_id = ? ORDER BY position", [dataset_id]).fetchall()
        if head is None:
            raise StoreError(f"{self.path}: there is no dataset {dataset_id}")
        return Dataset(decode(head[0]), head[1], tuple(sample_of(*row) for row in rows), decode(head[2]))


def _details(dataset: Dataset) -> str:
    return digest([[s.source, s.cluster, dict(s.slices), dict(s.fields)] for s in dataset.samples])


def _table(dataset_id: str, samples: Sequence[Sample]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "dataset_id": [dataset_id] * len(samples),
            "sample_id": [s.id for s in samples],
            "position": pa.array(range(len(samples)), pa.int32()),
            "input": [encode(s.input) for s in samples],
            "target": pa.array([encode_or_none(next(iter(s.targets), None)) for s in samples], pa.string()),
            "messages": [to_json([m.as_dict() for m in s.messages]) for s in samples],
            "targets": [to_json(s.targets) for s in samples],
            "fields": [to_json(s.fields) for s in samples],
            "cluster": pa.array([encode_or_none(s.cluster) for s in samples], pa.string()),
            "slices": [to_json(s.slices) for s in samples],
            "source": [encode(s.source) for s in samples],
        }
    )


def sample_of(sample_id: str, messages: str, targets: str, fields: str, cluster: str | None, slices: str, source: str) -> Sample:
    """A sample from the columns of a row."""
    turns = tuple(Message(turn["role"], turn["content"]) for turn in from_json(messages))
    return Sample(
        sample_id, turns, tuple(from_json(targets)), from_json(fields), decode_or_none(cluster), from_json(slices), decode(source)
    )
