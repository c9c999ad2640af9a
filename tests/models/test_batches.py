"""The Batch API: half the price, bought once, gone on with after any interruption, failures told and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from evalharness import buying
from evalharness.errors import ConfigError, ProviderError
from evalharness.models.openai_chat import ChatOptions, OpenAIChat, TogetherChat
from evalharness.records import Message, Reply, Request, Sampling
from tests.contracts import ModelContract
from tests.emulators.core import KEY, Fault
from tests.emulators.openai import OpenAIEmulator

PRICES = {"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 2.0}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as made:
        monkeypatch.setenv("OPENAI_BASE_URL", made.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr(buying, "LOOKS_S", (0.0, 0.0))
        monkeypatch.setattr(buying, "_READS_S", (0.0, 0.0))
        yield made


def model(**more: object) -> OpenAIChat:
    return OpenAIChat(ChatOptions.model_validate({"name": "gpt-x-mini", "batch": True, "batch_poll_s": 0.01, "prices": PRICES, **more}))


def asked(n: int = 5) -> list[Request]:
    return [Request(f"o{i}", f"s{i}", (Message("user", f"question {i}"),), Sampling(max_tokens=9)) for i in range(n)]


def ask(requests: Sequence[Request], **more: object) -> dict[str, Reply]:
    async def collect() -> list[Reply]:
        return [reply async for reply in model(**more).generate(requests)]

    found = asyncio.run(collect())
    assert len(found) == len(requests)
    return {reply.output_id: reply for reply in found}


def test_a_batch_answers_at_half_the_price(service: OpenAIEmulator) -> None:
    batched, at_once = ask(asked()), ask(asked(), batch=False)
    assert [batched[key].text for key in sorted(batched)] == [at_once[key].text for key in sorted(at_once)]
    for key, reply in batched.items():
        assert reply.cost_usd == pytest.approx((at_once[key].cost_usd or 0) / 2)
        assert reply.latency_s is None
    assert len(service.batches) == 1
    assert model().identity() == model(batch=False).identity()
    assert model().estimate(asked()[0]) == pytest.approx((model(batch=False).estimate(asked()[0]) or 0) / 2)


def test_a_second_process_waits_for_the_same_batch(service: OpenAIEmulator) -> None:
    async def leave() -> None:
        replies = model(batch_poll_s=30).generate(asked())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(replies), 0.3)
        await replies.aclose()

    service.batch_states = ["validating", "in_progress", "in_progress", "in_progress", "completed"]
    asyncio.run(leave())
    assert len(service.batches) == 1
    assert all(reply.error is None for reply in ask(asked()).values())
    assert len(service.batches) == 1


def test_what_was_answered_is_not_bought_again_for_fewer_requests(service: OpenAIEmulator) -> None:
    ask(asked())
    assert all(reply.error is None for reply in ask(asked()[2:]).values())
    assert len(service.batches) == 1
    assert all(reply.error is None for reply in ask(asked(7)).values())
    assert len(service.batches) == 2
    assert len(service.contents[service.batches["batch_0002"]["input_file_id"]].splitlines()) == 2


@pytest.mark.parametrize("route", ["upload", "create_batch"])
@pytest.mark.parametrize(
    "fault", [Fault.reset_after(), Fault.html(200, after=True), Fault.hang(0.0, after=True)], ids=["reset", "html", "504"]
)
def test_a_lost_answer_buys_once(service: OpenAIEmulator, route: str, fault: Fault) -> None:
    service.fail(route, fault)
    assert all(reply.error is None for reply in ask(asked()).values())
    assert len(service.batches) == 1
    assert len([file for file in service.files.values() if file["purpose"] == "batch"]) == 1


def test_a_refusal_is_told_and_nothing_is_bought(service: OpenAIEmulator) -> None:
    service.fail("create_batch", Fault.http(400, "no such model in batches"))
    with pytest.raises(ProviderError, match="no such model in batches"):
        ask(asked())
    assert service.batches == {}


def test_requests_that_expired_are_errors_and_bought_again_next_time(service: OpenAIEmulator) -> None:
    service.unanswered = {"question 3"}
    service.batch_states = ["validating", "expired"]
    first = ask(asked())
    assert [key for key, reply in first.items() if reply.error] == ["o3"]
    assert "completion window" in (first["o3"].error or "")
    service.unanswered, service.batch_states = set(), ["validating", "completed"]
    assert all(reply.error is None for reply in ask(asked()).values())
    assert len(service.contents[service.batches["batch_0002"]["input_file_id"]].splitlines()) == 1


def test_a_batch_that_failed_is_an_error_for_each_request(service: OpenAIEmulator) -> None:
    service.batch_states = ["validating", "failed"]
    replies = ask(asked(2))
    assert all("failed" in (reply.error or "") for reply in replies.values())


def test_large_sets_are_several_batches(service: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalharness.models.chat.batches.MOST_REQUESTS", 2)
    assert all(reply.error is None for reply in ask(asked(5)).values())
    assert len(service.batches) == 3


def test_other_services_have_none() -> None:
    with pytest.raises(ConfigError, match="together has no Batch API"):
        TogetherChat(ChatOptions(name="x", batch=True))


class TestContract(ModelContract):
    @pytest.fixture(autouse=True)
    def _service(self, service: OpenAIEmulator) -> None:
        pass

    def make(self) -> OpenAIChat:
        return model()
