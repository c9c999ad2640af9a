"""What judging has to stand: a biased judge, one that fails on bad answers, and kill -9 in the middle of 10,000 calls."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalharness.metrics.judge import read_why
from evalharness.pipeline.scoring import metric_id
from evalharness.reading import load_suite
from evalharness.records import Score
from evalharness.stats.length import length_controlled
from evalharness.store import Store
from evalharness.verdict import gate
from evalharness.verdict.view import load
from tests.emulators.judge import Faults, JudgeService, preference
from tests.pipeline.conftest import Workspace

SUITE = """
data: {test: data/test.jsonl}
baselines:
  base: {outputs: data/base.jsonl}
candidates:
  tuned: {outputs: data/tuned.jsonl}
metrics: [{judge: {model: {openai: {name: judge-x, base_url: URL, concurrency: 64}}, OPTIONS}}]
gate: {rules: [{metric: judge, margin: 0.02}]}
"""


class Trial(Workspace):
    """A workspace with recorded answers and a judge at a URL."""

    def __init__(self, root: Path, url: str, options: str, base: Sequence[str], tuned: Sequence[str]) -> None:
        super().__init__(root)
        self.suite(SUITE.replace("URL", url).replace("OPTIONS", options))
        asked = [f"question {i}" for i in range(len(base))]
        self.rows("test", [{"input": text, "target": "right"} for text in asked])
        self.rows("base", [{"input": text, "output": output} for text, output in zip(asked, base, strict=True)])
        self.rows("tuned", [{"input": text, "output": output} for text, output in zip(asked, tuned, strict=True)])

    def rows(self, name: str, rows: Sequence[dict[str, str]]) -> None:
        self.write(f"data/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def scores(self, label: str) -> list[Score]:
        run = self.store.latest_run()
        assert run is not None
        part = next(part for part in self.store.run_arms(run.run_id) if part.arm.label == label)
        key = metric_id(load_suite(self.root / "suites" / "toy.yaml").metrics["judge"])
        return self.store.scores(key, part.arm.arm_id, part.dataset_id)

    def verdict(self) -> Any:
        run = self.store.latest_run()
        assert run is not None
        return gate(load(self.store, run.run_id, self.root))


def answers(n: int, *, q: float, style: int, seed: int) -> list[str]:
    """Answers of one mean quality, each its own, the stylish ones longer."""
    rng = random.Random(seed)
    filler = " and so on" * (6 * style)
    return [
        f"answer {i} of {seed} q={min(1.0, max(0.0, rng.gauss(q, 0.15))):.3f} style={style}{filler * rng.randrange(1, 4)}" for i in range(n)
    ]


@pytest.fixture
def service() -> Iterator[JudgeService]:
    with JudgeService() as made:
        yield made


@pytest.mark.slow
def test_both_orders_take_the_position_bias_out_and_no_row_is_dropped(tmp_path: Path, service: JudgeService) -> None:
    n = 2000
    base, tuned = answers(n, q=0.5, style=0, seed=1), answers(n, q=0.55, style=1, seed=2)
    faults = service.script.faults = Faults(position=0.10, style=0.06, garbage=0.03, refusals=0.02, seed=5)
    trial = Trial(tmp_path, service.url, "rubric: 'Which is better?', against: base", base, tuned)
    began = time.monotonic()
    assert trial.run().state == "succeeded"
    took_s = time.monotonic() - began
    scores = trial.scores("tuned")
    assert len(scores) == n  # nobody is dropped
    failed = [score for score in scores if score.error is not None]
    votes = [vote for score in scores for vote in read_why(score.why or "")]
    unusable = Counter("refusal" if "refusal" in vote.error else "garbage" for vote in votes if vote.error is not None)
    said, retried = service.script.said, sum(vote.tries == 2 for vote in votes)
    assert said["garbage"] + said["refusal"] == retried + sum(unusable.values())  # every one of them is in the books
    assert 0.04 < retried / (2 * n) < 0.06
    assert all(score.value is None and score.stats == () for score in failed)
    assert all(any(vote.raw for vote in read_why(score.why or "")) for score in failed)

    kept = [i for i, score in enumerate(scores) if score.error is None]
    stats = np.array([scores[i].stats for i in kept])
    unbiased = np.array([_unbiased(faults, tuned[i], base[i]) for i in kept])
    rest = float(stats[:, 0].mean() - unbiased.mean())
    first = np.array(
        [[vote.value for vote in sorted(read_why(scores[i].why or ""), key=lambda vote: vote.first or "")] for i in kept], float
    )
    one_order = first.mean(axis=0) - unbiased.mean()  # the judged answer first ("mine"), then second ("other")
    flip_rate = float(stats[:, 1].sum() / stats[:, 2].sum())
    print(
        f"rest {100 * rest:+.2f} points over {n} items (one order {100 * one_order[0]:+.1f}, the other {100 * one_order[1]:+.1f}); "
        f"flip rate {flip_rate:.3f}; {retried} second tries, {len(failed)} errors {dict(unusable)}; {2 * n + retried} calls, {took_s:.1f} s"
    )
    assert abs(rest) < 0.01
    assert one_order[0] > 0.07
    assert one_order[1] < -0.07
    assert flip_rate == pytest.approx(0.20, abs=0.03)  # the band in which the place decides

    equal = length_controlled(stats[:, 0], stats[:, 3], stats[:, 4])
    print(
        f"win rate {stats[:, 0].mean():.3f} with {stats[:, 3].mean():.0f} against {stats[:, 4].mean():.0f} characters; "
        f"at equal lengths {equal.estimate:.3f} [{equal.low:.3f}, {equal.high:.3f}]"
    )
    assert equal.low < equal.estimate < equal.high


def _unbiased(faults: Faults, mine: str, other: str) -> float:
    """What the same judge says without position bias: style bias and draw as they were."""
    first, second = sorted((mine, other))
    best = first if faults.draw("pair", first, second) < preference(first, second, faults.style) else second
    return float(best == mine)


@pytest.mark.slow
@pytest.mark.parametrize(("hopeless", "expected"), [(1.0, "INVALID"), (0.025, "FAIL")])
def test_a_judge_that_fails_on_bad_answers_passes_nobody(tmp_path: Path, service: JudgeService, hopeless: float, expected: str) -> None:
    """The baseline is right in 50%, the candidate in 40%; the judge fails on all, or on a few, of the candidate's wrong answers."""
    n, rng = 1000, random.Random(3)
    service.script.faults = Faults(fails_on="hopeless")
    base = [f"answer {i} q={i % 2}.0" for i in range(n)]
    right = [i % 5 < 2 for i in range(n)]
    tuned = [f"reply {i} q={float(ok)}{' hopeless' if not ok and rng.random() < hopeless else ''}" for i, ok in enumerate(right)]
    trial = Trial(tmp_path, service.url, "rubric: 'Is it right?', scale: pass_fail", base, tuned)
    trial.run()
    scores, verdict = trial.scores("tuned"), trial.verdict()
    judged = [score.value for score in scores if score.value is not None]
    print(f"{n - len(judged)} of {n} not judged; {np.mean(judged):.3f} of the others pass, 0.500 of the baseline's; {verdict.outcome}")
    assert len(scores) == n
    assert len(judged) < n
    assert np.mean(judged) > 0.4
    assert verdict.outcome == expected
    assert verdict.exit_code() != 0


