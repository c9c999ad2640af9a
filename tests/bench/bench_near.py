"""Near-duplicates among 100,000 texts of 100 words: at most 20 s of CPU and 0.6 GB with the texts, and every planted one is found."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from evalharness.data.near import near_pairs
from evalharness.runners.lora.memory import peak_mib

TEXTS, WORDS, AT_ONCE = 100_000, 100, 1000


def texts() -> Iterator[str]:
    """Words as common as in a language; every fiftieth text is an earlier one with 10 of its 100 words changed."""
    r, rng = random.Random(1), np.random.default_rng(0)
    shares = 1 / np.arange(1, 30_001)
    first: list[str] = []
    for k in range(TEXTS):
        if k % AT_ONCE == 0:
            drawn = rng.choice(30_000, (AT_ONCE, WORDS), p=shares / shares.sum())
        words = [f"w{number}" for number in drawn[k % AT_ONCE]]
        if k % 50 == 7:
            first = list(words)
        if k % 50 == 30:
            words = list(first)
            for at in r.sample(range(WORDS), WORDS // 10):
                words[at] = r.choice([f"x{at}", f"{words[at]} more", ""])
        yield " ".join(words)


def measured() -> tuple[set[tuple[int, int]], float, float]:
    """The pairs found, seconds of CPU, and this process's peak memory in GB."""
    made = list(texts())
    begin = time.process_time()
    found = {(i, j) for i, j, _ in near_pairs(made)}
    return found, time.process_time() - begin, peak_mib() / 2**10


@pytest.mark.bench
def test_near_pairs_of_100_000_texts() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        found, cpu, memory = fresh.submit(measured).result()
    print(f"\n{TEXTS:,} texts of {WORDS} words: {cpu:.1f} s of CPU, {memory:.2f} GB with the texts themselves, {len(found):,} pairs")
    assert found == {(50 * k + 7, 50 * k + 30) for k in range(TEXTS // 50)}
    assert cpu <= 20
    assert memory <= 0.6
