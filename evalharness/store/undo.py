"""A checkpoint that is cut short must not cost the store: what it overwrites in place is kept beside it, and put back.

DuckDB writes data to fresh blocks, but rewrites its metadata blocks (256 KiB, one checksum) where they are. A process that is
killed in the middle of such a write leaves half of it, and DuckDB then refuses the whole file. So, as SQLite's rollback
journal does it, `evalh.duckdb.undo` holds those blocks, with the file's headers, from before a checkpoint may begin until it
is over. Whoever finds it and gets the file's lock puts the blocks back, unless the headers have changed since: then that
checkpoint was complete. The write-ahead log still holds what the checkpoint would have stored.

>>> undo = Undo(Path("results/evalh.duckdb"))
>>> undo.exists()
False
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_HEADERS, _HEADERS_END = 4096, 3 * 4096
"""Where DuckDB's two database headers are: it writes them in turn, each in one page, when all else is written."""
_BLOCK = struct.Struct("<QQ")
"""Before each block: its place in the file and its length, in bytes."""


class Undo:
    """What the next checkpoint of the database file at `path` may overwrite. Making one touches nothing."""

    def __init__(self, path: Path) -> None:
        self._store = path
        self._kept = path.with_name(f"{path.name}.undo")
        self._headers = b""

    def exists(self) -> bool:
        """Whether a checkpoint is going on, or was cut short."""
        return self._kept.exists()

    def keep(self, con: duckdb.DuckDBPyConnection, file: int) -> None:
        """Keep what is there now, unless that is kept already. `con` has the store attached for writing and in use, `file` is
        its open descriptor. Raises OSError if that cannot be written; then nothing must be committed.
        """
        headers = _headers(file)
        if headers == self._headers:
            return
        blocks = con.execute("SELECT block_id FROM pragma_metadata_info('store') ORDER BY block_id").fetchall()
        size = con.execute("SELECT block_size FROM pragma_database_size() WHERE database_name = 'store'").fetchone()
        assert size is not None  # it is attached
        scratch = self._kept.with_name(f"{self._kept.name}.new")
        with scratch.open("wb") as kept:
            kept.write(headers)
            for (block,) in blocks:
                place = _HEADERS_END + block * int(size[0])
                content = os.pread(file, int(size[0]), place)
                kept.write(_BLOCK.pack(place, len(content)))
                kept.write(content)
            kept.flush()
            os.fsync(kept.fileno())
        scratch.replace(self._kept)
        self._headers = headers

    def drop(self) -> None:
        """The checkpoint is complete. To be called while the store's lock is still held."""
        self._kept.unlink(missing_ok=True)

    def put_back(self, file: int) -> None:
        """Undo a checkpoint that was cut short. `file` is the store's descriptor, open for writing; its lock is held."""
        kept = self._kept.read_bytes()
        headers, rest = kept[: _HEADERS_END - _HEADERS], kept[_HEADERS_END - _HEADERS :]
        if _headers(file) == headers:
            for place, content in _blocks(rest):
                os.pwrite(file, content, place)
            os.fsync(file)
        self.drop()

    def recover(self) -> None:
        """Put back what is kept, if the process that kept it is gone. Raises OSError if the file cannot be written."""
        if not self.exists():
            return
        file = os.open(self._store, os.O_RDWR)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock that DuckDB takes
            if self.exists():
                self.put_back(file)
        except BlockingIOError:
            return  # that process is at work
        finally:
            os.close(file)


def _headers(file: int) -> bytes:
    return os.pread(file, _HEADERS_END - _HEADERS, _HEADERS)


def _blocks(kept: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(kept):
        place, length = _BLOCK.unpack_from(kept, at)
        at += _BLOCK.size
        yield place, kept[at : at + length]
        at += length
