"""Opening the file: locks, versions, and everything a file can be instead of a store."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from evalharness.errors import StoreError
from evalharness.store import Run, Store, database, flush
from tests.store import made

HOLD = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline(); con.close()"
SECOND_WRITER = """
import sys
from evalharness.store import Store
from tests.store import made
store = Store(sys.argv[1])
print("ready", flush=True)
for i in range(10):
    with store.writer() as writer:
        writer.put(made.output("b", "d", f"s{i}"))
"""


def run(run_id: str = "r") -> Run:
    return Run(run_id, "suite", "yaml", None, {}, ())


def new_store(path: Path, **options: float) -> Store:
    store = Store(path, **options)
    store.start_run(run())
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "evalh.duckdb")


def refused(store: Store, *words: str, reads: bool = True) -> None:
    """Writing (and reading) fails with one StoreError that names the file and says these words."""
    works: list[Callable[[], object]] = [lambda: store.start_run(run("new")), store.runs]
    for work in works if reads else works[:1]:
        with pytest.raises(StoreError) as error:
            work()
        for word in (str(store.path), *words):
            assert word in str(error.value)


def test_nobody_holds_the_file_between_operations(store: Store) -> None:
    duckdb.connect(store.path).close()
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["evalh.duckdb"]


def test_a_file_held_by_another_process_is_waited_for(store: Store) -> None:
    with made.child(HOLD, store.path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        impatient = Store(store.path, wait_s=0.2)
        refused(impatient, f"(process {holder.pid})", "more than 0.2 s", "Wait until it is done, or stop it")
        assert holder.stdin is not None
        threading.Timer(0.2, holder.stdin.write, ["\n"]).start()
        store.start_run(run("after"))
    assert len(impatient.runs()) == 2


def test_two_processes_write_one_store(store: Store) -> None:
    root = Path(__file__).parents[2]
    with made.child(f"import sys; sys.path.insert(0, {str(root)!r})\n{SECOND_WRITER}", store.path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        for i in range(10):
            with store.writer() as writer:
                writer.put(made.output("a", "d", f"s{i}"))
        assert other.wait(60) == 0
    assert len(store.known_outputs(["a"])) == 10 == len(store.known_outputs(["b"]))


def test_threads_and_stores_of_one_process_take_turns(store: Store) -> None:
    failures: list[BaseException] = []

    def work(name: int) -> None:
        mine = Store(store.path) if name % 2 else store
        try:
            for i in range(5):
                mine.start_run(run(f"{name}-{i}"))
                assert mine.run(f"{name}-{i}") is not None
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(store.runs()) == 21


def test_a_thread_that_waits_too_long_is_told(tmp_path: Path) -> None:
    store = new_store(tmp_path / "evalh.duckdb", wait_s=0.1)
    with store.writing():
        refused(store, "another thread of this evalh")
    assert len(store.runs()) == 1


def test_a_connection_of_ones_own_is_named(store: Store) -> None:
    with duckdb.connect(store.path):
        refused(store, "open in another connection of this Python process")
    assert len(store.runs()) == 1


def test_the_results_folder_is_made(tmp_path: Path) -> None:
    assert new_store(tmp_path / "a" / "b" / "evalh.duckdb").path.is_file()


def test_a_store_of_a_newer_evalh_is_left_alone(store: Store) -> None:
    known = len(database.migrations())
    with duckdb.connect(store.path) as con:
        con.execute("UPDATE meta SET value = '7' WHERE key = 'schema'")
    before = store.path.read_bytes()
    refused(store, f"written by a newer evalh (schema 7, this one knows {known})", "Upgrade: pip install -U evalh")
    assert store.path.read_bytes() == before


def test_an_older_store_is_brought_up_to_date_by_reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    more = (*database.migrations(), "CREATE TABLE extra (i INTEGER); INSERT INTO extra VALUES (7)")
    monkeypatch.setattr(database, "migrations", lambda: more)
    number = len(more)
    assert len(store.runs()) == 1
    assert store.sql("SELECT i, value FROM extra, meta WHERE key = 'schema'")[1] == [(7, str(number))]
    assert Store(store.path).latest_run() is not None


def test_a_migration_that_fails_leaves_the_store_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (*database.migrations(), "CREATE TABLE extra (i INTEGER); INSERT INTO extra VALUES ('no number')")
    with monkeypatch.context() as patch:
        patch.setattr(database, "migrations", lambda: broken)
        with pytest.raises(duckdb.ConversionException):
            store.start_run(run("new"))
    assert len(store.runs()) == 1
    assert store.sql("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'extra'")[1] == [(0,)]


def test_two_that_create_a_store_at_once_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, link = Store(tmp_path / "evalh.duckdb"), os.link

    def lose(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", lose)
    mine.start_run(run())
    assert len(mine.runs()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["evalh.duckdb"]


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert len(new_store(tmp_path / "evalh.duckdb").runs()) == 1


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 20_000, b"SQLite format 3\x00" + b"x" * 20_000])
def test_a_file_that_is_no_duckdb_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "evalh.duckdb"
    path.write_bytes(content)
    refused(Store(path), "is not a DuckDB file, or it is damaged", "move it away")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "tables", ["CREATE TABLE other (i INTEGER)", "CREATE TABLE meta (a INTEGER)", "CREATE TABLE meta (key VARCHAR, value VARCHAR)"]
)
def test_a_duckdb_file_of_somebody_else_is_left_alone(tmp_path: Path, tables: str) -> None:
    path = tmp_path / "evalh.duckdb"
    with duckdb.connect(path) as con:
        con.execute(tables)
    before = path.read_bytes()
    refused(Store(path), "is a DuckDB file, but not one that evalh wrote")
    assert path.read_bytes() == before


def test_an_empty_duckdb_file_becomes_a_store(tmp_path: Path) -> None:
    duckdb.connect(tmp_path / "evalh.duckdb").close()
    assert len(new_store(tmp_path / "evalh.duckdb").runs()) == 1


def test_a_damaged_store_is_one_clear_error(store: Store) -> None:
    with store.writer() as writer:
        writer.put(*(made.output("a", "d", f"s{i}", f"text {i * i}") for i in range(2000)))
    whole = store.path.read_bytes()
    places = range(8192, len(whole), len(whole) // 10)
    flipped = [whole[:at] + bytes(byte ^ 0xFF for byte in whole[at : at + 4096]) + whole[at + 4096 :] for at in places]
    said = []
    for damaged in (*flipped, whole[:5000], whole[:20_000], whole[: len(whole) // 2]):
        store.path.write_bytes(damaged)
        try:
            assert len(Store(store.path).known_outputs(["a"])) == 2000  # the damage is elsewhere
        except StoreError as error:
            said.append(str(error))
    assert len(said) > 5
    assert all("is not a DuckDB file, or it is damaged" in each for each in said), said


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    refused(Store(tmp_path), "is no file path")


def test_a_path_below_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(Store(tmp_path / "file" / "evalh.duckdb"), "is no file path", reads=False)


def test_a_read_only_folder_can_be_read_and_says_so_when_written(tmp_path: Path) -> None:
    with made.small_disk(tmp_path / "disk", "8m") as disk:
        store = new_store(disk / "evalh.duckdb")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert len(store.runs()) == 1
        assert store.sql("SELECT count(*) FROM runs")[1] == [(1,)]
        refused(store, "cannot be written: no permission", reads=False)
        refused(Store(disk / "new" / "evalh.duckdb"), "cannot be written: no permission", reads=False)


def fill(store: Store) -> tuple[int, str]:
    """Write groups of 200 outputs until it fails -> number of groups written before, and the error."""
    for number in range(1000):
        try:
            with store.writing() as con:
                flush.write(con, [made.output("a", "d", f"{number}-{i}", os.urandom(100).hex()) for i in range(200)], [], {})
        except StoreError as error:
            return number, str(error)
    raise AssertionError("the disk never was full")


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    with made.small_disk(tmp_path / "disk", "3m") as disk:
        store = new_store(disk / "evalh.duckdb")
        stored, said = fill(store)
        assert "the disk is full" in said
        assert "Free some space" in said
        assert stored > 2
        found = len(Store(store.path).known_outputs(["a"]))
        assert found in (stored * 200, (stored + 1) * 200)  # the last group whole, if the disk was full only after its commit
        assert found == len(store.known_outputs(["a"]))
        refused(Store(disk / "another" / "evalh.duckdb"), "the disk is full", reads=False)
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        store.start_run(run("after"))
        assert len(store.runs()) == 2


def test_pauses_grow_and_differ() -> None:
    pauses = database._pauses()
    first = [next(pauses) for _ in range(40)]
    assert 0 < first[0] < 0.01
    assert 0.04 < max(first) <= 0.15
    assert len(set(first)) == 40


def test_waiting_ends_close_to_its_limit(store: Store) -> None:
    with made.child(HOLD, store.path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        began = time.monotonic()
        with pytest.raises(StoreError):
            Store(store.path, wait_s=0.3).runs()
        assert time.monotonic() - began >= 0.3
