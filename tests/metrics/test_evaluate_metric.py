"""Hugging Face's evaluate: scripts on disk, row by row or worked out anew on every draw, with figures known by other ways."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from evalharness import registry
from evalharness.errors import ConfigError, DataError, MissingExtra
from evalharness.ids import digest
from evalharness.metrics import evaluate_metric
from evalharness.metrics.evaluate_metric import Evaluate, EvaluateOptions
from evalharness.metrics.labels import LabelAccuracy, LabelOptions, MacroF1
from evalharness.metrics.recomputed import MOST, Recomputed, is_recomputed
from evalharness.pipeline.scoring import Scorer
from evalharness.protocols import Metric
from evalharness.records import Message, Output, Reply, Sample
from evalharness.report import of_view
from evalharness.stats.resample import bootstrap_one
from evalharness.verdict import compare, load
from evalharness.verdict.view import View
from tests.metrics.contract import MetricContract, item
from tests.report.made import RUN, Made

LABELS = ["a", "b", "c"]


@pytest.fixture
def root(scripts: Path) -> Path:
    return scripts


def made(root: Path, metric: str, **options: Any) -> Evaluate:
    given = registry.options(Evaluate, {"metric": f"metrics/{metric}", **options}, root)
    return Evaluate(cast("EvaluateOptions", given))


class TestBySample(MetricContract):
    @pytest.fixture(autouse=True)
    def _at(self, root: Path) -> None:
        self.root = root

    def make(self) -> Metric:
        return made(self.root, "same")


class TestByCorpus(TestBySample):
    def make(self) -> Metric:
        return made(self.root, "errors", higher_is_better=False)


@pytest.mark.parametrize(
    ("name", "options", "per"),
    [
        ("same", {}, "sample"),
        ("errors", {}, "corpus"),
        ("f1", {}, "corpus"),
        ("f1", {"labels": LABELS, "args": {"average": "macro"}}, "corpus"),
        ("hits", {"key": "hits", "labels": LABELS}, "sample"),
        ("any_of", {}, "sample"),
        ("quad", {"key": "exact", "range": [0, 100]}, "sample"),
        ("copied", {"inputs": {"sources": "input"}}, "sample"),
        ("correlation", {"range": [-1, 1], "worst": "0"}, "corpus"),
        ("same", {"per": "corpus"}, "corpus"),
    ],
)
def test_it_finds_out_and_says_which(root: Path, name: str, options: dict[str, Any], per: str) -> None:
    metric = made(root, name, **({"labels": ["no", "yes"]} if name == "f1" and not options else {}), **options)
    assert metric.per == per
    assert metric.kind == ("mean" if per == "sample" else "corpus")
    assert is_recomputed(metric) == (per == "corpus")
    how = "row by row" if per == "sample" else "recomputed on every draw"
    assert str(metric.identity()["signature"]).endswith(how)


def test_rows_are_what_compute_says(root: Path) -> None:
    """By evaluate's own compute(), which goes through files and type casts."""
    import evaluate

    metric = made(root, "f1", labels=LABELS, args={"average": "macro"})
    answers, targets = list("abcabca"), list("aabbcca")
    samples = [Sample.of([Message("user", str(i))], [target]) for i, target in enumerate(targets)]
    library = evaluate.load(str(root / "metrics" / "f1"))
    expected = library.compute(predictions=list(map(LABELS.index, answers)), references=list(map(LABELS.index, targets)), average="macro")
    assert metric.whole(samples, answers) == pytest.approx(expected["f1"], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "pair", "expected"),
    [
        ("same", {}, item("b", "a", "b"), 1.0),
        ("same", {"higher_is_better": False}, item("b", "a", "b"), 0.0),
        ("any_of", {}, item("b", "a", "b"), 1.0),
        ("quad", {"key": "exact", "range": [0, 100]}, item("b", "a", "b"), 100.0),
        ("copied", {"inputs": {"sources": "input"}}, item("question", "x"), 1.0),
        ("hits", {"key": "hits"}, item(" 7\n", "7"), 1.0),
        ("hits", {"key": "hits", "labels": LABELS}, item("B.", "b"), 1.0),
        ("hits", {"key": "hits", "labels": LABELS}, item("z", "b"), 0.0),
    ],
)
def test_scores_of_rows(root: Path, name: str, options: dict[str, Any], pair: tuple[Sample, Reply], expected: float) -> None:
    assert made(root, name, **options).score(*pair) == (expected,)


