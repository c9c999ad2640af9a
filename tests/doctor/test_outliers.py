from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evalharness.doctor.outliers import Frequent, Outliers, language_of, repeated, robust_z, script_of
from tests.doctor.seen import examine, rows

SHARED = Path(__file__).parents[3] / "shared" / "data"
ENGLISH = "how can I get my {} and what is it that you have for this"


def plain(n: int = 200) -> list[tuple[str, str]]:
    rng = random.Random(2)
    return [(f"{rng.random()} {ENGLISH.format(k)} {rng.random()}", f"label{k % 5}") for k in range(n)]


def test_rows_of_one_kind_have_no_findings() -> None:
    assert examine(Outliers(), rows("train", plain())) == []
    assert examine(Outliers(), rows("train", [("x" * 9000, "y"), *plain(10)])) == []  # too few to say what is usual


def test_lengths() -> None:
    pairs = [*plain(), ("mail ada@mail.com " + " ".join(f"{k}x" for k in range(3000)), "label1"), ("?", "label1")]
    (found,) = examine(Outliers(), rows("train", pairs))
    assert (found.rule, found.severity, found.count, found.rows) == ("outlier.length", "note", 2, ())
    assert [place.source for place in found.worst] == ["train.jsonl:201", "train.jsonl:202"]
    assert found.worst[0].excerpt.startswith("mail <EMAIL> 0x")
    assert found.figures["longest"] == len(pairs[200][0])


def test_long_tails_of_lengths_are_no_outliers() -> None:
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(5, 0.6, 20_000)).astype(int)
    assert (np.abs(robust_z(lengths)) >= 6).sum() == 0
    z = robust_z(np.array([*lengths, 10**6]))
    assert z[-1] > 6
    spread = stats.median_abs_deviation(np.log2(1 + lengths), scale="normal")
    assert robust_z(lengths)[0] == pytest.approx((np.log2(1 + lengths[0]) - np.median(np.log2(1 + lengths))) / spread, rel=1e-4)


def test_another_script_and_another_language() -> None:
    german = "wie kann ich meine Karte mit dem Konto und der App verbinden"
    russian = "как мне получить мою новую карту"
    (found,) = examine(Outliers(), rows("train", [*plain(), (german, "label1"), (russian, "label1")]))
    assert (found.rule, found.count, found.figures["usual"]) == ("outlier.language", 2, "English")
    assert [(place.source, place.other) for place in found.worst] == [("train.jsonl:202", "Cyrillic"), ("train.jsonl:201", "German")]


def test_languages_by_script_and_function_words() -> None:
    assert script_of("123 ?!") == ""
    assert script_of("我的卡在哪里 card") == "Chinese or Japanese"
    assert script_of("Ünïcode étage") == "Latin"
    assert language_of("le chat est sur la table avec une souris") == "French"
    assert language_of("card lost") == "Latin"
    assert language_of("一二三") == "Chinese or Japanese"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the project")
def test_real_texts_of_one_language_raise_no_alarm() -> None:
    with (SHARED / "banking77" / "train.csv").open() as file:
        questions = [row["text"] for row in csv.DictReader(file)]
    english = (SHARED / "wmt22-cs-en" / "ref.B.en").read_text().splitlines()
    czech = (SHARED / "wmt22-cs-en" / "src.cs").read_text().splitlines()
    german = (SHARED / "wmt17-en-de" / "ref.de").read_text().splitlines()
    assert {language_of(text) for text in questions} == {"English", "Latin"}
    assert {language_of(text) for text in english} == {"English", "Latin"}
    assert {language_of(text) for text in czech} == {"Czech", "Latin"}
    told = [language_of(text) for text in german]
    assert told.count("German") > 1500
    assert sum(name not in ("German", "Latin") for name in told) <= 3
    assert examine(Outliers(), rows("train", [(text, "x") for text in questions])) == []


def test_boilerplate() -> None:
    pairs = [(f"{text} Sent from my phone, please excuse brevity and typos", "As a language model I cannot tell you that, but " + str(k))
             if k % 3 == 0 else (text, str(k)) for k, (text, _) in enumerate(plain())]  # fmt: skip
    question, answer = examine(Outliers(), rows("train", pairs))
    assert (question.rule, question.severity, question.count) == ("outlier.boilerplate", "note", 67)
    assert question.worst[0].excerpt == "from my phone, please excuse brevity and typos"
    assert (answer.count, answer.worst[0].excerpt) == (67, "As a language model I cannot tell you")


def test_circles() -> None:
    (found,) = examine(Outliers(), rows("train", [*plain(), (" ".join(["try it again now"] * 15), "label1")]))
    assert (found.rule, found.count, found.worst[0].source) == ("outlier.repetition", 1, "train.jsonl:201")
    assert repeated(["a", "b", "c", "d", "e", "f", "g", "h"]) == 0
    assert repeated(["a", "b", "c", "d", "a", "b", "c", "d"]) == 0.5


def test_frequent_texts_survive_in_bounded_memory() -> None:
    counts, rng = Frequent(100), random.Random(0)
    for k in range(20_000):
        counts.add("often" if k % 20 == 0 else f"{rng.random()}", f"{k}")
    assert len(counts._counts) <= 100
    (often,) = [each for each in counts.above(500) if each[0] == "often"]
    assert 1000 - 200 <= often[1] <= 1000
    assert often[2] == "0"


def test_test_rows_count_and_production_inputs_do_not() -> None:
    assert examine(Outliers(), [*rows("train", plain()), *rows("logs", [("x " * 9000, "y")], 200)]) == []
    (found,) = examine(Outliers(), [*rows("train", plain()), *rows("test", [("x" * 20000, "y")], 200)])
    assert found.worst[0].source == "test.jsonl:1"
