"""Verdicts on made-up scores: the rules, the words, and what must never happen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.errors import ConfigError
from evalharness.stats import tango
from evalharness.verdict import Verdict, decide, gate, level_of
from evalharness.verdict.wording import about
from tests.report.views import made_view

quick = settings(max_examples=30, deadline=None, derandomize=True)


def right(n: int, share: float, shift: int = 0) -> list[float]:
    """n values of which the first `share` are right, from item `shift` on: deterministic and paired."""
    return [1.0 if (i - shift) % n < round(n * share) else 0.0 for i in range(n)]


def changed(base: Sequence[float], wins: int, losses: int) -> list[float | None]:
    """The baseline's values with so many items won and lost."""
    values: list[float | None] = list(base)
    for i in [i for i, value in enumerate(base) if value == 0][:wins]:
        values[i] = 1.0
    for i in [i for i, value in enumerate(base) if value == 1][:losses]:
        values[i] = 0.0
    return values


BASE = right(400, 0.5)


def one(wins: int, losses: int, **options: Any) -> Any:
    return made_view({"few-shot": BASE, "tuned": changed(BASE, wins, losses)}, **options)


def test_gate_passes_a_better_candidate_and_shows_the_interval_it_read() -> None:
    verdict = gate(one(80, 20))
    check = verdict.evidence["candidates"][0]["checks"][0]
    expected = tango(80, 20, 400)
    assert verdict.outcome == "PASS"
    assert verdict.exit_code() == 0
    assert (check["difference"]["low"], check["difference"]["high"]) == pytest.approx((expected.low, expected.high), abs=1e-8)
    assert verdict.sentences == ("PASS: tuned against few-shot. exact_match: better by 10.4 to 19.8 points, 2.0 points of loss allowed.",)


def test_gate_fails_a_worse_candidate() -> None:
    verdict = gate(one(20, 80))
    assert (verdict.outcome, verdict.exit_code()) == ("FAIL", 1)
    assert "worse by 10.4 to 19.8 points" in verdict.sentence


def test_arms_that_agree_on_every_item_are_told_how_many_items_could_show_it() -> None:
    """No spread is no proof: what was not seen may differ by the whole range, so few items are too few."""
    lengths = [3.0] * 60
    rule = {"against": "few-shot", "rules": [{"metric": "exact_match", "margin": 1.0}]}
    for higher in (True, False):
        view = made_view({"few-shot": lengths, "tuned": lengths}, kind="mean", bounds=(0.0, 100.0), higher=higher, gate=rule)
        verdict = gate(view)
        needed = verdict.evidence["candidates"][0]["checks"][0]["items_needed"]
        assert (verdict.outcome, needed) == ("INCONCLUSIVE", 299)
        assert "If nothing changed, about 300 items would settle it" in verdict.sentence
        enough = made_view({"few-shot": [3.0] * 299, "tuned": [3.0] * 299}, kind="mean", bounds=(0.0, 100.0), gate=rule)
        assert gate(enough).outcome == "PASS"


def test_a_floor_that_five_right_answers_of_five_cannot_show_asks_for_more_than_five_items() -> None:
    for values, higher, floor in ((1.0, True, 0.6), (0.0, False, 0.4)):
        rule = {"against": "few-shot", "rules": [{"metric": "exact_match", "at_least": floor}]}
        verdict = gate(made_view({"few-shot": [values] * 5, "tuned": [values] * 5}, higher=higher, gate=rule))
        assert verdict.evidence["candidates"][0]["checks"][0]["items_needed"] == 6
        assert "about 6 items would settle it" in verdict.sentence


def test_what_a_slice_lacks_is_told_in_items_of_the_whole_test_set() -> None:
    slices = {"lang": ["de" if i % 10 == 0 else "en" for i in range(400)]}
    rules = [{"metric": "exact_match", "margin": 0.5}, {"metric": "exact_match", "margin": 0.12, "slice": "lang=de"}]
    values = [1.0 if i % 3 else 0.0 for i in range(400)]
    other = [1 - value if i in (10, 20, 30, 60) else value for i, value in enumerate(values)]
    verdict = gate(made_view({"few-shot": values, "tuned": other}, slices=slices, gate={"against": "few-shot", "rules": rules}))
    open_one = verdict.evidence["candidates"][0]["checks"][1]
    assert (open_one["n"], open_one["result"]) == (40, "INCONCLUSIVE")
    assert 40 < open_one["items_needed"] < 400
    assert f"If nothing changed, {about(10 * open_one['items_needed'])} items would settle it" in verdict.sentence


