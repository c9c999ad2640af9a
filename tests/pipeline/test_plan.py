"""plan: what is missing and what it costs, the gate's chances by exact enumeration, and when to look."""

from __future__ import annotations

import pytest

from evalharness.cli.plan import lines
from evalharness.pipeline.outlook import outlook
from evalharness.stats.looks import obrien_fleming
from evalharness.stats.plan import Rule, chance_to_pass, items_needed
from tests.pipeline.conftest import SUITE, Workspace, rows
from tests.pipeline.test_money import HOSTED


def test_before_any_answer_one_in_five_is_assumed(workspace: Workspace) -> None:
    seen = outlook(workspace.plan(), workspace.store, looks=4)
    (chance,) = seen.chances
    assert (seen.n, seen.level, chance.seen) == (10, 0.95, None)
    assert chance.passing == chance_to_pass(10, Rule(0.02, 0.2))
    assert seen.needed == items_needed([Rule(0.02, 0.2)])
    assert [look.level for look in seen.looks] == list(obrien_fleming(4))
    assert seen.looks[-1].items == seen.needed


def test_an_earlier_pair_tells_the_discordance(workspace: Workspace) -> None:
    workspace.write("data/test.jsonl", rows([f"TEST {i}" if i % 4 else f"test {i}" for i in range(40)], str.upper))
    workspace.run()
    (chance,) = outlook(workspace.plan(), workspace.store).chances
    assert chance.seen is not None
    assert chance.seen.pair == ("plain", "tuned")
    assert chance.seen.discordance == pytest.approx(0.25)
    assert chance.passing == chance_to_pass(40, Rule(0.02, 0.25))


def test_an_earlier_pair_without_some_answers_tells_it_by_the_others(workspace: Workspace) -> None:
    workspace.write("data/test.jsonl", rows([f"TEST {i}" if i % 4 else f"test {i}" for i in range(40)], str.upper))
    workspace.suite(SUITE.replace("doubles.py:Echo/echo", '{doubles.py:Echo: {silent: ["TEST 1"]}}'))
    workspace.run()
    (chance,) = outlook(workspace.plan(), workspace.store).chances
    assert chance.seen is not None
    assert chance.seen.discordance == pytest.approx(10 / 39)


def test_more_candidates_widen_the_level(workspace: Workspace) -> None:
    workspace.suite(SUITE, ("{train: files}", "{train: files, seeds: 2}"))
    assert outlook(workspace.plan(), workspace.store).level == pytest.approx(0.975)


def test_a_suite_without_a_gate_has_no_chances(workspace: Workspace) -> None:
    workspace.suite(SUITE.replace("gate: {against: plain, rules: [{metric: exact_match, margin: 0.02}]}", ""))
    seen = outlook(workspace.plan(), workspace.store)
    assert (seen.chances, seen.needed, seen.looks) == ((), None, ())


def test_every_part_has_a_price(workspace: Workspace) -> None:
    workspace.suite(SUITE.replace("doubles.py:Echo/echo", "{doubles.py:Echo: {hosted: true, usd: 0.01}}"), HOSTED)
    plan = workspace.plan()
    (training,) = plan.trainings
    assert (training.usd, training.usd_per_hour) == (0.5, 2.0)
    assert {arm.label: arm.usd for arm in plan.arms} == {"plain": pytest.approx(0.1), "loud": 0.0, "tuned": 0.0}
    assert plan.usd == pytest.approx(2.6)  # the tuned model's answers come with its hour
    assert workspace.run().failures == {}
    after = workspace.plan()
    assert (after.usd, after.nothing_to_do) == (0.0, True)
    assert after.spent == pytest.approx(0.5 + 10 * 0.01 + 10 * 0.001 + 10 * 0.001, abs=0.01)


def test_a_finished_training_is_not_checked_again(workspace: Workspace) -> None:
    workspace.suite(SUITE, ("{train: files}", "{train: files, params: {local: false}}"))
    workspace.run()
    workspace.suite(SUITE, ("{train: files}", "{train: files, params: {local: false, problem: the base was shut down}}"))
    assert workspace.plan().nothing_to_do


def test_the_dev_rows_that_the_best_candidate_is_picked_on_are_counted(workspace: Workspace) -> None:
    asking = "{doubles.py:Echo: {hosted: true, usd: 0.01}}"
    workspace.suite(
        SUITE + "decide: {metric: exact_match}\n", ("doubles.py:Echo/echo", asking), ("{train: files}", "{train: files, seeds: 2}")
    )
    before = {arm.label: (arm.to_do, arm.total) for arm in workspace.plan().arms}
    assert before == {"plain": (10, 10), "loud": (10, 10), "tuned (seed 0)": (14, 14), "tuned (seed 1)": (14, 14)}
    assert workspace.run().tally.asked == 34  # both seeds came to one model, which nobody knew before
    assert workspace.plan().nothing_to_do
    workspace.write("data/dev.jsonl", rows([f"dev {i}" for i in range(6)], str.upper))
    grown = workspace.plan()
    assert not grown.nothing_to_do  # other dev rows: another training
    assert [arm.to_do for arm in grown.arms] == [0, 0, 16, 16]


def test_what_is_trained_and_paid_for_by_the_hour_has_a_price_while_its_answers_are_missing(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    workspace.run()
    workspace.write("data/test.jsonl", rows([f"more {i}" for i in range(10)], str.upper))
    plan = workspace.plan()
    assert [(arm.to_do, arm.usd) for arm in plan.arms] == [(10, 0.0), (10, 0.0), (10, 0.0)]
    assert plan.usd == 2.0
    (said,) = (line for line in lines(plan) if "ask    tuned" in line)
    assert said.endswith("about 15 prompt tokens, paid by the hour")
