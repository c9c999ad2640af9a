"""How much sooner many requests are answered together: against `generate` one by one, and eight adapters against one.

`python -m pytest -m bench tests/bench/bench_generation.py` checks the claims; `python -m tests.bench.bench_generation` prints them.
Seconds are those of the CPU on one thread: on an idle machine the same as on the clock, and comparable on a busy one.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from evalharness import embedded
from evalharness.models.local import LocalModel, LocalOptions
from evalharness.records import Message, Request, Sampling

SUITE = Path(__file__).parents[2] / "suites"
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of the slow and of the fast way to the same answers, the best of a few rounds each."""

    what: str
    slow_s: float
    fast_s: float
    items: int

    @property
    def ratio(self) -> float:
        return self.slow_s / self.fast_s

    def __str__(self) -> str:
        return f"{self.what}: {self.slow_s:.2f} s against {self.fast_s:.2f} s for {self.items} items, {self.ratio:.2f} times"


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: two that wait for each other cost time that depends on who else is running."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tickets(n: int, shots: int = 0) -> list[Request]:
    """The demo's first held-out tickets as its zero-shot or few-shot arm asks them."""
    system = Message("system", (SUITE / "prompts/tickets_zero_shot.md").read_text().strip())
    examples = [Message(role, row[key]) for row in _rows("train", shots) for role, key in (("user", "input"), ("assistant", "target"))]
    chats = [(system, *examples, Message("user", row["input"])) for row in _rows("test", n)]
    return [Request(f"o{i}", f"s{i}", chat, Sampling(max_tokens=48)) for i, chat in enumerate(chats)]


def _rows(split: str, n: int) -> list[dict[str, str]]:
    return [json.loads(line) for line in (SUITE / f"data/tickets/{split}.jsonl").read_text().splitlines()[:n]]


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def together_or_one_by_one(shots: int, items: int = 64) -> Figures:
    """The same texts from `generate` on one request after another, and from the local model, 32 rows at a time."""
    from tests.models.small import one_by_one, texts

    with one_thread():
        requests, base, model = tickets(items, shots), embedded.path(), LocalModel(LocalOptions())
        assert texts(model, requests) == one_by_one(base, requests)
        slow, fast = [], []
        for _ in range(ROUNDS):
            slow.append(seconds(lambda: one_by_one(base, requests)))
            fast.append(seconds(lambda: texts(model, requests)))
    return Figures(f"one by one against batches of 32, {shots} examples in the prompt", min(slow), min(fast), items)


def eight_adapters_or_one(each: int) -> Figures:
    """Eight adapters on `each` items against one adapter on all of them; both warm."""
    from tests.models.small import adapter, texts

    with one_thread(), tempfile.TemporaryDirectory() as folder:
        adapters = [adapter(Path(folder) / str(i), embedded.path(), i, noise=0.02, r=16, lora_alpha=16) for i in range(8)]
        asked, model = tickets(8 * each), LocalModel(LocalOptions())
        one = [replace(request, adapter=adapters[0]) for request in asked]
        eight = [replace(request, adapter=adapters[i % 8]) for i, request in enumerate(asked)]
        work: Sequence[tuple[list[Request], list[float]]] = [(eight, []), (one, [])]
        for _ in range(ROUNDS + 1):
            for requests, taken in work:
                taken.append(seconds(lambda requests=requests: texts(model, requests)))  # type: ignore[misc]
        (_, slow), (_, fast) = work
    return Figures(f"eight adapters on {each} items each against one on all", min(slow[1:]), min(fast[1:]), 8 * each)


@pytest.mark.bench
@pytest.mark.parametrize("shots", [0, 4])
def test_batches_answer_five_times_sooner(shots: int) -> None:
    figures = together_or_one_by_one(shots)
    print(figures)
    assert figures.ratio >= 5, figures


@pytest.mark.bench
@pytest.mark.parametrize("each", [4, 32])
def test_eight_adapters_cost_little_more_than_one(each: int) -> None:
    figures = eight_adapters_or_one(each)
    print(figures)
    assert figures.ratio <= 1.5, figures


if __name__ == "__main__":
    for found in [*map(together_or_one_by_one, (0, 4)), *map(eight_adapters_or_one, (4, 32))]:
        print(found, flush=True)