def test_gate_is_inconclusive_where_the_items_cannot_tell_and_says_how_many_could() -> None:
    verdict = gate(one(20, 20))
    check = verdict.evidence["candidates"][0]["checks"][0]
    assert (verdict.outcome, verdict.exit_code(), verdict.exit_code(inconclusive="pass")) == ("INCONCLUSIVE", 3, 0)
    assert 1500 < check["items_needed"] < 2500
    assert "If nothing changed, about 2,000 items would settle it (80% chance)." in verdict.sentence
    assert "no difference shown (−3.2 to +3.2 points)" in verdict.sentence
    assert "equal" not in verdict.sentence


def test_a_margin_of_zero_can_never_be_settled_by_more_items() -> None:
    verdict = gate(one(20, 20, gate={"rules": [{"metric": "exact_match", "margin": 0.0}]}))
    assert "No number of items can show it" in verdict.sentence


def test_a_loss_within_the_margin_passes() -> None:
    verdict = gate(one(2, 12, gate={"rules": [{"metric": "exact_match", "margin": 0.2}]}))
    assert verdict.outcome == "PASS"
    assert "worse by" in verdict.sentence


def test_floors_are_checked_on_the_score_s_own_interval() -> None:
    rules = {"rules": [{"metric": "exact_match", "at_least": 0.55}]}
    assert gate(one(80, 20, gate=rules)).outcome == "PASS"
    assert gate(one(20, 80, gate=rules)).outcome == "FAIL"
    inconclusive = gate(one(40, 20, gate=rules))
    assert inconclusive.outcome == "INCONCLUSIVE"
    assert "50.1 to 59.8, at least 55.0 wanted" in inconclusive.sentence
    assert "score is not above the floor" in inconclusive.sentence


def test_several_fail_tests_are_corrected_together() -> None:
    langs = {"lang": [f"l{i % 8}" for i in range(400)]}
    base = right(400, 0.5)
    tuned: list[float | None] = [0.0 if i % 8 == 3 and i < 56 else value for i, value in enumerate(base)]
    alone = gate(
        made_view(
            {"few-shot": base, "tuned": tuned}, slices=langs, gate={"rules": [{"metric": "exact_match", "margin": 0.0, "slice": "lang=l3"}]}
        )
    )
    all_of_them = gate(
        made_view(
            {"few-shot": base, "tuned": tuned},
            slices=langs,
            gate={"rules": [{"metric": "exact_match", "margin": 0.0, "every_slice": True}]},
        )
    )
    checks = {check["slice"]: check for check in all_of_them.evidence["candidates"][0]["checks"]}
    assert len(checks) == 8
    assert alone.outcome == "FAIL"
    assert checks["lang=l3"]["p_fail"] < 0.025 < checks["lang=l3"]["p_fail_adjusted"]
    assert all_of_them.outcome == "INCONCLUSIVE"
    assert "not once all 8 checks are counted (Holm)" in all_of_them.sentence
    open_one = next(check for check in all_of_them.evidence["candidates"][0]["checks"] if "once all checks" in check["sentence"])
    assert (open_one["result"], open_one["items_needed"]) == ("INCONCLUSIVE", None)


def test_more_than_two_percent_missing_cannot_be_judged() -> None:
    tuned: list[float | None] = changed(BASE, 150, 0)
    tuned[:9] = [None] * 9
    verdict = gate(made_view({"few-shot": BASE, "tuned": tuned}))
    assert (verdict.outcome, verdict.exit_code()) == ("INVALID", 4)
    assert "2.2% of its outputs are missing or failed, more than 2%" in verdict.sentence
    assert decide(made_view({"few-shot": BASE, "tuned": tuned})).outcome == "INVALID"


def test_a_broken_reference_makes_every_candidate_invalid() -> None:
    base: list[float | None] = [None] * 20 + list(BASE[20:])
    verdict = gate(made_view({"few-shot": base, "tuned": changed(BASE, 80, 0)}))
    assert verdict.outcome == "INVALID"
    assert "the reference few-shot" in verdict.sentence


