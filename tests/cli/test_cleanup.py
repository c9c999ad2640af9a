"""`evalh cleanup`: what a dead run left open is listed with its price, released once, and never lost from the ledger."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable

from evalharness.store.rows import utc_now
from tests.cli.conftest import Said
from tests.pipeline.conftest import SUITE, Workspace
from tests.pipeline.test_money import HOSTED, deployed

Evalh = Callable[..., Said]


def left_behind(workspace: Workspace) -> None:
    """A run whose deployment could not be released."""
    workspace.suite(SUITE, HOSTED)
    workspace.write("stuck", "")
    assert workspace.run().failures
    (workspace.root / "stuck").unlink()


def test_nothing_is_open(evalh: Evalh, workspace: Workspace) -> None:
    assert evalh("cleanup") == Said("Nothing is open.\n", "", 0)


def test_a_dry_run_lists_and_touches_nothing(evalh: Evalh, workspace: Workspace) -> None:
    left_behind(workspace)
    said = evalh("cleanup", "--dry-run")
    assert said.code == 0
    assert "deployment r1 at doubles.py:FileRunner, open for 0.0 h, 2.00 USD an hour: left" in said.out
    assert "1 deployments open, 2.00 USD an hour as far as known. Nothing was touched." in said.out
    assert "release" not in workspace.log()
    (told,) = json.loads(evalh("cleanup", "--dry-run", "--json").out)
    assert (told["kind"], told["provider_id"], told["usd_per_hour"], told["action"]) == ("deployment", "r1", 2.0, "left")


def test_cleanup_releases_from_the_ledger_alone(evalh: Evalh, workspace: Workspace) -> None:
    left_behind(workspace)
    (workspace.root / "suites/toy.yaml").unlink()
    said = evalh("cleanup")
    assert (said.code, "released" in said.out, workspace.log().count("release")) == (0, True, 1)
    (row,) = deployed(workspace)
    assert row.state == "closed"
    assert evalh("cleanup").out == "Nothing is open.\n"


def test_what_a_living_run_asks_is_left_to_it(evalh: Evalh, workspace: Workspace) -> None:
    left_behind(workspace)
    (row,) = deployed(workspace)
    lock = workspace.root / "results" / "trainings" / str(row.settings["training_id"]) / "serving.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for words in (("cleanup",), ("cleanup", "--dry-run")):
            said = evalh(*words)
            assert (said.code, "2.00 USD an hour: left: a run is asking it" in said.out) == (0, True)
    assert "release" not in workspace.log()
    assert "released" in evalh("cleanup").out


def test_what_may_still_run_is_exit_4_and_stays(evalh: Evalh, workspace: Workspace) -> None:
    left_behind(workspace)
    workspace.write("stuck", "")
    said = evalh("cleanup")
    assert said.code == 4
    assert "NOT released: it cannot be released" in said.out
    assert deployed(workspace)[0].closed is None


def test_trainings_are_left_to_the_next_run_unless_asked(evalh: Evalh, workspace: Workspace) -> None:
    from evalharness.store import Resource

    settings = {"base": "small", "options": {"local": False}}
    row = Resource("t", "training", "doubles.py:FileRunner", "k", "open", "job-1", opened=utc_now(), settings=settings, estimate_usd=2.5)
    workspace.store.put_resource(row)
    said = evalh("cleanup").out
    assert "training job-1 at doubles.py:FileRunner, open for 0.0 h, at most about 2.50 USD in all: left" in said
    assert "No deployment is left open. Trainings that may go on: 1. The next train-and-score takes them up" in said
    assert "cancel" not in workspace.log()
    assert "cancelled" in evalh("cleanup", "--cancel-jobs").out
    assert "cancel" in workspace.log()
    assert evalh("cleanup").out == "Nothing is open.\n"


def test_a_training_that_may_have_been_made_is_not_called_released(evalh: Evalh, workspace: Workspace) -> None:
    from evalharness.store import Resource

    settings = {"base": "small", "options": {"local": False}}
    row = Resource("t", "training", "doubles.py:FileRunner", "k", "intent", None, opened=utc_now(), settings=settings)
    workspace.store.put_resource(row)
    said = evalh("cleanup", "--cancel-jobs").out
    assert "left: the next train-and-score looks for it" in said
    assert "Trainings that may go on: 1." in said
    assert "released" not in said