def test_a_column_of_the_data_is_passed_on(root: Path) -> None:
    metric = made(root, "copied", inputs={"sources": "original"})
    sample = Sample.of([Message("user", "q")], ["x"], fields={"original": "abc"})
    assert metric.score(sample, Reply("o", "abc", "stop")) == (1.0,)
    with pytest.raises(DataError, match=r"original: there is no such column \(columns: none\)"):
        metric.score(*item("abc", "x"))


def test_what_is_no_input_of_the_metric_is_an_outcome_of_the_row(root: Path) -> None:
    metric = made(root, "hits", key="hits")
    sample, reply = item("seven", "7")
    (score,) = Scorer([metric]).score(sample, Output("o1", "arm", "d", sample.id, 0, reply, "run"))
    assert "'seven' is no whole number: name the labels" in str(score.error)
    with pytest.raises(DataError, match="'x' is no whole number"):
        metric.score(*item("7", "x"))
    with pytest.raises(ValueError, match=r"outside of 0 to 1: set range"):
        made(root, "quad", key="exact").score(*item("a", "a"))


class Classes(Made):
    """Three classes instead of sentences."""

    def sample(self, i: int, split: str = "test") -> Sample:
        return Sample.of([Message("user", f"{split} ticket {i}")], [LABELS[i % 3]])


def classes(metrics: list[Metric], folder: Path, n: int = 60) -> View:
    def texts(seed: int, right: float) -> dict[int, str]:
        draw = np.random.default_rng(seed)
        return {i: LABELS[i % 3] if draw.random() < right else LABELS[draw.integers(3)] for i in range(n)}

    run = Classes(n=n, metrics=metrics, suite={})
    run.arm("few-shot", texts=texts(1, 0.4)).arm("tuned", "candidate", texts=texts(2, 0.8), errors=[3, 7], unscored=[9])
    store, _ = run.store(folder)
    return load(store, RUN, folder if (folder / "metrics").is_dir() else Path())


def test_recomputed_draws_give_what_summed_statistics_give(root: Path, tmp_path: Path) -> None:
    """macro-F1 both ways: by summed counts of classes, and by the script on the rows of every draw. Same draws, same figures."""
    whole = made(root, "f1", labels=LABELS, args={"average": "macro", "labels": [0, 1, 2]})
    summed: Metric = MacroF1(LabelOptions(labels=tuple(LABELS)))
    samples = [Sample.of([Message("user", str(i))], [LABELS[i % 3]]) for i in range(40)]
    draw = np.random.default_rng(0)
    arms = [[LABELS[(i + draw.integers(2)) % 3] for i in range(40)] for _ in range(2)]
    drawn = Recomputed(whole, samples, [[[text] for text in texts] for texts in arms])
    for arm, texts in enumerate(arms):
        stats = np.array([summed.score(s, Reply("o", text, "stop")) for s, text in zip(samples, texts, strict=True)])
        expected = bootstrap_one(stats, summed.finish, n=200)
        found = bootstrap_one(drawn.rows(arm)[:, 0], drawn.finish, n=200)
        assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high), abs=1e-9)


def test_a_verdict_over_a_recomputed_metric(root: Path, tmp_path: Path) -> None:
    """From a store, with failed outputs at their worst: the script's own figure, an interval, and a p-value by swaps."""
    (tmp_path / "metrics").symlink_to(root / "metrics")
    metric = made(root, "errors", higher_is_better=False)
    view = classes([metric], tmp_path, n=40)
    assert view.measures["evaluate"].problem is None
    texts = {o.sample_id: o.reply.text for o in view.store.outputs(view.contender("tuned").arm.arm_id, view.dataset.dataset_id)}
    unscored = Classes().sample(9).id
    answers = ["" if texts[s.id] is None or s.id == unscored else str(texts[s.id]) for s in view.samples]
    (found,) = compare(view, "tuned", "few-shot").evidence["metrics"]
    tuned = found["scores"]["tuned"]
    assert tuned["value"] == pytest.approx(metric.whole(view.samples, answers))
    assert tuned["low"] < tuned["value"] < tuned["high"]
    assert (found["difference"]["method"], found["test"]) == ("bootstrap of 500 draws", "approximate randomization")
    assert view.missing("tuned", "evaluate") == pytest.approx(3 / 40)


