"""Ctrl-C, SIGTERM and kill -9 while a hosted model is opened and asked: nothing stays open, and little is asked twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evalharness.store import Store
from tests.emulators.openai import OpenAIEmulator
from tests.pipeline.conftest import rows
from tests.pipeline.hosted import CASES, Case, openai_env
from tests.pipeline.test_kill_hosted import evalh, finish, make

DEPLOYED = [case for case in CASES if "releasing" in case.steps]
N, AT_ONCE, FLUSH = 1500, 64, 200


@pytest.mark.slow(seconds=25)
@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("step", ["deployment lost", "scoring"])
@pytest.mark.parametrize("case", DEPLOYED, ids=lambda case: case.name)
def test_a_signal_releases_what_is_open(case: Case, step: str, number: signal.Signals, tmp_path: Path) -> None:
    route, when, nth = case.steps[step]
    with case.emulator() as service:
        root, seen = make(tmp_path, case), [0]
        process = evalh(root, case, service)

        def watch(name: str, moment: str) -> None:
            if (name, moment) == (route, when):
                seen[0] += 1
                if seen[0] == nth:
                    process.send_signal(number)

        service.watch = watch
        _, said = process.communicate(timeout=180)
        service.watch = None
        assert seen[0] >= nth
        assert process.returncode == 130, said.decode()
        assert case.deployments(service) == 0  # without another run
        assert Store(root / "results" / "evalh.duckdb").sql("SELECT count(*) FROM resources WHERE kind = 'deployment' AND closed IS NULL")[
            1
        ] == [(0,)]
        finish(root, case, service)
        assert (case.jobs(service), case.deployments(service)) == (1, 0)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("latency_s", [0.05, 0.0])
def test_after_kill_9_at_most_what_was_in_flight_and_one_flush_is_asked_again(tmp_path: Path, latency_s: float) -> None:
    root = make(tmp_path, CASES[0])
    (root / "suites/kill.yaml").write_text(
        "data: {train: data/train.jsonl, test: data/test.jsonl}\nbaselines: {plain: {model: openai/gpt-x-mini}}\nmetrics: [exact_match]\n"
    )
    (root / "data/test.jsonl").write_text(rows([f"question {i}" for i in range(N)], str.upper))
    with OpenAIEmulator(checked=False, latency_s=latency_s) as service:
        command = [sys.executable, "-m", "evalharness", "train-and-score", "suites/kill.yaml", "-q"]

        def start() -> subprocess.Popen[bytes]:
            env = {**os.environ, **openai_env(service)}
            return subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        process = start()
        service.watch = lambda name, when: process.kill() if len(service.calls) >= N // 2 else None
        assert process.wait(180) == -9
        service.watch = None
        assert start().wait(180) == 0
        asked = len(service.called("chat"))
    print(f"\n{asked - N} of {N} asked again; at most {AT_ONCE} in flight and {FLUSH} in a flush")
    assert N <= asked <= N + AT_ONCE + FLUSH
    kept = Store(root / "results" / "evalh.duckdb").sql("SELECT count(*), count(DISTINCT output_id) FROM outputs")[1]
    assert [tuple(row) for row in kept] == [(N, N)]
