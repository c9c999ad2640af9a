"""A local training's folder: what the parent process and the training child tell each other, and how they never collide.

    job.json          what to train (written once by submit)
    state.json        where it stands (replaced atomically by the child)
    points.jsonl      one line per logged point
    child.pid         the child's process id
    child.lock        held by the living child: the kernel lets go of it however the child dies
    log.txt           everything the child printed
    checkpoint-*/     the last checkpoint
    adapter/          the result

>>> folder = JobFolder(Path("results/trainings/5d1c"))                              # doctest: +SKIP
>>> folder.state()["state"], folder.alive()                                         # doctest: +SKIP
('running', True)
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalharness.errors import RunError
from evalharness.records import Job, Message, Point

_LOG_TAIL = 4000
_TRIES = 10


class JobFolder:
    """Paths and atomic reads and writes of one job's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log, self.adapter, self.points_file = path / "log.txt", path / "adapter", path / "points.jsonl"
        self._lock_file, self._pid_file = path / "child.lock", path / "child.pid"

    def lock(self) -> int | None:
        """The open lock file if no child holds it, else None. Whoever inherits the descriptor holds the lock on."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        for _ in range(_TRIES):  # a look by `alive` holds it for an instant, too
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                time.sleep(0.02)
        os.close(descriptor)
        return None

    def alive(self) -> bool:
        """Whether a training child lives (or is being started)."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def pid(self) -> int | None:
        """The living child's process id; None if none lives. Valid because the lock is held: no other process can have it."""
        while self.alive():
            try:
                return int(self._pid_file.read_text())
            except (FileNotFoundError, ValueError):
                time.sleep(0.02)  # started this instant
        return None

    def write_pid(self, pid: int | None) -> None:
        """Note the child's process id; None before a new one is started."""
        if pid is None:
            self._pid_file.unlink(missing_ok=True)
        else:
            write_text(self._pid_file, str(pid))

    def write_job(self, job: Job, params: Mapping[str, object], threads: int | None) -> None:
        """Everything that the child needs; `threads` as an earlier start of this job had them, for equal bits."""
        content = asdict(job) | {"params": dict(params), "threads": threads}
        write_json(self.path / "job.json", content)

    def read_job(self) -> tuple[Job, dict[str, Any], int | None] | None:
        """The job, its parameters and threads; None if none was submitted here."""
        content = _read_json(self.path / "job.json")
        if content is None:
            return None
        params, threads = content.pop("params"), content.pop("threads")
        train, dev = (tuple(tuple(Message(**turn) for turn in chat) for chat in content.pop(side)) for side in ("train", "dev"))
        return Job(**content, params=params, train=train, dev=dev), params, threads

    def state(self) -> dict[str, Any]:
        """The last state that was written; empty if none was."""
        return _read_json(self.path / "state.json") or {}

    def write_state(self, state: Mapping[str, object]) -> None:
        """Replace the state in one step."""
        write_json(self.path / "state.json", state)

    def points(self) -> tuple[Point, ...]:
        """All points so far; a line that is still being written is left out."""
        if not self.points_file.is_file():
            return ()
        lines = self.points_file.read_text("utf-8").split("\n")[:-1]
        return tuple(Point(**json.loads(line)) for line in lines)

    def write_points(self, points: Sequence[Point]) -> None:
        """Replace all points: a resumed training begins with those up to its checkpoint."""
        write_text(self.points_file, "".join(_line(point) for point in points))

    def add_point(self, point: Point) -> None:
        """Append one point."""
        with self.points_file.open("a", encoding="utf-8") as file:
            file.write(_line(point))

    def last_words(self) -> str:
        """The log's last line that says something; empty if there is none."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _LOG_TAIL))
            lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file in one step: readers see the old one or the new one, never a half."""
    write_text(path, json.dumps(value, ensure_ascii=False))


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(text, "utf-8", errors="surrogatepass")
    half.replace(path)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text("utf-8", errors="surrogatepass")
    except FileNotFoundError:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}). Delete its folder to train again") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged (no JSON object). Delete its folder to train again")
    return value


def _line(point: Point) -> str:
    return json.dumps(asdict(point)) + "\n"
