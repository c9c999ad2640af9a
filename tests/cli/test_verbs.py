"""Every verb on the toy workspace: what it prints, what it stores, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.cli.conftest import Said
from tests.pipeline.conftest import SUITE, Workspace

Evalh = Callable[..., Said]


def test_train_and_score_shows_the_leaderboard_and_writes_reports(evalh: Evalh, workspace: Workspace) -> None:
    said = evalh("train-and-score", "suites/toy.yaml", "--quiet")
    assert said.code == 0
    assert "tuned" in said.out
    assert "reference" in said.out
    written = sorted(path.suffix for path in (workspace.root / "results" / "reports").iterdir())
    assert written == [".html", ".json", ".md", ".xml"]


def test_a_second_run_says_that_nothing_was_missing(evalh: Evalh) -> None:
    first = evalh("train-and-score", "suites/toy.yaml")
    assert "30 outputs made; 0 kept from before; 60 scores made" in first.out
    assert "train tuned:" in first.err
    assert "generate plain: 10/10" in first.err
    second = evalh("train-and-score", "suites/toy.yaml")
    assert "Nothing was missing: all 30 outputs and their scores were stored before" in second.out


def test_nothing_made_is_not_nothing_missing(evalh: Evalh) -> None:
    evalh("score", "suites/toy.yaml")
    again = evalh("score", "suites/toy.yaml")
    assert "Nothing was made, as is said below; 20 outputs kept from before" in again.out
    assert "tuned: " in again.err


def test_json_is_all_that_json_prints(evalh: Evalh) -> None:
    said = evalh("train-and-score", "suites/toy.yaml", "--json")
    report = json.loads(said.out)
    assert said.err == ""
    assert {row["arm"] for row in report["rows"]} == {"plain", "loud", "tuned"}
    assert json.loads(evalh("report", "--format", "json").out) == report
    assert evalh("report", "suites/toy.yaml", "--format", "md").out.startswith("**")


def test_plan_spends_nothing_and_says_what_is_missing(evalh: Evalh, workspace: Workspace) -> None:
    said = evalh("plan", "suites/toy.yaml")
    assert said.code == 0
    assert "12 train, 4 dev, 10 held-out rows" in said.out
    assert "tuned: files" not in said.out
    assert "doubles.py:FileRunner on small, 12 rows, time unknown until a first run" in said.out
    assert "plain: 10 of 10 answers missing" in said.out
    assert "exact_match: this test set can see" in said.out
    assert "Nothing was spent" in said.out
    assert workspace.log() == []
    assert not (workspace.root / "results" / "evalh.duckdb").exists()
    evalh("train-and-score", "suites/toy.yaml", "-q")
    assert "Nothing is missing." in evalh("plan", "suites/toy.yaml").out
    assert json.loads(evalh("plan", "suites/toy.yaml", "--json").out)["nothing_to_do"] is True


def test_score_without_training_ends_with_4_and_the_reason(evalh: Evalh) -> None:
    said = evalh("score", "suites/toy.yaml", "-q")
    assert said.code == 4
    assert "tuned: is not trained yet" in said.err


@pytest.mark.parametrize(
    ("rule", "candidate", "code", "word"),
    [
        ("{metric: exact_match, margin: 0.02}", "{train: files}", 0, "PASS"),
        ("{metric: exact_match, margin: 0.02}", "{outputs: data/bad.jsonl}", 1, "FAIL"),
        ("{metric: exact_match, margin: 0.0}", "{outputs: data/same.jsonl}", 3, "INCONCLUSIVE"),
        ("{metric: exact_match, margin: 0.02}", "{outputs: data/few.jsonl}", 4, "INVALID"),
    ],
)
def test_gate_answers_with_its_exit_code(evalh: Evalh, workspace: Workspace, rule: str, candidate: str, code: int, word: str) -> None:
    answers = {"bad": [f"wrong {i}" for i in range(10)], "same": [f"TEST {i}" for i in range(10)], "few": ["TEST 0"]}
    for name, texts in answers.items():
        workspace.write(f"data/{name}.jsonl", "".join(json.dumps({"input": f"test {i}", "output": t}) + "\n" for i, t in enumerate(texts)))
    workspace.suite(
        SUITE,
        ("{train: files}", candidate),
        ("{metric: exact_match, margin: 0.02}", rule),
        ("Echo/echo", "Echo/echo" if word == "PASS" else "Echo/upper"),
    )
    evalh("train-and-score", "suites/toy.yaml", "-q")
    said = evalh("gate", "suites/toy.yaml")
    assert (said.code, word in said.out) == (code, True), said.out
    assert "Verdict 1 on this test set" in said.out
    assert json.loads(evalh("gate", "--json").out)["outcome"] == word
    if word == "INCONCLUSIVE":
        assert evalh("gate", "--inconclusive", "pass").code == 0


def test_compare_shows_the_items_that_changed(evalh: Evalh) -> None:
    evalh("train-and-score", "suites/toy.yaml", "-q")
    said = evalh("compare", "tuned", "plain")
    assert said.code == 0
    assert "'TEST 3'" in said.out
    assert "'test 3'" in said.out
    assert json.loads(evalh("compare", "tuned", "--json").out)["outcome"] == "COMPARED"
    assert evalh("compare", "tuned", "nobody").code == 2


def test_decide_says_what_to_do(evalh: Evalh, workspace: Workspace) -> None:
    workspace.suite(SUITE + "decide: {metric: exact_match, min_gain: 0.03}\n")
    evalh("train-and-score", "suites/toy.yaml", "-q")
    said = evalh("decide", "suites/toy.yaml")
    assert said.code == 0
    assert said.out.startswith("Adopt tuned")


def test_sql_reads_and_cannot_write(evalh: Evalh) -> None:
    evalh("train-and-score", "suites/toy.yaml", "-q")
    assert json.loads(evalh("sql", "SELECT count(*) AS n FROM outputs", "--json").out) == [{"n": 30}]
    assert "30" in evalh("sql", "SELECT count(*) AS n FROM outputs").out
    refused = evalh("sql", "DELETE FROM outputs")
    assert refused.code == 2
    assert json.loads(evalh("sql", "SELECT count(*) AS n FROM outputs", "--json").out) == [{"n": 30}]


def test_list_names_plugins_and_runs(evalh: Evalh) -> None:
    assert "exact_match" in evalh("list").out
    assert {"lora", "openai", "rehearsal"} <= set(json.loads(evalh("list", "runners", "--json").out)["runners"])
    evalh("train-and-score", "suites/toy.yaml", "-q")
    assert "toy succeeded" in evalh("list", "runs").out


def test_rehearsals_cost_nothing_and_stay_apart(evalh: Evalh, workspace: Workspace) -> None:
    said = evalh("train-and-score", "suites/toy.yaml", "--rehearse", "-q")
    assert said.code == 0
    assert workspace.log() == []
    assert (workspace.root / "results" / "rehearsal.duckdb").exists()
    assert not (workspace.root / "results" / "evalh.duckdb").exists()


def test_reports_of_what_is_not_there(evalh: Evalh) -> None:
    said = evalh("report")
    assert (said.code, "there are no runs" in said.err) == (2, True)
    evalh("train-and-score", "suites/toy.yaml", "-q")
    assert "there is no run 01ZZ" in evalh("report", "--run", "01ZZ").err


def test_mistakes_end_with_2_and_a_line_each(evalh: Evalh, workspace: Workspace) -> None:
    workspace.suite(SUITE, ("[exact_match, bleu]", "[exact_mach, blue]"), ("train: files", "train: nothing"))
    said = evalh("train-and-score", "suites/toy.yaml")
    assert said.code == 2
    assert len(said.err.strip().splitlines()) == 3
    assert "Did you mean 'exact_match'?" in said.err
    assert "Traceback" not in said.err
    assert not (workspace.root / "results").exists()
    assert evalh("train-and-score", "suites/none.yaml").code == 2
    assert evalh("frobnicate").code == 2


def test_version(evalh: Evalh) -> None:
    assert evalh("--version").out.startswith("evalh 0.")
