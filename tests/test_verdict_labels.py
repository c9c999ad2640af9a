"""Judges corrected by labels: when, by how much, what is said of it, and what a gate that requires labels does."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from evalharness.errors import ConfigError
from evalharness.labelling import plan
from evalharness.reading import load_suite
from evalharness.report import FILES, Items, as_json, markdown, of_view, terminal
from evalharness.spec import DecideSpec, GateSpec, Rule
from evalharness.stats import Labelled, cohen_kappa, krippendorff_alpha, wilson
from evalharness.store import Label, Store
from evalharness.verdict import View, compare, decide, gate, load
from evalharness.verdict.agreeing import agreement
from evalharness.verdict.correcting import answers, gain, pairs, score
from evalharness.verdict.evidence import Opinion, gains, scores
from evalharness.verdict.labels import Read, _means, people
from tests.judged import RUN, Graded, PairJudge, StyleJudge, Trial, judged_view, label_all, labelled, stored

OPINION = "judge opinion, not corrected"


def rules(labels: int | None = None, **options: Any) -> GateSpec:
    return GateSpec(rules=(Rule(metric="style", require_labels=labels, **(options or {"margin": 0.3})),))


def difference(view: View) -> Any:
    return gains(view, ["tuned"], "few-shot", next(iter(view.measures)), 0.95)["tuned"]


@pytest.fixture(scope="module")
def unlabelled() -> View:
    return judged_view(Trial(seed=1))


@pytest.fixture(scope="module")
def with_labels(unlabelled: View) -> View:
    return labelled(unlabelled, 100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judged")


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    """A run with 100 labels by ada, and 30 of the same ones by bob, who finds everything good."""
    store = stored(Trial(seed=3, n=200), folder)
    label_all(store, folder)
    view = load(store, RUN, folder)
    first = plan(view, "style", 30)
    labels = [Label(first.question, key, "bob", 1.0) for ask in first.asks for key in ask.outputs]
    store.put_labels(labels)
    return store


def test_without_labels_a_judge_is_an_opinion(unlabelled: View) -> None:
    found = difference(unlabelled)
    assert isinstance(found, Opinion)
    assert found.method == f"Tango, {OPINION}"
    assert found.interval(0.95).method == found.method
    assert scores(unlabelled, ["tuned"], "style", 0.95)["tuned"].interval(0.95).method == f"Wilson, {OPINION}"
    said = gate(unlabelled, rules()).evidence["candidates"][0]["checks"][0]
    assert said["sentence"].endswith(f"of loss allowed; {OPINION}")
    assert (said["corrected"], said["labels"], said["difference"]["method"]) == (False, 0, f"Tango, {OPINION}")
    assert f"style: {OPINION}." in decide(unlabelled, DecideSpec(metric="style"), rules()).sentences


def test_fifty_items_are_enough_and_forty_nine_are_not(unlabelled: View) -> None:
    found = plan(unlabelled, "style", 100)
    assert found.items >= 50
    fewer = next(n for n in range(100, 0, -1) if plan(unlabelled, "style", n).items == 49)
    assert isinstance(difference(labelled(unlabelled, fewer)), Opinion)
    assert isinstance(difference(labelled(unlabelled, fewer + 2)), Labelled)


def test_labels_correct_differences_and_scores_and_say_so(with_labels: View) -> None:
    found = difference(with_labels)
    assert isinstance(found, Labelled)
    assert (found.method, found.labels) == ("PPI++", pairs(with_labels, "tuned", "few-shot", "style"))
    own = scores(with_labels, ["tuned", "few-shot"], "style", 0.95)
    assert {each.method for each in own.values()} == {"PPI++"}
    check = gate(with_labels, rules(50)).evidence["candidates"][0]["checks"][0]
    assert check["sentence"].endswith(f"; corrected by labels on {found.labels} items")
    assert (check["result"], check["corrected"], check["difference"]["method"]) == ("PASS", True, "PPI++")


def test_the_correction_is_ppi_on_what_differs_and_nothing_on_what_does_not(with_labels: View) -> None:
    ppi_py = pytest.importorskip("ppi_py", reason="ppi-python, an oracle, is not installed")
    found, known = people(with_labels, "style"), people(with_labels, "style").same(["tuned", "few-shot"])
    mine, other = found.arms["tuned"], found.arms["few-shot"]
    y, f = mine.label - other.label, mine.judged - other.judged
    there, rest = ~known & ~np.isnan(y), ~known & np.isnan(y)
    share = 1 - known.mean()
    (estimate,) = ppi_py.ppi_mean_pointestimate(y[there], f[there], f[rest])
    low, high = ppi_py.ppi_mean_ci(y[there], f[there], f[rest], alpha=0.05)
    interval = difference(with_labels).interval(0.95)
    assert interval.estimate == pytest.approx(share * estimate, abs=1e-9)
    unmet = share**2 / there.sum() ** 2
    within, between = share * (high.item() - low.item()) / 2 / 1.959964, share * (1 - share) * estimate**2 / with_labels.n
    assert (interval.high - interval.low) / 2 == pytest.approx(1.959964 * np.sqrt(within**2 + between + unmet), abs=1e-3)
    assert known[~np.isnan(y)].sum() == found_equal(y, known)


def found_equal(y: Any, known: Any) -> int:
    """Labelled items with equal texts: people cannot prefer one."""
    equal = known & (y == 0)
    return int(equal.sum())


def test_a_gate_that_requires_labels_cannot_be_passed_without(unlabelled: View, with_labels: View) -> None:
    few = labelled(unlabelled, 40)
    verdict = gate(few, rules(50))
    assert (verdict.outcome, verdict.exit_code(), verdict.exit_code(inconclusive="pass")) == ("INVALID", 4, 4)
    have = pairs(few, "tuned", "few-shot", "style")
    assert f"style has {have} of the 50 labelled items it requires (evalh label --metric style)" in verdict.sentence
    check = verdict.evidence["candidates"][0]["checks"][0]
    assert (check["result"], check["require_labels"], check["labels"]) == ("INVALID", 50, have)
    assert f"{OPINION} ({have} of 50 labels required)" in check["sentence"]
    assert gate(few, rules()).outcome == "PASS", "without the requirement the opinion counts, and is called one"
    assert gate(with_labels, rules(50)).outcome == "PASS"
    assert gate(with_labels, rules(60)).outcome == "INVALID"


def test_floors_require_labels_of_the_arm_itself(unlabelled: View, with_labels: View) -> None:
    floor = rules(50, at_least=0.2)
    assert gate(unlabelled, floor).outcome == "INVALID"
    assert answers(with_labels, "tuned", "style") >= 50
    assert gate(with_labels, floor).outcome == "PASS"


def test_a_loss_elsewhere_fails_however_many_labels_there_are(unlabelled: View) -> None:
    worse = judged_view(Trial(seed=1, base=0.8, tuned=0.2, bias=0.0))
    spec = GateSpec(rules=(Rule(metric="style", margin=0.1, require_labels=50), Rule(metric="style", margin=0.0)))
    assert gate(worse, spec).outcome == "FAIL"


def test_decide_waits_for_the_labels_that_the_gate_requires(unlabelled: View) -> None:
    good = judged_view(Trial(seed=1, base=0.3, tuned=0.8))
    verdict = decide(good, DecideSpec(metric="style"), rules(50))
    assert verdict.outcome == "UNDECIDED"
    assert "What is open is the gate: style has 0 of the 50 labelled items it requires" in verdict.sentence
    assert decide(labelled(good, 100), DecideSpec(metric="style"), rules(50)).outcome == "ADOPT"


def test_more_labels_are_the_remedy_where_labels_are_what_lacks() -> None:
    with_labels = labelled(judged_view(Trial(seed=3)), 100)
    verdict = gate(with_labels, rules(50, margin=0.04))
    check = verdict.evidence["candidates"][0]["checks"][0]
    assert verdict.outcome == "INCONCLUSIVE"
    assert (check["items_needed"], check["labels_needed"] > 50) == (None, True)
    assert "labelled items would settle it (80% chance): evalh label" in verdict.sentence
    undecided = decide(with_labels, DecideSpec(metric="style", min_gain=0.1), rules(50))
    assert "labelled items would settle it (80% chance): evalh label." in undecided.sentence


def test_a_missing_answer_counts_as_the_whole_range_and_needs_no_label(unlabelled: View, with_labels: View) -> None:
    before = gain(with_labels, "tuned", "few-shot", "style")
    after = labelled(unlabelled, 100)
    marks = after.answers("tuned").marks.copy()
    labels = people(with_labels, "style").arms["tuned"].label
    gone = [int(i) for i in np.flatnonzero(np.isnan(labels))[:10]]
    marks[gone] = ""
    answers_of = dict(vars(after)["_answers"])
    arm_id = after.contender("tuned").arm.arm_id
    answers_of[arm_id] = type(answers_of[arm_id])(answers_of[arm_id].output_ids, marks)
    vars(after)["_answers"] = answers_of
    found = gain(after, "tuned", "few-shot", "style")
    assert before is not None
    assert found is not None
    assert found.interval(0.95).low < before.interval(0.95).low - 0.005
    assert found.interval(0.95).high > before.interval(0.95).high
    assert score(after, "tuned", "style") is not None


def test_all_labelled_leaves_nothing_to_the_judge() -> None:
    view = labelled(judged_view(Trial(seed=2, n=120)), 1000)
    found = gain(view, "tuned", "few-shot", "style")
    assert found is not None
    right = Trial(seed=2, n=120).right
    assert found.method == "t on labels"
    assert found.estimate == pytest.approx((right[1] - right[0]).mean())
    assert pairs(view, "tuned", "few-shot", "style") == 120
    assert labelled(judged_view(Trial(seed=2, n=40)), 1000) is not None
    assert gain(labelled(judged_view(Trial(seed=2, n=40)), 1000), "tuned", "few-shot", "style") is None


def test_slices_are_corrected_by_their_own_labels(unlabelled: View) -> None:
    view = labelled(judged_view(Trial(seed=4), slices={"lang": ["de" if i % 4 else "en" for i in range(1000)]}), 160)
    spec = GateSpec(rules=(Rule(metric="style", margin=0.3, every_slice=True),))
    found = {check["slice"]: check for check in gate(view, spec).evidence["candidates"][0]["checks"]}
    assert (found["lang=de"]["corrected"], found["lang=en"]["corrected"]) == (True, False)
    assert found["lang=de"]["labels"] + found["lang=en"]["labels"] == pairs(view, "tuned", "few-shot", "style")


def test_labels_of_clusters_are_summed_by_cluster() -> None:
    view = labelled(judged_view(Trial(seed=5, clusters=10)), 100)
    found = gain(view, "tuned", "few-shot", "style")
    assert found is not None
    assert found.units <= 100
    assert np.isfinite(found.interval(0.95).low)


def test_compare_and_reports_show_correction_and_agreement(store: Store, folder: Path) -> None:
    view = load(store, RUN, folder)
    verdict = compare(view, "tuned")
    assert "corrected by labels on" in verdict.sentences[0]
    human = verdict.evidence["metrics"][0]["human"]
    assert (human["corrected"], human["opinion"], human["annotators"]) == (True, None, ["ada", "bob"])
    assert verdict.evidence["metrics"][0]["test"] == "PPI++"
    report = of_view(view)
    parts = json.loads(as_json.text(report))["metrics"][0]["human"]
    assert parts["differences"]["tuned"]["basis"].startswith("corrected by labels on")
    assert {cell.gain.method for row in report.rows for cell in row.cells if cell.gain is not None} == {"PPI++"}
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal.render(report))
    for text in (console.export_text(), markdown.text(report)):
        assert "tuned: corrected by labels on" in text
        assert "judge and people on" in text
        assert "sensitivity" in text
        assert "ada and bob on 30 answers: kappa" in text


def test_reports_say_that_an_opinion_is_one(tmp_path: Path) -> None:
    report = of_view(load(stored(Trial(seed=3, n=60), tmp_path), RUN, tmp_path))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal.render(report))
    for text in (console.export_text(), markdown.text(report), as_json.text(report)):
        assert OPINION in text


def test_agreement_is_that_of_the_pairs_in_the_store(store: Store, folder: Path) -> None:
    view = load(store, RUN, folder)
    found = agreement(view, ["few-shot", "tuned"], "style")
    for arm in ("few-shot", "tuned"):
        reads = people(view, "style").arms[arm].reads
        by_answer: dict[int, list[float]] = {}
        for read in reads:
            by_answer.setdefault(read.item, []).append(read.value)
        judge = np.array([view.values(arm, "style")[item, 0] for item in by_answer])
        human = np.array([np.mean(values) for values in by_answer.values()])
        rounded = (human > 0.5).astype(float)
        mine = found["arms"][arm]
        assert mine["compared"] == len(human)
        assert mine["kappa"] == pytest.approx(cohen_kappa(rounded, judge))
        assert mine["alpha"] == pytest.approx(krippendorff_alpha(np.array([human, judge])))
        good = human > 0.5
        interval = wilson(int((judge[good] == 1).sum()), int(good.sum()))
        assert (mine["sensitivity"]["n"], mine["sensitivity"]["low"]) == (int(good.sum()), pytest.approx(interval.low))
        assert mine["specificity"]["value"] == pytest.approx((judge[~good] == 0).mean())
    between = found["between_people"]
    assert (between["pairs"][0]["annotators"], between["pairs"][0]["compared"]) == (["ada", "bob"], 30)
    assert between["pairs"][0]["kappa"] == pytest.approx(0.0), "somebody who always says the same agrees by chance alone"


def test_the_judge_s_style_shows_in_one_arm_s_specificity() -> None:
    view = labelled(judged_view(Trial(seed=6, bias=0.25, noise=0.0, same=0.0)), 600)
    found = agreement(view, ["few-shot", "tuned"], "style")["arms"]
    assert found["few-shot"]["specificity"]["value"] == 1.0
    assert found["tuned"]["specificity"]["high"] < 0.8
    assert found["tuned"]["sensitivity"]["value"] == 1.0


def test_agreement_equals_its_oracles_on_random_tables() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn, an oracle, is not installed")
    oracle = pytest.importorskip("krippendorff", reason="krippendorff, an oracle, is not installed")
    for seed in range(5):
        rng = np.random.default_rng(seed)
        view = judged_view(Trial(seed=seed, n=120, same=0.0), Graded())
        graded = rng.integers(1, 6, (2, 120)).astype(float)
        human = np.clip(graded + rng.integers(-1, 2, graded.shape), 1, 5)
        for place, arm in enumerate(("few-shot", "tuned")):
            view.tables["graded"].values[place, :, 0] = graded[place]
            assert view.values(arm, "graded").shape == (120, 1)
        put(view, human)
        found = agreement(view, ["few-shot", "tuned"], "graded")
        assert (found["kappa_weights"], found["alpha_scale"], found["good_above"]) == ("quadratic", "interval", 3.0)
        for place, arm in enumerate(("few-shot", "tuned")):
            expected = sklearn.cohen_kappa_score(human[place].astype(int), graded[place].astype(int), weights="quadratic")
            assert found["arms"][arm]["kappa"] == pytest.approx(expected, abs=1e-8)
            alpha = oracle.alpha(reliability_data=np.array([human[place], graded[place]]), level_of_measurement="interval")
            assert found["arms"][arm]["alpha"] == pytest.approx(alpha, abs=1e-8)


def put(view: View, values: Any) -> None:
    """Labels (arms, n) in data order by one person."""
    from evalharness.store import Labelled as Stored

    question = next(iter(view.measures.values())).question
    for place, contender in enumerate(view.contenders):
        ids = view.answers(contender.label).output_ids[:, 0]
        for i, data_place in enumerate(view._order):
            label = Label(question, ids[i], "ada", float(values[place, data_place]))
            vars(view)["store"].found.append(Stored(label, contender.arm.arm_id, view.ids[i], 0))


def test_pairs_are_read_against_the_arm_they_name(tmp_path: Path) -> None:
    trial = Trial(seed=7, n=200)
    store = stored(trial, tmp_path, PairJudge())
    view = load(store, RUN, tmp_path)
    assert not np.isnan(view.values("tuned", "pairs")).any()
    assert (view.values("few-shot", "pairs") == 0.5).all()
    assert isinstance(difference(view), Opinion)
    found = label_all(store, tmp_path, "pairs", 80)
    assert (found.arms, found.against, len(found.asks), found.items) == (("tuned",), "few-shot", 80, 80)
    assert {ask.turned for ask in found.asks} == {True, False}
    view = load(store, RUN, tmp_path)
    corrected = difference(view)
    assert isinstance(corrected, Labelled)
    truth = (trial.right[1] - trial.right[0]).mean() / 2
    assert corrected.interval(0.95).low < truth < corrected.interval(0.95).high
    own = score(view, "tuned", "pairs")
    assert own is not None
    assert own.estimate == pytest.approx(0.5 + corrected.estimate)
    labels = agreement(view, ["tuned"], "pairs")["arms"]["tuned"]
    assert labels["compared"] == 80
    assert labels["kappa"] > 0.5


@pytest.mark.parametrize("n", [30, 200])
def test_pairs_without_labels_are_reported_in_every_form(tmp_path: Path, n: int) -> None:
    spec = {
        "gate": {"against": "few-shot", "rules": [{"metric": "pairs", "margin": 0.05}]},
        "decide": {"metric": "pairs"},
    }
    view = load(stored(Trial(seed=7, n=n), tmp_path, PairJudge(), spec), RUN, tmp_path)
    own = scores(view, ["tuned", "few-shot"], "pairs", 0.95)
    assert isinstance(own["tuned"], Opinion)
    tie = own["few-shot"].interval(0.95)
    assert (tie.estimate, tie.low, tie.high, tie.method) == (0.5, 0.5, 0.5, "a tie by definition")
    assert OPINION in compare(view, "tuned").sentences[0]
    assert decide(view).outcome in ("ADOPT", "KEEP", "UNDECIDED")
    assert gate(view).evidence["candidates"][0]["checks"][0]["corrected"] is False
    report = of_view(view)
    assert (report.gate is not None, report.decision is not None) == (True, True)
    for ending, render in FILES.items():
        assert OPINION in render(report, Items.of(view)), ending


def test_arms_with_the_same_texts_need_no_label_and_claim_none(tmp_path: Path) -> None:
    for judge in (PairJudge(), StyleJudge()):
        folder = tmp_path / judge.name
        view = load(stored(Trial(seed=7, n=80, same=1.0), folder, judge), RUN, folder)
        found = difference(view)
        assert (found.estimate, found.interval(0.95).low < 0 < found.interval(0.95).high) == (0.0, True)
        assert compare(view, "tuned").sentences[0].endswith("(95%, 80 items; the same texts, nothing to label).")
        assert as_json.text(of_view(view))
        spec = GateSpec(rules=(Rule(metric=judge.name, margin=0.01, require_labels=50),))
        assert gate(view, spec).outcome == "INCONCLUSIVE"
        assert "labelled items would settle" not in gate(view, spec).sentence


def test_labels_for_a_metric_that_asks_nobody_tell_agreement_and_correct_nothing(tmp_path: Path) -> None:
    from evalharness.verdict.measures import Measure
    from tests.report.made import Made

    made = Made(n=60).arm("few-shot", right=0.4).arm("tuned", "candidate", right=0.8)
    store, run_id = made.store(tmp_path)
    before = compare(load(store, run_id), "tuned").evidence["metrics"][0]
    assert "human" not in before
    view = load(store, run_id)
    measure: Measure = view.measure("exact_match")
    assert (measure.asks, measure.question) == (False, measure.row.metric_id)
    found = plan(view, "exact_match", 40)
    store.put_labels([Label(found.question, key, "ada", 1.0) for ask in found.asks for key in ask.outputs])
    after = compare(load(store, run_id), "tuned").evidence["metrics"][0]
    assert after["difference"] == before["difference"]
    assert after["human"]["arms"]["tuned"]["compared"] > 0
    assert (after["human"]["corrected"], after["human"]["opinion"]) == (False, None)


def test_require_labels_is_refused_where_it_promises_nothing(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"input": "a", "target": "b"}\n')
    (tmp_path / "a.jsonl").write_text('{"input": "a", "output": "b"}\n')
    head = "data: {test: test.jsonl}\nbaselines: {x: {outputs: a.jsonl}}\nmetrics: [exact_match]\n"
    path = tmp_path / "s.yaml"
    path.write_text(head + "gate: {rules: [{metric: exact_match, margin: 0.1, require_labels: 50}]}\n")
    with pytest.raises(ConfigError, match=r"gate\.rules\[0\]\.require_labels: exact_match is computed"):
        load_suite(path)
    path.write_text(head + "gate: {rules: [{metric: exact_match, margin: 0.1, require_labels: 20}]}\n")
    with pytest.raises(ConfigError, match="from 50 on"):
        load_suite(path)


def test_a_judge_that_cannot_be_loaded_stays_an_opinion() -> None:
    view = judged_view(Trial(n=60), StyleJudge())
    measure = view.measures["style"]
    from dataclasses import replace

    from evalharness.verdict.measures import Measure

    gone = Measure(replace(measure.row, name="judge"), None, "gone")
    view = replace(view, measures={"style": gone})
    vars(view)["_answers"] = vars(judged_view(Trial(n=60)))["_answers"]
    assert gone.asks
    assert isinstance(difference(view), Opinion)


@pytest.mark.slow(seconds=50)
def test_corrected_intervals_cover_the_truth_where_the_judge_s_do_not() -> None:
    """500 runs of 2,000 items and 100 labels, a judge with a style bias of 6 points: choosing, labels, verdict."""
    runs, covered, naive, own, widths = 500, 0, 0, 0, []
    for seed in range(runs):
        trial = Trial(seed=seed, n=2000)
        view = judged_view(trial)
        alone = difference(view).interval(0.95)
        naive += alone.low <= trial.truth <= alone.high
        view = labelled(view, 100)
        interval = difference(view).interval(0.95)
        assert interval.method == "PPI++"
        covered += interval.low <= trial.truth <= interval.high
        widths.append(interval.high - interval.low)
        found = scores(view, ["tuned"], "style", 0.95)["tuned"].interval(0.95)
        own += found.low <= trial.truth + trial.base <= found.high
    print(f"difference: corrected {covered / runs:.3f}, judge alone {naive / runs:.3f}; own score corrected {own / runs:.3f}; ", end="")
    print(f"mean width {100 * np.mean(widths):.1f} points")
    assert covered / runs >= 0.92
    assert own / runs >= 0.92
    assert naive / runs < 0.15


@pytest.mark.slow(seconds=30)
def test_corrected_win_rates_cover_the_truth_where_the_judge_s_do_not() -> None:
    """The same for pairs: 500 runs of 1,000 items and 100 labelled pairs."""
    runs, covered, naive = 500, 0, 0
    for seed in range(runs):
        trial = Trial(seed=seed, n=1000)
        view = judged_view(trial, PairJudge())
        alone = difference(view).interval(0.95)
        naive += alone.low <= trial.truth / 2 <= alone.high
        interval = difference(labelled(view, 100)).interval(0.95)
        assert interval.method == "PPI++"
        covered += interval.low <= trial.truth / 2 <= interval.high
    print(f"win rate: corrected {covered / runs:.3f}, judge alone {naive / runs:.3f}")
    assert covered / runs >= 0.92
    assert naive / runs < 0.5


def test_of_several_answers_to_an_item_only_the_labelled_ones_meet_the_judge() -> None:
    reads = [Read(0, 1, "ada", 1.0, 0.0), Read(0, 1, "bob", 0.0, 0.0), Read(2, 0, "ada", 1.0, 1.0), Read(2, 1, "ada", 0.0, 0.0)]
    judged = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    label, there = _means(reads, judged)
    assert label.tolist() == pytest.approx([0.5, np.nan, 0.5], nan_ok=True)
    assert there.tolist() == [0.0, 1.0, 0.5], "what is not labelled keeps its mean over all answers"
