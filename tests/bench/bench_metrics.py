"""How fast scoring is, beside sacrebleu's own corpus pass. Prints its figures.

python -m tests.bench.bench_metrics
"""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU as LibraryBleu

from evalharness.metrics import score_all
from evalharness.metrics.exact_match import ExactMatch
from evalharness.metrics.sacrebleu import Bleu
from evalharness.records import Message, Reply, Sample

PAIRS, AT_MOST, PAIRS_A_SECOND = 100_000, 1.3, 1_000_000


def sentences(n: int, seed: int) -> list[str]:
    """n sentences of 5 to 25 words, Zipf-like, with punctuation."""
    draw = random.Random(seed)
    words = [f"{draw.choice('bcdfgkmnprst')}{draw.choice('aeiou')}{draw.choice('lmnrst')}{i % 97}" for i in range(3000)]
    return [" ".join(words[int(3000 * draw.random() ** 3)] for _ in range(draw.randint(5, 25))) + "." for _ in range(n)]


@pytest.mark.bench
def test_bleu_costs_little_more_than_sacrebleus_own_pass() -> None:
    references = sentences(PAIRS, 1)
    draw = random.Random(2)
    answers = [" ".join(word for word in line.split() if draw.random() < 0.9) for line in references]
    samples = [Sample.of([Message("user", str(i))], [line]) for i, line in enumerate(references)]
    replies = [Reply(str(i), line, "stop") for i, line in enumerate(answers)]
    bleu, library = Bleu(), LibraryBleu(force=True)

    start = time.perf_counter()
    stats = score_all(bleu, samples, replies)
    found = float(bleu.finish(stats.sum(axis=0), np.array(float(PAIRS))))
    ours = time.perf_counter() - start
    start = time.perf_counter()
    expected = library.corpus_score(answers, [references]).score
    theirs = time.perf_counter() - start

    print(f"\nBLEU of {PAIRS:,} pairs: {ours:.2f} s, sacrebleu's corpus pass {theirs:.2f} s, ratio {ours / theirs:.2f}")
    assert f"{found:.9f}" == f"{expected:.9f}"
    assert ours <= AT_MOST * theirs


@pytest.mark.bench
def test_exact_match_scores_a_million_pairs_a_second() -> None:
    n = 200_000
    samples = [Sample.of([Message("user", str(i))], [f"answer number {i}"]) for i in range(n)]
    kinds = {"right": "answer number {}", "wrong": "answer numer {}", "padded": " answer number {}\n", "not ASCII": "answer numbér {}"}
    metric, found = ExactMatch(), {}
    for kind, text in kinds.items():
        replies = [Reply(str(i), text.format(i), "stop") for i in range(n)]
        best = 0.0
        for _ in range(5):
            start = time.process_time()  # processor seconds: other work on the machine must not decide
            score_all(metric, samples, replies)
            best = max(best, n / (time.process_time() - start))
        found[kind] = best
    print("\nexact match, pairs a processor second: " + ", ".join(f"{kind} {rate:,.0f}" for kind, rate in found.items()))
    assert min(found.values()) >= PAIRS_A_SECOND


if __name__ == "__main__":
    test_bleu_costs_little_more_than_sacrebleus_own_pass()
    test_exact_match_scores_a_million_pairs_a_second()
