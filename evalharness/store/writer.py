"""Writing outputs and scores in groups: one transaction per flush, through Arrow.

>>> with store.writer() as writer:
...     writer.put(output, score)

A flush happens at 100 rows of a table, after 2 seconds, or at the end, in a thread of its own. It is stored whole or not at all,
and writing the same records again changes nothing. Whoever puts what was dear to get waits for `room`: a process that is killed
then loses 200 rows at most, the group that is being written and the next one.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from evalharness.records import Output, Score
from evalharness.store.database import Database
from evalharness.store.flush import write

ROWS, SECONDS, CHARACTERS = 100, 2.0, 16_000_000
"""A flush is due when this much waits: rows of one table, seconds since the oldest row, characters of text."""
UNSTORED = 200
"""There is room while fewer rows of a table than this are not stored yet."""
FULL_ROWS, FULL_CHARACTERS = 50_000, 128_000_000
"""`put` blocks while this much waits: what is produced faster than the disk takes it must not fill the memory."""

_ScoreKey = tuple[str, str, str | None]


class _Waiting:
    """Records that wait for the next flush, the newest of each key."""

    def __init__(self) -> None:
        self.outputs: dict[str, Output] = {}
        self.scores: dict[_ScoreKey, Score] = {}
        self.characters = 0
        self.since = time.monotonic()

    def __len__(self) -> int:
        return len(self.outputs) + len(self.scores)

    def of(self, kind: type[Output] | type[Score]) -> int:
        return len(self.outputs if kind is Output else self.scores)

    def add(self, record: Output | Score) -> None:
        if not len(self):
            self.since = time.monotonic()
        if isinstance(record, Output):
            self.outputs[record.output_id] = record
            texts = (record.reply.text, record.reply.raw, record.reply.error)
        else:
            self.scores[record.output_id, record.metric_id, record.other_output_id] = record
            texts = (record.why, record.error, None)
        self.characters += sum(len(text) for text in texts if text)

    @property
    def due(self) -> bool:
        return max(len(self.outputs), len(self.scores)) >= ROWS or self.characters >= CHARACTERS or (len(self) > 0 and self.age >= SECONDS)

    @property
    def age(self) -> float:
        return time.monotonic() - self.since

    @property
    def full(self) -> bool:
        return len(self) >= FULL_ROWS or self.characters >= FULL_CHARACTERS


class Writer:
    """Collects outputs and scores and flushes them to the store. A context manager; threads may share it.

    A flush that fails stops the writer: every later call raises its StoreError. What was flushed before is kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting, self._written = _Waiting(), _Waiting()
        self._changed = threading.Condition()
        self._flushing = threading.Lock()
        self._blocks: dict[str, int] = {}
        self._failure: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="evalh-store-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def put(self, *records: Output | Score) -> None:
        """Add records to the next flush, all to the same. A score needs its output stored, put before it or with it.

        Returns at once unless far more waits than a flush takes. Raises StoreError if an earlier flush failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting.full or self._failure or self._closed)
            self._check()
            was_empty = not len(self._waiting)
            for record in records:
                self._waiting.add(record)
            if was_empty or self._waiting.due:
                self._changed.notify_all()

    def has_room(self, kind: type[Output] | type[Score]) -> bool:
        """So few records of this kind are not stored yet that they may be lost."""
        return self._waiting.of(kind) + self._written.of(kind) < UNSTORED

    def room(self, kind: type[Output] | type[Score]) -> None:
        """Wait until there is room. Raises StoreError if a flush failed."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_room(kind) or self._failure or self._closed)
            self._check()

    def flush(self) -> None:
        """Store everything that was put so far before returning."""
        with self._changed:
            self._check()
        self._flush()

    def close(self) -> None:
        """Flush and stop; no error if it is closed already."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        self._flush()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise ValueError("this writer is closed")

    def _run(self) -> None:
        while self._wait_until_due():
            began = time.monotonic()
            try:
                self._flush()
            except Exception:
                return  # kept in _failure, for the thread that calls put, flush or close
            time.sleep(min(0.05, (time.monotonic() - began) / 4))  # leaves the file to other processes for a moment

    def _wait_until_due(self) -> bool:
        """Wait for the next flush; False when there is none to come."""
        with self._changed:
            while not (self._closed or self._failure or self._waiting.due):
                self._changed.wait(max(0.01, SECONDS - self._waiting.age) if len(self._waiting) else None)
            return not (self._closed or self._failure)

    def _flush(self) -> None:
        with self._flushing:
            with self._changed:
                batch = self._written = self._waiting
                self._waiting = _Waiting()
                self._changed.notify_all()
            try:
                if len(batch):
                    with self._database.writing() as con:
                        blocks = write(con, list(batch.outputs.values()), list(batch.scores.values()), self._blocks)
                    self._blocks.update(blocks)
            except BaseException as error:
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                raise
            with self._changed:
                self._written = _Waiting()
                self._changed.notify_all()
