"""How long `evalh check` takes and how much memory: rows of 100 words, all rules but cross-validation. Prints its figures.

python -m tests.bench.bench_check                  10,000, 100,000 and 300,000 rows
python -m tests.bench.bench_check 10000            these sizes

Words are drawn as in natural text (Zipf-Mandelbrot over 50,000 words); 1 row in 100 is a near copy of another, 1 in 200 an equal
one, so that every rule has something to find. Each size runs in a process of its own: memory is its peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

SIZES = (10_000, 100_000, 300_000)
WORDS, VOCABULARY = 100, 50_000
BAR_S, BAR_MB, BAR_GROWTH = 60.0, 1536.0, 1.5
_ALONE = """
import json, sys, time
from pathlib import Path
from evalharness.doctor.examine import examine
from evalharness.doctor.rules import RULES
from evalharness.reading import load_suite
from evalharness.runners.lora.memory import peak_mib
wall, cpu = time.perf_counter(), time.process_time()
seen = examine(load_suite(Path(sys.argv[1])), [rule for rule in RULES if "target.mislabelled" not in rule.ids])
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
peak = peak_mib()
print(json.dumps({"wall": wall, "cpu": cpu, "mb": peak, "findings": {f.rule: f.count for f in seen.findings}}))
"""


def write(folder: Path, rows: int) -> Path:
    """A suite of so many rows: nine tenths train, one tenth test."""
    rng = np.random.default_rng(7)
    chance = 1 / (np.arange(VOCABULARY) + 2.7)
    edges = np.cumsum(chance / chance.sum())
    vocabulary = [_word(k) for k in range(VOCABULARY)]
    kept: list[list[int]] = []
    with (folder / "train.jsonl").open("w") as train, (folder / "test.jsonl").open("w") as test:
        for k in range(rows):
            words = np.minimum(np.searchsorted(edges, rng.random(WORDS)), VOCABULARY - 1).tolist()
            if kept and k % 100 in (0, 59):
                words = list(kept[int(rng.integers(len(kept)))])
                if k % 100 == 0:
                    words[int(rng.integers(WORDS))] = int(rng.integers(VOCABULARY))
            if k % 10 == 3 and len(kept) < 5000:
                kept.append(words)
            row = {"input": " ".join(vocabulary[word] for word in words) + ".", "target": f"label {words[0] % 20}"}
            (test if k % 10 == 9 else train).write(json.dumps(row) + "\n")
    path = folder / "suite.yaml"
    path.write_text(
        "data: {train: train.jsonl, test: test.jsonl}\nprompt: 'Sort: {{ input }}'\n"
        "baselines: {a: {model: local/embedded, shots: 4}}\nmetrics: [exact_match]\n"
    )
    return path


def _word(k: int) -> str:
    """A word of letters: frequent ones are short."""
    letters = ""
    k += 1
    while k:
        k, rest = divmod(k, 20)
        letters += "aeioubcdfghlmnprstvw"[rest]
    return letters


def measured(rows: int) -> dict[str, float]:
    """Seconds, megabytes and findings of one examination in a process of its own."""
    with TemporaryDirectory() as folder:
        path = write(Path(folder), rows)
        ran = subprocess.run([sys.executable, "-c", _ALONE, str(path)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def table(sizes: Sequence[int]) -> dict[int, dict[str, float]]:
    """Measures and prints."""
    found = {}
    print(f"\n{'rows':>9} {'wall s':>8} {'CPU s':>8} {'ms a row':>9} {'peak MB':>8}")
    for rows in sizes:
        each = found[rows] = measured(rows)
        print(f"{rows:9,} {each['wall']:8.1f} {each['cpu']:8.1f} {1000 * each['cpu'] / rows:9.3f} {each['mb']:8.0f}", flush=True)
        print(f"          {each['findings']}")
    return found


@pytest.mark.bench
def test_a_hundred_thousand_rows_in_a_minute_and_three_times_as_many_in_three_times_as_long() -> None:
    found = table(SIZES)
    assert min(found[100_000]["wall"], found[100_000]["cpu"]) <= BAR_S
    assert found[100_000]["mb"] <= BAR_MB
    each = {rows: found[rows]["cpu"] / rows for rows in SIZES}
    assert each[300_000] <= BAR_GROWTH * each[100_000]
    assert each[300_000] <= BAR_GROWTH * each[10_000]


if __name__ == "__main__":
    table([int(size) for size in sys.argv[1:]] or SIZES)
