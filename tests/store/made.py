"""Small records for the store's tests, and child processes that use a store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evalharness.records import Arm, Dataset, Finish, Message, Output, Reply, Sample, Sampling, Score


def dataset(n: int = 4, *, name: str = "tickets") -> Dataset:
    """n samples; clusters of two, the last sample in none; a slice that every third sample lacks."""
    samples = [
        Sample.of(
            [Message("system", "Reply."), Message("user", f"{name} {i}?")],
            [f"yes {i}", f"yeah {i}"],
            fields={"id": str(i)},
            cluster=None if i == n - 1 else f"c{i // 2}",
            slices={} if i % 3 == 2 else {"lang": "de" if i % 3 else "en"},
            source=f"test.jsonl:{i + 1}",
        )
        for i in range(n)
    ]
    return Dataset(name, "test", tuple(samples), "test.jsonl")


def arm(arm_id: str, label: str = "", **model: object) -> Arm:
    return Arm(arm_id, label or arm_id, "baseline", model, {"text": "{{input}}"}, Sampling(stop=("\n",)))


def output(arm_id: str, data: str, sample_id: str, text: str | None = "yes", finish: Finish = "stop", *, repeat: int = 0) -> Output:
    output_id = f"{arm_id}/{sample_id}/{repeat}"
    error = "boom" if finish == "error" else None
    return Output(output_id, arm_id, data, sample_id, repeat, Reply(output_id, text, finish, 10, 2, 0.5, 0.01, error), "run1")


def score(of: Output, metric_id: str = "m", *stats: float, error: str | None = None, other: str | None = None) -> Score:
    value = None if error else sum(stats)
    return Score(f"{metric_id}({of.outcome_key},{other})", of.output_id, metric_id, value, stats, "because", error, 0.001, other)


@contextmanager
def child(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code` with sys.argv[1:] = args; killed at the end of the block."""
    command = [sys.executable, "-c", code, *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory of that size (`3m`); skips the test where mounting is not permitted."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