def test_several_candidates_widen_every_interval_and_the_least_good_answer_counts() -> None:
    view = made_view({"few-shot": BASE, "a": changed(BASE, 80, 20), "b": changed(BASE, 20, 80)}, candidates=["a", "b"])
    verdict = gate(view)
    assert level_of(view) == pytest.approx(0.975)
    assert [each["outcome"] for each in verdict.evidence["candidates"]] == ["PASS", "FAIL"]
    assert verdict.outcome == "FAIL"
    assert verdict.sentences[-1] == "2 candidates (a and b), so every interval is at 97.5%."
    assert gate(view, candidates=["a"]).outcome == "PASS"
    assert gate(view, candidates=["a"]).evidence["level"] == pytest.approx(0.975), "naming one afterwards does not undo the choice"


def test_unknown_names_are_told_with_what_there_is() -> None:
    view = one(20, 20)
    with pytest.raises(ConfigError, match=r"has no arm 'nobody'.*few-shot, tuned"):
        gate(view, candidates=["nobody"])
    with pytest.raises(ConfigError, match=r"has no metric 'blue'.*exact_match"):
        gate(one(1, 1, gate={"rules": [{"metric": "blue", "margin": 0.1}]}))
    with pytest.raises(ConfigError, match=r"no item has lang=fr.*Its values here: de, en"):
        gate(one(1, 1, slices={"lang": ["de", "en"] * 200}, gate={"rules": [{"metric": "exact_match", "margin": 0.1, "slice": "lang=fr"}]}))
    with pytest.raises(ConfigError, match="no candidate to judge"):
        gate(made_view({"few-shot": BASE, "other": BASE}, candidates=[]))


def test_decide_adopts_with_evidence_and_price() -> None:
    verdict = decide(one(80, 20, costs={"few-shot": 0.08, "tuned": 0.02}))
    assert verdict.outcome == "ADOPT"
    assert verdict.sentences[0] == "Adopt tuned: +15.0 points (95% 10.4 to 19.8) over few-shot, 400 items, no check failed."
    assert verdict.sentences[1] == "Training: cost unknown; serving −75% per 1,000 requests."


def test_decide_keeps_where_no_gain_is_large_enough() -> None:
    verdict = decide(one(20, 20, decide={"metric": "exact_match", "min_gain": 0.05}))
    assert verdict.outcome == "KEEP"
    assert verdict.sentences[0] == "Keep few-shot: no candidate is worth the change, 400 items."
    assert "at least 5.0 points wanted" in verdict.sentence


def test_decide_keeps_where_the_gate_bars_the_winner() -> None:
    langs = {"lang": ["de" if i < 100 or i >= 390 else "en" for i in range(400)]}
    rules = {"rules": [{"metric": "exact_match", "margin": 0.02, "every_slice": True}]}
    view = one(120, 40, slices=langs, gate=rules)
    assert gate(view).outcome == "FAIL"
    verdict = decide(view)
    assert verdict.outcome == "KEEP"
    assert "it fails the gate on exact_match (lang=de)" in verdict.sentence


def test_decide_is_undecided_between_and_names_the_remedy() -> None:
    verdict = decide(one(40, 25, decide={"metric": "exact_match", "min_gain": 0.01}))
    assert verdict.outcome == "UNDECIDED"
    assert verdict.sentences[0] == "Undecided between few-shot and tuned, 400 items."
    assert "If the gain is as found, about " in verdict.sentence


def test_decide_picks_on_dev_and_then_compares_one_at_the_full_level() -> None:
    dev = made_view({"a": right(100, 0.6), "b": right(100, 0.7)}, candidates=["a", "b"])
    arms: dict[str, Sequence[float | None]] = {"few-shot": BASE, "a": changed(BASE, 90, 10), "b": changed(BASE, 80, 20)}
    verdict = decide(made_view(arms, candidates=["a", "b"], dev=dev))
    assert verdict.evidence["chosen"] == "b", "though a is better on the test set"
    assert verdict.evidence["level"] == 0.95
    assert "b was picked on the dev split among 2 candidates; only it was compared on the test set." in verdict.sentences
    without = decide(made_view(arms, candidates=["a", "b"]))
    assert without.evidence["chosen"] == "a"
    assert without.evidence["level"] == 0.975
    assert "2 candidates were compared, so every interval is at 97.5%." in without.sentences


def test_lower_is_better_turns_everything_round() -> None:
    errors: list[float | None] = [1 - value for value in BASE]
    fewer: list[float | None] = [None if value is None else 1 - value for value in changed(BASE, 80, 20)]
    arms = {"few-shot": errors, "tuned": fewer}
    view = made_view(arms, higher=False)
    assert gate(view).sentences == gate(one(80, 20)).sentences
    floor = {"rules": [{"metric": "exact_match", "at_least": 0.45}]}
    verdict = gate(made_view(arms, higher=False, gate=floor))
    assert verdict.outcome == "PASS"
    assert "at most 45.0 wanted" in verdict.sentence


