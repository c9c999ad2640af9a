"""Verdicts against earlier runs, the history of metrics, and what is said of an arm in use."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalharness.errors import ConfigError
from evalharness.metrics.exact_match import ExactMatch
from evalharness.metrics.sacrebleu import Bleu
from evalharness.report import build
from evalharness.stats import Interval
from evalharness.store import Store
from evalharness.verdict import compare_past, decide, decide_deployed, decide_past, find, gate, gate_past, load, note
from evalharness.verdict.deployed import apart
from evalharness.verdict.history import past
from tests.report.made import Made, trained

FIRST, SECOND, THIRD = (f"01JDEMO000000000000000000{i}" for i in range(3))


def run(folder: Path, run_id: str, tuned: float, *, version: int = 0, n: int = 120, prompt: float = 0.4, **more: Any) -> Store:
    """A run of few-shot and tuned in the folder's store; `more` goes to the tuned arm."""
    made = Made(n=n, run=run_id, slices=True, metrics=[ExactMatch(), Bleu()]).arm("few-shot", right=prompt)
    return made.arm("tuned", "candidate", right=tuned, version=version, **more).store(folder)[0]


@pytest.fixture
def two(tmp_path: Path) -> Store:
    """Two runs on the same items: the second one's tune is another arm, and worse."""
    run(tmp_path, FIRST, 0.9)
    return run(tmp_path, SECOND, 0.6, version=1)


def test_an_arm_is_compared_with_its_counterpart_in_another_run(two: Store) -> None:
    view = load(two, SECOND)
    found = compare_past(view, "tuned", find(view, "last"))
    assert found.evidence["against"] == "tuned of the last run"
    assert found.evidence["against_run"] == FIRST
    assert found.sentences[0].startswith("exact_match: tuned is worse by")
    same = compare_past(view, "few-shot", find(view, f"run:{FIRST[:26]}"))
    assert same.evidence["metrics"][0]["ties"] == same.evidence["n"] == 120
    other = compare_past(view, "tuned", find(view, "last/few-shot"))
    assert other.evidence["against"] == "few-shot of the last run"


def test_the_gate_fails_what_fell_behind_a_pinned_run_and_passes_what_did_not_change(two: Store) -> None:
    two.pin("made", "production", FIRST)
    view = load(two, SECOND)
    where = find(view, "pin:production")
    assert gate_past(view, where).outcome == "FAIL"
    kept = gate_past(view, where, candidates=["few-shot"])
    assert kept.outcome in {"PASS", "INCONCLUSIVE"}
    both = gate_past(view, where, candidates=["few-shot", "tuned"])
    assert both.evidence["level"] == pytest.approx(0.975)
    assert "2 arms were compared, so every interval is at 97.5%." in both.sentences


def test_a_decision_can_be_made_against_another_run(two: Store) -> None:
    two.pin("made", "production", FIRST)
    view = load(two, SECOND)
    prompt = decide_past(view, find(view, "pin:production"))
    assert (prompt.outcome, prompt.evidence["against"]) == ("ADOPT", "few-shot of pin production")
    assert prompt.evidence["candidates"][0]["difference"] == decide(view).evidence["candidates"][0]["difference"]
    tune = decide_past(view, find(view, "last/tuned"))
    assert (tune.outcome, tune.evidence["against"], tune.evidence["against_run"]) == ("KEEP", "tuned of the last run", FIRST)
    assert note(two, tune).candidates == 1


def test_naming_one_of_several_candidates_narrows_no_interval(tmp_path: Path) -> None:
    made = Made(n=120, run=FIRST).arm("few-shot", right=0.4)
    store = made.arm("a", "candidate", right=0.5).arm("b", "candidate", right=0.6).store(tmp_path)[0]
    Made(n=120, run=SECOND).arm("few-shot", right=0.4).arm("a", "candidate", right=0.5).arm("b", "candidate", right=0.6).store(tmp_path)
    view = load(store, SECOND)
    assert gate_past(view, find(view, "last/few-shot"), candidates=["b"]).evidence["level"] == pytest.approx(0.975)
    assert gate(view, candidates=["b"]).evidence["level"] == pytest.approx(0.975)
    assert gate_past(view, find(view, "last"), candidates=["few-shot", "a", "b"]).evidence["candidates_compared"] == 3
    more = gate(view, candidates=["few-shot", "a", "b"], against="few-shot")
    assert more.evidence["level"] == pytest.approx(1 - 0.05 / 3)
    assert "3 candidates (few-shot, a and b), so every interval is at 98.3%." in more.sentences


