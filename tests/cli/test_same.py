"""The command line and the Python API say the same, byte for byte, and say it again in another process."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalharness import verdict
from evalharness.report import FILES, Items, of_view
from evalharness.verdict import View
from tests.cli.conftest import Said
from tests.pipeline.conftest import SUITE, Workspace

Evalh = Callable[..., Said]
ROOT = Path(__file__).parents[2]
BY_CLI: dict[str, tuple[str, ...]] = {
    "compare": ("compare", "tuned", "loud"),
    "compare with a pin": ("compare", "tuned", "--against", "pin:before"),
    "gate": ("gate",),
    "gate one": ("gate", "--candidate", "tuned", "--against", "loud"),
    "gate against the last run": ("gate", "--against", "last"),
    "decide": ("decide",),
    "decide by volume": ("decide", "--volume", "1000"),
    "deployed": ("decide", "--deployed", "tuned@pin:before", "--shutdown", "2035-01-01"),
}


def by_api(name: str, view: View) -> verdict.Verdict:
    return {
        "compare": lambda: verdict.compare(view, "tuned", "loud"),
        "compare with a pin": lambda: verdict.compare_past(view, "tuned", verdict.find(view, "pin:before")),
        "gate": lambda: verdict.gate(view),
        "gate one": lambda: verdict.gate(view, candidates=["tuned"], against="loud"),
        "gate against the last run": lambda: verdict.gate_past(view, verdict.find(view, "last")),
        "decide": lambda: verdict.decide(view),
        "decide by volume": lambda: verdict.decide(view, volume=1000),
        "deployed": lambda: verdict.decide_deployed(view, "tuned@pin:before", shutdown=datetime.date(2035, 1, 1)),
    }[name]()


@pytest.fixture
def twice(evalh: Evalh, workspace: Workspace) -> View:
    """Two runs, the first one pinned."""
    workspace.suite(SUITE + "decide: {metric: exact_match, min_gain: 0.03}\n")
    evalh("train-and-score", "suites/toy.yaml", "-q")
    evalh("pin", "before")
    evalh("train-and-score", "suites/toy.yaml", "-q")
    run = workspace.store.latest_run()
    assert run is not None
    return verdict.load(workspace.store, run.run_id, workspace.root)


def test_the_command_line_says_what_the_api_says(evalh: Evalh, twice: View) -> None:
    for name, words in BY_CLI.items():
        said = json.loads(evalh(*words, "--json").out)
        said.pop("ledger", None)
        assert json.dumps(said) == json.dumps(by_api(name, twice).as_json()), name
    for ending in FILES:
        printed = evalh("report", "--format", {"junit.xml": "junit"}.get(ending, ending)).out
        assert printed == FILES[ending](of_view(twice), Items.of(twice)), ending


@pytest.mark.slow
def test_another_process_says_the_same_bytes(evalh: Evalh, twice: View, workspace: Workspace) -> None:
    """Whatever the order of a process's hashes."""
    lines = [[*words, "--json"] for words in BY_CLI.values()] + [["report", "--format", name] for name in ("json", "html")]
    here = [evalh(*line).out for line in lines]
    assert all(here)
    for seed in ("1", "2"):
        for line, mine, other in zip(lines, here, in_process(lines, workspace.root, PYTHONHASHSEED=seed), strict=True):
            assert mine == other, line


SAY = """
import contextlib, io, json, sys
from evalharness.cli import main
said = []
for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main(line)
    said.append(out.getvalue())
json.dump(said, sys.stdout)
"""


def in_process(lines: list[list[str]], folder: Path, **more: str) -> list[str]:
    """What each line prints, one after another in one new process."""
    command = [sys.executable, "-c", SAY]
    done = subprocess.run(command, cwd=folder, env=os.environ | more, input=json.dumps(lines), capture_output=True, text=True, check=True)
    return [str(text) for text in json.loads(done.stdout)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("margin", "candidate", "inconclusive", "outcome", "code"),
    [(0.02, "tuned", "fail", "PASS", 0), (0.0, "same", "fail", "INCONCLUSIVE", 3), (0.0, "same", "pass", "INCONCLUSIVE", 0)],
)
def test_the_action_s_own_script_judges_and_tells_its_outputs(
    evalh: Evalh, workspace: Workspace, tmp_path: Path, margin: float, candidate: str, inconclusive: str, outcome: str, code: int
) -> None:
    """The step of action.yml, run by the shell that GitHub runs it with."""
    workspace.write("data/same.jsonl", "".join(json.dumps({"input": f"test {i}", "output": f"test {i}"}) + "\n" for i in range(10)))
    workspace.suite(SUITE, ("{train: files}", "{train: files}\n  same: {outputs: data/same.jsonl}"), ("margin: 0.02", f"margin: {margin}"))
    evalh("train-and-score", "suites/toy.yaml", "-q")
    shim = workspace.write("bin/evalh", f'#!/bin/sh\nexec {sys.executable} -m evalharness "$@"\n')
    shim.chmod(0o755)
    (script,) = (step["run"] for step in _steps() if step.get("id") == "gate")
    files = {name: tmp_path / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    given = {"SUITE": "suites/toy.yaml", "AGAINST": "", "CANDIDATES": candidate, "INCONCLUSIVE": inconclusive, "GITHUB_ACTIONS": "true"}
    path = f"{shim.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=workspace.root,
        env={**os.environ, **given, **{name: str(file) for name, file in files.items()}, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert files["GITHUB_OUTPUT"].read_text() == f"exit-code={code}\noutcome={outcome}\n"
    assert outcome in files["GITHUB_STEP_SUMMARY"].read_text().splitlines()[0]
    assert done.stderr.startswith("::notice" if outcome == "PASS" else "::warning")
    assert (workspace.root / "results" / "reports" / "gate.xml").is_file()


def _steps() -> list[dict[str, Any]]:
    return list(yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["runs"]["steps"])