def test_clusters_and_graded_scores_use_t() -> None:
    rng = np.random.default_rng(0)
    base = list(rng.uniform(1, 5, 200))
    better = [min(5.0, value + 0.5 + 0.1 * rng.standard_normal()) for value in base]
    view = made_view({"few-shot": base, "tuned": better}, kind="mean", bounds=(1.0, 5.0), clusters=[i // 4 for i in range(200)])
    verdict = gate(view)
    check = verdict.evidence["candidates"][0]["checks"][0]
    assert verdict.outcome == "PASS"
    assert check["difference"]["method"] == "paired t"
    assert "points" not in verdict.sentence
    clustered = made_view({"few-shot": BASE, "tuned": changed(BASE, 80, 20)}, clusters=[i // 4 for i in range(400)])
    assert gate(clustered).evidence["candidates"][0]["checks"][0]["difference"]["method"] == "paired t"


values = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=100, max_size=160)
margins = st.sampled_from([0.0, 0.02, 0.1, 0.3])


@quick
@given(values, st.data(), margins, st.sampled_from(["binary", "mean"]))
def test_dropping_candidate_outputs_never_turns_fail_or_inconclusive_into_pass(
    pairs: list[tuple[bool, bool]], data: st.DataObject, margin: float, kind: str
) -> None:
    base: list[float | None] = [float(a) for a, _ in pairs]
    tuned: list[float | None] = [float(b) for _, b in pairs]
    rules = {"rules": [{"metric": "exact_match", "margin": margin}, {"metric": "exact_match", "at_least": 0.4}]}
    whole = gate(made_view({"few-shot": base, "tuned": tuned}, gate=rules, kind=kind)).outcome
    dropped = data.draw(st.sets(st.integers(0, len(pairs) - 1), min_size=1, max_size=4))
    less = [None if i in dropped else value for i, value in enumerate(tuned)]
    after = gate(made_view({"few-shot": base, "tuned": less}, gate=rules, kind=kind)).outcome
    if whole != "PASS":
        assert after != "PASS"
    if len(dropped) > 0.02 * len(pairs):
        assert after == "INVALID"


@quick
@given(st.lists(st.booleans(), min_size=20, max_size=120), margins, st.floats(0, 0.2))
def test_identical_runs_never_fail_and_are_never_adopted(flags: list[bool], margin: float, min_gain: float) -> None:
    same = [float(flag) for flag in flags]
    rules = {"rules": [{"metric": "exact_match", "margin": margin}]}
    view = made_view({"few-shot": same, "tuned": same}, gate=rules, decide={"metric": "exact_match", "min_gain": min_gain})
    assert gate(view).outcome in ("PASS", "INCONCLUSIVE")
    assert decide(view).outcome in ("KEEP", "UNDECIDED")


@quick
@given(values, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_rows_changes_no_byte(pairs: list[tuple[bool, bool]], random: Any, clustered: bool) -> None:
    arms = {"few-shot": [float(a) for a, _ in pairs], "tuned": [float(b) for _, b in pairs]}
    order = list(range(len(pairs)))
    random.shuffle(order)
    options: dict[str, Any] = {
        "clusters": [i // 3 for i in range(len(pairs))] if clustered else None,
        "slices": {"lang": ["de" if i % 2 else "en" for i in range(len(pairs))]},
        "gate": {"rules": [{"metric": "exact_match", "margin": 0.05, "every_slice": True}]},
    }
    straight, shuffled = made_view(arms, **options), made_view(arms, order=order, **options)
    for verdict in (gate, decide):
        assert _bytes(verdict(straight)) == _bytes(verdict(shuffled))


def _bytes(verdict: Verdict) -> str:
    """Everything but the data set's id, which hashes the file's order by design."""
    return json.dumps({**verdict.as_json(), "dataset_id": ""})


@quick
@given(values)
def test_swapping_the_arms_mirrors_the_difference(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    there = gate(made_view({"few-shot": a, "tuned": b})).evidence["candidates"][0]["checks"][0]["difference"]
    back = gate(made_view({"few-shot": b, "tuned": a})).evidence["candidates"][0]["checks"][0]["difference"]
    assert (there["value"], there["low"], there["high"]) == pytest.approx((-back["value"], -back["high"], -back["low"]), abs=1e-9)
