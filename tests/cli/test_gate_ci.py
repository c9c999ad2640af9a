"""`evalh gate` in CI, pins, and verdicts against earlier runs, as a person or a job runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evalharness.cli.compare import _flip
from tests.cli.conftest import Said
from tests.pipeline.conftest import SUITE, Workspace

Evalh = Callable[..., Said]


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def test_gate_writes_junit_and_in_github_a_summary_and_annotations(
    evalh: Evalh, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    evalh("train-and-score", "suites/toy.yaml", "-q")
    said = evalh("gate", "--junit", "out/gate.xml")
    root = ElementTree.parse(workspace.root / "out" / "gate.xml").getroot()
    assert root.get("tests") == "1"
    assert "::" not in said.out + said.err
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    again = evalh("gate", "--json")
    assert again.code == said.code
    assert json.loads(again.out)["kind"] == "gate"
    assert again.err.startswith(("::notice", "::warning", "::error"))
    assert summary.read_text().startswith("## ")
    workspace.write("file", "")
    assert "cannot be written" in evalh("gate", "--junit", "file/gate.xml").err


def test_in_github_no_word_of_an_answer_is_a_command_to_the_runner(
    evalh: Evalh, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner reads "##[" anywhere in a line, and "::" where a line begins, be it by wrapping."""
    rows = [{"input": f"##[stop-commands]{i} " + "x" * 60, "output": "##[add-mask]a"} for i in range(4)]
    tests = [{"input": row["input"], "target": "b", "s": "::error::" + "y" * 75} for row in rows]
    for name, lines in {"t": tests, "c": rows, "p": [{**row, "output": "b"} for row in rows]}.items():
        workspace.write(f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    arms = "baselines: {p: {outputs: p.jsonl}}\ncandidates: {c: {outputs: c.jsonl}}\n"
    rules = "metrics: [exact_match]\ngate: {rules: [{metric: exact_match, margin: 0.1, every_slice: true}]}\n"
    workspace.write("suites/ci.yaml", f"data: {{test: t.jsonl, slices: [s]}}\n{arms}{rules}")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    meant = []
    for words in (("score", "suites/ci.yaml"), ("gate", "suites/ci.yaml"), ("compare", "c", "p"), ("report",)):
        said = evalh(*words)
        assert "##[" not in said.out + said.err
        meant += [line for line in (said.out + said.err).splitlines() if line.lstrip().startswith("::")]
    assert len(meant) == 1
    assert meant[0].startswith("::error title=evalh%3A c::FAIL")
    assert "##[add-mask]a" in evalh("compare", "c", "p", "--json").out, "data stays as it is"


def test_every_format_is_printed_and_written(evalh: Evalh, workspace: Workspace) -> None:
    evalh("train-and-score", "suites/toy.yaml", "-q")
    for name, ending in {"md": "md", "html": "html", "json": "json", "junit": "junit.xml"}.items():
        said = evalh("report", "--format", name)
        (path,) = (workspace.root / "results" / "reports").glob(f"*.{ending}")
        assert said.out == path.read_text(encoding="utf-8")
    assert "searchable" in evalh("report").out


def test_a_run_is_pinned_and_later_ones_are_held_against_it(evalh: Evalh, workspace: Workspace) -> None:
    evalh("train-and-score", "suites/toy.yaml", "-q")
    assert evalh("gate", "--against", "last").code == 2
    assert evalh("pin", "a/b").code == 2
    assert "production: run" in evalh("pin", "production").out
    workspace.suite(SUITE, ("Echo/echo", "Echo/upper"))
    evalh("train-and-score", "suites/toy.yaml", "-q")
    same = evalh("gate", "--against", "pin:production", "--candidate", "loud")
    assert "loud against loud of pin production" in same.out
    assert evalh("gate", "--against", "last", "-c", "loud").out.splitlines()[0] == same.out.splitlines()[0].replace(
        "pin production", "the last run"
    )
    changed = json.loads(evalh("compare", "plain", "--against", "last", "--json").out)
    assert changed["evidence"]["against"] == "plain of the last run"
    assert changed["evidence"]["n"] == 10
    named = json.loads(evalh("compare", "plain", "loud", "--against", "pin:production", "--json").out)
    assert named["evidence"]["against"] == "loud of pin production"
    assert evalh("compare", "plain", "--against", "pin:nothing").code == 2
    assert evalh("compare", "plain", "--against", "last/nobody").code == 2


def test_decide_about_the_deployed_arm(evalh: Evalh, workspace: Workspace) -> None:
    workspace.suite(SUITE + "decide: {metric: exact_match, min_gain: 0.03}\n")
    evalh("train-and-score", "suites/toy.yaml", "-q")
    said = evalh("decide", "--deployed", "tuned", "--json")
    found = json.loads(said.out)
    assert found["outcome"] in {"KEEP", "RETRAIN", "RETURN"}
    assert {reason["code"] for reason in found["evidence"]["reasons"]} == {
        "score_drop", "new_rows", "shutdown", "better", "rival", "budget",
    }  # fmt: skip
    evalh("pin", "production")
    assert "tuned of pin production" in evalh("decide", "--deployed", "tuned@pin:production").out
    assert evalh("decide", "--deployed", "nobody").code == 2
    assert "plain of pin production" in evalh("decide", "--against", "pin:production").out
    assert evalh("decide", "--against", "plain").out.splitlines()[0] == evalh("decide").out.splitlines()[0]
    assert evalh("decide", "--against", "plain", "--deployed", "tuned").code == 2


def test_items_without_a_target_flip_too() -> None:
    shown = _flip({"input": "which one?\x1b", "targets": [], "answers": {"tuned": "this", "prompt": None}, "why": {}})
    assert shown.splitlines() == ["", "'which one?\\x1b'", "  tuned        'this'", "  prompt       None"]
