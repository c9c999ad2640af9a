"""A checkpoint that was cut short anywhere is undone by whoever opens the store next."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from evalharness.errors import StoreError
from evalharness.store import Store
from evalharness.store.undo import Undo
from tests.store import made

PAGE, METADATA = 4096, 3 * 4096
GROUPS = 6


def write(store: Store, group: int) -> None:
    with store.writer() as writer:
        outputs = [made.output(f"arm{group}", "d", f"s{i}", "x" * 200) for i in range(20)]
        writer.put(*outputs, *(made.score(output, "m", 1.0) for output in outputs))


def groups(store: Store) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.sql("SELECT arm_id, count(*) FROM outputs GROUP BY arm_id ORDER BY arm_id")[1]]


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files before and after the checkpoint of the last of some groups: `before/` with its log and undo file, `after/`."""
    folder = tmp_path_factory.mktemp("moments")
    store = Store(folder / "evalh.duckdb")
    for group in range(GROUPS - 1):
        write(store, group)

    def copy(name: str) -> None:
        (folder / name).mkdir()
        for path in folder.glob("evalh.duckdb*"):
            shutil.copy(path, folder / name)

    class Watched(Undo):
        calls = 0

        def keep(self, con: duckdb.DuckDBPyConnection, file: int) -> None:
            super().keep(con, file)
            Watched.calls += 1
            if Watched.calls == 2:
                copy("before")

        def drop(self) -> None:
            copy("after")
            super().drop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evalharness.store.database.Undo", Watched)
        write(store, GROUPS - 1)
    assert sorted(path.name for path in (folder / "before").iterdir()) == ["evalh.duckdb", "evalh.duckdb.undo", "evalh.duckdb.wal"]
    assert sorted(path.name for path in (folder / "after").iterdir()) == ["evalh.duckdb", "evalh.duckdb.undo"]
    return folder


def torn(moments: Path, folder: Path, pages: int) -> Path:
    """The store as it is when a process was killed after so many pages of the metadata block."""
    shutil.copytree(moments / "before", folder)
    path = folder / "evalh.duckdb"
    new = (moments / "after" / "evalh.duckdb").read_bytes()
    with path.open("r+b") as file:
        file.seek(METADATA)
        file.write(new[METADATA : METADATA + pages * PAGE])
    return path


@pytest.mark.parametrize("pages", [0, 1, 2, 5, 31, 63, 64])
@pytest.mark.parametrize("reading", [True, False])
def test_a_torn_metadata_block_is_put_back(moments: Path, tmp_path: Path, pages: int, reading: bool) -> None:
    path = torn(moments, tmp_path / "torn", pages)
    store, last = Store(path), GROUPS
    if not reading:
        write(store, last)
        last += 1
    assert groups(store) == [(f"arm{group}", 20) for group in range(last)]
    write(store, last)
    assert len(groups(store)) == last + 1
    assert sorted(each.name for each in path.parent.iterdir()) == ["evalh.duckdb"]


def test_without_it_the_store_would_be_lost(moments: Path, tmp_path: Path) -> None:
    path = torn(moments, tmp_path / "torn", 1)
    path.with_name("evalh.duckdb.undo").unlink()
    with pytest.raises(StoreError, match="damaged"):
        groups(Store(path))


def test_a_checkpoint_that_was_complete_is_not_undone(moments: Path, tmp_path: Path) -> None:
    shutil.copytree(moments / "after", tmp_path / "whole")
    store = Store(tmp_path / "whole" / "evalh.duckdb")
    before = store.path.read_bytes()
    assert len(groups(store)) == GROUPS
    assert store.path.read_bytes() == before
    assert not Undo(store.path).exists()


def test_the_undo_file_of_a_process_at_work_is_left_alone(moments: Path, tmp_path: Path) -> None:
    path = torn(moments, tmp_path / "torn", 1)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.readline()"
    with made.child(hold, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = path.read_bytes()
        Undo(path).recover()
        assert path.read_bytes() == before
        assert Undo(path).exists()
        holder.kill()
        holder.wait()
    assert len(groups(Store(path))) == GROUPS


def test_a_writer_that_dies_while_another_waits_is_undone(moments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one saw it at work, and finds what it left only after it has the file."""
    for reading in (True, False):
        path = torn(moments, tmp_path / f"torn-{reading}", 64)
        looks = iter([False])

        def too_early(self: Undo, looks: Any = looks, recover: Any = Undo.recover) -> None:
            if next(looks, True):
                recover(self)

        with monkeypatch.context() as patch:
            patch.setattr(Undo, "recover", too_early)
            if not reading:
                write(Store(path), GROUPS)
            assert len(groups(Store(path))) == GROUPS + (not reading)
        assert len(groups(Store(path))) == GROUPS + (not reading)


def test_nothing_is_committed_that_could_not_be_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "evalh.duckdb")
    write(store, 0)

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="the disk is full"):
            write(store, 1)
    assert groups(store) == [("arm0", 20)]
    write(store, 1)
    assert groups(store) == [("arm0", 20), ("arm1", 20)]
