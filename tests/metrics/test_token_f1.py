from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.metrics.token_f1 import TokenF1, TokenF1Options
from evalharness.protocols import Metric
from tests.metrics.contract import MetricContract, item


class TestTokenF1(MetricContract):
    def make(self) -> Metric:
        return TokenF1()


class TestTokenF1WithArticles(MetricContract):
    def make(self) -> Metric:
        return TokenF1(TokenF1Options(articles=False))


def squad_f1(gold: str, predicted: str) -> float:
    """`compute_f1` of the official SQuAD 2.0 evaluation script, as published (worksheets.codalab.org, evaluate-v2.0.py)."""

    def normalize_answer(s: str) -> str:
        def remove_articles(text: str) -> str:
            return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

        def remove_punc(text: str) -> str:
            exclude = set(string.punctuation)
            return "".join(ch for ch in text if ch not in exclude)

        return " ".join(remove_articles(remove_punc(s.lower())).split())

    gold_toks = normalize_answer(gold).split() if gold else []
    pred_toks = normalize_answer(predicted).split() if predicted else []
    common = Counter(gold_toks) & Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


texts = st.lists(st.sampled_from(["the", "A", "an", "dog's", "dogs", "bit", "bit,", "-", "é", "Ann", "\n"]), max_size=8).map(" ".join)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_equals_the_official_script(text: str, targets: list[str]) -> None:
    assert TokenF1().score(*item(text, *targets)) == (max(squad_f1(target, text) for target in targets),)


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("the Eiffel Tower!", "Eiffel tower", 1.0),
        ("Paris, France", "Paris", 2 / 3),
        ("London", "Paris", 0.0),
        ("", "Paris", 0.0),
        ("The.", "an", 1.0),
        ("dog dog dog", "dog", 0.5),
    ],
)
def test_known_values(text: str, target: str, expected: float) -> None:
    assert TokenF1().score(*item(text, target))[0] == pytest.approx(expected)


def test_articles_of_other_languages_stay() -> None:
    """Trap: "a" is a word of meaning in many languages."""
    assert TokenF1(TokenF1Options(articles=False)).score(*item("an apple", "the apple"))[0] == pytest.approx(0.5)
    assert TokenF1().score(*item("an apple", "the apple")) == (1.0,)
