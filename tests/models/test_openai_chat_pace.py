"""How fast to ask: the limit follows the service, a slot is never lost, headers are understood."""

from __future__ import annotations

import asyncio
import email.utils
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.models.chat import wire
from evalharness.models.chat.engine import Patience, _Spent
from evalharness.models.chat.outcome import Again, Halted, Refused
from evalharness.models.chat.pace import START, Pace
from evalharness.prices import Price
from evalharness.waits import retry_after, span


def busy(pace: Pace) -> Pace:
    pace.busy = pace.limit
    return pace


def test_it_rises_fast_while_nothing_speaks_against_it() -> None:
    pace = Pace(64)
    rounds = 0
    while pace.limit < 64:
        rounds += 1
        for _ in range(pace.limit):
            busy(pace).answered(1.0)
    assert rounds == 2  # 16, 32, 64


def test_it_does_not_rise_beyond_what_is_used() -> None:
    pace = Pace(64)
    pace.busy = 2
    for _ in range(100):
        pace.answered(1.0)
    assert pace.limit == START


def test_a_round_of_refusals_halves_it_and_a_stray_one_does_little() -> None:
    pace = Pace(64)
    while pace.limit < 64:
        busy(pace).answered(1.0)
    pace.crowded()
    assert pace.limit == 63
    for _ in range(63):
        pace.crowded()
    assert pace.limit == 32
    for _ in range(1000):
        pace.crowded()
    assert pace.limit == 1
    for _ in range(64):
        busy(pace).answered(1.0)
    assert 2 <= pace.limit <= 16  # slowly, this time


def test_a_stray_refusal_does_not_end_the_fast_start() -> None:
    pace = Pace(512)
    for _ in range(20):
        busy(pace).answered(1.0)
    pace.crowded()
    before = pace.limit
    for _ in range(20):
        busy(pace).answered(1.0)
    assert pace.limit == before + 20


def test_latency_says_stop() -> None:
    pace = Pace(512)
    for _ in range(START):
        busy(pace).answered(1.0)
    reached = pace.limit
    for _ in range(1000):
        busy(pace).answered(5.0)
    assert pace.limit <= 2 * reached
    for _ in range(1000):
        busy(pace).answered(1.0)
    assert pace.limit > 2 * reached


def test_one_retry_after_holds_all_up_only_where_refusals_are_not_rare() -> None:
    pace = Pace(8)
    pauses: list[float] = []
    pace.pause = pauses.append  # type: ignore[assignment,method-assign]
    pace.crowded()
    pace.wait(1.0)  # the very first answer is a refusal
    for _ in range(50):
        pace.answered(1.0)
    pace.crowded()
    pace.wait(2.0)  # one among fifty
    for _ in range(3):
        pace.crowded()
        pace.wait(3.0)
    assert pauses == [1.0, 3.0, 3.0]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40), st.integers(1, 6))
def test_slots_are_never_lost(jobs: list[tuple[int, bool]], most: int) -> None:
    async def run() -> None:
        pace, high = Pace(most), 0

        async def one(turns: int) -> None:
            nonlocal high
            await pace.enter()
            try:
                high = max(high, pace.busy)
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                pace.leave()

        tasks = []
        for turns, cancelled in jobs:
            tasks.append(asyncio.create_task(one(turns)))
            await asyncio.sleep(0)
            if cancelled:
                tasks[-1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert pace.busy == 0
        assert high <= most

    asyncio.run(run())


def test_cancelling_while_paused_gives_the_slot_back() -> None:
    async def run() -> None:
        pace = Pace(1)
        pace.pause(60.0)
        task = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert pace.busy == 0

    asyncio.run(run())


def test_a_pause_may_grow_while_it_lasts() -> None:
    async def run() -> float:
        pace, started = Pace(1), time.monotonic()
        pace.pause(0.02)
        task = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)
        pace.pause(0.06)
        await task
        return time.monotonic() - started

    assert asyncio.run(run()) >= 0.06


SPANS = {"1.5": 1.5, "20ms": 0.02, "1s": 1.0, "6m0s": 360.0, "1h30m": 5400.0, "": None, "soon": None, "1s soon": None, "-1": None}


@pytest.mark.parametrize(("text", "seconds"), SPANS.items())
def test_spans(text: str, seconds: float | None) -> None:
    found = span(text)
    assert found is None if seconds is None else found == pytest.approx(seconds)


def test_retry_after() -> None:
    assert retry_after({}) is None
    assert retry_after({"Retry-After": "7"}) == 7.0
    assert retry_after({"retry-after-ms": "250", "Retry-After": "7"}) == 0.25
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert retry_after({"Retry-After": date}) == pytest.approx(30, abs=2)
    assert retry_after({"Retry-After": email.utils.formatdate(0, usegmt=True)}) == 0.0
    assert retry_after({"Retry-After": "soon"}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0"},
        {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "9s"},
        {"x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "gibberish"},
    ],
)
def test_allowances_that_say_nothing(headers: dict[str, str]) -> None:
    pace = Pace(8)
    pace.read(headers)
    assert pace._open_at == 0.0


def test_tries_waits_and_dollars_are_counted() -> None:
    spent, patience = _Spent(), Patience(retries=2, limited_s=10.0, pause_s=1.0)
    assert spent.on(Again("429", limited=True, after=4.0), patience) == pytest.approx(4.2, abs=0.2)
    assert spent.on(Again("empty", cost_usd=0.5), patience) == pytest.approx(1.5, abs=0.5)
    assert spent.on(Again("500"), patience) is not None
    assert spent.on(Again("500"), patience) is None
    assert (spent.tries, spent.usd) == (3, 0.5)
    assert _Spent(waited_s=9.0).on(Again("429", limited=True, after=2.0), patience) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
odd_choices = st.fixed_dictionaries(
    {},
    optional={
        "choices": json_values
        | st.lists(st.fixed_dictionaries({}, optional={"message": json_values, "finish_reason": json_values}), min_size=1, max_size=2),
        "usage": json_values | st.fixed_dictionaries({"prompt_tokens": json_values, "completion_tokens": json_values}),
        "error": json_values,
    },
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(odd_choices | json_values, st.sampled_from([200, 200, 200, 204, 302, 400, 401, 404, 418, 429, 500, 503]))
def test_whatever_a_server_sends_is_an_answer_or_one_of_three_errors(sent: Any, status: int) -> None:
    import json

    reply, said = None, ""
    try:
        reply = wire.reply(wire.payload(status, {}, json.dumps(sent).encode()), "o", 0.1, Price())
    except (Again, Refused, Halted) as error:
        said = str(error)
    if reply is None:
        assert 0 < len(said) < 600
    else:
        assert 200 <= status < 300
        assert (reply.finish == "error") == (reply.error is not None)
        assert reply.error is not None or isinstance(reply.text, str)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.binary(max_size=60), st.sampled_from([200, 400, 500]))
def test_whatever_bytes_come(sent: bytes, status: int) -> None:
    with pytest.raises((Again, Refused, Halted)):
        wire.reply(wire.payload(status, {}, sent), "o", 0.1, Price())
