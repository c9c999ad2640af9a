"""What CI services are told of a gate: JUnit XML, annotations, the job's summary. And the action that this repository is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from evalharness.report import build, github, junit
from evalharness.report.github import annotation
from tests.report.made import Made, trained

ROOT = Path(__file__).parents[2]
HOSTILE = "50% worse\n::set-env name=X::y\r\x1b[31m <b>|`\ud83d"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four candidates: one passes, one fails, one is inconclusive, one cannot be judged."""
    made = Made(n=150).arm("few-shot", right=0.5).arm("good", "candidate", right=0.9).arm("bad", "candidate", right=0.1)
    made.arm("close", "candidate", right=0.48)
    made.arm("broken", "candidate", missing=range(150), training=trained("t", "failed", error=HOSTILE))
    found = build(made.store(tmp_path_factory.mktemp("store"))[0]).gate
    assert found is not None
    return dict(found)


def test_junit_has_a_case_for_each_check_of_each_candidate(gate: dict[str, Any]) -> None:
    text = junit.of_gate(gate)
    text.encode()
    root = ElementTree.fromstring(text)
    assert set(root.keys()) == {"name", "tests", "failures", "errors"}, "Jenkins' schema allows no other one"
    (suite,) = root
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    cases = {str(case.get("classname")).split(".")[1]: case for case in suite}
    assert cases["bad"].find("failure") is not None
    assert cases["close"].find("skipped") is not None
    assert cases["good"].get("name") == "exact_match, margin 0.02"
    assert [child.tag for child in cases["good"]] == ["system-out"]
    error = cases["broken"].find("error")
    assert error is not None
    assert "\\x1b[31m" in str(error.get("message"))


def test_a_check_that_lacks_its_labels_is_an_error_in_junit(gate: dict[str, Any]) -> None:
    good = next(each for each in gate["evidence"]["candidates"] if each["candidate"] == "good")
    lacking = {**good, "outcome": "INVALID", "checks": [{**good["checks"][0], "result": "INVALID"}]}
    root = ElementTree.fromstring(junit.of_gate({"suite": "made", "evidence": {"candidates": [lacking]}}))
    assert (root.get("errors"), root.get("failures")) == ("1", "0")


def test_a_report_without_a_gate_has_no_cases(tmp_path: Path) -> None:
    made = Made(n=30).arm("few-shot")
    made.suite = {}
    assert 'tests="0"' in junit.text(build(made.store(tmp_path)[0]))


def test_annotations_are_one_line_each_and_worst_first(gate: dict[str, Any]) -> None:
    lines = github.commands(gate)
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::warning"]
    assert lines[0].startswith("::error title=evalh%3A bad::FAIL: exact_match")
    assert all("\n" not in line and "\r" not in line and line.count("::") == 2 + line.count("::set-env") * 2 for line in lines)
    passing = {**gate, "evidence": {"candidates": [each for each in gate["evidence"]["candidates"] if each["outcome"] == "PASS"]}}
    (notice,) = github.commands(passing)
    assert notice.startswith("::notice title=evalh::")


def test_nothing_ends_a_workflow_command() -> None:
    line = annotation("error", "a:b,c\n", HOSTILE)
    assert "\n" not in line
    assert "\r" not in line
    assert line.startswith("::error title=a%3Ab%2Cc%0A::50%25 worse%0A::set-env")


def test_the_summary_is_a_table_with_the_answer_first(gate: dict[str, Any]) -> None:
    text = github.summary(gate)
    assert text.splitlines()[0] == "## ❌ Gate of made: FAIL"
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 4
    assert all(line.replace("\\|", "").count("|") == 5 for line in rows)
    assert "<b>" not in text
    text.encode()


def test_the_action_takes_no_input_as_code_and_names_only_what_exists() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    steps = action["runs"]["steps"]
    assert action["runs"]["using"] == "composite"
    for step in steps:
        assert "${{" not in step.get("run", ""), "inputs reach the shell as environment variables"
        assert ("run" in step) == (step.get("shell") == "bash")
    used = {name for step in steps for name in _inputs(str(step))}
    assert used == set(action["inputs"])
    guide = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in guide for name in [*action["inputs"], *action["outputs"]])


@pytest.mark.parametrize(("report", "gate", "told"), [(0, 3, "exit-code=3\noutcome=INCONCLUSIVE\n"), (2, 0, "exit-code=2\noutcome=\n")])
def test_the_action_tells_every_exit_code_and_takes_candidates_with_spaces(tmp_path: Path, report: int, gate: int, told: str) -> None:
    steps = {step["name"]: step for step in yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["runs"]["steps"]}
    fake = tmp_path / "bin" / "evalh"
    fake.parent.mkdir()
    answer = """echo '{"outcome": "INCONCLUSIVE"}'"""
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "$CALLS"\nif [ "$1" = report ]; then exit {report}; fi\n{answer}\nexit {gate}\n')
    fake.chmod(0o755)
    inputs = {"SUITE": "a b.yaml", "AGAINST": "", "CANDIDATES": "one, 2 b ", "INCONCLUSIVE": "fail"}
    env = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "GITHUB_OUTPUT": "out.txt", "CALLS": str(tmp_path / "calls.txt"), **inputs}
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps["Gate"]["run"]]
    assert subprocess.run(bash, cwd=tmp_path, env=env, check=False).returncode == max(report, gate)
    assert (tmp_path / "out.txt").read_text() == told
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert calls[:2] == ["report", "a b.yaml"]
    assert [calls[i + 1] for i, word in enumerate(calls) if word == "--candidate"] == ([] if report else ["one", "2 b"])


def _inputs(text: str) -> list[str]:
    return [part.split()[0].strip("}'") for part in text.split("inputs.")[1:]]