@pytest.mark.slow(seconds=70)
def test_killed_in_the_middle_of_ten_thousand_calls(tmp_path: Path) -> None:
    n, kills, in_flight, flush, calls_each = 5000, 4, 64, 200, 2.1  # two orders, and one in twenty asked twice
    log = tmp_path / "calls.txt"
    command = [
        sys.executable,
        "-m",
        "tests.emulators.judge",
        "--log",
        str(log),
        "--latency",
        "0.1",
        "--garbage",
        "0.03",
        "--refusals",
        "0.02",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as judge:
        assert judge.stdout is not None
        port = json.loads(judge.stdout.readline())["port"]
        options = "rubric: 'Which is better?', against: base"
        trial = Trial(
            tmp_path, f"http://127.0.0.1:{port}/v1", options, answers(n, q=0.5, style=0, seed=1), answers(n, q=0.6, style=0, seed=2)
        )
        rng, lost = random.Random(9), []
        try:
            for _ in range(kills):
                before = _lines(log)
                with _evalh(tmp_path) as run:
                    wanted = before + rng.randrange(1200, 2400)
                    while _lines(log) < wanted and run.poll() is None:
                        time.sleep(0.01)
                    assert run.poll() is None, "it was over before it was killed"
                    run.send_signal(signal.SIGKILL)
                calls = log.read_text().split()
                lost.append(len(calls) - len(set(calls)))
            with _evalh(tmp_path) as run:
                assert run.wait(300) == 0
        finally:
            judge.kill()
    calls = log.read_text().split()
    repeated = np.diff([*lost[1:], len(calls) - len(set(calls))], prepend=lost[0] if lost else 0)
    scores = trial.scores("tuned")
    print(f"{len(set(calls)):,} different calls, repeated after each kill: {[int(x) for x in repeated]}; {len(scores):,} scores")
    assert len(scores) == n
    assert len(set(calls)) >= 2 * n
    assert max(repeated) <= calls_each * (in_flight + flush)


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


RUN = """
import asyncio
from pathlib import Path
from evalharness.pipeline import execute, make_plan, silent
from evalharness.reading import load_suite
from evalharness.store import Store

store = Store("results/evalh.duckdb")
plan = make_plan(load_suite(Path("suites/toy.yaml")), store, Path("results"))
assert asyncio.run(execute(plan, store, silent)).state == "succeeded"
"""


def _evalh(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=root)


def test_the_store_is_readable_without_the_rubric(tmp_path: Path, service: JudgeService) -> None:
    trial = Trial(tmp_path, service.url, "rubric: rubric.md, scale: pass_fail", ["a q=0.0"] * 3, ["b q=1.0"] * 3)
    (tmp_path / "rubric.md").write_text("Is it right?")
    trial.run()
    (tmp_path / "rubric.md").unlink()
    run = Store(tmp_path / "results" / "evalh.duckdb").latest_run()
    assert run is not None
    measure = load(trial.store, run.run_id, tmp_path).measures["judge"]
    assert measure.problem is None
    assert measure.signature.startswith("judges:openai/judge-x|rubric:")
