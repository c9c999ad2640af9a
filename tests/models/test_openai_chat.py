"""The hosted chat model against the emulator: every request ends as one reply, and says truly what came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from evalharness.errors import ConfigError
from evalharness.models import openai_chat
from evalharness.models.openai_chat import (
    ChatOptions,
    FireworksChat,
    HuggingFaceChat,
    OllamaChat,
    OpenAIChat,
    TogetherChat,
    VLLMChat,
)
from evalharness.protocols import Model
from evalharness.records import Message, Reply, Request, Sampling
from tests.emulators.core import KEY, Fault, Refuse
from tests.emulators.openai import OpenAIEmulator

SOON = {"retry_after": "0.01"}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as emulator:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.url)
        yield emulator


def requests(n: int, **sampling: Any) -> list[Request]:
    return [Request(f"o{i}", f"s{i}", (Message("user", f"question {i}"),), Sampling(**sampling)) for i in range(n)]


def model(**options: Any) -> OpenAIChat:
    return OpenAIChat(ChatOptions(**{"name": "gpt-x-mini", **options}))


def ask(asked: OpenAIChat, wanted: Iterable[Request]) -> list[Reply]:
    """All replies, in the order of their output ids; every request has exactly one."""

    async def collect() -> list[Reply]:
        try:
            return [reply async for reply in asked.generate(wanted)]
        finally:
            await asked.close()

    replies = sorted(asyncio.run(collect()), key=lambda reply: int(reply.output_id[1:]))
    assert [reply.output_id for reply in replies] == [f"o{i}" for i in range(len(replies))]
    return replies


def one(asked: OpenAIChat, **sampling: Any) -> Reply:
    (reply,) = ask(asked, requests(1, **sampling))
    return reply


def test_it_is_a_model() -> None:
    assert isinstance(model(), Model)
    assert OpenAIChat.local is False


def test_every_request_is_answered(service: OpenAIEmulator) -> None:
    service.latency_s = 0.05
    replies = ask(model(prices={"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 2.0}), requests(30))
    assert [reply.text for reply in replies] == [f"gpt-x-mini heard: question {i}" for i in range(30)]
    first = replies[0]
    assert (first.finish, first.error, first.prompt_tokens, first.completion_tokens) == ("stop", None, 2, 4)
    assert first.cost_usd == pytest.approx((2 * 1.0 + 4 * 2.0) / 1e6)
    assert first.latency_s is not None
    assert 0.05 <= first.latency_s < 30


def test_what_is_sent(service: OpenAIEmulator) -> None:
    one(model(), max_tokens=9)
    one(model(extra_body={"temperature": None, "top_p": 0.5, "reasoning_effort": "low"}, token_limit="max_tokens"), max_tokens=9)
    one(model(), temperature=0.7, top_p=0.9, stop=("\n", "END"), seed=5)
    messages = [{"role": "user", "content": "question 0"}]
    assert [call.body for call in service.called("chat")] == [
        {"model": "gpt-x-mini", "messages": messages, "max_completion_tokens": 9, "temperature": 0.0},
        {"model": "gpt-x-mini", "messages": messages, "max_tokens": 9, "top_p": 0.5, "reasoning_effort": "low"},
        {
            "model": "gpt-x-mini",
            "messages": messages,
            "max_completion_tokens": 256,
            "temperature": 0.7,
            "top_p": 0.9,
            "stop": ["\n", "END"],
            "seed": 5,
        },
    ]


def test_an_adapter_is_asked_by_its_name(service: OpenAIEmulator) -> None:
    service.add_model("my-lora")
    wanted = [Request("o0", "s", (Message("user", "Hi"),), Sampling(temperature=1.0, seed=3), adapter="my-lora", repeat=2)]
    assert ask(model(), wanted)[0].text == "my-lora heard: Hi"
    assert service.called("chat")[0].body["seed"] == 5  # repeats of one item differ


PASSING = {
    "429": Fault.http(429, "slow down", **SOON),
    "429 in milliseconds": Fault.http(429, "slow down", retry_after_ms="10"),
    "408": Fault.http(408),
    "409": Fault.http(409),
    "500": Fault.http(500),
    "503": Fault.http(503, **SOON),
    "lost connection": Fault.reset_before(),
    "lost answer": Fault.reset_after(),
    "half an answer": Fault(cut=True),
    "a web page": Fault.html(),
    "a web page 502": Fault.html(502),
    "nothing": Fault(200, None),
    "no choice": Fault(200, {"choices": []}),
    "no text": Fault(200, {"choices": [{"finish_reason": "stop", "message": {"content": None}}]}),
    "an empty text": Fault(200, {"choices": [{"finish_reason": "stop", "message": {"content": ""}}]}),
    "an error in a 200": Fault(200, {"error": {"message": "upstream", "code": 502}}),
    "a number": Fault(200, 17),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_tried_again(service: OpenAIEmulator, fault: Fault) -> None:
    service.fail("chat", fault, fault)
    reply = one(model())
    assert (reply.text, reply.finish, reply.error) == ("gpt-x-mini heard: question 0", "stop", None)
    assert len(service.called("chat")) == 3


LASTING = {
    "400": (Fault.http(400, "context length exceeded"), "HTTP 400: invalid_request_error context length exceeded"),
    "403": (Fault.http(403, "not for you"), "HTTP 403: invalid_request_error not for you"),
    "404": (Fault.http(404, "no such model", code="model_not_found"), "HTTP 404: invalid_request_error no such model"),
    "422": (Fault.http(422, "bad field"), "HTTP 422: invalid_request_error bad field"),
    "413 page": (Fault.html(413), "HTTP 413: a web page"),
}


@pytest.mark.parametrize(("fault", "error"), LASTING.values(), ids=LASTING.keys())
def test_a_no_is_not_asked_again(service: OpenAIEmulator, fault: Fault, error: str) -> None:
    service.fail("chat", fault)
    replies = ask(model(concurrency=1), requests(2))
    failed = [reply for reply in replies if reply.error is not None]
    assert [reply.error for reply in failed] == [error]
    assert failed[0].finish == "error"
    assert failed[0].text is None
    assert failed[0].raw
    assert len(service.called("chat")) == 2


STOPPING = {"wrong key": Fault.http(401, f"Incorrect API key {KEY}"), "no quota": Fault.quota(), "no credit": Fault.http(402, "pay")}


@pytest.mark.parametrize("fault", STOPPING.values(), ids=STOPPING.keys())
def test_what_no_request_survives_stops_the_arm(service: OpenAIEmulator, fault: Fault) -> None:
    service.fail("chat", *[fault] * 400)
    started = time.monotonic()
    replies = ask(model(), requests(300))
    assert time.monotonic() - started < 20
    assert all(reply.finish == "error" and reply.error and "HTTP 4" in reply.error for reply in replies)
    assert len(service.called("chat")) <= 16  # those in flight before the first answer
    assert sum("stopped asking: HTTP" in str(reply.error) for reply in replies) >= 280
    assert KEY not in repr(replies)


def test_an_outage_ends_the_run(service: OpenAIEmulator) -> None:
    service.fail("chat", *[Fault.reset_before()] * 1000)
    replies = ask(model(max_retries=0), requests(500))
    assert all(reply.error for reply in replies)
    assert "connection lost" in str(replies[0].error)
    assert len(service.called("chat")) < 60
    assert sum("failures in a row" in str(reply.error) for reply in replies) > 400


def test_an_item_that_still_fails_says_why_and_the_others_go_on(service: OpenAIEmulator) -> None:
    def answer(messages: list[dict[str, Any]], name: str) -> str:
        if messages[0]["content"] == "question 2":
            raise Refuse(500, {"error": {"message": "kaput", "type": "server_error"}})
        return "x"

    service.answer = answer
    replies = ask(model(max_retries=2), requests(5))
    assert [reply.error for reply in replies] == [None, None, "HTTP 500: server_error kaput", None, None]
    assert "kaput" in str(replies[2].raw)
    assert len(service.called("chat")) == 7


def test_rate_limits_are_waited_for_and_count_as_no_try(service: OpenAIEmulator) -> None:
    service.fail("chat", *[Fault.http(429, "slow down", **SOON)] * 12)
    assert one(model(max_retries=1)).text == "gpt-x-mini heard: question 0"
    assert len(service.called("chat")) == 13


def test_retry_after_is_honoured_by_all(service: OpenAIEmulator) -> None:
    service.fail("chat", Fault.http(429, "slow down", retry_after="1"))
    started = time.monotonic()
    replies = ask(model(concurrency=1), requests(3))
    assert all(reply.error is None for reply in replies)
    assert 1.0 <= time.monotonic() - started < 20
    assert len(service.called("chat")) == 4


def test_a_limit_that_lasts_longer_than_our_patience_is_an_error(service: OpenAIEmulator) -> None:
    service.fail("chat", *[Fault.http(429, "tomorrow", retry_after="86400")] * 3)
    started = time.monotonic()
    replies = ask(model(concurrency=1), requests(2))
    assert [reply.error for reply in replies] == ["HTTP 429: requests tomorrow"] * 2
    assert time.monotonic() - started < 20


def test_used_up_allowances_pause(service: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    from evalharness.models.chat.pace import Pace

    pauses: list[float] = []
    monkeypatch.setattr(Pace, "pause", lambda self, seconds: pauses.append(seconds))
    body = {"choices": [{"finish_reason": "stop", "message": {"content": "x"}}]}
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2s", "x-ratelimit-limit-requests": "80"}
    service.fail("chat", Fault(200, body, headers))
    one(model())
    assert pauses == [pytest.approx(12.4)]  # sixteen slots' share of an allowance of 80


def test_a_hanging_request_ends(service: OpenAIEmulator) -> None:
    service.fail("chat", Fault.hang(60.0), Fault.hang(60.0))
    reply = one(model(timeout_s=0.5, max_retries=0))
    assert reply.error == "no answer within 0.5 s"


OUTCOMES = {
    "length": ("length", {"content": "half a sen"}, "half a sen", None),
    "length without text": ("length", {"content": None}, "", None),
    "eos": ("eos", {"content": "x"}, "x", None),
    "parts": ("stop", {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", None),
    "content filter": ("content_filter", {"content": "so far"}, None, "finish_reason 'content_filter'"),
    "refusal": ("stop", {"content": None, "refusal": "I cannot help"}, None, "refusal: I cannot help"),
    "tool call": ("tool_calls", {"content": None, "tool_calls": []}, None, "finish_reason 'tool_calls'"),
    "no reason": (None, {"content": "x"}, None, "finish_reason None"),
}


@pytest.mark.parametrize(("finish", "message", "text", "error"), OUTCOMES.values(), ids=OUTCOMES.keys())
def test_outcomes(service: OpenAIEmulator, finish: str | None, message: dict[str, Any], text: str | None, error: str | None) -> None:
    service.fail("chat", Fault(200, {"choices": [{"finish_reason": finish, "message": message}], "usage": {"prompt_tokens": 3}}))
    reply = one(model())
    assert (reply.text, reply.error) == (text, error)
    assert reply.finish == ("error" if error else "length" if finish == "length" else "stop")
    if error:
        assert reply.raw == (message.get("refusal") or message["content"])
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cost_usd) == (3, None, None)


def test_an_empty_answer_is_believed_the_third_time_and_all_three_are_paid_for(service: OpenAIEmulator) -> None:
    service.answer = lambda messages, name: ""
    reply = one(model(prices={"usd_per_million_input_tokens": 1e6, "usd_per_million_output_tokens": 0.0}))
    assert (reply.text, reply.finish, reply.error) == ("", "stop", None)
    assert reply.cost_usd == pytest.approx(6.0)
    assert len(service.called("chat")) == 3
    assert one(model(max_retries=0)).text == ""


def test_other_failures_do_not_make_an_empty_answer_believable(service: OpenAIEmulator) -> None:
    empty = Fault(200, {"choices": [{"finish_reason": "stop", "message": {"content": ""}}]})
    service.fail("chat", Fault.http(500), Fault.reset_before(), empty, Fault.http(429, "slow down", **SOON), empty)
    assert one(model()).text == "gpt-x-mini heard: question 0"


def test_prices_come_from_the_book_or_are_unknown(service: OpenAIEmulator) -> None:
    assert one(model(name="gpt-4.1-mini")).cost_usd == pytest.approx((2 * 0.4 + 4 * 1.6) / 1e6)
    assert one(model(name="gpt-x-mini")).cost_usd is None


def test_replies_come_as_they_are_ready_and_closing_early_stops_asking(service: OpenAIEmulator) -> None:
    async def first_of(n: int) -> Reply:
        replies = model(concurrency=4).generate(requests(n))
        async for reply in replies:
            await replies.aclose()
            return reply
        raise AssertionError("no reply")

    assert asyncio.run(first_of(500)).error is None
    assert len(service.called("chat")) < 500


def test_requests_may_come_from_a_generator(service: OpenAIEmulator) -> None:
    assert len(ask(model(), (request for request in requests(20)))) == 20
    assert ask(model(), []) == []


def test_a_defect_is_not_an_answer(service: OpenAIEmulator) -> None:
    def wanted() -> Iterator[Request]:
        yield from requests(3)
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        ask(model(concurrency=1), wanted())


def test_two_models_of_one_key_share_their_pace(service: OpenAIEmulator) -> None:
    from evalharness.models.chat import pace

    async def both() -> int:
        async def drain(asked: OpenAIChat) -> int:
            return len([reply async for reply in asked.generate(requests(10))])

        counts = await asyncio.gather(drain(model(concurrency=2)), drain(model(name="gpt-4.1-mini", concurrency=6)))
        (shared,) = pace._PACES[asyncio.get_running_loop()].values()
        assert shared.most == 6
        assert shared.busy == 0
        return sum(counts)

    assert asyncio.run(both()) == 20


def test_keys(service: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    wrong = one(model())
    assert "Incorrect API key provided: Bearer ***" in str(wrong.error)
    assert one(model(api_key_env="OTHER_KEY")).error is None
    assert one(model(headers={"Authorization": "Bearer ${OTHER_KEY}"})).error is None
    leaky = model(headers={"Authorization": "Bearer ${OTHER_KEY}"})
    assert KEY not in repr(leaky.options) + repr(leaky) + leaky.pool
    monkeypatch.setenv("OPENAI_API_KEY", "sk-with\nbreak")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY: holds characters"):
        one(model())
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "HTTP 401" in str(one(model()).error)  # another address may need no key: it is asked
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(ConfigError, match=r"openai/gpt-x-mini needs a key. Set OPENAI_API_KEY"):
        one(model())


ADDRESSES = [
    (OpenAIChat, "https://api.openai.com/v1"),
    (TogetherChat, "https://api.together.ai/v1"),
    (FireworksChat, "https://api.fireworks.ai/inference/v1"),
    (HuggingFaceChat, "https://router.huggingface.co/v1"),
    (VLLMChat, "http://localhost:8000/v1"),
    (OllamaChat, "http://localhost:11434/v1"),
]


@pytest.mark.parametrize(("kind", "url"), ADDRESSES, ids=[kind.provider for kind, _ in ADDRESSES])
def test_presets(kind: type[OpenAIChat], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (kind.url_env, kind.key_env):
        monkeypatch.delenv(variable, raising=False)
    assert kind(ChatOptions(name="a/m")).identity() == {"base_url": url, "model": "a/m"}
    monkeypatch.setenv(kind.url_env, "http://127.0.0.1:9/v1/")
    assert kind(ChatOptions(name="m")).base_url == "http://127.0.0.1:9/v1"
    assert kind(ChatOptions(name="m", base_url="http://user:secret@127.0.0.1:8/v1")).identity()["base_url"] == "http://127.0.0.1:8/v1"
    assert kind.needs_key is (kind not in (VLLMChat, OllamaChat))


def test_fireworks_takes_both_forms_of_its_address() -> None:
    addresses = {FireworksChat(ChatOptions(name="m", base_url=url)).base_url for url in ("http://h:1", "http://h:1/inference/v1")}
    assert addresses == {"http://h:1/inference/v1"}


def test_one_word_is_a_model_of_fireworks_own() -> None:
    asked = [
        FireworksChat(ChatOptions(name=name)).identity()["model"] for name in ("qwen3-8b", "accounts/a/models/m#accounts/a/deployments/d")
    ]
    assert asked == ["accounts/fireworks/models/qwen3-8b", "accounts/a/models/m#accounts/a/deployments/d"]


def test_identity_and_pool_follow_what_matters() -> None:
    plain = model()
    assert model(concurrency=3).identity() == plain.identity()
    assert model(extra_body={"top_k": 1}).identity() != plain.identity()
    assert model().pool == plain.pool
    assert model(name="other").pool != plain.pool


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="begins with http"):
        model(base_url="localhost:8000")
    with pytest.raises(ConfigError, match=r"prices\.usd_per_token"):
        model(prices={"usd_per_token": 1.0})


def test_a_server_that_is_not_there_is_an_error_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = ask(model(base_url="http://127.0.0.1:9/v1", max_retries=1), requests(3))
    assert all("connection lost" in str(reply.error) for reply in replies)


def test_a_moved_address_is_said(service: OpenAIEmulator) -> None:
    service.fail("chat", Fault(307, None, {"Location": "https://elsewhere.example/v1"}))
    assert "moved to https://elsewhere.example/v1; set base_url" in str(one(model()).error)


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from evalharness.models.openai_chat import _proxy

    for variable in ("HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert _proxy("http://api.example/v1") == "http://proxy.example:3128"
    monkeypatch.setenv("no_proxy", "api.example")
    assert _proxy("http://api.example/v1") is None


def asleep(code: str = "DEPLOYMENT_SCALING_UP", message: str = "Deployment is currently scaled to zero", **headers: str) -> Fault:
    return Fault.http(503, message, code=code, **headers)


def test_a_model_that_is_being_started_is_waited_for(service: OpenAIEmulator, caplog: pytest.LogCaptureFixture) -> None:
    service.fail("chat", *[asleep(retry_after="0.02")] * 30)
    with caplog.at_level("WARNING", "evalh"):
        replies = ask(model(max_retries=0, concurrency=2), requests(4))
    assert [reply.error for reply in replies] == [None] * 4  # 30 refusals cost nobody a try
    (told,) = caplog.messages
    assert "waiting for the model to start, 0 s so far: " in told
    assert "DEPLOYMENT_SCALING_UP" in told


@pytest.mark.parametrize("said", ["Model acme/base is currently loading", "The endpoint is starting up"])
def test_it_is_known_by_its_words(service: OpenAIEmulator, said: str) -> None:
    service.fail("chat", *[asleep("unavailable", said, retry_after="0.01")] * 2)
    assert one(model(max_retries=0)).error is None


def test_waiting_for_it_has_an_end(service: OpenAIEmulator) -> None:
    service.fail("chat", *[asleep(retry_after="0.05")] * 200)
    began = time.monotonic()
    replies = ask(model(waking_s=0.3), requests(5))
    assert time.monotonic() - began < 3
    assert all("still starting" in str(reply.error) or "DEPLOYMENT_SCALING_UP" in str(reply.error) for reply in replies)
    assert len(service.called("chat")) < 60


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chat, "_FRESH_PAUSE_S", 0.05)


NOT_YET = Fault.http(404, "no such model", code="model_not_found")


@pytest.mark.usefixtures("quick")
def test_a_model_that_was_just_made_may_be_unknown_for_a_while(service: OpenAIEmulator) -> None:
    service.fail("chat", *[NOT_YET] * 40)
    replies = ask(model(max_retries=0, concurrency=4, fresh_s=60.0), requests(6))
    assert [reply.error for reply in replies] == [None] * 6
    assert len(service.called("chat")) == 46


@pytest.mark.usefixtures("quick")
def test_after_that_while_it_is_not_there(service: OpenAIEmulator) -> None:
    service.fail("chat", *[NOT_YET] * 2000)
    began = time.monotonic()
    replies = ask(model(fresh_s=0.5, concurrency=2), requests(4))
    assert 0.4 < time.monotonic() - began < 5
    assert {reply.error for reply in replies} == {"HTTP 404: invalid_request_error no such model"}


class PasswordEmulator(OpenAIEmulator):
    """A gateway that asks for a name and a password, and shows what it got."""

    def authorize(self, request: Any) -> None:
        if request.headers.get("Authorization") != "Basic dGVhbTpoaWRkZW4gd29yZA==":
            raise Refuse(401, {"error": {"message": f"not {request.headers.get('Authorization')}"}})


def test_a_login_in_the_address_is_sent_as_such_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with PasswordEmulator(checked=False) as gateway:
        asked = model(base_url=gateway.url.replace("://", "://team:hidden%20word@"))
        assert asked.identity() == {"base_url": gateway.url, "model": "gpt-x-mini"}
        assert one(asked).error is None
        gateway.fail("chat", Fault.http(400, "you sent Basic dGVhbTpoaWRkZW4gd29yZA==, hidden word"))
        assert one(asked).error == "HTTP 400: invalid_request_error you sent Basic ***, ***"


def test_an_address_has_no_query() -> None:
    with pytest.raises(ConfigError, match=r"base_url: holds a '\?' or '#'"):
        model(base_url="https://example.com/v1?key=secret-12345")


class AzureEmulator(OpenAIEmulator):
    """Asks for the key and the version as Azure does; chat lies below the deployment's name."""

    def routes(self) -> Iterable[tuple[str, str, str, Any]]:
        return [*super().routes(), ("chat", "POST", "/deployments/{name}/chat/completions", self.chat)]

    def authorize(self, request: Any) -> None:
        if request.headers.get("api-key") != self.key or request.query.get("api-version") != "2025-04-01-preview":
            raise Refuse(401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}})


def test_azure_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    own: dict[str, Any] = {"api_key_env": "AZURE_OPENAI_API_KEY", "api_version": "2025-04-01-preview"}
    with AzureEmulator(checked=False) as azure:
        assert one(model(base_url=azure.url, **own)).error is None  # …/openai/v1
        assert azure.called("chat")[-1].path == "/v1/chat/completions?api-version=2025-04-01-preview"
        asked = model(base_url=azure.url.replace("/v1", "/openai"), **own)
        assert asked._url(requests(1)[0]).endswith("/openai/deployments/gpt-x-mini/chat/completions?api-version=2025-04-01-preview")
        assert "Authorization" not in asked._headers()[0]
        assert KEY in asked._headers()[1]  # which no message shows


def test_no_more_is_asked_than_is_taken(service: OpenAIEmulator) -> None:
    async def slow_taker() -> int:
        replies = model(concurrency=4).generate(requests(40))
        await anext(replies)
        await asyncio.sleep(0.3)
        sent = len(service.called("chat"))
        await replies.aclose()
        return sent

    assert asyncio.run(slow_taker()) == 4  # one is in hand, three wait: killed now, no more than these would be asked again
