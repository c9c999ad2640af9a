"""The Gemini model, by both of its services, against the emulator: every request ends as one reply, and says truly what came."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from evalharness import google
from evalharness.errors import ConfigError
from evalharness.models.gemini import GeminiChat, GeminiOptions, VertexChat
from evalharness.protocols import Model
from evalharness.records import Message, Reply, Request, Sampling
from tests.emulators.core import KEY, Fault
from tests.emulators.vertex import VertexEmulator, fault, retry_info

PLACE = "/v1beta1/projects/p1/locations/us-central1"
VARIABLES = (
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_GENAI_USE_ENTERPRISE",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_GENAI_API_VERSION",
    google.TOKEN_ENV,
)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexEmulator]:
    with VertexEmulator() as emulator:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", emulator.url)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p1")
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-central1")
        monkeypatch.setenv(google.TOKEN_ENV, KEY)
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        yield emulator


def requests(n: int, **sampling: Any) -> list[Request]:
    return [Request(f"o{i}", f"s{i}", (Message("user", f"question {i}"),), Sampling(**sampling)) for i in range(n)]


def model(**options: Any) -> VertexChat:
    return VertexChat(GeminiOptions(**{"name": "gemini-x", **options}))


def ask(asked: GeminiChat, wanted: Iterable[Request]) -> list[Reply]:
    """All replies, in the order of their output ids; every request has exactly one."""

    async def collect() -> list[Reply]:
        try:
            return [reply async for reply in asked.generate(wanted)]
        finally:
            await asked.close()

    replies = sorted(asyncio.run(collect()), key=lambda reply: int(reply.output_id[1:]))
    assert [reply.output_id for reply in replies] == [f"o{i}" for i in range(len(replies))]
    return replies


def one(asked: GeminiChat, **sampling: Any) -> Reply:
    (reply,) = ask(asked, requests(1, **sampling))
    return reply


def said(candidate: Any = None, **answer: Any) -> Fault:
    """A true answer of this form."""
    return Fault(200, {"candidates": [candidate], **answer} if candidate is not None else answer)


def test_it_is_a_model() -> None:
    assert isinstance(model(), Model)
    assert VertexChat.local is GeminiChat.local is False


def test_every_request_is_answered(service: VertexEmulator) -> None:
    service.latency_s, service.thoughts = 0.05, 10
    replies = ask(model(prices={"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 2.0}), requests(30))
    assert [reply.text for reply in replies] == [f"gemini-x heard: question {i}" for i in range(30)]
    first = replies[0]
    assert (first.finish, first.error, first.prompt_tokens, first.completion_tokens) == ("stop", None, 2, 14)  # thoughts count
    assert first.cost_usd == pytest.approx((2 * 1.0 + 14 * 2.0) / 1e6)
    assert first.latency_s is not None
    assert 0.05 <= first.latency_s < 30


def test_what_is_sent(service: VertexEmulator) -> None:
    chat = (Message("system", "Be brief."), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    ask(model(), [Request("o0", "s", chat, Sampling(max_tokens=9))])
    one(model(thinking_budget=0, extra_body={"generationConfig": {"topK": 1, "temperature": None}, "labels": {"a": "b"}}))
    one(model(), temperature=0.7, top_p=0.9, stop=("\n", "END"), seed=5)
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    ask(model(), [Request("o0", "s", (Message("user", "x"),), Sampling(seed=2), repeat=1, schema=schema)])
    bodies = [call.body for call in service.called("chat")]
    assert bodies[0] == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}]},
            {"role": "model", "parts": [{"text": "b"}]},
            {"role": "user", "parts": [{"text": "c"}]},
        ],
        "generationConfig": {"maxOutputTokens": 9, "temperature": 0.0},
    }
    assert bodies[1]["generationConfig"] == {"maxOutputTokens": 256, "thinkingConfig": {"thinkingBudget": 0}, "topK": 1}
    assert bodies[1]["labels"] == {"a": "b"}
    sampled = {"maxOutputTokens": 256, "temperature": 0.7, "topP": 0.9, "stopSequences": ["\n", "END"], "seed": 5}
    assert bodies[2]["generationConfig"] == sampled
    asked = {"seed": 3, "responseMimeType": "application/json", "responseJsonSchema": schema}
    assert bodies[3]["generationConfig"] == {"maxOutputTokens": 256, "temperature": 0.0, **asked}
    assert {call.path for call in service.called("chat")} == {f"{PLACE}/publishers/google/models/gemini-x:generateContent"}


NAMES = {
    "gemini-x": f"{PLACE}/publishers/google/models/gemini-x",
    "models/gemini-x": f"{PLACE}/publishers/google/models/gemini-x",
    "publishers/google/models/gemini-x": f"{PLACE}/publishers/google/models/gemini-x",
    "123": f"{PLACE}/endpoints/123",
    "endpoints/123": f"{PLACE}/endpoints/123",
    "projects/9/locations/europe-west4/endpoints/123": "/v1beta1/projects/9/locations/europe-west4/endpoints/123",
}


@pytest.mark.parametrize(("name", "path"), NAMES.items(), ids=NAMES.keys())
def test_names_on_vertex(service: VertexEmulator, name: str, path: str) -> None:
    service.models.add("123")
    assert one(model(name=name)).error is None
    assert service.called("chat")[0].path == f"{path}:generateContent"


def test_the_gemini_api(service: VertexEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = GeminiChat(GeminiOptions(name="gemini-x"))
    assert one(asked).text == "gemini-x heard: question 0"
    assert service.called("gemini")[0].path == "/v1beta/models/gemini-x:generateContent"
    assert one(GeminiChat(GeminiOptions(name="models/gemini-x", base_url=f"{service.url}/v1/"))).error is None
    assert service.called("gemini")[1].path == "/v1/models/gemini-x:generateContent"
    monkeypatch.setenv("GEMINI_API_KEY", "wrong-0123456789")
    assert one(asked).error == "HTTP 401: UNAUTHENTICATED Request had invalid authentication credentials: ***"
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)  # as Google's own SDK has it, this one goes first
    assert one(asked).error is None
    monkeypatch.setenv("OTHER", KEY)
    assert one(GeminiChat(GeminiOptions(name="gemini-x", api_key_env="OTHER"))).error is None
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=r"gemini/gemini-x needs a key\. Set GEMINI_API_KEY"):
        one(GeminiChat(GeminiOptions(name="gemini-x")))


def test_gemini_goes_to_vertex_where_options_or_environment_say_so(service: VertexEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(GeminiChat(GeminiOptions(name="gemini-x", vertex=True))).error is None
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    assert one(GeminiChat(GeminiOptions(name="gemini-x"))).error is None
    assert len(service.called("chat")) == 2
    assert one(GeminiChat(GeminiOptions(name="gemini-x", vertex=False))).error is None
    assert len(service.called("gemini")) == 1


PASSING = {
    "429": fault(429, "slow down", retry_after="0.01"),
    "429 in a detail": fault(429, "slow down", retry_info("0.01s")),
    "408": fault(408),
    "499": fault(499),
    "500": fault(500),
    "503": fault(503, "The model is overloaded."),
    "lost connection": Fault.reset_before(),
    "lost answer": Fault.reset_after(),
    "half an answer": Fault(cut=True),
    "a web page": Fault.html(),
    "a web page 502": Fault.html(502),
    "nothing": Fault(200, None),
    "nobody": said(candidates=[]),
    "no text": said({"finishReason": "STOP", "content": {"role": "model"}}),
    "an empty text": said({"finishReason": "STOP", "content": {"parts": [{"text": ""}]}}),
    "only thoughts": said({"finishReason": "STOP", "content": {"parts": [{"text": "hm", "thought": True}]}}),
    "an error in a 200": said(error={"message": "upstream", "code": 502}),
    "a number": Fault(200, 17),
}


@pytest.mark.parametrize("broken", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_tried_again(service: VertexEmulator, broken: Fault) -> None:
    service.fail("chat", broken, broken)
    reply = one(model())
    assert (reply.text, reply.finish, reply.error) == ("gemini-x heard: question 0", "stop", None)
    assert len(service.called("chat")) == 3


LASTING = {
    "400": (fault(400, "too many tokens"), "HTTP 400: INVALID_ARGUMENT too many tokens"),
    "403": (fault(403, "not for you"), "HTTP 403: PERMISSION_DENIED not for you"),
    "404": (fault(404, "no such model"), "HTTP 404: NOT_FOUND no such model"),
    "a list": (Fault(400, [{"error": {"message": "in a list"}}]), "HTTP 400: in a list"),
    "a word": (Fault(400, {"error": "no"}), "HTTP 400: no"),
    "413 page": (Fault.html(413), "HTTP 413: a web page"),
}


@pytest.mark.parametrize(("broken", "error"), LASTING.values(), ids=LASTING.keys())
def test_a_no_is_not_asked_again(service: VertexEmulator, broken: Fault, error: str) -> None:
    service.fail("chat", broken)
    replies = ask(model(concurrency=1), requests(2))
    failed = [reply for reply in replies if reply.error is not None]
    assert [(reply.error, reply.finish, reply.text) for reply in failed] == [(error, "error", None)]
    assert failed[0].raw
    assert len(service.called("chat")) == 2


DAY = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
USELESS = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
STOPPING = {
    "wrong token": fault(401, f"bad token {KEY}"),
    "wrong key": fault(400, "API key not valid.", USELESS),
    "no quota today": fault(429, "quota", DAY, retry_info("20s")),
}


@pytest.mark.parametrize("broken", STOPPING.values(), ids=STOPPING.keys())
def test_what_no_request_survives_stops_the_arm(service: VertexEmulator, broken: Fault) -> None:
    service.fail("chat", *[broken] * 400)
    started = time.monotonic()
    replies = ask(model(), requests(300))
    assert time.monotonic() - started < 20
    assert all(reply.finish == "error" and reply.error and "HTTP 4" in reply.error for reply in replies)
    assert len(service.called("chat")) <= 16  # those in flight before the first answer
    assert sum("stopped asking: HTTP" in str(reply.error) for reply in replies) >= 280
    assert KEY not in repr(replies)


def test_rate_limits_are_waited_for_and_count_as_no_try(service: VertexEmulator) -> None:
    service.fail("chat", *[fault(429, "slow down", retry_after="0.01")] * 12)
    assert one(model(max_retries=1)).text == "gemini-x heard: question 0"
    assert len(service.called("chat")) == 13


def test_a_delay_in_an_errors_details_is_honoured(service: VertexEmulator) -> None:
    service.fail("chat", fault(429, "slow down", retry_info("0.5s")))
    started = time.monotonic()
    assert one(model()).error is None
    assert 0.5 <= time.monotonic() - started < 10


def test_a_hanging_request_ends(service: VertexEmulator) -> None:
    service.fail("chat", Fault.hang(60.0))
    assert one(model(timeout_s=0.3, max_retries=0)).error == "no answer within 0.3 s"


TEXT = {"role": "model", "parts": [{"text": "so "}, {"text": "far"}]}
RECITED = {"finishReason": "RECITATION", "content": TEXT, "finishMessage": "as\nwritten"}
OUTCOMES: dict[str, tuple[dict[str, Any], str | None, str, str | None]] = {
    "parts": ({"finishReason": "STOP", "content": TEXT}, "so far", "stop", None),
    "length": ({"finishReason": "MAX_TOKENS", "content": TEXT}, "so far", "length", None),
    "length in thought": ({"finishReason": "MAX_TOKENS"}, "", "length", None),
    "safety": ({"finishReason": "SAFETY"}, None, "error", "finishReason 'SAFETY'"),
    "recitation": (RECITED, None, "error", "finishReason 'RECITATION': as written"),
    "new": ({"finishReason": "BRAND_NEW", "content": TEXT}, None, "error", "finishReason 'BRAND_NEW'"),
    "none": ({"content": TEXT}, None, "error", "finishReason None"),
}


@pytest.mark.parametrize(("candidate", "text", "finish", "error"), OUTCOMES.values(), ids=OUTCOMES.keys())
def test_outcomes(service: VertexEmulator, candidate: dict[str, Any], text: str | None, finish: str, error: str | None) -> None:
    service.fail("chat", said(candidate, usageMetadata={"promptTokenCount": 3, "totalTokenCount": 8}))
    reply = one(model(prices={"usd_per_million_input_tokens": 1e6, "usd_per_million_output_tokens": 0.0}))
    assert (reply.text, reply.finish, reply.error) == (text, finish, error)
    assert (reply.prompt_tokens, reply.completion_tokens) == (3, 5)
    assert reply.cost_usd == pytest.approx(3.0)
    assert len(service.called("chat")) == 1
    if finish == "error" and "content" in candidate:
        assert reply.raw == "so far"


def test_a_blocked_prompt_says_why(service: VertexEmulator) -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "Not this."}
    service.fail("chat", said(promptFeedback=feedback, usageMetadata={"promptTokenCount": 3, "totalTokenCount": 3}))
    reply = one(model())
    assert (reply.error, reply.finish) == ("the prompt was blocked: PROHIBITED_CONTENT: Not this.", "error")
    assert (reply.prompt_tokens, reply.completion_tokens) == (3, 0)
    service.fail("chat", said(promptFeedback={"blockReason": "OTHER"}))
    assert one(model()).error == "the prompt was blocked: OTHER"


def test_an_empty_answer_is_an_error_in_the_end_and_all_tries_are_paid_for(service: VertexEmulator) -> None:
    service.answer = lambda contents, name: ""
    reply = one(model(max_retries=2, prices={"usd_per_million_input_tokens": 1e6, "usd_per_million_output_tokens": 0.0}))
    assert (reply.text, reply.finish, reply.error) == (None, "error", "an empty answer")
    assert reply.cost_usd == pytest.approx(6.0)
    assert len(service.called("chat")) == 3


def test_usage_that_is_not_said_is_not_known(service: VertexEmulator) -> None:
    service.fail("chat", said({"finishReason": "STOP", "content": TEXT}))
    reply = one(model(name="gemini-2.5-flash"))
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cost_usd) == (None, None, None)
    counts = {"promptTokenCount": 100, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}
    service.fail("chat", said({"finishReason": "STOP", "content": TEXT}, usageMetadata={**counts, "cachedContentTokenCount": 40}))
    reply = one(model(name="gemini-2.5-flash"))
    assert (reply.prompt_tokens, reply.completion_tokens) == (105, 5)
    assert reply.cost_usd == pytest.approx((65 * 0.3 + 40 * 0.03 + 5 * 2.5) / 1e6)


def test_prices_come_from_the_book_also_for_tuned_models(service: VertexEmulator) -> None:
    asked = requests(1)[0]
    known = model(name="gemini-2.5-flash").estimate(asked)
    assert known is not None
    assert model(name="projects/1/locations/l/endpoints/2", tuned_from="gemini-2.5-flash").estimate(asked) == known
    assert model(name="projects/1/locations/l/endpoints/2").estimate(asked) is None
    assert GeminiChat(GeminiOptions(name="gemini-2.5-flash")).estimate(asked) == known


def test_tuned_models_are_asked_without_thoughts_where_the_base_allows(service: VertexEmulator) -> None:
    for name in ("1", "2", "3"):
        service.models.add(name)
    one(model(name="1", tuned_from="gemini-2.5-flash-lite"))
    one(model(name="2", tuned_from="gemini-2.5-pro"))
    one(model(name="3", tuned_from="gemini-2.5-flash", thinking_budget=64))
    budgets = [call.body["generationConfig"].get("thinkingConfig") for call in service.called("chat")]
    assert budgets == [{"thinkingBudget": 0}, None, {"thinkingBudget": 64}]


def test_identity_and_pool_follow_what_matters(service: VertexEmulator) -> None:
    plain = model()
    assert plain.identity() == {"base_url": service.url, "model": "gemini-x"}
    assert model(concurrency=3).identity() == plain.identity()
    assert model(thinking_budget=0).identity()["thinking_budget"] == "0"
    assert model(extra_body={"labels": {"a": "b"}}).identity() != plain.identity()
    assert model().pool == plain.pool
    assert model(name="other").pool != plain.pool
    assert KEY not in repr(plain.options) + plain.pool


ADDRESSES = {
    "europe-west4": "https://europe-west4-aiplatform.googleapis.com",
    "global": "https://aiplatform.googleapis.com",
    "eu": "https://aiplatform.eu.rep.googleapis.com",
}


@pytest.mark.parametrize(("location", "url"), ADDRESSES.items(), ids=ADDRESSES.keys())
def test_addresses(location: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert model(location=location).base_url == url
    assert model(name=f"projects/1/locations/{location}/endpoints/2", location="us-central1").base_url == url
    assert model().base_url == "https://aiplatform.googleapis.com"
    assert GeminiChat(GeminiOptions(name="m")).base_url == "https://generativelanguage.googleapis.com"


def test_a_project_is_needed(service: VertexEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    with pytest.raises(ConfigError, match=r"needs a Google Cloud project\. Set GOOGLE_CLOUD_PROJECT"):
        one(model())
    assert one(model(project="p1")).error is None


def test_own_headers_sign(service: VertexEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(google.TOKEN_ENV)
    monkeypatch.setenv("GATEWAY", KEY)
    assert one(model(headers={"Authorization": "Bearer ${GATEWAY}"})).error is None


def test_without_credentials_a_server_on_this_machine_is_asked_anonymously(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p1")
    with VertexEmulator(anonymous=True) as strange:
        assert one(model(base_url=strange.url)).error is None


class Renewed:
    """Application default credentials whose token lasts for one request."""

    def __init__(self, *, fails: bool = False) -> None:
        self.token, self.renewals, self.fails = "", 0, fails
        self.good_until = datetime.datetime.min

    @property
    def valid(self) -> bool:
        return datetime.datetime.now() < self.good_until

    def refresh(self, post: object) -> None:
        from google.auth.exceptions import RefreshError

        if self.fails:
            raise RefreshError("the account was\n deleted")  # type: ignore[no-untyped-call]
        self.token, self.renewals = KEY, self.renewals + 1
        self.good_until = datetime.datetime.now() + datetime.timedelta(seconds=0.1)


def test_tokens_are_renewed_while_a_run_lasts(service: VertexEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = Renewed()
    monkeypatch.setattr(google, "credentials", lambda *asked, **how: signed)
    monkeypatch.delenv(google.TOKEN_ENV)
    service.latency_s = 0.05
    replies = ask(model(concurrency=2), requests(12))
    assert [reply.error for reply in replies] == [None] * 12
    assert 2 <= signed.renewals <= 12
    monkeypatch.setattr(google, "credentials", lambda *asked, **how: Renewed(fails=True))
    replies = ask(model(concurrency=2), requests(5))
    assert all("Google gave no access token: the account was deleted" in str(reply.error) for reply in replies)


def test_real_credentials_are_used_where_a_file_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "user.json"
    file.write_text(json.dumps({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"} | {
        "quota_project_id": "p1"
    }))  # fmt: skip
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    found = google.credentials(None, "a test", anonymous=True)
    assert found.token is None
    assert google.nobody(found) is found