def test_the_arms_of_another_run_are_no_candidates_in_the_ledger(two: Store) -> None:
    view = load(two, SECOND)
    assert note(two, gate_past(view, find(view, "last"), candidates=["few-shot", "tuned"])).candidates == 2


def test_a_changed_test_set_is_compared_on_what_both_runs_have(tmp_path: Path) -> None:
    run(tmp_path, FIRST, 0.9, n=120)
    store = run(tmp_path, SECOND, 0.6, version=1, n=200)
    view = load(store, SECOND)
    found = compare_past(view, "tuned", find(view, "last"))
    assert found.evidence["n"] == 120
    assert sum(each["n"] for each in found.evidence["metrics"][0]["slices"]) == 120
    judged = gate_past(view, find(view, "last"))
    assert (judged.evidence["n"], judged.sentences[-1]) == (120, "This is about the 120 items of 200 that both runs have.")
    for other in (found, decide_past(view, find(view, "last/tuned"))):
        assert other.sentences[-1] == judged.sentences[-1]
    assert "both runs have" not in gate_past(load(store, FIRST), find(view, f"run:{SECOND}")).sentence, "this one has them all"


def test_what_was_learned_from_is_said_of_the_shared_items_too(two: Store) -> None:
    view = load(two, SECOND)
    leaked = replace(view, leaked=30, slices={**view.slices, "leaked": np.array(["yes"] * 30 + ["no"] * 90, np.object_)})
    assert leaked.only(frozenset(view.ids[20:])).caution[0].startswith("10 of the 100 held-out items were also learned from")
    assert leaked.only(frozenset(view.ids[40:])).caution == ()


def test_missing_outputs_of_shared_items_count_for_both_sides(tmp_path: Path) -> None:
    run(tmp_path, FIRST, 0.9)
    store = run(tmp_path, SECOND, 0.9, version=1, missing=range(30))
    view = load(store, SECOND)
    assert gate_past(view, find(view, "last")).outcome == "INVALID"


@pytest.mark.parametrize("text", ["pin:nothing", "run:01ZZ", "yesterday", "run:", "last/nobody"])
def test_what_names_no_run_is_told(two: Store, text: str) -> None:
    view = load(two, SECOND)
    with pytest.raises(ConfigError):
        compare_past(view, "tuned", find(view, text))


def test_runs_without_a_common_item_cannot_be_compared(tmp_path: Path) -> None:
    made = Made(n=30, run=FIRST).arm("tuned", right=0.5)
    made.sample = lambda i, split="test": Made.sample(made, i + 1000, split)  # type: ignore[method-assign]
    made.store(tmp_path)
    view = load(run(tmp_path, SECOND, 0.9, n=30), SECOND)
    with pytest.raises(ConfigError, match="no held-out item in common"):
        compare_past(view, "tuned", find(view, "last"))


def test_history_says_what_each_run_s_own_report_said(two: Store, tmp_path: Path) -> None:
    first, second = build(two, FIRST), build(two, SECOND)
    then = {(p.arm, p.metric): p for p in second.history if p.run_id == FIRST}
    for row in first.rows:
        for cell in row.cells:
            assert cell.score is not None
            point = then[row.arm, cell.metric]
            assert point.value == pytest.approx(cell.score.value, abs=1e-12)
            if cell.metric == "exact_match" or row.arm == "few-shot":
                assert (point.low, point.high) == (cell.score.low, cell.score.high)
            else:
                assert point.low is None, "a bootstrap for every past arm would be dear"
    assert [p.run_id for p in second.history] == sorted(p.run_id for p in second.history)
    assert {p.run_id for p in first.history} == {FIRST}, "a report does not know what came after it"


