from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import confusion_matrix, f1_score

from evalharness import registry
from evalharness.errors import ConfigError, DataError
from evalharness.ids import digest
from evalharness.metrics import score_all
from evalharness.metrics.labels import LabelAccuracy, LabelOptions, MacroF1, plain
from evalharness.protocols import Metric
from tests.metrics.contract import MetricContract, item

LABELS = ("the dog bit the man", "something else entirely", "4", "four", "The dog had bitten the man.", "A man was bitten")


class TestLabelAccuracy(MetricContract):
    def make(self) -> Metric:
        return LabelAccuracy()


class TestLabelAccuracyInside(MetricContract):
    def make(self) -> Metric:
        return LabelAccuracy(LabelOptions(labels=LABELS, find="inside"))


class TestMacroF1(MetricContract):
    def make(self) -> Metric:
        return MacroF1(LabelOptions(labels=LABELS))


@pytest.mark.parametrize(
    ("text", "find", "expected"),
    [
        ("refund", "whole", True),
        (" **Refund**.\n", "whole", True),
        ('"refund"', "whole", True),
        ("It is refund", "whole", False),
        ("It is refund", "inside", True),
        ("It is Refund, I mean refund!", "inside", True),
        ("refund or delivery", "inside", False),
        ("refunded", "inside", False),
        ("late   delivery", "inside", False),
    ],
)
def test_labels_are_read(text: str, find: str, expected: bool) -> None:
    metric = LabelAccuracy(LabelOptions.model_validate({"labels": ["refund", "delivery", "late delivery"], "find": find}))
    assert metric.score(*item(text, "refund")) == (float(expected),)


def test_the_longer_label_is_found_where_one_holds_the_other() -> None:
    metric = LabelAccuracy(LabelOptions(labels=("delivery", "late delivery"), find="inside"))
    assert metric.score(*item("a Late delivery, clearly", "late delivery")) == (1.0,)


names = st.sampled_from(["a", "b", "c", "d"])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(names, names | st.sampled_from(["", "no idea"])), min_size=1, max_size=12))
def test_macro_f1_and_confusion_equal_scikit_learn(rows: list[tuple[str, str]]) -> None:
    labels = ("a", "b", "c", "d")
    metric = MacroF1(LabelOptions(labels=labels))
    samples, replies = zip(*(item(answer, true) for true, answer in rows), strict=True)
    stats = score_all(metric, samples, replies)
    found = float(metric.finish(stats.sum(axis=0), np.array(float(len(rows)))))
    truth, answers = [true for true, _ in rows], [answer if answer in labels else "other" for _, answer in rows]
    there = sorted(set(truth) | (set(answers) - {"other"}))
    assert found == pytest.approx(f1_score(truth, answers, labels=there, average="macro", zero_division=0), abs=1e-12)
    table = confusion_matrix(truth, answers, labels=[*labels, "other"])
    assert np.array_equal(metric.confusion(samples, stats), table[:4])


def test_a_failed_answer_never_pays() -> None:
    metric = MacroF1(LabelOptions(labels=("a", "b", "c")))
    rest = np.sum([metric.score(*item(label, label)) for label in "abcabc"], axis=0)
    sample, _ = item("", "a")
    n = np.array(7.0)
    failed, silent = rest + metric.failed(sample), rest + metric.score(*item("no idea", "a"))
    assert metric.finish(failed, n) < metric.finish(silent, n) < metric.finish(rest + metric.perfect(sample), n)


def test_another_target_is_fine_and_counts_as_its_own_class() -> None:
    metric = MacroF1(LabelOptions(labels=("a", "b", "c")))
    assert metric.score(*item("b", "a", "b")) == (0, 1, 0, 0, 0, 0, 0, 0, 0)
    assert metric.score(*item("c", "a", "b")) == (0, 0, 0, 0, 0, 1, 1, 0, 0)


def test_an_answer_without_text_is_in_the_last_column() -> None:
    metric = MacroF1(LabelOptions(labels=("a", "b")))
    samples = [item("", "b")[0], item("", "b")[0], item("", "a")[0]]
    stats = np.array([[np.nan] * 6, metric.score(*item("no idea", "b")), metric.score(*item("b", "a"))])
    assert metric.confusion(samples, stats).tolist() == [[0, 1, 0], [0, 0, 2]]


def test_labels_from_files_are_the_same_as_labels_in_the_suite(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("refund\n\n delivery \n", encoding="utf-8")
    (tmp_path / "train.csv").write_text("text,category\nx,refund\ny,delivery\nz,refund\n", encoding="utf-8")
    (tmp_path / "train.jsonl").write_text('{"category": "delivery"}\n{"category": "refund"}\n', encoding="utf-8")
    options = registry.options(MacroF1, "labels.txt", tmp_path)
    assert options == LabelOptions(labels=("refund", "delivery"))
    for file in ("train.csv", "train.jsonl"):
        found = registry.options(MacroF1, {"labels": {"file": file, "column": "category"}}, tmp_path)
        assert found == LabelOptions(labels=("delivery", "refund"))
    made = MacroF1(LabelOptions(labels=("refund", "delivery")))
    again = MacroF1(LabelOptions.model_validate(made.identity()["options"]))
    assert digest(again.identity()) == digest(made.identity())


def test_labels_stand_beside_any_text(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('text,category\n"two\nlines",refund\nx\u2028y\x0cz,delivery\n', encoding="utf-8")
    (tmp_path / "train.jsonl").write_text('{"t": "x\u2028y\x85", "category": "delivery"}\r\n\n{"category": "refund"}\n', encoding="utf-8")
    for file in ("train.csv", "train.jsonl"):
        found = registry.options(MacroF1, {"labels": {"file": file, "column": "category"}}, tmp_path)
        assert found == LabelOptions(labels=("delivery", "refund"))


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (["a", " A. "], "comes twice"),
        (["a", "?"], "a label is empty"),
        ("missing.txt", "no labels in"),
        ({"file": "t.csv"}, "expected {file: x.csv, column: NAME}"),
        ({"file": "t.csv", "column": "no"}, "has rows without 'no'"),
        ({"file": "short.csv", "column": "label"}, "has rows without 'label'"),
    ],
)
def test_bad_labels_are_told(tmp_path: Path, labels: object, why: str) -> None:
    (tmp_path / "t.csv").write_text("label\na\n", encoding="utf-8")
    (tmp_path / "short.csv").write_text("text,label\nx,a\ny\n", encoding="utf-8")
    with pytest.raises(ValidationError, match=why):
        registry.options(MacroF1, {"labels": labels}, tmp_path)


def test_what_is_missing_is_told() -> None:
    with pytest.raises(ConfigError, match="needs all classes"):
        MacroF1(LabelOptions(labels=("a",)))
    with pytest.raises(ConfigError, match="'inside' needs labels"):
        LabelAccuracy(LabelOptions(find="inside"))
    with pytest.raises(DataError, match="'z' is none of the 2 labels"):
        MacroF1(LabelOptions(labels=("a", "b"))).score(*item("a", "z"))


def test_plain_form() -> None:
    assert plain(' "Late\n Delivery". ') == "late delivery"
