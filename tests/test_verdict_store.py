"""Verdicts from a store: what a run's rows become, what is not scored, what is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evalharness.errors import ConfigError
from evalharness.metrics.exact_match import ExactMatch
from evalharness.metrics.sacrebleu import Bleu
from evalharness.spec import GateSpec, Rule
from evalharness.store import MetricRow, Store
from evalharness.verdict import Verdict, View, compare, decide, gate, load, note
from evalharness.verdict.measures import Measure
from evalharness.verdict.seeds import recipe_interval
from tests.report.made import RUN, WRONG, Made, MeanLength, trained


@pytest.fixture(scope="module")
def made() -> Made:
    made = Made(n=150, slices=True, dev=60, metrics=[ExactMatch(), Bleu(), MeanLength()])
    made.arm("few-shot", right=0.4, cost=0.001).arm(
        "tuned", "candidate", right=0.7, errors=[7], training=trained("t1", cost_usd=3.1), cost=0.0004
    )
    made.arms[-1].dev = None
    return made.arm("broken", "candidate", right=0.0, missing=range(150), training=trained("t2", "failed", error="loss is NaN at step 12"))


@pytest.fixture(scope="module")
def view(made: Made, tmp_path_factory: pytest.TempPathFactory) -> View:
    store, run_id = made.store(tmp_path_factory.mktemp("store"))
    return load(store, run_id)


def test_a_view_holds_the_run_in_the_order_of_ids(view: View) -> None:
    ids = [sample.id for sample in view.samples]
    assert ids == sorted(ids)
    assert [each.label for each in view.contenders] == ["few-shot", "tuned", "broken"]
    assert [each.label for each in view.candidates] == ["tuned"]
    flags = view.stats("tuned", "exact_match")[:, 0, 0]
    texts = {
        output.sample_id: output.reply.text for output in view.store.outputs(view.contender("tuned").arm.arm_id, view.dataset.dataset_id)
    }
    for sample, flag in zip(view.samples, flags, strict=True):
        assert np.isnan(flag) if texts[sample.id] is None else flag == (texts[sample.id] == sample.targets[0])


def test_failed_outputs_are_missing_and_failed_trainings_are_not_scored(view: View) -> None:
    assert view.missing("tuned", "exact_match") == pytest.approx(1 / 150)
    assert view.contender("broken").problem == "loss is NaN at step 12"
    found = {each["candidate"]: each for each in gate(view).evidence["candidates"]}
    assert (found["broken"]["outcome"], found["broken"]["reason"]) == ("INVALID", "loss is NaN at step 12")
    assert found["tuned"]["outcome"] == "PASS"


def test_a_failed_output_counts_as_the_metric_s_worst_and_best(view: View) -> None:
    worst, best = view.extremes("bleu")
    assert worst is not None
    assert best is not None
    gap = np.isnan(view.stats("tuned", "bleu")[:, 0, 0])
    (item,) = np.flatnonzero(gap)
    assert tuple(worst[item]) == Bleu().failed(view.samples[item])
    assert tuple(best[item]) == Bleu().perfect(view.samples[item])


def test_compare_describes_every_metric_and_slice_with_the_largest_flips(view: View) -> None:
    verdict = compare(view, "tuned")
    exact, bleu, length = verdict.evidence["metrics"]
    assert (verdict.outcome, verdict.exit_code()) == ("COMPARED", 0)
    assert exact["wins"] + exact["losses"] + exact["ties"] == exact["n"] == 150
    assert {each["slice"]: each["n"] for each in exact["slices"]} == {"lang=de": 100, "lang=en": 50}
    assert (exact["test"], bleu["test"], length["test"]) == ("McNemar mid-p", "approximate randomization", "sign flip")
    assert length["difference"]["low"] > 0, "fewer words off is better"
    assert verdict.sentences[0].startswith("exact_match: tuned is better by")
    assert verdict.evidence["usage"]["tuned"]["cost_usd_per_1000"] == pytest.approx(0.4)
    flips = verdict.evidence["flips"]
    assert len(flips) == 10
    win = next(flip for flip in flips if flip["difference"] > 0)
    assert (win["answers"]["tuned"], win["answers"]["few-shot"]) == (win["targets"][0], WRONG)


def test_compare_says_what_the_items_can_see_where_nothing_is_shown(view: View) -> None:
    sentence = compare(view, "few-shot", "few-shot").sentences[0]
    assert "no difference shown" in sentence
    assert "this test set can see" in sentence
    assert "equal" not in sentence


def test_a_corpus_metric_is_never_told_to_need_fewer_items_than_it_is_bootstrapped_from(tmp_path: Path) -> None:
    made = Made(n=12, metrics=[Bleu()]).arm("few-shot", right=0.4).arm("tuned", "candidate", right=1.0)
    store, run_id = made.store(tmp_path)
    verdict = gate(load(store, run_id), GateSpec(rules=(Rule(metric="bleu", at_least=1.0), Rule(metric="bleu", margin=90.0))))
    checks = verdict.evidence["candidates"][0]["checks"]
    assert [check["result"] for check in checks] == ["INCONCLUSIVE", "INCONCLUSIVE"]
    assert all(check["items_needed"] >= 20 for check in checks)


def test_compare_refuses_arms_without_outputs(view: View) -> None:
    with pytest.raises(ConfigError, match="loss is NaN at step 12"):
        compare(view, "broken")


def test_decide_prices_the_change(view: View) -> None:
    verdict = decide(view)
    assert verdict.outcome == "ADOPT"
    assert "Training 3.10 USD; serving −60% per 1,000 requests; pays back after 5,200 requests." in verdict.sentences
    assert any("this checkpoint of tuned" in sentence for sentence in verdict.sentences)
    assert verdict.evidence["invalid"] == {"broken": "loss is NaN at step 12"}


def test_the_order_in_the_store_and_in_the_file_changes_no_byte(made: Made, view: View, tmp_path: Path) -> None:
    order = list(np.random.default_rng(1).permutation(made.n))
    other = Made(**{**vars(made), "order": order})
    store, run_id = other.store(tmp_path, shuffle=3)
    again = load(store, run_id)
    for verdict in (gate, decide, lambda each: compare(each, "tuned")):
        assert _bytes(verdict(view)) == _bytes(verdict(again))


def test_clusters_are_blocks_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    found = []
    for name, order in (("straight", None), ("turned", list(range(119, -1, -1)))):
        made = Made(n=120, cluster=4, metrics=[Bleu()], order=order).arm("few-shot").arm("tuned", "candidate", right=0.6)
        made.suite = {"gate": {"rules": [{"metric": "bleu", "margin": 1.0}]}}
        view = load(*made.store(tmp_path / name))
        assert view.clusters is not None
        assert len(set(view.clusters)) == 30
        found.append(_bytes(gate(view)))
    assert found[0] == found[1]


def _bytes(verdict: Verdict) -> str:
    return json.dumps({**verdict.as_json(), "dataset_id": ""})


def test_the_ledger_counts_each_verdict_once(made: Made, tmp_path: Path) -> None:
    store, run_id = made.store(tmp_path)
    first = gate(load(store, run_id))
    assert note(store, first).sentence() == "Verdict 1 on this test set, 2 candidates seen so far."
    assert note(store, gate(load(store, run_id))).number == 1, "asking again is no new look"
    assert note(store, decide(load(store, run_id))).number == 2
    assert note(store, first).number == 1
    for margin in range(8):
        spec = load(store, run_id).suite
        assert spec is not None
        assert spec.gate is not None
        rule = spec.gate.rules[0].model_copy(update={"margin": 0.1 + margin / 100})
        ledger = note(store, gate(load(store, run_id), spec.gate.model_copy(update={"rules": (rule,)})))
    assert ledger.number == 10
    assert "fresh held-out rows" in ledger.sentence()


def test_three_seeds_speak_for_their_recipe(tmp_path: Path) -> None:
    made = Made(n=100, metrics=[ExactMatch()]).arm("few-shot", right=0.3)
    for seed, share in enumerate((0.7, 0.75, 0.8)):
        made.arm(f"tuned (seed {seed})", "candidate", right=share, training=trained(f"t{seed}"))
    made.suite = {**made.suite, "candidates": {"tuned": {"train": "lora", "seeds": 3}}}
    verdict = decide(load(*made.store(tmp_path)))
    (recipe,) = verdict.evidence["recipes"]
    assert recipe["seeds"] == ["tuned (seed 0)", "tuned (seed 1)", "tuned (seed 2)"]
    assert any("The recipe tuned over 3 seeds:" in sentence for sentence in verdict.sentences)
    assert not any("checkpoint" in sentence for sentence in verdict.sentences)
    assert recipe["difference"]["low"] < min(each["difference"]["value"] for each in verdict.evidence["candidates"])


def test_the_recipe_s_interval_is_wider_than_any_of_its_parts() -> None:
    items_only = recipe_interval([0.1, 0.1, 0.1], [0.02] * 3, 400, 0.95)
    with_seeds = recipe_interval([0.06, 0.1, 0.14], [0.02] * 3, 400, 0.95)
    assert items_only.high - items_only.estimate == pytest.approx(0.02 * 1.9659, rel=1e-3)
    assert with_seeds.high - with_seeds.low > 1.5 * (items_only.high - items_only.low)


def test_repeats_are_averaged_by_item(tmp_path: Path) -> None:
    made = Made(n=60, metrics=[ExactMatch()]).arm("few-shot", right=0.3).arm("tuned", "candidate", right=0.8)
    made.suite = {**made.suite, "repeats": 2}
    view = load(*made.store(tmp_path))
    assert view.stats("tuned", "exact_match").shape == (60, 2, 1)
    assert view.missing("tuned", "exact_match") == 0.5, "the second answers are not there"
    assert gate(view).outcome == "INVALID"


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no run"):
        load(Store(tmp_path / "evalh.duckdb"), RUN)


def test_metrics_are_made_again_from_their_rows(tmp_path: Path) -> None:
    row = MetricRow("other", "exact_match", "0", ExactMatch().identity(), True, (0.0, 1.0), "binary", "exact_match")
    assert Measure.of(row, tmp_path).problem == "scored by version 0, now 1: score again to compare with new runs"
    gone = Measure.of(MetricRow("x", "gone", "1", {"options": {}}, True, (0.0, 1.0), "corpus", "gone"), tmp_path)
    assert not gone.ready
    assert "gone cannot be loaded" in str(gone.problem)
    own = "from tests.report.made import MeanLength as Own\n"
    (tmp_path / "own.py").write_text(own)
    identity = MeanLength().identity()
    mine = MetricRow("x", "word_gap", "1", identity, False, (0.0, 10.0), "mean", "word_gap")
    assert isinstance(Measure.of(mine, tmp_path, ["exact_match", "own.py:Own"]).plugin, MeanLength)
    assert Measure.of(mine, tmp_path).plugin is None


def test_flips_show_losses_and_wins_alike(tmp_path: Path) -> None:
    base, other = [i % 2 == 0 for i in range(40)], [i % 2 == 1 for i in range(40)]
    store, run_id = Made(n=40, metrics=[ExactMatch()]).arm("few-shot", right=base).arm("tuned", "candidate", right=other).store(tmp_path)
    flips = compare(load(store, run_id), "tuned", flips=6).evidence["flips"]
    assert [flip["difference"] for flip in flips] == [-1.0] * 3 + [1.0] * 3
