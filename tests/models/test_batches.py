"""The Batch API: half the price, bought once, gone on with after any interruption, failures told and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from evalharness import buying
from evalharness.errors import ConfigError, ProviderError
from evalharness.models.chat.batches import Batches
from evalharness.models.openai_chat import ChatOptions, OpenAIChat, TogetherChat
from evalharness.records import Message, Reply, Request, Sampling
from tests.contracts import ModelContract
from tests.emulators.core import KEY, Fault
from tests.emulators.openai import OpenAIEmulator
from tests.models.test_openai_chat import AzureEmulator

PRICES = {"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 2.0}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as made:
        monkeypatch.setenv("OPENAI_BASE_URL", made.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr(Batches, "looks_s", (0.0, 0.0))
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


def test_a_batch_that_is_listed_late_is_waited_for_and_not_bought_again(service: OpenAIEmulator) -> None:
    requests = asked(2)
    service.fail("batch", Fault.http(401))  # the run that bought it dies
    with pytest.raises(ProviderError):
        ask(requests)
    service.late = 3
    assert all(reply.error is None for reply in ask(requests).values())
    assert (len(service.batches), service.late) == (1, 0)


def test_a_batch_whose_rows_cannot_be_read_is_known_by_its_key(service: OpenAIEmulator) -> None:
    service.fail("batch", Fault.http(401))
    with pytest.raises(ProviderError):
        ask(asked(2))
    service.fail("content", Fault.http(404))
    assert all(reply.error is None for reply in ask(asked(2)).values())
    assert len(service.batches) == 1


def test_a_day_of_waiting_survives_what_passes(service: OpenAIEmulator) -> None:
    service.fail("batch", Fault.http(404), Fault.html(200), Fault.html(200), Fault.html(200), Fault.http(404))
    assert all(reply.error is None for reply in ask(asked(2)).values())
    service.fail("batch", *[Fault.http(404)] * 20)
    with pytest.raises(ProviderError):
        ask(asked(3))


@pytest.mark.parametrize("fault", [Fault.http(404), Fault.html(200), Fault(cut=True)], ids=["404", "html", "half"])
def test_answers_that_were_paid_for_are_fetched_again(service: OpenAIEmulator, fault: Fault) -> None:
    service.fail("content", fault)
    assert all(reply.error is None for reply in ask(asked(3)).values())


def test_a_line_ends_at_a_line_feed_alone(service: OpenAIEmulator) -> None:
    said = "one\u2028two\u0085three"
    service.answer = lambda messages, name: said
    assert {reply.text for reply in ask(asked(2)).values()} == {said}


def test_a_file_that_is_still_read_is_waited_for(service: OpenAIEmulator) -> None:
    service.file_states = ["uploaded", "processed"]
    assert all(reply.error is None for reply in ask(asked(2)).values())
    assert len(service.batches) == 1


def test_azure_has_a_version_and_a_path_of_its_own(service: OpenAIEmulator) -> None:
    class Dated(AzureEmulator):
        server: ClassVar[str] = "https://example.openai.azure.com/openai"

    with Dated(checked=False) as azure:
        found = ask(asked(2), base_url=azure.url, api_version="2025-04-01-preview")
        assert all(reply.error is None for reply in found.values())
        assert all("api-version=2025-04-01-preview" in call.path for call in azure.calls)
        assert azure.called("create_batch")[0].body["endpoint"] == "/chat/completions"


def test_other_services_have_none() -> None:
    with pytest.raises(ConfigError, match="together has no Batch API"):
        TogetherChat(ChatOptions(name="x", batch=True))


class TestContract(ModelContract):
    @pytest.fixture(autouse=True)
    def _service(self, service: OpenAIEmulator) -> None:
        pass

    def make(self) -> OpenAIChat:
        return model()
