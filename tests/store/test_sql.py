"""`Store.sql` reads and does nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalharness.errors import StoreError
from evalharness.store import Run, Store

PLANTED = "s3cr3t"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("sql") / "it's odd.duckdb")
    store.start_run(Run("r1", "a \ud800 b", "yaml", None, {}, ()))
    return store


def test_columns_and_rows(store: Store) -> None:
    columns, rows = store.sql("SELECT run_id, suite_name, 1 AS one, finished FROM runs")
    assert columns == ["run_id", "suite_name", "one", "finished"]
    assert rows == [("r1", "a \ud800 b", 1, None)]


def test_json_columns_can_be_queried(store: Store) -> None:
    assert store.sql("""SELECT '{"a": {"b": "x"}}'->>'$.a.b'""")[1] == [("x",)]


def test_a_wrong_query_is_told_in_duckdbs_words(store: Store) -> None:
    with pytest.raises(StoreError, match="Table with name runz does not exist"):
        store.sql("SELECT * FROM runz")


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE runs",
        "DELETE FROM runs",
        "CREATE TABLE store.main.t (i INTEGER)",
        "SELECT 1; UPDATE runs SET state = 'x'",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "COPY runs TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.duckdb'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM read_text('https://127.0.0.1:1/x')",
        "SELECT * FROM planted_in_python",
        "USE memory; DETACH store; ATTACH '{folder}/out.duckdb' AS store",
    ],
)
def test_nothing_can_be_changed_or_reached(store: Store, tmp_path: Path, query: str) -> None:
    planted_in_python = {"a": [PLANTED]}
    secret = tmp_path / "secret.csv"
    secret.write_text(f"a\n{PLANTED}\n")
    with pytest.raises(StoreError) as refused:
        store.sql(query.format(secret=secret, folder=tmp_path))
    assert PLANTED not in str(refused.value)
    assert planted_in_python
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert store.sql("SELECT run_id, state FROM runs")[1] == [("r1", "running")]


def test_a_query_that_leaves_the_store_detached_is_harmless(store: Store) -> None:
    with pytest.raises(StoreError):
        store.sql("USE memory; DETACH store")
    assert len(store.runs()) == 1
