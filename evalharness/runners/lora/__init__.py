"""LoRA training on this machine, in a child process that outlives a killed evalh and resumes after being killed itself.

>>> runner = LoraRunner(LoraOptions(rank=8))
>>> handle = runner.submit(job)                                                     # doctest: +SKIP
>>> runner.poll(handle).state                                                       # doctest: +SKIP
'running'
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from evalharness import bases, protocols
from evalharness.errors import EvalhError, RunError
from evalharness.records import FINAL, Endpoint, Handle, Job, Message, Status, TrainedModel
from evalharness.runners.lora.files import JobFolder
from evalharness.runners.lora.options import LoraOptions

__all__ = ["LoraOptions", "LoraRunner"]

ALGORITHM = 2
"""Raise it when equal jobs get other adapters than before: trainings stored under the old number are then not reused."""
CHILD = [sys.executable, "-u", "-m", "evalharness.runners.lora.child"]
"""The command that trains; it is given the job's folder."""
GRACE_S = 30.0
"""Seconds that a child has to save and stop before it is killed."""
_SHOWN = 5
_LOADING = {"revision", "device", "dtype", "load_in_4bit", "trust_remote_code"}
"""Options of the local model, too, under the same names."""
_CHILDREN: list[subprocess.Popen[bytes]] = []
"""Started here and to be reaped here; they live on if this process ends."""


class LoraRunner:
    """Trains with transformers and PEFT in a child process; the job's folder is the handle."""

    Options: ClassVar[type[protocols.Options]] = LoraOptions
    local: ClassVar[bool] = True

    def __init__(self, options: LoraOptions) -> None:
        self.options = options

    def identity(self, base: str) -> dict[str, object]:
        """The base's weights or commit and end tokens, the settings, and the version of the algorithm."""
        known = {"base": bases.identity(base, self.options.revision), **bases.ends(base)}
        return {**known, "settings": self.options.identity(), "algorithm": ALGORITHM}

    def check(self, job: Job) -> list[str]:
        """Whether the base is there and the rows can be learned from; reads no weights."""
        problems = [] if job.train else ["train has no rows"]
        for split, rows in (("train", job.train), ("dev", job.dev)):
            problems += _bad_rows(split, rows)
        try:
            bases.require("torch", "transformers", "peft", "safetensors", needed_by="the runner 'lora'")
            if self.options.load_in_4bit:
                bases.require_four_bit()
            bases.check(bases.resolve(job.base), self.options.revision)
        except EvalhError as error:
            problems.append(str(error))
        return problems

    def submit(self, job: Job) -> Handle:
        """Start a child unless one lives already; it goes on from the last checkpoint, if there is one."""
        folder = JobFolder(Path(job.workdir).absolute())
        lock = folder.lock()
        if lock is None:
            return _handle(job, folder)
        try:
            if not _answers(folder, job):
                self._start(job, folder, lock)
        finally:
            os.close(lock)  # the child holds it on
        return _handle(job, folder)

    def find(self, job: Job) -> Handle | None:
        """A living or finished training of this intent; a dead or cancelled one is none, so that `submit` resumes it."""
        folder = JobFolder(Path(job.workdir).absolute())
        return _handle(job, folder) if folder.alive() or _answers(folder, job) else None

    def poll(self, handle: Handle) -> Status:
        """What the child wrote last; failed if it died without a final word."""
        for child in _CHILDREN:
            child.poll()
        folder = JobFolder(Path(handle.provider_id))
        alive = folder.alive()  # before the state is read: a child that ends in between has written its last state
        state = folder.state()
        if not state:
            raise RunError(f"there is no training in {folder.path}")
        if state["state"] not in FINAL and not alive:
            words = folder.last_words()
            state |= {"state": "failed", "detail": f"log: {folder.log}"}
            state["error"] = f"the training process was killed (out of memory?); run again to resume{': ' + words if words else ''}"
        return _status(state, folder)

    def cancel(self, handle: Handle) -> None:
        """Ask the child to save and stop; kill it if it does not within half a minute."""
        folder = JobFolder(Path(handle.provider_id))
        for number, wait in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            pid = folder.pid()
            if pid is None:
                return
            os.kill(pid, number)
            end = time.monotonic() + wait
            while folder.alive() and time.monotonic() < end:
                time.sleep(0.05)

    def estimate(self, job: Job) -> float | None:
        """Nothing is bought: the job runs on this machine."""
        return 0.0

    def hourly(self, model: TrainedModel) -> float | None:
        """Nothing stays open."""
        return 0.0

    def served(self, key: str) -> Endpoint | None:
        """Nothing stays open."""
        return None

    def serve(self, model: TrainedModel, key: str) -> Endpoint:
        """The base, loaded as it was for training, with the adapter on: nothing to open."""
        loading = self.options.model_dump(include=_LOADING, exclude_defaults=True)
        return Endpoint(model=model.model, adapter=model.adapter, options=loading)

    def release(self, endpoint: Endpoint) -> None:
        """Nothing was opened."""

    def _start(self, job: Job, folder: JobFolder, lock: int) -> None:
        before = folder.read_job()
        threads = folder.state().get("threads") or (before[2] if before else None)  # other threads sum in another order
        folder.write_job(job, self.options.model_dump(mode="json"), threads)
        folder.write_state({"state": "queued", "detail": "starting"})
        folder.write_pid(None)
        # Threads that spin while they wait for each other all but stop on a busy machine (measured: 4 products a second
        # against 3,000), so they sleep instead.
        with folder.log.open("ab") as log:
            child = subprocess.Popen(
                [*CHILD, str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"OMP_WAIT_POLICY": "passive", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", **os.environ},
                start_new_session=True,
                pass_fds=(lock,),
            )
        _CHILDREN.append(child)
        folder.write_pid(child.pid)


def _handle(job: Job, folder: JobFolder) -> Handle:
    return Handle(job.training_id, str(folder.path))


def _answers(folder: JobFolder, job: Job) -> bool:
    """Whether the folder's final state is this intent's: a failure is only the attempt's that failed."""
    state, submitted = folder.state().get("state"), folder.read_job()
    if state == "succeeded":
        return folder.adapter.is_dir()
    return state == "failed" and submitted is not None and submitted[0].key == job.key


def _bad_rows(split: str, rows: Sequence[Sequence[Message]]) -> list[str]:
    bad = [f"{split} row {number}: {found}" for number, row in enumerate(rows, 1) if (found := _bad_row(row))]
    return bad if len(bad) <= _SHOWN else [*bad[:_SHOWN], f"{split}: and {len(bad) - _SHOWN} more such rows"]


def _bad_row(row: Sequence[Message]) -> str | None:
    if not row or row[-1].role != "assistant":
        return "does not end with an assistant turn"
    return "has no turn before its answer" if len(row) == 1 else None


def _status(state: Mapping[str, Any], folder: JobFolder) -> Status:
    model = TrainedModel(**{**state["model"], "checkpoints": ()}) if state.get("model") else None
    return Status(
        state["state"],
        state.get("detail", ""),
        state.get("step"),
        state.get("total_steps"),
        folder.points(),
        model,
        tokens=state.get("tokens"),
        seconds=state.get("seconds"),
        error=state.get("error"),
        again=state.get("again", True),
    )
