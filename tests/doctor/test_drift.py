from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evalharness.doctor.corpus import Corpus, hashed, split_words
from evalharness.doctor.drift import Drift, Space, distance
from evalharness.doctor.findings import SeenRow
from tests.doctor.seen import examine, rows

SHARED = Path(__file__).parents[3] / "shared" / "data"
WORDS = [f"w{k}" for k in range(300)]


def texts(n: int, seed: int, words: list[str], length: int = 12) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    weights = [1 / (k + 3) for k in range(len(words))]
    return [(" ".join(rng.choices(words, weights, k=length)), "x") for _ in range(n)]


def test_rows_of_one_kind_have_no_findings() -> None:
    seen = [*rows("train", texts(400, 1, WORDS)), *rows("test", texts(200, 2, WORDS), 400), *rows("logs", texts(200, 3, WORDS), 600)]
    assert examine(Drift(), seen) == []


def test_other_inputs_are_far_unknown_and_named() -> None:
    other = [f"v{k}" for k in range(300)]
    seen = [*rows("train", texts(400, 1, WORDS)), *rows("test", [*texts(150, 2, WORDS), *texts(50, 2, other)], 400)]
    coverage, vocabulary = examine(Drift(), seen)
    assert (coverage.rule, coverage.severity) == ("drift.coverage", "warning")
    assert 0.25 <= float(coverage.figures["far"]) <= 0.35
    assert coverage.count == round(float(coverage.figures["far"]) * 200)
    assert {int(place.source.split(":")[1]) > 150 for place in coverage.worst} == {True}
    assert coverage.worst[0].other == "no word in common with any training row"
    assert vocabulary.rule == "drift.vocabulary"
    assert vocabulary.figures["unknown"] == pytest.approx(0.25, abs=0.01)
    assert 50 <= vocabulary.count <= 55


def test_the_nearest_row_is_named_without_its_secrets() -> None:
    train = [("mail ada@mail.com " + text, "x") for text, _ in texts(400, 1, WORDS)]
    test = [(f"mail bob@mail.com {'zz ' * 30}{k}", "x") for k in range(60)]
    coverage, *_ = examine(Drift(), [*rows("train", train), *rows("test", test, 400)])
    assert coverage.worst[0].excerpt.startswith("mail <EMAIL> zz")
    assert coverage.worst[0].other.startswith("nearest: train.jsonl:")
    assert ": mail <EMAIL> w" in coverage.worst[0].other


def test_longer_inputs() -> None:
    seen = [*rows("train", texts(400, 1, WORDS)), *rows("logs", texts(200, 2, WORDS, length=30), 400)]
    (found,) = [each for each in examine(Drift(), seen) if each.rule == "drift.length"]
    assert (found.severity, found.figures["median"], found.figures["train_median"]) == ("warning", 30, 12)
    assert found.found.startswith("the production inputs have another length than training rows: 30 words in the middle against 12")


def test_too_few_rows_say_nothing() -> None:
    assert examine(Drift(), [*rows("train", texts(400, 1, WORDS)), *rows("test", [("zz", "x")] * 20, 400)]) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the project")
def test_real_questions_and_news() -> None:
    """banking77's own test looks like its training rows; news do not."""
    seen: list[SeenRow] = []
    for side in ("train", "test"):
        with (SHARED / "banking77" / f"{side}.csv").open() as file:
            seen += rows(side, [(row["text"], row["category"]) for row in csv.DictReader(file)], len(seen))
    assert examine(Drift(), seen) == []
    news = [(line, "") for line in (SHARED / "wmt22-cs-en" / "ref.B.en").read_text().splitlines()]
    found = {each.rule: each for each in examine(Drift(), [*seen, *rows("logs", news, len(seen))])}
    assert float(found["drift.coverage"].figures["far"]) > 0.7
    assert float(found["drift.vocabulary"].figures["unknown"]) > 0.2


def test_neighbours_are_those_of_plain_cosines() -> None:
    corpus = Corpus(1000)
    for row in rows("train", texts(80, 4, WORDS)):
        corpus.add(row.number, row.sample.id, row.sample.input)
    space = Space(corpus)
    vectors = space.matrix.toarray()
    assert np.allclose((vectors**2).sum(axis=1), 1, atol=1e-5)
    full = vectors @ vectors.T - 2 * np.eye(80)
    found = space.nearest(space.matrix, list(range(80)))
    assert np.allclose(found.cosine, full.max(axis=1), atol=1e-5)
    assert np.allclose(full[np.arange(80), found.neighbour], full.max(axis=1), atol=1e-5)
    again, unknown = space.look_up(corpus, list(range(80)))
    assert np.allclose(again.toarray(), vectors, atol=1e-6)
    assert unknown.max() == 0


def test_a_sample_is_the_same_for_any_order_of_the_rows() -> None:
    seen = rows("train", texts(1000, 5, WORDS))
    kept = []
    for order in (seen, seen[::-1]):
        corpus = Corpus(100)
        for row in order:
            corpus.add(row.number, row.sample.id, row.sample.input)
        assert 40 <= len(corpus) <= 100
        assert corpus.total == 1000
        kept.append({corpus.numbers[i] for i in corpus.spread(30)})
    assert kept[0] == kept[1]


def test_words_of_scripts_with_and_without_spaces() -> None:
    assert split_words("Where is MY card, élan?") == ["where", "is", "my", "card", "élan"]
    assert split_words("我的卡 lost") == ["我", "的", "卡", "lost"]
    assert hashed("a b a").tolist()[0] == hashed("A").tolist()[0]


def test_distance_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.1, 0.5):
        a, b = rng.normal(size=400), rng.normal(shift, size=300)
        d, p = distance(a, b)
        oracle = stats.ks_2samp(a, b, method="asymp")
        assert d == pytest.approx(oracle.statistic)
        assert p == pytest.approx(oracle.pvalue, abs=0.02)
