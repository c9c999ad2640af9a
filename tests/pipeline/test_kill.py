"""kill -9 at random moments: the rerun goes on, and in the end the store holds what an undisturbed run would have left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalharness.report import as_json, build
from evalharness.store import Store
from tests import tiny
from tests.pipeline.conftest import rows
from tests.pipeline.forked import Evalh

SEEDS = (2026, 2027)
"""Two halves, so that two processes share them."""
KILLS = 10
"""Of each half."""
SUITE = """
data: {train: data/train.jsonl, dev: data/dev.jsonl, test: data/test.jsonl}
baselines:
  echo: {model: {rehearsal: {name: a, latency_s: 0.05, concurrency: 2}}}
  small: {model: local/base}
candidates:
  lora: {train: tiny}
  bought: {train: hosted}
sampling: {max_tokens: 6}
metrics: [exact_match, bleu]
gate: {against: echo, rules: [{metric: exact_match, margin: 0.02}]}
"""
TRAINER = """
runner: lora
base: base
params: {rank: 2, learning_rate: 0.01, max_steps: 60, batch_size: 4, eval_steps: 10, device: cpu}
"""
HOSTED = "runner: rehearsal\nbase: big\nparams: {steps: 5, seconds: 2}\n"


def make(root: Path) -> Path:
    """A workspace with a tiny base, a LoRA candidate, a hosted one and two baselines."""
    for name, text in {
        "suites/kill.yaml": SUITE,
        "trainers/tiny.yaml": TRAINER,
        "trainers/hosted.yaml": HOSTED,
        "data/train.jsonl": rows([f"train word {i}" for i in range(40)], str.upper),
        "data/dev.jsonl": rows([f"dev word {i}" for i in range(8)], str.upper),
        "data/test.jsonl": rows([f"test word {i}" for i in range(60)], str.upper),
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tiny.make(root / "base")
    return root


Start = Callable[[Path], "subprocess.Popen[bytes] | Evalh"]
LINE = ("train-and-score", "suites/kill.yaml", "-q")


def started(root: Path) -> subprocess.Popen[bytes]:
    """evalh as a shell starts it, in a process of its own, which prints nothing."""
    return subprocess.Popen([sys.executable, "-m", "evalharness", *LINE], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def forked(root: Path) -> Evalh:
    """evalh that has its imports behind it: more of the kills meet it at work."""
    return Evalh(LINE, root, os.environ)


def finish(start: Start, root: Path) -> None:
    done = start(root)
    _, said = done.communicate(timeout=300)
    assert done.returncode == 0, said.decode()


def killed(process: subprocess.Popen[bytes] | Evalh, after_s: float) -> bool:
    """Whether it still ran after so many seconds, and was killed."""
    try:
        _, said = process.communicate(timeout=after_s)
    except TimeoutError:
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate(timeout=60)
        return True
    assert process.returncode == 0, said.decode()
    return False


def kill_children(root: Path) -> None:
    """Kill the training's process as well, as a machine that goes down does."""
    for file in root.glob("results/trainings/*/child.pid"):
        try:
            os.kill(int(file.read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            continue  # not started, or over


def left(root: Path) -> dict[str, Any]:
    """What a run leaves in the store, without ids of runs, times and folders."""
    store = Store(root / "results" / "evalh.duckdb")
    queries = {
        "outputs": "SELECT output_id, arm_id, sample_id, repeat, text, finish, completion_tokens, outcome_key FROM outputs ORDER BY ALL",
        "scores": "SELECT score_id, output_id, metric_id, value, stats, error FROM scores ORDER BY ALL",
        "points": "SELECT training_id, step, train_loss, dev_loss, learning_rate FROM training_points ORDER BY ALL",
        "trainings": "SELECT training_id, runner, state, tokens, model->'identity' FROM trainings ORDER BY ALL",
        "ledger": "SELECT kind, provider, intent_key, state FROM resources ORDER BY ALL",
    }
    found: dict[str, Any] = {name: store.sql(query)[1] for name, query in queries.items()}
    report = as_json.as_dict(build(store, root=root))
    for row in report["rows"]:
        for part in ("usage", "training"):
            row.pop(part, None)  # seconds and memory
    found["leaderboard"] = {key: report[key] for key in ("rows", "gate", "headline")}
    if found["leaderboard"]["gate"]:
        found["leaderboard"]["gate"].pop("run_id")
    return found


@pytest.mark.slow(seconds=180)
@pytest.mark.parametrize(("seed", "start"), [*zip(SEEDS, (started, forked), strict=True)])
def test_killed_anywhere_ten_times_the_store_ends_the_same(seed: int, start: Start, tmp_path: Path) -> None:
    rng = random.Random(seed)
    calm = make(tmp_path / "calm")
    began = time.monotonic()
    finish(start, calm)
    whole_s = calm_s = time.monotonic() - began
    expected = left(calm)
    kills, chains = 0, 0
    while kills < KILLS:
        root = make(tmp_path / f"chain{chains}")
        chains += 1
        while kills < KILLS:
            if not killed(start(root), after_s=rng.uniform(0.05, 0.9) * whole_s):
                whole_s *= 0.6  # it was too quick: the machine has less to do than it had
                break
            kills += 1
            if rng.random() < 0.5:
                kill_children(root)
        finish(start, root)
        found = left(root)
        for part, value in expected.items():
            assert found[part] == value, f"chain {chains}: {part}"
    print(f"{kills} kills over {chains} chains; an undisturbed run took {calm_s:.1f} s")
