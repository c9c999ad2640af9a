"""The local runner from the outside: a job's folder, its child process, and everything that can happen to either."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evalharness.errors import RunError
from evalharness.ids import file_digest
from evalharness.protocols import Runner
from evalharness.records import FINAL, Handle, Job, Message, Status
from evalharness.runners import lora
from evalharness.runners.lora import LoraOptions, LoraRunner
from evalharness.runners.lora.child import Child
from evalharness.runners.lora.files import JobFolder
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

ROWS = tuple((Message("user", "say " + "x" * (i * 7 % 23)), Message("assistant", str(i % 10))) for i in range(40))
SETTINGS = {"rank": 4, "learning_rate": 5e-3, "epochs": 3, "batch_size": 8, "device": "cpu"}
SLEEPER = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(60)"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture
def job(base: str, tmp_path: Path) -> Job:
    return Job("training", "key", base, {}, 0, ROWS[8:], ROWS[:8], str(tmp_path / "job"), "tuned")


def runner(**changed: Any) -> LoraRunner:
    return LoraRunner(LoraOptions(**{**SETTINGS, **changed}))


def follow(made: LoraRunner, handle: Handle, seconds: float = 300) -> Status:
    end = time.monotonic() + seconds
    while (status := made.poll(handle)).state not in FINAL:
        assert time.monotonic() < end, status
        time.sleep(0.1)
    return status


def here(made: LoraRunner, job: Job) -> Status:
    """Train in this process: what the child does, without the seconds that it takes to import torch."""
    folder = JobFolder(Path(job.workdir))
    lock = folder.lock()
    assert lock is not None
    folder.write_job(job, made.options.model_dump(mode="json"), None)
    assert Child(folder).run() == 0
    os.close(lock)
    return made.poll(Handle(job.training_id, job.workdir))


@pytest.fixture(scope="module")
def done(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[LoraRunner, Job, Status]:
    """A job that a real child process trained."""
    job = Job("training", "key", base, {}, 0, ROWS[8:], ROWS[:8], str(tmp_path_factory.mktemp("done") / "job"))
    made = runner()
    assert made.check(job) == []
    assert made.find(job) is None
    handle = made.submit(job)
    assert made.find(job) == handle == made.submit(job)
    return made, job, follow(made, handle)


def test_it_is_a_runner() -> None:
    assert isinstance(runner(), Runner)
    assert LoraRunner.local


def test_a_training_ends_with_a_model(done: tuple[LoraRunner, Job, Status]) -> None:
    _, job, status = done
    assert (status.state, status.error) == ("succeeded", None)
    assert status.step == status.total_steps == 12
    assert status.model is not None
    assert status.model.model == f"local/{job.base}"
    facts = status.model.facts
    assert facts["rows"] == 32
    assert facts["truncated_rows"] == 0
    assert facts["tokens"] == status.tokens
    assert isinstance(facts["trained_parameters"], int)
    assert isinstance(facts["total_parameters"], int)
    assert facts["share"] == facts["trained_parameters"] / facts["total_parameters"]
    assert float(facts["audit_shift"] or 0) > 1e-4
    losses = [p.dev_loss for p in status.points if p.dev_loss is not None and p.step]
    assert facts["best_dev_loss"] == min(losses)
    assert [p.step for p in status.points] == list(range(13))


def test_the_adapter_folder_says_what_it_is(done: tuple[LoraRunner, Job, Status]) -> None:
    made, job, status = done
    assert status.model is not None
    assert status.model.adapter is not None
    folder = Path(status.model.adapter)
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors", "manifest.json"]
    manifest = json.loads((folder / "manifest.json").read_text())
    identity = made.identity(job.base)
    assert manifest["base_identity"] == identity["base"]
    assert manifest["settings"] == identity["settings"]
    assert manifest["identity"]["ends"] == identity["ends"]
    assert manifest["identity"] == dict(status.model.identity)
    assert manifest["template"] == manifest["base_identity"]["template"]
    assert manifest["seed"] == 0
    assert set(manifest["versions"]) == {"evalh", "torch", "transformers", "peft", "python"}
    modules = json.loads((folder / "adapter_config.json").read_text())["target_modules"]
    assert modules == sorted(modules)


def test_what_is_done_is_found_and_not_done_again(done: tuple[LoraRunner, Job, Status]) -> None:
    made, job, status = done
    weights = file_digest(Path(job.workdir) / "adapter" / "adapter_model.safetensors")
    again = made.submit(replace(job, key="a later attempt"))
    assert made.find(job) == again
    assert made.poll(again) == status
    made.cancel(again)
    assert file_digest(Path(job.workdir) / "adapter" / "adapter_model.safetensors") == weights
    assert not (set(os.listdir(job.workdir)) - {"job.json", "state.json", "points.jsonl", "child.lock", "child.pid", "log.txt", "adapter"})


def test_serving_is_the_base_with_the_adapter(done: tuple[LoraRunner, Job, Status]) -> None:
    made, job, status = done
    assert status.model is not None
    endpoint = made.serve(status.model, "k")
    assert (endpoint.model, endpoint.adapter, endpoint.resource_id) == (f"local/{job.base}", status.model.adapter, None)
    assert endpoint.options == {"device": "cpu"}
    assert runner(device="auto").serve(status.model, "k").options == {}
    made.release(endpoint)


def test_equal_jobs_give_equal_files(done: tuple[LoraRunner, Job, Status], job: Job) -> None:
    made, other, status = done
    mine = here(made, job)
    assert status.model is not None
    assert mine.model is not None
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (Path(job.workdir) / "adapter" / name).read_bytes() == (Path(other.workdir) / "adapter" / name).read_bytes()
    assert mine.model.identity == status.model.identity
    seeded = here(made, replace(job, seed=1, workdir=job.workdir + "1"))
    assert seeded.model is not None
    assert seeded.model.identity["adapter"] != mine.model.identity["adapter"]


def test_a_deleted_adapter_is_trained_again(done: tuple[LoraRunner, Job, Status], job: Job) -> None:
    made, other, _ = done
    copy = replace(other, workdir=job.workdir)
    shutil.copytree(other.workdir, job.workdir)
    assert made.find(copy) is not None
    shutil.rmtree(Path(job.workdir) / "adapter")
    assert made.find(copy) is None


def test_cancelled_jobs_go_on_where_they_were(done: tuple[LoraRunner, Job, Status], job: Job) -> None:
    """SIGTERM in the middle: a checkpoint, a clear state, and then the same bits as undisturbed."""
    made, other, _ = done
    folder = JobFolder(Path(job.workdir))
    folder.write_job(job, made.options.model_dump(mode="json"), None)
    child = Child(folder)
    ask, say = child.ask, child._say

    def stop_after_five(progress: Any) -> None:
        say(progress)
        if progress.step == 5:
            ask(signal.SIGTERM, None)

    child._say = stop_after_five  # type: ignore[method-assign]
    child.run()
    assert made.poll(Handle("training", job.workdir)).state == "cancelled"
    assert (folder.path / "checkpoint-5").is_dir()
    assert made.find(job) is None
    status = here(made, job)
    assert status.state == "succeeded"
    assert "resumed at step 5 of 12" in folder.log.read_text() if folder.log.is_file() else True
    assert (folder.adapter / "adapter_model.safetensors").read_bytes() == (
        Path(other.workdir) / "adapter" / "adapter_model.safetensors"
    ).read_bytes()
    assert [p.step for p in status.points] == list(range(13))
    assert not list(folder.path.glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("changed", "said", "again"),
    [
        ({"learning_rate": 0.0}, "invalid candidate: adapter changes nothing", False),
        ({"learning_rate": 1e25, "schedule": "constant", "warmup_ratio": 0.0}, "Lower learning_rate", False),
        ({"max_length": 12}, "train: row 1: its prompt alone fills max_length (12 tokens). Raise max_length", False),
        ({"target_modules": ["query"]}, "params.target_modules", True),
        ({"device": "tpu"}, "'tpu' is not available here", True),
    ],
)
def test_trainings_that_cannot_succeed_say_why(job: Job, changed: dict[str, Any], said: str, again: bool) -> None:
    made = runner(**changed)
    status = here(made, job)
    assert status.state == "failed"
    assert said in (status.error or "")
    assert status.again is again
    assert status.model is None
    assert str(Path(job.workdir) / "log.txt") in status.detail
    assert made.find(job) is not None
    assert made.find(replace(job, key="the next attempt")) is None


def test_rows_that_are_cut_are_counted(job: Job) -> None:
    status = here(runner(max_length=46), job)
    assert status.model is not None
    cut = status.model.facts["truncated_rows"]
    assert isinstance(cut, int)
    assert 0 < cut < 32


def test_max_rows_takes_the_first_ones(job: Job) -> None:
    status = here(runner(max_rows=5), job)
    assert status.model is not None
    assert status.model.facts["rows"] == 5
    assert status.total_steps == 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory. Lower tokens_per_pass"),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate 5 GB"), "out of memory. Lower tokens_per_pass"),
        (RuntimeError("mat1 and mat2\nTraceback of native code"), "RuntimeError: mat1 and mat2"),
        (KeyError(), "KeyError"),
    ],
)
def test_surprises_become_one_line(job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def surprise(_self: Child) -> None:
        raise error

    monkeypatch.setattr(Child, "_prepare", surprise)
    status = here(runner(), job)
    assert status.error is not None
    assert status.error.startswith(said)
    assert "\n" not in status.error
    assert status.again


def test_a_child_without_a_job_says_so(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    Child(folder).run()
    assert "there is no job" in folder.state()["error"]


def test_check_names_what_is_wrong(job: Job) -> None:
    assert runner().check(replace(job, train=())) == ["train has no rows"]
    question = (Message("user", "?"),)
    bad = runner().check(replace(job, train=(ROWS[0], question, (), *[question] * 4), dev=((Message("assistant", "!"),),)))
    assert bad[0] == "train row 2: does not end with an assistant turn"
    assert bad[-2:] == ["train: and 1 more such rows", "dev row 1: has no turn before its answer"]
    assert "neither a folder nor a hub id" in runner().check(replace(job, base="no/such/thing"))[0]


def test_four_bits_without_their_package_are_told_before_a_training(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else find(name, *a))
    (found,) = runner(load_in_4bit=True).check(job)
    assert "evalh[qlora]" in found


def test_one_layer_may_be_named_without_a_list() -> None:
    given = ("q_proj", "all-linear", ".*(q|v)_proj", ["q_proj"])
    assert [runner(target_modules=each).options.target_modules for each in given] == [["q_proj"], *given[1:]]


def test_options_refuse_what_makes_no_sense() -> None:
    assert LoraOptions(rank=8).scaled_alpha == 16
    assert LoraOptions(rank=8).identity() == LoraOptions(rank=8, alpha=16, device="cpu", tokens_per_pass=9, checkpoint_steps=3).identity()
    assert LoraOptions(rank=8).identity() != LoraOptions(rank=9).identity()
    for bad in ({"rank": 0}, {"schedule": "step"}, {"dtype": "int8"}, {"dropout": 1.0}, {"learningrate": 1}):
        with pytest.raises(ValidationError):
            LoraOptions.model_validate(bad)


def test_polling_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no training"):
        runner().poll(Handle("training", str(tmp_path)))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for content in ("{half", "[1]"):
        (tmp_path / "state.json").write_text(content)
        with pytest.raises(RunError, match=r"state\.json is damaged"):
            runner().poll(Handle("training", str(tmp_path)))


def test_a_killed_child_is_noticed_and_replaced(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora, "CHILD", SLEEPER)
    made = runner()
    handle = made.submit(job)
    folder = JobFolder(Path(job.workdir))
    pid = folder.pid()
    assert pid is not None
    assert made.poll(handle).state == "queued"
    while not folder.last_words():
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    status = follow(made, handle)
    assert status.state == "failed"
    assert "was killed" in (status.error or "")
    assert (status.error or "").endswith("awake")
    assert status.again
    assert folder.pid() is None
    assert made.find(job) is None
    assert made.submit(job) == handle
    assert folder.pid() not in (None, pid)
    made.cancel(handle)
    assert not folder.alive()
    made.cancel(handle)


def test_a_child_that_does_not_listen_is_killed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    monkeypatch.setattr(lora, "CHILD", [sys.executable, "-c", deaf])
    monkeypatch.setattr(lora, "GRACE_S", 0.3)
    made = runner()
    handle = made.submit(job)
    folder = JobFolder(Path(job.workdir))
    while not folder.last_words():
        time.sleep(0.02)
    made.cancel(handle)
    assert not folder.alive()


def test_submits_that_race_start_one_child(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    born = tmp_path / "born"
    monkeypatch.setattr(lora, "CHILD", [sys.executable, "-c", f"import time; open({str(born)!r}, 'a').write('x'); time.sleep(60)"])
    made, start = runner(), threading.Barrier(8)

    def submit() -> None:
        start.wait()
        made.submit(job)
        made.poll(made.submit(job))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while not born.exists():
        time.sleep(0.02)
    time.sleep(0.3)
    assert born.read_text() == "x"
    made.cancel(Handle("training", job.workdir))


def test_looking_does_not_disturb_submitting(tmp_path: Path) -> None:
    """`alive` takes the lock for an instant; a submit at that instant must not take it for a living child."""
    folder, stop = JobFolder(tmp_path), threading.Event()
    free = folder.lock()
    assert free is not None
    os.close(free)

    def look() -> None:
        while not stop.is_set():
            folder.alive()

    looking = threading.Thread(target=look)
    looking.start()
    locks = []
    for _ in range(20):
        lock = folder.lock()
        locks.append(lock)
        if lock is not None:
            os.close(lock)
            time.sleep(0.001)
    stop.set()
    looking.join()
    assert None not in locks


def test_a_child_outlives_its_parent(job: Job, tmp_path: Path) -> None:
    """A killed evalh finds the training still running."""
    code = (
        "import sys, os, signal; from evalharness.runners import lora; from tests.runners.test_lora import SLEEPER, runner;"
        "from evalharness.records import Job; lora.CHILD = SLEEPER;"
        f"runner().submit(Job('training', 'key', {job.base!r}, {{}}, 0, (), (), {job.workdir!r})); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == -signal.SIGKILL
    made = runner()
    handle = made.find(job)
    assert handle is not None
    assert made.poll(handle).state == "queued"
    made.cancel(handle)
    assert made.find(job) is None


@pytest.mark.slow(seconds=45)
@pytest.mark.timeout(900)
def test_killed_at_random_it_ends_with_the_same_bits(done: tuple[LoraRunner, Job, Status], base: str, tmp_path: Path) -> None:
    """kill -9 at five seeded moments of one training; each time it is found dead and submitted again."""
    import random

    made = runner(epochs=60, checkpoint_steps=7)
    jobs = [Job("training", "key", base, {}, 0, ROWS[8:], ROWS[:8], str(tmp_path / name)) for name in ("calm", "killed")]
    calm = follow(made, made.submit(jobs[0]))
    assert calm.state == "succeeded"
    draw, kills = random.Random(5), 0
    while True:
        handle = made.find(jobs[1]) or made.submit(jobs[1])
        deadline = draw.randrange(5, 60) + (made.poll(handle).step or 0)
        while (status := made.poll(handle)).state not in FINAL and ((status.step or 0) < deadline or kills == 5):
            time.sleep(0.02)
        pid = JobFolder(Path(handle.provider_id)).pid()
        if status.state in FINAL or pid is None:
            break
        os.kill(pid, signal.SIGKILL)
        kills += 1
        assert "was killed" in (follow(made, handle).error or "")
    status = follow(made, handle)
    assert kills >= 3
    assert status.state == "succeeded"
    assert status.model is not None
    assert calm.model is not None
    assert status.model.identity == calm.model.identity
    assert _untimed(status) == _untimed(calm)
    assert (tmp_path / "calm/adapter/adapter_model.safetensors").read_bytes() == (
        tmp_path / "killed/adapter/adapter_model.safetensors"
    ).read_bytes()


def _untimed(status: Status) -> list[tuple[object, ...]]:
    return [(p.step, p.train_loss, p.dev_loss, p.learning_rate) for p in status.points]
