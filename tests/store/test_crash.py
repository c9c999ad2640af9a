"""kill -9 in the middle of a flush leaves all or nothing of it, and a file that opens."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from evalharness.store import Store
from tests.store import made

ROWS = 50
WRITE_FOREVER = """
import sys
from evalharness.records import Output, Score
from evalharness.store import Store
from tests.store import made
path, first = sys.argv[1], int(sys.argv[2])
with Store(path).writer() as writer:
    for number in range(first, 1_000_000):
        outputs = [made.output(f"arm{number}", "d", f"s{i}", "x" * 200) for i in range(50)]
        writer.put(*outputs, *(made.score(output, "m", 1.0) for output in outputs))
        writer.flush()
        print(number, flush=True)
"""


def kill_while_writing(path: Path, first: int, chance: random.Random) -> int:
    """Let a child flush groups from number `first` on and kill it; returns the last number that it saw stored."""
    root = Path(__file__).parents[2]
    with made.child(f"import sys; sys.path.insert(0, {str(root)!r})\n{WRITE_FOREVER}", path, first) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == f"{first}\n"
        time.sleep(chance.uniform(0, 0.5))
        writer.kill()
        told = [int(line) for line in writer.stdout.read().splitlines() if line]
    return max(told, default=first)


def check_whole_groups(store: Store, told: int) -> int:
    """Every group is there whole or not at all, up to one more than was told. Returns how many there are."""
    groups = store.sql("SELECT arm_id, count(*), count(DISTINCT output_id) FROM outputs GROUP BY arm_id")[1]
    scores = Counter(dict(store.sql("SELECT split_part(output_id, '/', 1), count(*) FROM scores GROUP BY ALL")[1]))
    assert {(n, distinct, scores[arm]) for arm, n, distinct in groups} == {(ROWS, ROWS, ROWS)}
    assert {arm for arm, _, _ in groups} == {f"arm{number}" for number in range(len(groups))}
    assert told + 1 <= len(groups) <= told + 2
    return len(groups)


def kill_often(path: Path, times: int) -> None:
    chance, stored = random.Random(times), 0
    for _ in range(times):
        told = kill_while_writing(path, stored, chance)
        stored = check_whole_groups(Store(path), told)
        assert {entry.name for entry in path.parent.iterdir()} <= {"evalh.duckdb", "evalh.duckdb.wal", "evalh.duckdb.undo.new"}


def test_killed_three_times(tmp_path: Path) -> None:
    kill_often(tmp_path / "evalh.duckdb", 3)


@pytest.mark.slow(seconds=80)
def test_killed_thirty_times(tmp_path: Path) -> None:
    kill_often(tmp_path / "evalh.duckdb", 30)


@pytest.mark.slow
def test_killed_while_the_store_is_created(tmp_path: Path) -> None:
    """Before the first group is stored there is no file, or a whole one."""
    root, chance, made_it = Path(__file__).parents[2], random.Random(7), 0
    for number in range(15):
        path = tmp_path / str(number) / "evalh.duckdb"
        with made.child(f"import sys; sys.path.insert(0, {str(root)!r})\n{WRITE_FOREVER}", path, 0):
            while not path.parent.exists():
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.1))
            while number >= 12 and not path.exists():  # on a busy machine the file may come later than all random kills
                time.sleep(0.001)
        made_it += path.exists()
        assert Store(path).runs() == []
    assert made_it >= 3
