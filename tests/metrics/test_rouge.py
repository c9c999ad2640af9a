from __future__ import annotations

import sys
from typing import Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from evalharness.errors import DataError, MissingExtra
from evalharness.metrics.rouge import Rouge, RougeOptions
from evalharness.protocols import Metric
from tests.metrics.contract import MetricContract, item

Which = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]


class TestRougeL(MetricContract):
    def make(self) -> Metric:
        return Rouge()


class TestRouge2WithEveryOption(MetricContract):
    def make(self) -> Metric:
        return Rouge(RougeOptions(which="rouge2", part="recall", stemmer=True, tokenize="words"))


lines = st.lists(st.sampled_from(["the", "dogs", "dog", "bit", "a", "Man.", "running", "é", "\n"]), max_size=12).map(" ".join)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(lines, st.lists(lines, min_size=1, max_size=3), st.sampled_from(get_args(Which)), st.booleans())
def test_equals_rouge_score(text: str, targets: list[str], which: Which, stemmer: bool) -> None:
    targets = [f"{target} dog" for target in targets]
    expected = RougeScorer([which], use_stemmer=stemmer).score_multi(targets, text)[which]
    parts: list[Literal["precision", "recall", "fmeasure"]] = ["precision", "recall", "fmeasure"]
    for part in parts:
        (value,) = Rouge(RougeOptions(which=which, part=part, stemmer=stemmer)).score(*item(text, *targets))
        assert value == getattr(expected, part)


def test_the_librarys_published_example() -> None:
    """The README of rouge-score: ROUGE-1 and ROUGE-L of its two sentences."""
    pair = item("The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog")
    assert Rouge(RougeOptions(which="rouge1")).score(*pair)[0] == pytest.approx(2 * (6 / 8) * (6 / 9) / (6 / 8 + 6 / 9))
    assert Rouge(RougeOptions(which="rougeL", part="precision")).score(*pair) == (5 / 8,)


def test_other_scripts_are_an_error_until_words_are_asked_for() -> None:
    """Trap: rouge-score drops every letter but a-z, so that a right Russian answer would get 0 like a wrong one."""
    pair = item("собака укусила человека", "собака укусила человека")
    with pytest.raises(DataError, match="holds nothing that ROUGE takes for a word"):
        Rouge().score(*pair)
    assert Rouge(RougeOptions(tokenize="words")).score(*pair) == (1.0,)


def test_the_signature_names_the_settings_and_the_librarys_version() -> None:
    assert str(Rouge(RougeOptions(stemmer=True)).identity()["signature"]).startswith(
        "rougeL|part:fmeasure|stem:yes|tok:rouge|rouge-score:0."
    )


def test_without_the_library_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(MissingExtra, match=r"evalh\[evaluate\]"):
        Rouge()
