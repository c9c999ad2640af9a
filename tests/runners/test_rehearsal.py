"""The rehearsal runner: a training that is a file and a clock, and that others can watch for double purchases."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalharness.errors import RunError
from evalharness.protocols import Runner
from evalharness.records import Handle
from evalharness.runners.rehearsal import RehearsalOptions, RehearsalRunner, submits
from tests.contracts import RunnerContract


def runner(**options: Any) -> RehearsalRunner:
    return RehearsalRunner(RehearsalOptions(**options))


class TestContract(RunnerContract):
    def make(self) -> Runner:
        return runner(seconds=0.05)


class TestAtOnce(RunnerContract):
    def make(self) -> Runner:
        return runner(hosted=True)


JOB = TestContract().job


def test_takes_its_time_and_logs_a_point_a_step(tmp_path: Path) -> None:
    made = runner(seconds=0.3, steps=3)
    handle = made.submit(JOB(tmp_path))
    first = made.poll(handle)
    assert (first.state, first.step, first.total_steps, first.model) == ("running", 0, 3, None)
    last = TestContract().wait(handle)
    assert (last.state, last.step, [point.step for point in last.points]) == ("succeeded", 3, [1, 2, 3])
    losses = [point.dev_loss for point in last.points if point.dev_loss is not None]
    assert losses == sorted(losses, reverse=True)
    assert last.seconds == pytest.approx(0.3)


def test_goes_on_while_nobody_looks(tmp_path: Path) -> None:
    """Submitted by a process that ends at once, found and finished from here."""
    code = (
        "import sys; from pathlib import Path; from tests.runners.test_rehearsal import JOB, runner;"
        "runner(seconds=0.2).submit(JOB(Path(sys.argv[1])))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    job = JOB(tmp_path)
    handle = runner(seconds=0.2).find(job)
    assert handle is not None
    assert TestContract().wait(handle).state == "succeeded"
    assert submits(tmp_path) == [job.key]


def test_every_submit_is_remembered(tmp_path: Path) -> None:
    assert submits(tmp_path) == []
    for key in ("a", "b", "b"):
        runner().submit(JOB(tmp_path, key=key))
    assert submits(tmp_path) == ["a", "b", "b"]
    assert runner().find(JOB(tmp_path, key="a")) is None
    assert runner().find(JOB(tmp_path, key="b")) is not None


def test_fails_where_it_is_told_and_goes_on_from_there(tmp_path: Path) -> None:
    made = runner(steps=5, fail_at=2)
    failed = made.poll(made.submit(JOB(tmp_path)))
    assert (failed.state, failed.step, failed.error, failed.model) == ("failed", 2, "rehearsed failure", None)
    assert made.find(JOB(tmp_path)) is not None
    again = made.poll(made.submit(JOB(tmp_path, key="second try")))
    assert (again.state, again.step) == ("succeeded", 5)


def test_fails_as_often_as_told(tmp_path: Path) -> None:
    made = runner(fail_at=1, failures=2)
    assert [made.poll(made.submit(JOB(tmp_path))).state for _ in range(3)] == ["failed", "failed", "succeeded"]


def test_cancelled_it_stands_still_and_resumes(tmp_path: Path) -> None:
    made, job = runner(seconds=0.2, steps=10), JOB(tmp_path)
    handle = made.submit(job)
    time.sleep(0.06)
    made.cancel(handle)
    stopped = made.poll(handle)
    assert stopped.state == "cancelled"
    assert stopped.step is not None
    assert 0 < stopped.step < 10
    time.sleep(0.2)
    assert made.poll(handle) == stopped
    assert made.find(job) is None
    resumed = made.poll(made.submit(job))
    assert resumed.step is not None
    assert resumed.step >= stopped.step
    assert TestContract().wait(handle).state == "succeeded"


def test_what_was_never_submitted_cannot_be_polled(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no rehearsed training in"):
        runner().poll(Handle("t", str(tmp_path)))
    runner().cancel(Handle("t", str(tmp_path)))


def test_equal_trainings_give_equal_models_and_others_do_not(tmp_path: Path) -> None:
    job = JOB(tmp_path / "a")
    one, same = (runner().poll(runner().submit(replace(job, workdir=str(tmp_path / name)))).model for name in "ab")
    other = runner().poll(runner().submit(replace(job, training_id="other", workdir=str(tmp_path / "c")))).model
    assert one == same
    assert one is not None
    assert other is not None
    assert one.identity != other.identity
    assert runner(steps=4).identity("x") != runner(steps=5).identity("x") != runner(steps=5).identity("y")


def test_hosted_endpoints_are_open_until_released(tmp_path: Path) -> None:
    made = runner(hosted=True)
    model = made.poll(made.submit(JOB(tmp_path))).model
    assert model is not None
    endpoint = made.serve(model, "k")
    assert endpoint.resource_id is not None
    assert made.serve(model, "k") == made.served("k") == endpoint
    made.release(endpoint)
    made.release(endpoint)
    assert made.open == {}
    assert runner().serve(model, "k").resource_id is None
