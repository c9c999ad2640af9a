"""The store's file: opened for one piece of work, closed again. Locks, migrations and errors live here.

DuckDB lets one process hold a file for writing. So nobody holds it: every read or write opens the file, works for
milliseconds and closes. A second evalh waits its turn, up to `wait_s` seconds.

>>> with Database("results/evalh.duckdb").reading() as con:
...     con.execute("SELECT count(*) FROM runs").fetchone()
(0,)
"""

from __future__ import annotations

import errno
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from evalharness import __version__
from evalharness.errors import Problem, StoreError

if TYPE_CHECKING:
    import duckdb

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EXDEV}
_SANDBOX: dict[str, str | bool] = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "lock_configuration": True,
}


@cache
def migrations() -> tuple[str, ...]:
    """The SQL of every migration, in order: the n-th one brings a store from schema n-1 to schema n."""
    folder = files("evalharness.store").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


_TURNS: dict[str, threading.Lock] = {}
"""One lock a file: DuckDB refuses to open a file twice in one process in different modes."""


class Database:
    """A DuckDB file and how to reach it. Making one touches nothing; threads may share it."""

    def __init__(self, path: str | os.PathLike[str], *, wait_s: float = 30.0) -> None:
        self.path = Path(path)
        self.wait_s = wait_s

    @contextmanager
    def reading(self, *, sandbox: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection. A store that does not exist yet reads as an empty one; nothing is created.

        `sandbox`: no file, network, extension or setting can be reached from SQL.
        """
        with self._my_turn(), self._explained():
            con = self._open_to_read(_SANDBOX if sandbox else {})
            with _closing(con):
                yield con

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection inside one transaction: committed at the end, rolled back on any error. Creates the store."""
        with self._my_turn(), self._explained():
            con = self._open_to_write()
            with _closing(con), _transaction(con):
                yield con

    def _open_to_read(self, config: dict[str, str | bool]) -> duckdb.DuckDBPyConnection:
        import duckdb

        if not self.path.exists():
            con = duckdb.connect(":memory:")
            _migrate(con, 0)
            for name, value in config.items():
                con.execute(f"SET {name} = {value}")
            return con
        con = self._connect(read_only=True, config=config)
        try:
            if self._schema(con) == len(migrations()):
                return con
        except BaseException:
            con.close()
            raise
        con.close()
        self._open_to_write().close()  # brings an older store up to date
        return self._connect(read_only=True, config=config)

    def _open_to_write(self) -> duckdb.DuckDBPyConnection:
        if not self.path.exists():
            self._create()
        con = self._connect(read_only=False, config={})
        try:
            _migrate(con, self._schema(con))
        except BaseException:
            con.close()
            raise
        return con

    def _create(self) -> None:
        """A new store appears whole or not at all: it is made aside and linked into place. Another evalh may win."""
        import duckdb

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".evalh-", dir=self.path.parent) as scratch:
            made = Path(scratch) / "new.duckdb"
            with _closing(duckdb.connect(made)) as con:
                _migrate(con, 0)
            try:
                os.link(made, self.path)
            except FileExistsError:
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:  # without hard links DuckDB makes the file itself, under its own lock
                    raise

    def _connect(self, *, read_only: bool, config: dict[str, str | bool]) -> duckdb.DuckDBPyConnection:
        """Open the file, waiting while another process holds it. One thread to write: measured faster on small flushes."""
        import duckdb

        threads = min(8, os.cpu_count() or 1) if read_only else 1
        pauses, deadline = _pauses(), time.monotonic() + self.wait_s
        while True:
            try:
                return duckdb.connect(self.path, read_only=read_only, config={"threads": threads, **config})
            except duckdb.IOException as error:
                if "Could not set lock" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(next(pauses))

    def _schema(self, con: duckdb.DuckDBPyConnection) -> int:
        """The schema number of the file; 0 for a file without tables. Raises StoreError if it is newer or not evalh's."""
        tables = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if not tables:
            return 0
        row = con.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() if "meta" in tables else None
        if row is None or not str(row[0]).isdigit():
            fix = "Give another path for the results, or move this file away"
            raise self._error("is a DuckDB file, but not one that evalh wrote", fix)
        if (found := int(row[0])) > (known := len(migrations())):
            raise self._error(f"was written by a newer evalh (schema {found}, this one knows {known})", "Upgrade: pip install -U evalh")
        return found

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        turn = _TURNS.setdefault(os.path.realpath(self.path), threading.Lock())
        if not turn.acquire(timeout=self.wait_s):
            raise self._error(f"is in use by another thread of this evalh for more than {self.wait_s:g} s", "Run again")
        try:
            yield
        finally:
            turn.release()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the file system and DuckDB say about the file into a StoreError; errors in our own SQL pass."""
        import duckdb

        about_the_file = (
            OSError,
            duckdb.IOException,
            duckdb.ConnectionException,
            duckdb.TransactionException,
            duckdb.SerializationException,
            duckdb.FatalException,
            duckdb.InternalException,
            duckdb.OutOfMemoryException,
        )
        try:
            yield
        except about_the_file as error:
            raise self._explain(str(error)) from error

    def _explain(self, said: str) -> StoreError:
        holder = re.search(r"Conflicting lock is held in (\S+) \(PID (\d+)\)", said)
        if holder:
            who = f"{Path(holder[1]).name} (process {holder[2]})"
            return self._error(f"has been in use by {who} for more than {self.wait_s:g} s", "Wait until it is done, or stop it")
        for pattern, found, fix in _EXPLANATIONS:
            if re.search(pattern, said, re.IGNORECASE):
                return self._error(found, fix)
        return self._error(f"cannot be used: {said.strip().splitlines()[0][:300]}", "")

    def _error(self, found: str, fix: str) -> StoreError:
        return StoreError([Problem(str(self.path), "", found, fix)])


_EXPLANATIONS = (
    (
        "no space left|disk quota|not enough space|max_temp_directory_size",
        "cannot be written: the disk is full. What was stored before is safe",
        "Free some space and run the same command again; it goes on where it stopped",
    ),
    (
        "version number|newer version of duckdb|storage version",
        "was written by a newer DuckDB than the one installed",
        "Upgrade: pip install -U duckdb",
    ),
    (
        "read-only file system|permission denied|operation not permitted",
        "cannot be written: no permission",
        "Make the folder and the file writable, or give another path for the results",
    ),
    (
        "not a valid duckdb|corrupt|checksum|deserializ|serialization error|wal file|INTERNAL Error",
        "is not a DuckDB file, or it is damaged",
        "Restore a copy, or move it away and run again to start a new one",
    ),
    ("is a directory|not a directory|file exists", "is no file path", "Give the path of a file in a folder"),
    ("out of memory|could not allocate", "cannot be used: not enough memory", "Close other programs and run again"),
)


def _pauses() -> Iterator[float]:
    """Seconds between attempts: 5 ms growing to 250 ms, jittered so that waiting processes do not march in step."""
    pause = 0.005
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(0.25, pause * 1.5)


def _migrate(con: duckdb.DuckDBPyConnection, found: int) -> None:
    """Apply the migrations after the first `found`, each in a transaction that also counts it."""
    for number, sql in enumerate(migrations()[found:], found + 1):
        with _transaction(con):
            con.execute(sql)
            con.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?), ('evalh', ?)", [str(number), __version__])


@contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    import duckdb

    con.execute("BEGIN TRANSACTION")
    try:
        yield
        con.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # after a failed write there may be no transaction left to roll back; the first error counts
            con.execute("ROLLBACK")
        raise


@contextmanager
def _closing(con: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        yield con
    finally:
        con.close()