def test_history_of_many_scores_stops_at_its_allowance(two: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalharness.verdict.history.CELLS", 10)
    assert past(load(two, SECOND)) == []


def test_pins_belong_to_a_suite_and_move(two: Store) -> None:
    two.pin("made", "production", FIRST)
    two.pin("made", "production", SECOND)
    two.pin("other \ud83d", "production", FIRST)
    assert two.pinned("made", "production") == SECOND
    assert [(pin.suite_name, pin.run_id) for pin in two.pins()] == [("made", SECOND), ("other \ud83d", FIRST)]
    assert [pin.name for pin in two.pins("made")] == ["production"]
    assert two.pinned("made", "nothing") is None


def reasons(found: Any) -> dict[str, dict[str, Any]]:
    return {each["code"]: each for each in found.evidence["reasons"]}


def test_an_arm_without_a_past_or_a_reason_is_kept(tmp_path: Path) -> None:
    found = decide_deployed(load(run(tmp_path, FIRST, 0.9, training=trained("t")), FIRST), "tuned")
    assert found.outcome == "KEEP"
    assert {code: each["holds"] for code, each in reasons(found).items()} == {
        "score_drop": None, "new_rows": None, "shutdown": None, "better": None, "rival": False, "budget": None,
    }  # fmt: skip
    json.dumps(found.as_json(), allow_nan=False)


def test_an_unchanged_arm_on_unchanged_items_cannot_have_dropped(tmp_path: Path) -> None:
    run(tmp_path, FIRST, 0.9, training=trained("t"))
    found = decide_deployed(load(run(tmp_path, SECOND, 0.9, training=trained("t")), SECOND), "tuned")
    drop = reasons(found)["score_drop"]
    assert (drop["holds"], drop["evidence"]["items_since"]) == (False, 0)


def test_an_unchanged_arm_that_fails_on_newer_items_is_to_be_retrained(tmp_path: Path) -> None:
    run(tmp_path, FIRST, 0.9, training=trained("t"), n=120)
    flags = [i < 120 for i in range(240)]
    made = Made(n=240, run=SECOND).arm("few-shot", right=0.1).arm("tuned", "candidate", right=flags, training=trained("t"))
    found = decide_deployed(load(made.store(tmp_path)[0], SECOND), "tuned")
    drop = reasons(found)["score_drop"]
    assert (found.outcome, drop["holds"], drop["evidence"]["kind"]) == ("RETRAIN", True, "other items")
    assert drop["evidence"]["difference"]["high"] < 0
    assert (drop["evidence"]["items_then"], drop["evidence"]["items_since"]) == (120, 120)


def test_another_arm_under_the_label_is_compared_with_the_first_one(two: Store) -> None:
    drop = reasons(decide_deployed(load(two, SECOND), "tuned"))["score_drop"]
    assert (drop["holds"], drop["evidence"]["kind"], drop["evidence"]["first_run"]) == (True, "another arm", FIRST)


def test_another_arm_that_fails_on_newer_items_only_is_to_be_retrained_too(tmp_path: Path) -> None:
    """Recorded outputs are another arm as soon as their file grows: the shared items alone would hide what came since."""
    run(tmp_path, FIRST, 0.9, n=120)
    flags = [i < 120 for i in range(240)]
    made = Made(n=240, run=SECOND).arm("few-shot", right=0.1).arm("tuned", "candidate", right=flags, version=1)
    found = decide_deployed(load(made.store(tmp_path)[0], SECOND), "tuned")
    drop = reasons(found)["score_drop"]
    assert (found.outcome, drop["holds"], drop["evidence"]["kind"]) == ("RETRAIN", True, "other items")


def test_a_prompt_that_caught_up_is_returned_to(tmp_path: Path) -> None:
    found = decide_deployed(load(run(tmp_path, FIRST, 0.4, prompt=0.8, training=trained("t")), FIRST), "tuned")
    assert (found.outcome, found.evidence["chosen"]) == ("RETURN", "few-shot")
    assert found.sentences[0].startswith("Return to few-shot")


def test_a_better_candidate_replaces_the_deployed_arm(tmp_path: Path) -> None:
    made = Made(n=150).arm("few-shot", right=0.3).arm("old", "candidate", right=0.4, training=trained("t1"))
    made.arm("new", "candidate", right=0.95, training=trained("t2"))
    found = decide_deployed(load(*made.store(tmp_path)), "old")
    assert (found.outcome, found.evidence["chosen"]) == ("RETRAIN", "new")


@pytest.mark.parametrize(("relabelled", "added", "holds"), [(0, 0, False), (0, 9, False), (0, 10, True), (10, 0, True), (5, 5, True)])
def test_labelled_rows_that_came_since_the_training_are_counted(tmp_path: Path, relabelled: int, added: int, holds: bool) -> None:
    """The arm was trained in the first run on 100 rows; the second run has rows more, or rows with another label."""
    old = [f"row {i}" for i in range(100)]
    training = replace(trained("t"), run_id=FIRST)
    run(tmp_path, FIRST, 0.9, training=training).put_train_rows(FIRST, old)
    store = run(tmp_path, SECOND, 0.9, training=training)
    assert reasons(decide_deployed(load(store, SECOND), "tuned"))["new_rows"]["holds"] is None, "this run's rows are not known"
    store.put_train_rows(SECOND, [*old[relabelled:], *(f"relabelled {i}" for i in range(relabelled)), *(f"new {i}" for i in range(added))])
    found = reasons(decide_deployed(load(store, SECOND), "tuned"))["new_rows"]
    assert found["holds"] is holds
    assert found["evidence"] == {
        "trained_in_run": FIRST, "rows_then": 100, "rows_now": 100 + added, "rows_new": relabelled + added, "rows_gone": relabelled,
        "wanted_share": 0.1,
    }  # fmt: skip


def test_new_rows_alone_ask_for_retraining_an_arm_of_a_pinned_run(tmp_path: Path) -> None:
    """After rows were added the candidate has no model yet: the arm in use is the pinned run's."""
    run(tmp_path, FIRST, 0.9, training=replace(trained("t"), run_id=FIRST)).put_train_rows(FIRST, ["a", "b"])
    made = Made(n=120, run=SECOND, slices=True).arm("few-shot", right=0.4)
    store, _ = made.arm("tuned", "candidate", missing=range(120), version=1, error="it is not trained yet").store(tmp_path)
    store.put_train_rows(SECOND, ["a", "b", "c"])
    store.pin("made", "production", FIRST)
    view = load(store, SECOND)
    assert "tuned@pin:NAME" in decide_deployed(view, "tuned").sentence
    found = decide_deployed(view, "tuned@pin:production")
    assert (found.outcome, reasons(found)["new_rows"]["evidence"]["rows_new"]) == ("RETRAIN", 1)
    assert "was trained on 2 rows; 1 labelled row came since (+50%)." in found.sentence


def test_a_shutdown_within_the_lead_time_asks_for_retraining_unless_there_is_no_budget(tmp_path: Path) -> None:
    view = load(run(tmp_path, FIRST, 0.9, training=trained("t", shutdown_date="2027-01-31", cost_usd=5.0)), FIRST)
    day = datetime.date(2026, 12, 1)
    assert decide_deployed(view, "tuned", today=day).outcome == "RETRAIN"
    assert decide_deployed(view, "tuned", today=day, lead_days=30).outcome == "KEEP"
    assert decide_deployed(view, "tuned", today=day, shutdown=datetime.date(2028, 1, 1)).outcome == "KEEP"
    assert view.suite is not None
    poor = replace(view, suite=view.suite.model_validate({**view.suite.model_dump(exclude_unset=True), "budget": {"usd": 4.0}}))
    found = decide_deployed(poor, "tuned", today=day)
    assert (found.outcome, reasons(found)["budget"]["holds"]) == ("KEEP", True)
    assert "not the budget" in found.sentences[0]


def test_an_arm_that_failed_cannot_be_judged(tmp_path: Path) -> None:
    found = decide_deployed(load(run(tmp_path, FIRST, 0.9, missing=range(120)), FIRST), "tuned")
    assert (found.outcome, found.exit_code()) == ("INVALID", 4)


def test_the_interval_of_a_difference_of_two_groups() -> None:
    one, other = Interval(0.56, 0.43, 0.68, "Wilson", 0.95), Interval(0.48, 0.36, 0.60, "Wilson", 0.95)
    found = apart(one, other)
    assert found.estimate == pytest.approx(0.08)
    assert found.low == pytest.approx(0.08 - np.hypot(0.13, 0.12))
    assert found.high == pytest.approx(0.08 + np.hypot(0.12, 0.12))
    mirrored = apart(other, one)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_another_day_or_run_without_new_scores_is_no_look_at_the_test_set(tmp_path: Path) -> None:
    store = run(tmp_path, FIRST, 0.9, training=trained("t", shutdown_date="2027-01-31"))
    view, days = load(store, FIRST), [datetime.date(2026, 12, day) for day in (1, 2)]
    found = [decide_deployed(view, "tuned", today=day, lead_days=lead) for day in days for lead in (10, 90)]
    run(tmp_path, SECOND, 0.9, training=trained("t", shutdown_date="2027-01-31"))
    found.append(decide_deployed(load(store, SECOND), "tuned", today=days[0]))
    assert {each.outcome for each in found} == {"KEEP", "RETRAIN"}
    assert {note(store, each).number for each in found} == {1}


def test_a_row_that_changed_makes_no_fresh_test_set_and_most_rows_do(tmp_path: Path) -> None:
    for n, which in ((120, FIRST), (121, SECOND)):
        store = Made(n=n, run=which).arm("few-shot", right=0.4).arm("tuned", "candidate", right=0.7).store(tmp_path)[0]
        found = note(store, gate(load(store, which)))
    assert found.sentence() == "Verdict 2 on this test set (1 of them before its rows changed), 1 candidate seen so far."
    larger = Made(n=300, run=THIRD).arm("few-shot", right=0.4).arm("tuned", "candidate", right=0.7).store(tmp_path)[0]
    assert note(larger, gate(load(larger, THIRD))).sentence() == "Verdict 1 on this test set, 1 candidate seen so far."