def test_repeats_are_averaged_over_rows(root: Path) -> None:
    metric = made(root, "errors", higher_is_better=False)
    samples = [Sample.of([Message("user", str(i))], ["one two"]) for i in range(2)]
    drawn = Recomputed(metric, samples, [[["one two", "one"], ["", None]]])
    rows = drawn.rows(0)
    worst = np.array([drawn.failed(sample) for sample in samples])
    filled = np.where(np.isnan(rows), worst[:, None, :], rows).mean(axis=1)
    assert drawn.finish(filled.sum(axis=0), np.array(2.0)) == pytest.approx((0 + 1 + 2 + 2) / 8)
    best = np.where(np.isnan(rows), np.array([drawn.perfect(sample) for sample in samples])[:, None, :], rows).mean(axis=1)
    assert drawn.finish(best.sum(axis=0) + best[1], np.array(3.0)) == pytest.approx((0 + 1 + 2 * (2 + 0)) / 12)


def test_a_metric_without_a_value_is_told_and_not_drawn(root: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics").symlink_to(root / "metrics")
    view = classes([made(root, "f1", labels=LABELS, per="corpus")], tmp_path, n=20)
    measure = view.measures["evaluate"]
    assert not measure.ready
    assert "Target is multiclass but average='binary'" in str(measure.problem)
    with pytest.raises(ConfigError, match="f1 fails: ValueError: Target is multiclass"):
        view.measure("evaluate")


def test_a_draw_without_a_value_counts_as_the_worst(root: Path) -> None:
    metric = made(root, "correlation", range=[-1, 1], worst="0")
    samples = [Sample.of([Message("user", str(i))], [str(i)]) for i in range(3)]
    drawn = Recomputed(metric, samples, [[["0"], ["2"], ["3"]]])
    rows = drawn.rows(0)[:, 0]
    assert drawn.finish(np.array([rows.sum(axis=0), 3 * rows[0]]), np.array([3.0, 3.0])) == pytest.approx(
        [float(np.corrcoef([0, 1, 2], [0, 2, 3])[0, 1]), -1.0]
    )


def test_too_many_answers_are_told() -> None:
    samples = [Sample.of([Message("user", str(i))], ["x"]) for i in range(3)]
    answers: list[list[str | None]] = [["x"] * (MOST // 3 + 1)] * 3
    with pytest.raises(ValueError, match="limit the test set"):
        Recomputed(cast("Any", None), samples, [answers])


@pytest.mark.parametrize(
    ("metric", "options", "why"),
    [
        ("metrics/gone", {"trust_remote_code": False}, "'metrics/gone' is no script of the workspace.*Give the path.*trust_remote_code"),
        ("accuracy", {}, "'accuracy' is no script of the workspace; by that name it would be downloaded from the Hugging Face hub and run"),
        ("metrics/gone.py", {}, "there is no script"),
        ("metrics/hungry", {}, "metrics/hungry cannot be loaded: ImportError.*no_such_package"),
        ("metrics/broken", {}, "broken fails: RuntimeError: it never worked.*it is not tried out"),
        ("metrics/quad", {"range": [0, 100]}, "key: quad computes exact, total.*Say which"),
        ("metrics/hits", {"key": "x", "labels": ["a", "b"]}, "hits computes hits, n"),
        ("metrics/copied", {}, "sources cannot be filled.*inputs: {COLUMN: input}"),
        ("metrics/correlation", {"range": [-1, 1]}, "worst: an answer that failed has to count as something"),
        ("metrics/odd", {}, "its predictions are objects with tokens"),
        ("metrics/same", {"range": [1, 0]}, "is no range"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_runs(root: Path, metric: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Evaluate(cast("EvaluateOptions", registry.options(Evaluate, {"metric": metric, **options}, root)))


def test_the_hub_is_said_to_be_out_of_reach(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    def down(*args: Any, **options: Any) -> Any:
        raise FileNotFoundError("Couldn't find a module script. Module 'accuracy' doesn't exist on the Hugging Face Hub either.")

    monkeypatch.setattr(evaluate, "load", down)
    with pytest.raises(ConfigError, match=r"'accuracy' is on the Hugging Face hub, if anywhere, and could not be loaded.*Go online once"):
        Evaluate(EvaluateOptions(metric="accuracy", trust_remote_code=True))


def test_an_edit_of_the_script_is_another_metric(tmp_path: Path, root: Path) -> None:
    script = tmp_path / "metrics" / "same" / "same.py"
    script.parent.mkdir(parents=True)
    script.write_text((root / "metrics" / "same" / "same.py").read_text(encoding="utf-8"), encoding="utf-8")
    first = made(tmp_path, "same").identity()
    assert digest(first) == digest(made(root, "same").identity())
    script.write_text(script.read_text(encoding="utf-8").replace("p == r", "p != r"), encoding="utf-8")
    changed = made(tmp_path, "same")
    assert digest(changed.identity()) != digest(first)
    assert changed.score(*item("a", "a")) == (0.0,)


def test_without_evaluate_it_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(evaluate_metric, "version", gone)
    with pytest.raises(MissingExtra, match=r"evalh\[evaluate\]"):
        made(root, "same")


def test_fewer_draws_are_said_and_each_answer_is_prepared_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics").symlink_to(root / "metrics")
    metric = made(root, "errors", higher_is_better=False)
    calls: list[str] = []
    prepare = Evaluate.row

    def row(self: Evaluate, sample: Sample, text: str) -> Any:
        calls.append(text)
        return prepare(self, sample, text)

    monkeypatch.setattr(Evaluate, "row", row)
    view = classes([metric, LabelAccuracy()], tmp_path, n=30)
    dear, cheap = compare(view, "tuned", "few-shot").evidence["metrics"]
    assert (dear["difference"]["method"], dear["test"]) == ("bootstrap of 500 draws", "approximate randomization")
    assert dear["p"] * 501 == pytest.approx(round(dear["p"] * 501)), "one in 501 is the least that 500 swaps can say"
    assert cheap["difference"]["method"] == "Tango"
    plugin: object = view.measures["evaluate"].plugin
    assert isinstance(plugin, Recomputed)
    assert len(plugin._known) < 4 * 500 + 2 * 500 + 10 * 30
    assert len(calls) <= 2 * 30 + 2 * 30, "each answer, and each stand-in for a missing one"


def test_more_answers_mean_fewer_draws_within_limits(root: Path) -> None:
    metric = made(root, "errors", higher_is_better=False)

    def draws(n: int) -> int:
        return Recomputed(metric, [Sample.of([Message("user", str(i))], ["x"]) for i in range(n)], []).draws

    assert [draws(n) for n in (60, 1000, 2000, 5000)] == [500, 500, 250, 200]


def test_a_strict_level_gets_the_draws_that_it_needs(root: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics").symlink_to(root / "metrics")
    view = classes([made(root, "errors", higher_is_better=False)], tmp_path, n=30)
    found = compare(view, "tuned", "few-shot", confidence=0.995).evidence["metrics"][0]["difference"]
    assert found["method"] == "bootstrap of 800 draws"
    assert found["low"] < found["value"] < found["high"]


def test_only_the_largest_slices_are_worked_out_and_the_others_are_counted(root: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics").symlink_to(root / "metrics")
    view = classes([made(root, "same", per="corpus")], tmp_path, n=60)
    kinds = np.array([f"k{i % 5}" for i in range(60)], np.object_)
    found = compare(replace(view, slices={"kind": kinds}), "tuned", "few-shot").evidence["metrics"][0]
    assert (len(found["slices"]), found["slices_left_out"]) == (3, 2)
    report = of_view(replace(view, slices={"kind": kinds}))
    assert report.slices == ()
    assert any("worked out anew on every draw, so not on slices" in note for note in report.notes)
