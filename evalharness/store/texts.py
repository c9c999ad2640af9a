"""Texts of some samples and of what arms answered to them: for people to read, many at once.

>>> store.answers([arm.arm_id], dataset.id, ["03b9…"])[arm.arm_id]["03b9…"].text
'4'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evalharness.records import Sample
from evalharness.store.answers import among, find_blocks
from evalharness.store.data import sample_of
from evalharness.store.database import Database
from evalharness.store.text import decode_or_none


class Answer(NamedTuple):
    """The first answer of an arm to a sample."""

    text: str | None
    finish: str
    error: str | None


class Texts(Database):
    """Reads of texts that need neither the whole dataset nor a record for every output."""

    def samples(self, dataset_id: str, sample_ids: Sequence[str] | None = None) -> list[Sample]:
        """A dataset's samples (with these ids), in file order."""
        columns = "sample_id, messages, targets, fields, cluster, slices, source"
        wanted = None if sample_ids is None else list(sample_ids)
        among_them = "(? IS NULL OR sample_id IN (SELECT unnest(?::VARCHAR[])))"
        sql = f"SELECT {columns} FROM samples WHERE dataset_id = ? AND {among_them} ORDER BY position"
        with self.reading() as con:
            rows = con.execute(sql, [dataset_id, wanted, wanted or []]).fetchall()
        return [sample_of(*row) for row in rows]

    def answers(self, arm_ids: Sequence[str], sample_ids: Sequence[str]) -> dict[str, dict[str, Answer]]:
        """arm id -> sample id -> its first answer; what is not stored is left out."""
        with self.reading() as con:
            blocks = find_blocks(con, arm_ids)
            sql = f"""SELECT block, sample_id, text, finish, error FROM outputs
                WHERE {among(blocks)} AND repeat = 0 AND sample_id IN (SELECT unnest(?::VARCHAR[]))"""
            rows = con.execute(sql, [list(sample_ids)]).fetchall()
        arm_of = {block: arm_id for arm_id, block in blocks.items()}
        found: dict[str, dict[str, Answer]] = {arm_id: {} for arm_id in arm_ids}
        for block, sample_id, text, finish, error in rows:
            found[arm_of[block]][sample_id] = Answer(decode_or_none(text), finish, decode_or_none(error))
        return found
