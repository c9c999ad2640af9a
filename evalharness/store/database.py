"""The store's file: attached for one piece of work, detached again. Locks and migrations live here.

DuckDB lets one process hold a file for writing. So nobody holds it: every read or write attaches the file to a DuckDB
engine in memory, works for milliseconds and detaches. A second evalh waits its turn, up to `wait_s` seconds. Attaching
took 1 ms of CPU where opening the file as a database of its own took 17: the engine's start is paid once. What a writer
leaves is checkpointed before it lets go, under the guard of `undo.py`.

>>> with Database("results/evalh.duckdb").reading() as con:
...     con.execute("SELECT count(*) FROM runs").fetchone()
(0,)
"""

from __future__ import annotations

import errno
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from evalharness import __version__
from evalharness.store.explain import explain, problem
from evalharness.store.undo import Undo

if TYPE_CHECKING:
    import duckdb

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EXDEV}
_IN_MEMORY = ":memory:"
_TURNS: dict[str, threading.Lock] = {}
"""One lock a file: DuckDB refuses to attach a file twice in one process in different modes."""


class Database:
    """A DuckDB file and how to reach it. Making one touches nothing; threads may share it."""

    def __init__(self, path: str | os.PathLike[str], *, wait_s: float = 30.0) -> None:
        self.path = Path(path)
        self.wait_s = wait_s
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._nothing: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection. A store that does not exist yet reads as an empty one; nothing is created."""
        with self._my_turn(), self._explained():
            if not self.path.exists():
                with closing(self._empty()) as con:
                    yield con
                return
            with self._attached(self.path, read_only=True) as con:
                if self._schema(con) == len(migrations()):
                    yield con
                    return
            with self._writable() as con:
                _migrate(con, self._schema(con))
            with self._attached(self.path, read_only=True) as con:
                yield con

    def _empty(self) -> duckdb.DuckDBPyConnection:
        """A connection to an empty store in memory."""
        if self._nothing is None:
            made = self._start()
            made.execute(f"ATTACH '{_IN_MEMORY}' AS store")
            made.execute("USE store")
            _migrate(made, 0)
            self._nothing = made
        con = self._nothing.cursor()
        con.execute("USE store")
        return con

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection inside one transaction: committed at the end, rolled back on any error. Creates the store."""
        with self._my_turn(), self._explained():
            if not self.path.exists():
                self._create()
            with self._writable() as con:
                _migrate(con, self._schema(con))
                with _transaction(con):
                    yield con

    def _create(self) -> None:
        """A new store appears whole or not at all: it is made aside and linked into place. Another evalh may win."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".evalh-", dir=self.path.parent) as scratch:
            made = Path(scratch) / "new.duckdb"
            with self._attached(made) as con:
                _migrate(con, 0)
            try:
                os.link(made, self.path)
            except FileExistsError:
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:  # without hard links DuckDB makes the file itself, under its own lock
                    raise

    @contextmanager
    def _writable(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The file attached for writing; whatever ends this process, it stays whole."""
        undo = Undo(self.path)
        with ExitStack() as last, self._attached(self.path) as con:
            # Closing any descriptor of the file gives up all locks that this process has on it: that is for after DETACH.
            file = os.open(self.path, os.O_RDWR)
            last.callback(os.close, file)
            if undo.exists():  # its process died since this one looked
                undo.put_back(file)
            undo.keep(con, file)
            yield con
            undo.keep(con, file)  # again, if a commit of much has checkpointed by itself
            con.execute("CHECKPOINT store")
            undo.drop()

    @contextmanager
    def _attached(self, file: Path, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection whose tables are those of the file."""
        if self._engine is None:
            self._engine = self._start()
        con = self._engine.cursor()
        try:
            self._attach(con, file, read_only)
            try:
                con.execute("USE store")
                yield con
            finally:
                con.execute("USE memory")
                con.execute("DETACH store")
        finally:
            con.close()

    def _start(self) -> duckdb.DuckDBPyConnection:
        """An engine that never loads extensions, and spills beside the store if a query outgrows the memory."""
        import duckdb

        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": min(8, os.cpu_count() or 1),
            "temp_directory": f"{self.path}.tmp",
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "python_enable_replacements": False,
        }
        return duckdb.connect(_IN_MEMORY, config=config)

    def _attach(self, con: duckdb.DuckDBPyConnection, file: Path, read_only: bool) -> None:
        """Attach the file, waiting while another process holds it."""
        import duckdb

        name = str(file).replace("'", "''")
        sql = f"ATTACH '{name}' AS store (TYPE duckdb{', READ_ONLY' if read_only else ''})"
        pauses, deadline, undo = _pauses(), time.monotonic() + self.wait_s, Undo(file)
        while True:
            undo.recover()
            late = time.monotonic() > deadline
            try:
                con.execute(sql)
                if late or not (read_only and undo.exists()):
                    return
                con.execute("DETACH store")  # whoever was writing died since this one looked
            except duckdb.Error as error:
                if late or not ("Could not set lock" in str(error) or undo.exists()):
                    raise
            time.sleep(next(pauses))

    def _schema(self, con: duckdb.DuckDBPyConnection) -> int:
        """The schema number of the file; 0 for a file without tables. Raises StoreError if it is newer or not evalh's."""
        import duckdb

        try:
            row = con.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        except (duckdb.CatalogException, duckdb.BinderException):  # no such table, or not with these columns
            if con.execute("SELECT count(*) FROM duckdb_tables() WHERE database_name = 'store'").fetchone() == (0,):
                return 0
            row = None
        if row is None or not str(row[0]).isdigit():
            fix = "Give another path for the results, or move this file away"
            raise problem(self.path, "is a DuckDB file, but not one that evalh wrote", fix)
        if (found := int(row[0])) > (known := len(migrations())):
            what = f"was written by a newer evalh (schema {found}, this one knows {known})"
            raise problem(self.path, what, "Upgrade: pip install -U evalh")
        return found

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        turn = _TURNS.setdefault(os.path.realpath(self.path), threading.Lock())
        if not turn.acquire(timeout=self.wait_s):
            raise problem(self.path, f"has been in use by another thread of this evalh for more than {self.wait_s:g} s", "Run again")
        try:
            yield
        finally:
            turn.release()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the file system and DuckDB say about the file into a StoreError; errors in our own SQL pass."""
        import duckdb

        about_the_sql = (
            duckdb.ProgrammingError,
            duckdb.DataError,
            duckdb.IntegrityError,
            duckdb.NotSupportedError,
            duckdb.PermissionException,
            duckdb.InterruptException,
        )
        try:
            yield
        except about_the_sql:
            raise
        except (OSError, duckdb.Error) as error:
            self._engine = None  # it may not survive a failed write; the next call starts a new one
            raise explain(self.path, str(error), self.wait_s) from error


@cache
def migrations() -> tuple[str, ...]:
    """The SQL of every migration, in order: the n-th one brings a store from schema n-1 to schema n."""
    folder = files("evalharness.store").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


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


def _pauses() -> Iterator[float]:
    """Seconds between attempts: 5 ms growing to 100 ms, jittered so that waiting processes do not march in step."""
    pause = 0.005
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(0.1, pause * 1.5)
