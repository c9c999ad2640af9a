"""kill -9 at every step of every hosted runner: the rerun buys nothing twice, leaves nothing open, and ends in the same leaderboard.

`pytest -m slow tests/pipeline/test_kill_hosted.py -s` prints the matrix.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evalharness.report import as_json, build
from evalharness.store import Store
from tests.pipeline.conftest import rows
from tests.pipeline.forked import Evalh
from tests.pipeline.hosted import CASES, STEPS, Case

AT_ONCE = 4
"""Cells at once: a run mostly waits."""
SUITE = """
data: {train: data/train.jsonl, dev: data/dev.jsonl, test: data/test.jsonl}
baselines:
  echo: {model: {rehearsal: {name: a}}}
candidates:
  tuned: {train: hosted}
metrics: [exact_match]
gate: {against: echo, rules: [{metric: exact_match, margin: 0.02}]}
"""


def make(root: Path, case: Case) -> Path:
    for name, text in {
        "suites/kill.yaml": SUITE,
        "trainers/hosted.yaml": case.trainer,
        "data/train.jsonl": rows([f"train word {i}" for i in range(24)], str.upper),
        "data/dev.jsonl": rows([f"dev word {i}" for i in range(12)], str.upper),
        "data/test.jsonl": rows([f"test word {i}" for i in range(12)], str.upper),
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def evalh(root: Path, case: Case, service: Any) -> Evalh:
    return Evalh(("train-and-score", "suites/kill.yaml", "-q"), root, {**os.environ, **case.env(service)})


def finish(root: Path, case: Case, service: Any) -> None:
    process = evalh(root, case, service)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said.decode()


def killed_at(root: Path, case: Case, service: Any, route: str, when: str, nth: int) -> bool:
    """Start evalh and kill it -9 at the nth time the service sees this; False if it never came so far."""
    seen, process = [0], evalh(root, case, service)

    def watch(name: str, moment: str) -> None:
        if (name, moment) == (route, when):
            seen[0] += 1
            if seen[0] == nth:
                process.kill()

    services = [service, *([service.storage] if hasattr(service, "storage") else [])]
    for one in services:
        one.watch = watch
    process.communicate(timeout=120)
    for one in services:
        one.watch = None
    return process.returncode == -9


def left(root: Path) -> dict[str, Any]:
    """What the run leaves: answers, scores and leaderboard, without times."""
    store = Store(root / "results" / "evalh.duckdb")
    found: dict[str, Any] = {
        "outputs": store.sql("SELECT output_id, text, finish FROM outputs ORDER BY ALL")[1],
        "scores": store.sql("SELECT score_id, value, error FROM scores ORDER BY ALL")[1],
        "points": store.sql("SELECT step, train_loss, dev_loss FROM training_points ORDER BY ALL")[1],
        "open": store.sql("SELECT kind, state FROM resources WHERE closed IS NULL")[1],
    }
    report = as_json.as_dict(build(store, root=root))
    for row in report["rows"]:
        for part in ("usage", "training"):
            row.pop(part, None)
    found["rows"] = report["rows"]
    return found


@pytest.mark.slow(seconds=50)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_killed_at_every_step(case: Case, tmp_path: Path) -> None:
    with case.emulator() as service:
        calm = make(tmp_path / "calm", case)
        finish(calm, case, service)
        expected = left(calm)
        assert expected["open"] == []
        assert case.jobs(service) == 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        cells = list(pool.map(lambda step: cell(case, step, tmp_path, expected), STEPS))
    print("\n".join(["", *(each.line for each in cells)]))
    assert all(each.fine for each in cells)


@dataclass(frozen=True)
class Cell:
    """One step of the matrix: what is printed, and whether it is as it should be."""

    line: str
    fine: bool


def cell(case: Case, step: str, folder: Path, expected: dict[str, Any]) -> Cell:
    """Kill a run at this step, run again, and look at what was bought, what is left and what is told."""
    if step not in case.steps:
        return Cell(f"{case.name:<12} {step:<16} does not happen here", True)
    with case.emulator() as service:
        root = make(folder / step.replace(" ", "-"), case)
        if not killed_at(root, case, service, *case.steps[step]):
            return Cell(f"{case.name:<12} {step:<16} the run never came there", False)
        finish(root, case, service)
        jobs, left_there, same = case.jobs(service), case.deployments(service), left(root) == expected
    said = f"{jobs} job bought, {left_there} deployments left, leaderboard {'equal' if same else 'OTHER'}"
    return Cell(f"{case.name:<12} {step:<16} {said}", jobs == 1 and left_there == 0 and same)
