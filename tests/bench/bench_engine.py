"""How close hosted answering comes to what the wire allows: wall time, CPU and memory against a loopback server in its own process.

`python -m pytest -m bench tests/bench/bench_engine.py -s` checks the claims; `python -m tests.bench.bench_engine` prints them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from evalharness.models.gemini import GeminiChat, GeminiOptions
from evalharness.models.openai_chat import ChatOptions, HostedChat, OpenAIChat
from evalharness.pipeline.events import Event
from evalharness.records import Message, Request, Sampling

LATENCY_S, AT_ONCE = 0.05, 64


@dataclass(frozen=True, slots=True)
class Figures:
    """Of n items: wall seconds over n x latency / concurrency; CPU milliseconds an item; MiB grown; wrong or lost items."""

    n: int
    over_limit: float
    cpu_ms: float
    grown_mib: float
    wrong: int
    errors: int


class Many:
    """Requests that exist one at a time: a run of 20,000 items must not need them all in memory."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Request]:
        for number in range(self.n):
            yield Request(str(number), str(number), (Message("user", f"What is {number} + {number}?"),), Sampling(max_tokens=16))


@contextlib.contextmanager
def server(faults: float) -> Iterator[str]:
    """A chat server in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "tests.emulators.chat", "--latency", str(LATENCY_S), "--faults", str(faults)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}/v1"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def openai(url: str) -> HostedChat:
    return OpenAIChat(ChatOptions(name="gpt-x-mini", base_url=url, concurrency=AT_ONCE))


def gemini(url: str) -> HostedChat:
    return GeminiChat(GeminiOptions(name="gemini-x", base_url=url, concurrency=AT_ONCE))


async def ask(model: HostedChat, n: int) -> tuple[int, int, float]:
    """Ask n questions; returns how many answers are wrong or lost, how many are errors, and MiB grown after the first 1,000."""
    seen, wrong, errors = bytearray(n), 0, 0
    process, early = psutil.Process(), 0
    count = 0
    async for reply in model.generate(Many(n)):
        number, count = int(reply.output_id), count + 1
        seen[number] += 1
        errors += reply.error is not None
        wrong += reply.error is None and reply.text != f"{model.options.name} heard: What is {number} + {number}?"
        if count == 1000:
            early = process.memory_info().rss
    lost = sum(times != 1 for times in seen)
    return wrong + lost, errors, (process.memory_info().rss - early) / 2**20


async def bare(url: str, n: int) -> None:
    """What any client must do: post, read, parse, so many at once; no limits, no retries, no records."""
    import aiohttp

    requests = iter(Many(n))

    async def work(session: aiohttp.ClientSession) -> None:
        for request in requests:
            body = {"model": "gpt-x-mini", "messages": [{"role": "user", "content": request.messages[0].content}], "max_tokens": 16}
            async with session.post(f"{url}/chat/completions", data=json.dumps(body).encode()) as response:
                json.loads(await response.read())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))


def floor(n: int) -> tuple[float, float]:
    """The bare loop's wall seconds over the limit and CPU milliseconds an item, on this machine as busy as it is now."""
    with server(0.0) as url:
        cpu, wall = _cpu(), time.perf_counter()
        asyncio.run(bare(url, n))
        return (time.perf_counter() - wall) / (n * LATENCY_S / AT_ONCE), (_cpu() - cpu) / n * 1e3


def measure(n: int, faults: float = 0.0, made: Callable[[str], HostedChat] = openai) -> Figures:
    """One run of n items."""
    with server(faults) as url:
        model = made(url)
        cpu, wall = _cpu(), time.perf_counter()
        wrong, errors, grown = asyncio.run(ask(model, n))
        wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    return Figures(n, wall / (n * LATENCY_S / AT_ONCE), cpu / n * 1e3, grown, wrong, errors)


