"""When a writer flushes, what it does when it cannot, and threads that share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from evalharness.errors import StoreError
from evalharness.records import Output, Score
from evalharness.store import Store, writer
from tests.store import made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "evalh.duckdb")


def count(store: Store) -> int:
    return len(store.known_outputs(["a"]))


def has(store: Store, n: int) -> bool:
    return count(store) == n


def until(true: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_100_rows_are_flushed_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SECONDS", 1e6)
    with store.writer() as open_writer:
        open_writer.put(*(made.output("a", "d", f"s{i}") for i in range(99)))
        open_writer.put(*(made.score(made.output("a", "d", f"s{i}"), "m", 1.0) for i in range(99)))
        time.sleep(0.3)
        assert count(store) == 0
        open_writer.put(made.output("a", "d", "s99"))
        assert until(partial(has, store, 100))


def test_room_is_there_again_when_what_waits_was_written(store: Store) -> None:
    at_most = 0
    with store.writer() as open_writer:
        for i in range(3000):
            open_writer.put(made.output("a", "d", f"s{i}"))
            if not open_writer.has_room(Output):
                open_writer.room(Output)
            if i % 100 == 0:
                at_most = max(at_most, i + 1 - count(store))
            assert open_writer.has_room(Score)
    assert count(store) == 3000
    assert 0 < at_most <= writer.UNSTORED


def test_who_waits_for_room_is_told_that_a_flush_failed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        time.sleep(0.3)
        raise StoreError("the disk is full")

    monkeypatch.setattr(writer, "write", full)
    open_writer = store.writer()
    open_writer.put(*(made.output("a", "d", f"s{i}") for i in range(writer.UNSTORED)))
    with pytest.raises(StoreError, match="full"):
        open_writer.room(Output)
    with pytest.raises(StoreError, match="full"):
        open_writer.close()


def test_old_rows_are_flushed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SECONDS", 0.2)
    with store.writer() as open_writer:
        for i in range(2):
            open_writer.put(made.output("a", "d", f"s{i}"))
            assert until(partial(has, store, i + 1))


def test_much_text_is_flushed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SECONDS", 1e6)
    monkeypatch.setattr(writer, "CHARACTERS", 1000)
    with store.writer() as open_writer:
        open_writer.put(made.output("a", "d", "s", "x" * 1000))
        assert until(partial(has, store, 1))


def test_put_waits_while_too_much_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROWS", 10)
    monkeypatch.setattr(writer, "FULL_ROWS", 10)
    most = 0
    with store.writer() as open_writer:
        for i in range(60):
            open_writer.put(made.output("a", "d", f"s{i}"))
            most = max(most, len(open_writer._waiting))
    assert count(store) == 60
    assert most == 10


def test_flush_stores_everything_before_it_returns(store: Store) -> None:
    with store.writer() as open_writer:
        open_writer.put(made.output("a", "d", "s"))
        open_writer.flush()
        assert count(store) == 1
        open_writer.flush()


def put_many(store: Store, n: int) -> None:
    with store.writer() as open_writer:
        for i in range(n):
            open_writer.put(made.output("a", "d", f"s{i}"))


def put_and_fail(store: Store) -> None:
    with store.writer() as open_writer:
        open_writer.put(made.output("a", "d", "s"))
        raise ZeroDivisionError


def test_what_was_put_is_kept_when_the_block_fails(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        put_and_fail(store)
    assert count(store) == 1


def test_a_closed_writer_takes_nothing(store: Store) -> None:
    open_writer = store.writer()
    open_writer.close()
    open_writer.close()
    with pytest.raises(ValueError, match="closed"):
        open_writer.put(made.output("a", "d", "s"))
    assert not store.path.exists()


def test_threads_share_a_writer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROWS", 40)
    with store.writer() as open_writer:

        def work(name: int) -> None:
            for i in range(100):
                output = made.output("a", "d", f"{name}-{i}")
                open_writer.put(output, made.score(output, "m", 1.0))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert count(store) == 400 == len(store.known_scores(["m"], ["a"]))


def test_a_failed_flush_stops_the_writer_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROWS", 1)
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "evalh.duckdb")
    open_writer = store.writer()
    open_writer.put(made.output("a", "d", "s"))
    open_writer._thread.join()
    calls: list[Callable[[], object]] = [lambda: open_writer.put(made.output("a", "d", "t")), open_writer.flush, open_writer.close]
    for call in calls:
        with pytest.raises(StoreError, match="is no file path"):
            call()


def test_a_failure_wakes_a_put_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROWS", 2)
    monkeypatch.setattr(writer, "FULL_ROWS", 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        put_many(Store(tmp_path / "file" / "evalh.duckdb"), 1000)
