"""Human labels: what people answered to a question about an output, or about an output beside another one.

>>> store.put_labels([Label("q1", output_id, "ada", 4.0)])
>>> [(found.arm_id, found.label.value) for found in store.labels_on("q1", [arm_id], dataset_id)]
[('9f…', 4.0)]

A label is about a text: when an output is answered anew, the writer drops the labels of the old text with its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from evalharness.store.answers import among, find_blocks
from evalharness.store.database import Database
from evalharness.store.rows import utc_now
from evalharness.store.runs import to_utc
from evalharness.store.text import decode, encode


@dataclass(frozen=True, slots=True)
class Label:
    """A person's answer. `question` is the hash of rubric and scale (a metric's id where it has none of its own);
    `other_output_id` the output it was compared with, "" if it was looked at alone; `value` is in the metric's unit."""

    question: str
    output_id: str
    annotator: str
    value: float
    other_output_id: str = ""
    note: str = ""
    created: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label with the output that it is about: which arm's, which sample's, which repeat."""

    label: Label
    arm_id: str
    sample_id: str
    repeat: int


class Answered(NamedTuple):
    """An output that has a text; equal `mark`s are equal texts."""

    arm_id: str
    sample_id: str
    repeat: int
    output_id: str
    mark: str


class Labels(Database):
    """The table `labels`."""

    def put_labels(self, labels: Sequence[Label]) -> None:
        """Store labels; one replaces what the same person answered to the same question about the same output."""
        with self.writing() as con:
            for each in labels:
                key = [each.question, each.output_id, each.other_output_id, encode(each.annotator)]
                row = [*key, each.value, encode(each.note), to_utc(each.created)]
                con.execute("INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def drop_labels(self, labels: Sequence[Label]) -> None:
        """Forget labels, known by question, outputs and annotator; no error if they are gone."""
        where = "question = ? AND output_id = ? AND other_output_id = ? AND annotator = ?"
        with self.writing() as con:
            for each in labels:
                key = [each.question, each.output_id, each.other_output_id, encode(each.annotator)]
                con.execute(f"DELETE FROM labels WHERE {where}", key)

    def labels_on(self, question: str, arm_ids: Sequence[str], dataset_id: str) -> list[Labelled]:
        """All labels of a question on the outputs of these arms on a dataset, by the samples' position, arm, repeat and annotator."""
        with self.reading() as con:
            where = among(find_blocks(con, arm_ids), "o.block")
            sql = f"""
                SELECT o.arm_id, o.sample_id, o.repeat, l.question, l.output_id, l.annotator, l.value, l.other_output_id, l.note, l.created
                FROM labels l JOIN outputs o USING (output_id) JOIN samples s ON s.dataset_id = ? AND s.sample_id = o.sample_id
                WHERE {where} AND l.question = ? ORDER BY s.position, o.arm_id, o.repeat, l.other_output_id, l.annotator"""
            rows = con.execute(sql, [dataset_id, question]).fetchall()
        return [_labelled(row) for row in rows]

    def questions(self) -> frozenset[str]:
        """The questions that have labels."""
        with self.reading() as con:
            return frozenset(row[0] for row in con.execute("SELECT DISTINCT question FROM labels").fetchall())

    def answered(self, arm_ids: Sequence[str], dataset_id: str) -> list[Answered]:
        """Every answer of these arms on a dataset that is no error, with a hash of its text."""
        with self.reading() as con:
            sql = f"""
                SELECT o.arm_id, o.sample_id, o.repeat, o.output_id, md5(o.text)
                FROM outputs o JOIN samples s ON s.dataset_id = ? AND s.sample_id = o.sample_id
                WHERE {among(find_blocks(con, arm_ids), "o.block")} AND o.finish <> 'error' AND o.text IS NOT NULL"""
            return [Answered(*row) for row in con.execute(sql, [dataset_id]).fetchall()]


def _labelled(row: tuple[Any, ...]) -> Labelled:
    arm_id, sample_id, repeat, question, output_id, annotator, value, other, note, created = row
    label = Label(question, output_id, decode(annotator), value, other, decode(note), created.replace(tzinfo=UTC))
    return Labelled(label, arm_id, sample_id, repeat)