def whole(n: int) -> Figures:
    """A run of n items as the pipeline does it: asked, scored by exact match, and stored."""
    from evalharness.metrics.exact_match import ExactMatch, ExactMatchOptions
    from evalharness.pipeline.generating import Ask, Desk, generate
    from evalharness.pipeline.scoring import Scorer, metric_id
    from evalharness.prompts import read_prompt
    from evalharness.records import Arm, Dataset, Sample
    from evalharness.store import MetricRow, Run, Store

    samples = tuple(Sample.of([Message("user", f"What is {i} + {i}?")], [f"gpt-x-mini heard: What is {i} + {i}?"]) for i in range(n))
    data, metric = Dataset("bench", "test", samples), ExactMatch(ExactMatchOptions())
    arm = Arm("a" * 24, "hosted", "baseline", {}, {}, Sampling(max_tokens=16))
    with server(0.0) as url, tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "evalh.duckdb")
        store.start_run(Run("r", "bench", "", None, {}, ()))
        store.put_dataset(data)
        store.put_arms("r", data.id, [arm], {})
        store.put_metrics("r", [MetricRow(metric_id(metric), "exact_match", "1", {}, True, (0.0, 1.0), "binary", "exact_match")])
        model = OpenAIChat(ChatOptions(name="gpt-x-mini", base_url=url, concurrency=AT_ONCE))
        process, early, seen = psutil.Process(), 0, 0

        def watch(event: Event) -> None:
            nonlocal early, seen
            seen += event.stage == "generate"
            if seen == 1000:
                early = process.memory_info().rss

        cpu, wall = _cpu(), time.perf_counter()
        with store.writer() as writer:
            desk = Desk("r", store, writer, Scorer([metric]))
            tally = asyncio.run(generate(model, [Ask("hosted", arm, data, read_prompt("{{ input }}", Path(folder)), ())], desk, watch))
        wall, cpu = time.perf_counter() - wall, _cpu() - cpu
        right = store.sql("SELECT count(*) FROM scores WHERE value = 1")[1][0][0]
    grown = (process.memory_info().rss - early) / 2**20
    return Figures(n, wall / (n * LATENCY_S / AT_ONCE), cpu / n * 1e3, grown, n - right, tally.failed)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.mark.bench
@pytest.mark.parametrize("made", [openai, gemini])
def test_near_the_limit_of_the_wire(made: Callable[[str], HostedChat]) -> None:
    _is_near_the_limit(lambda: measure(5000, made=made))


@pytest.mark.bench
def test_scored_and_stored_as_near_the_limit() -> None:
    _is_near_the_limit(lambda: whole(5000))


def _is_near_the_limit(measured: Callable[[], Figures]) -> None:
    """Up to three tries: a machine that is slow for the bare loop, too, says nothing about ours.

    The bars, 1.25 x the limit and 0.7 ms of CPU, were set where the bare loop took 1.13 x and 0.24 ms.
    """
    least, least_ms, tries = math.inf, math.inf, list[Figures]()
    while len(tries) < 3:
        over, ms = floor(5000)
        least, least_ms = min(least, over), min(least_ms, ms)
        tries.append(measured())
        print(f"bare loop {least:.2f}x, {least_ms:.2f} ms", tries[-1])
        assert tries[-1].wrong == tries[-1].errors == 0
        if tries[-1].over_limit <= max(1.25, 1.2 * least) and tries[-1].cpu_ms <= 0.7 * max(1.0, least_ms / 0.24):
            return
    raise AssertionError(tries)


@pytest.mark.bench
def test_memory_of_a_whole_run_does_not_grow_with_the_number_of_items() -> None:
    small, large = whole(5000), whole(20_000)
    print(small, large)
    assert large.wrong == large.errors == 0
    assert large.grown_mib < small.grown_mib + 32  # DuckDB keeps a few of the file's blocks


@pytest.mark.bench
def test_memory_does_not_grow_with_the_number_of_items() -> None:
    figures = measure(20_000)
    print(figures)
    assert figures.wrong == figures.errors == 0
    assert figures.grown_mib < 8


@pytest.mark.bench
@pytest.mark.parametrize("made", [openai, gemini])
def test_nothing_is_lost_or_wrong_when_one_call_in_twenty_fails(made: Callable[[str], HostedChat]) -> None:
    figures = measure(5000, faults=0.05, made=made)
    print(figures)
    assert figures.wrong == figures.errors == 0


if __name__ == "__main__":
    print(f"latency {LATENCY_S} s, {AT_ONCE} at once; the bare loop: {floor(5000)}")
    for items, share in ((5000, 0.0), (20_000, 0.0), (5000, 0.05)):
        print(f"faults {share:.0%}: {measure(items, share)}")
        print(f"Gemini's protocol, faults {share:.0%}: {measure(items, share, gemini)}")
    for items in (5000, 20_000):
        print(f"scored and stored: {whole(items)}")
