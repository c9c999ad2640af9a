"""The rehearsal model: always the same, and as slow or unlucky as it is told to be."""

from __future__ import annotations

import time
from typing import Any

import pytest

from evalharness import registry
from evalharness.models.rehearsal import RehearsalModel, RehearsalOptions
from evalharness.protocols import Model
from evalharness.records import Message, Reply, Request, Sampling
from tests.contracts import ModelContract, ask

REQUESTS = [Request(f"o{i}", f"s{i}", (Message("user", f"Which of {i} red green blue is it?"),), Sampling()) for i in range(200)]


class TestContract(ModelContract):
    def make(self) -> Model:
        return RehearsalModel(RehearsalOptions())


class TestUnlucky(ModelContract):
    def make(self) -> Model:
        return RehearsalModel(RehearsalOptions(fail_rate=0.3, latency_s=0.001, concurrency=2))


def replies(**options: Any) -> list[Reply]:
    return ask(RehearsalModel(RehearsalOptions(**options)), REQUESTS)


def test_echoes_a_word_of_the_question() -> None:
    for request, reply in zip(REQUESTS, replies(), strict=True):
        words = request.messages[-1].content.split()
        assert reply.text in words
        assert (reply.prompt_tokens, reply.completion_tokens, reply.cost_usd) == (len(words), 1, 0.0)
    assert len({reply.text for reply in replies()}) > 8


def test_names_seeds_and_hot_repeats_choose_other_words() -> None:
    plain = [reply.text for reply in replies()]
    assert plain == [reply.text for reply in replies()]
    assert plain != [reply.text for reply in replies(name="other")]
    assert plain != [reply.text for reply in replies(seed=1)]
    hot = [Request(f"o{r}", "s0", REQUESTS[0].messages, Sampling(temperature=1.0), repeat=r) for r in range(20)]
    assert len({reply.text for reply in ask(RehearsalModel(RehearsalOptions()), hot)}) > 2


def test_fails_as_often_as_told_and_always_at_the_same() -> None:
    failed = [reply.error for reply in replies(fail_rate=0.2)]
    assert failed == [reply.error for reply in replies(fail_rate=0.2)]
    assert 20 <= sum(error == "rehearsed failure" for error in failed) <= 60
    assert all(reply.error for reply in replies(fail_rate=1.0))


def test_bad_luck_and_price_are_no_part_of_its_identity() -> None:
    def identity(**options: Any) -> dict[str, str]:
        return RehearsalModel(RehearsalOptions(**options)).identity()

    assert identity() == identity(fail_rate=0.5, latency_s=1.0, usd=2.0)
    assert identity(name="x", seed=3) == {"name": "x", "seed": "3"}


def test_latency_and_concurrency_take_their_time() -> None:
    began = time.perf_counter()
    answered = ask(RehearsalModel(RehearsalOptions(latency_s=0.02, concurrency=4, usd=0.5)), REQUESTS[:12])
    assert 0.06 <= time.perf_counter() - began < 3
    assert {(reply.latency_s, reply.cost_usd) for reply in answered} == {(0.02, 0.5)}


@pytest.mark.parametrize("text", ["", "   "])
def test_a_question_without_words_has_an_empty_answer(text: str) -> None:
    request = Request("o", "s", (Message("user", text),), Sampling())
    assert ask(RehearsalModel(RehearsalOptions()), [request])[0].text == ""


def test_is_registered_with_a_shorthand() -> None:
    plugin = registry.find("models", "rehearsal")
    assert registry.options(plugin, "tuned") == RehearsalOptions(name="tuned")
