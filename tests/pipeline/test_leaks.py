"""Held-out rows that were learned from: refused, or allowed and said on every verdict, with scores on the others."""

from __future__ import annotations

import pytest

from evalharness.errors import DataError
from evalharness.pipeline import make_plan
from evalharness.reading import load_suite
from evalharness.report import build, markdown
from evalharness.report.figures import checked
from evalharness.verdict import compare, decide, gate, load
from tests.pipeline.conftest import SUITE, Workspace, rows

DECIDE = "decide: {metric: exact_match, min_gain: 0.03}\n"


@pytest.fixture
def leaky(workspace: Workspace) -> Workspace:
    """Ten held-out rows, three of which are training rows as well, one in another spelling."""
    test = [f"test {i}" for i in range(10)]
    workspace.write("data/train.jsonl", rows(["test 0", "test 1", "Test 2!", *[f"train {i}" for i in range(10)]], str.upper))
    workspace.write("data/test.jsonl", rows(test, str.upper))
    workspace.suite(SUITE + DECIDE)
    return workspace


def test_it_refuses_to_train(leaky: Workspace) -> None:
    with pytest.raises(DataError, match="3 of the train rows have the input of a test row"):
        leaky.run()
    assert leaky.log() == []
    assert not leaky.store.path.exists()


def test_a_few_shot_example_that_is_held_out_refuses_too(workspace: Workspace) -> None:
    prompt = "Shout. For example:\nInput: test word 3\nOutput: label 3\n"
    workspace.write("data/test.jsonl", rows([f"test word {i}" for i in range(10)], lambda text: f"label {text[-1]}"))
    workspace.write("prompts/shout.md", prompt)
    workspace.suite(SUITE, ('"Say it: {{ input }}"', "prompts/shout.md"))
    with pytest.raises(DataError, match=r"leak\.prompt: .*shout\.md"):
        workspace.run()
    assert workspace.log() == []
    assert not workspace.store.path.exists()


def test_allowed_leaks_are_on_every_verdict_with_scores_on_the_others(leaky: Workspace) -> None:
    path = leaky.root / "suites" / "toy.yaml"
    plan = make_plan(load_suite(path, allow_leaks=True), leaky.store, leaky.root / "results")
    assert len(plan.splits.leaked) == 3
    leaky.suite(SUITE.replace("dev: data", "leaks: allow, dev: data") + DECIDE)
    result = leaky.run()
    view = load(leaky.store, result.run_id, leaky.root)
    assert view.leaked == 3
    assert view.rows("leaked", "no").sum() == 7
    caution = "3 of the 10 held-out items were also learned from, and that was allowed"
    for verdict in (gate(view), decide(view), compare(view, "tuned", "plain")):
        assert caution in verdict.sentence, verdict.kind
    report = build(leaky.store, root=leaky.root)
    assert {cell.slice for cell in report.slices} >= {"leaked=yes", "leaked=no"}
    assert "leaked=no" in markdown.text(report)
    found = {row.rule: row for row in leaky.store.findings(result.run_id)}
    assert found["leak.exact"].allowed is not None
    assert found["leak.exact"].count == 2
    assert found["leak.normalised"].count == 1


def test_findings_are_stored_with_the_run_and_told_once(workspace: Workspace) -> None:
    workspace.write("data/train.jsonl", rows(["train 0", "train 0", *[f"train {i}" for i in range(9)]], str.upper))
    workspace.suite()
    first, second = workspace.run(), workspace.run()
    rules = {row.rule for row in workspace.store.findings(first.run_id)}
    assert "duplicate.exact" in rules
    assert workspace.store.findings(second.run_id) == workspace.store.findings(first.run_id)
    assert any("duplicate.exact" in line for line in checked(build(workspace.store, root=workspace.root)))
    said = [event.text for event in workspace.events if event.stage == "check"]
    assert len(said) == 1
    assert "duplicate.exact" in said[0]


def test_near_leaks_that_are_allowed_count_as_leaked_too(workspace: Workspace) -> None:
    question = "please tell me how long a transfer to my other account in {} will take this week"
    workspace.write("data/train.jsonl", rows([question.format("Spain"), "train 1"], str.upper))
    workspace.write("data/test.jsonl", rows([question.format("Italy"), *[f"test {i}" for i in range(9)]], str.upper))
    workspace.suite()
    with pytest.raises(DataError, match=r"leak\.near: .*data.allow: \{leak\.near: WHY\}"):
        workspace.run()
    workspace.suite(SUITE, ("dev: data", "allow: {leak.near: countries differ}, dev: data"))
    for _ in range(2):  # the second run has nothing to do, and says the same
        view = load(workspace.store, workspace.run().run_id, workspace.root)
        assert view.leaked == 1
        assert "1 of the 10 held-out items was also learned from" in compare(view, "tuned", "plain").sentence


KEY = "sk-proj-" + "4fT9zQ2mLw8Xc1Vb6Ny3Kd7H" + "T3BlbkFJ" + "a5Rg0Pj8Ue2Wi9Ox4Sm"


def test_a_key_in_rows_that_would_be_sent_refuses_and_is_not_repeated(workspace: Workspace) -> None:
    workspace.write("data/test.jsonl", rows(["test 0", f"why does {KEY} not work"], str.upper))
    workspace.suite(SUITE, ("doubles.py:Echo/echo", "{doubles.py:Echo: {name: echo, hosted: true}}"))
    with pytest.raises(DataError, match=r"secret\.key: ") as told:
        workspace.run()
    assert KEY not in str(told.value)
    assert workspace.log() == []
    workspace.suite(
        SUITE,
        ("doubles.py:Echo/echo", "{doubles.py:Echo: {name: echo, hosted: true}}"),
        ("dev: data", "allow: {secret.key: an example from the documentation}, dev: data"),
    )
    result = workspace.run()
    assert [row.allowed for row in workspace.store.findings(result.run_id) if row.rule == "secret.key"] == [
        "an example from the documentation"
    ]
