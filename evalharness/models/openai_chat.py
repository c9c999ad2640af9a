"""Hosted chat models by the OpenAI wire protocol: OpenAI, Together, Fireworks, Hugging Face, vLLM, Ollama, any base URL.

In YAML: `model: openai/gpt-x-mini`, or with options `model: {openai: {name: gpt-x-mini, concurrency: 32}}`.

>>> OpenAIChat(ChatOptions(name="gpt-x-mini", base_url="http://127.0.0.1:8000/v1")).identity()
{'base_url': 'http://127.0.0.1:8000/v1', 'model': 'gpt-x-mini'}
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import os
import re
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import Field, field_validator

from evalharness import protocols
from evalharness.buying import Calls
from evalharness.errors import ConfigError, MissingExtra, Problem
from evalharness.ids import digest
from evalharness.models.chat import batches, pace, wire
from evalharness.models.chat.engine import Patience, answers
from evalharness.models.chat.outcome import Again, Halted, Refused
from evalharness.prices import Price, price
from evalharness.records import Reply, Request

if TYPE_CHECKING:
    from aiohttp import ClientSession

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_FRESH_PAUSE_S = 2.0


class HostedOptions(protocols.Options):
    """How to reach a hosted model, and how hard to try."""

    shorthand: ClassVar[str | None] = "name"

    name: str = Field(min_length=1)
    """The model, as the service calls it."""
    base_url: str | None = None
    """The API's address (where /chat/completions is); the service's own if left out."""
    api_key_env: str | None = None
    """The environment variable that holds the key."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """More headers; `${NAME}` in a value is taken from the environment, e.g. {api-key: "${AZURE_OPENAI_API_KEY}"}."""
    concurrency: int = Field(default=64, ge=1, le=1024)
    """Most requests in flight; how many there are adapts to the service's limits."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds for one try."""
    max_retries: int = Field(default=5, ge=0, le=20)
    """Tries after the first, where another try is safe."""
    patience_s: float = Field(default=300.0, gt=0)
    """Seconds that one request waits for rate limits, all its waits together."""
    waking_s: float = Field(default=1800.0, gt=0)
    """Seconds to wait for a model that the service is starting (503 with DEPLOYMENT_SCALING_UP, "is loading"); they count as no try."""
    fresh_s: float = Field(default=0.0, ge=0)
    """Seconds from the first request on in which "no such model" (404) may mean "not yet"; 60 for a model that the run has trained."""
    prices: dict[str, float] = Field(default_factory=dict)
    """Your prices over the price book, e.g. {usd_per_million_input_tokens: 0.4, usd_per_million_output_tokens: 1.6}."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """More fields of the request; null takes one out, e.g. {temperature: null, reasoning_effort: low}."""

    @field_validator("base_url")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("a base URL begins with http:// or https://, e.g. https://api.example.com/v1")
        return value


class ChatOptions(HostedOptions):
    """How to reach a hosted chat model by the OpenAI protocol."""

    token_limit: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The name of the field that limits the answer's length; each service's own if left out."""
    batch: bool = False
    """Answers within a day at half the price, by OpenAI's Batch API."""
    batch_poll_s: float = Field(default=30.0, gt=0)
    """Seconds between looks at a batch."""
    api_version: str | None = None
    """Azure OpenAI's, e.g. 2025-04-01-preview: the key is sent as `api-key`, to the deployment of this name unless base_url ends in /v1."""


class HostedChat:
    """What all hosted chat models share: one POST per try, asked by the engine. The wire protocol is a subclass's."""

    local: ClassVar[bool] = False
    provider: ClassVar[str]
    url: ClassVar[str]
    url_env: ClassVar[str]
    key_env: ClassVar[str]
    needs_key: ClassVar[bool] = True

    def __init__(self, options: HostedOptions) -> None:
        self.options = options
        own = options.base_url or os.environ.get(self.url_env)
        bare, self._login = _without_login(own or self.url)
        self.base_url = self.address(bare)
        self._own_url = own is not None
        self._price: Price = price(self.provider, options.name, options.prices)

    @classmethod
    def address(cls, base_url: str) -> str:
        """The base URL as requests use it: no slash at its end."""
        return base_url.rstrip("/")

    @property
    def pool(self) -> str:
        """One instance per service, model and options."""
        return f"{self.provider}:{self.options.name}:{digest([self.base_url, self.options.model_dump()])}"

    def identity(self) -> dict[str, str]:
        """Service address, model name, and what else is sent with every request."""
        known = {"base_url": self.base_url, "model": self.options.name}
        return {**known, "extra_body": digest(self.options.extra_body)} if self.options.extra_body else known

    def estimate(self, request: Request) -> float | None:
        """By the price book: three bytes to a token and eight tokens around each turn; an answer as long as it may get."""
        prompt = sum(len(message.content.encode("utf-8", "replace")) // 3 + 8 for message in request.messages)
        return self._price.of_tokens(prompt, request.sampling.max_tokens)

    def check(self) -> None:
        """Raises ConfigError if the key is not set, MissingExtra. Sends nothing."""
        self._headers()
        if importlib.util.find_spec("aiohttp") is None:
            raise MissingExtra("aiohttp", "hosted", f"the model {self.provider!r}")

    async def generate(self, requests: Iterable[Request]) -> AsyncGenerator[Reply]:
        """One reply per request, in any order, as they come. Raises ConfigError if the key is not set, MissingExtra."""
        headers, secrets = self._headers()
        speed = pace.shared(digest([self.base_url, secrets]), self.options.concurrency)
        patience = Patience(self.options.max_retries, self.options.patience_s, waking_s=self.options.waking_s)
        fresh_until = time.monotonic() + self.options.fresh_s
        async with self._session(headers) as session:

            async def ask(request: Request) -> Reply:
                try:
                    return await self._ask(session, speed, request)
                except Refused as no:
                    if no.absent and time.monotonic() < fresh_until:
                        raise Again(str(no), raw=no.raw, after=_FRESH_PAUSE_S, waking=True) from None
                    raise

            # Closed here, not when it is collected: whoever stops early must find nothing in flight and the session still open.
            async with contextlib.aclosing(answers(requests, ask, speed, patience, self.options.concurrency)) as replies:
                async for reply in replies:
                    yield _redacted(reply, secrets) if reply.error is not None else reply

    async def close(self) -> None:
        """Nothing is held between two calls of generate."""

    def _headers(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """Request headers, and the secrets in them that no message may show."""
        key = self._key()
        own = {header: _VARIABLE.sub(lambda hit: os.environ.get(hit[1], ""), value) for header, value in self.options.headers.items()}
        headers = {"Content-Type": "application/json", "Accept": "application/json", **own}
        basic = base64.b64encode(self._login.encode()).decode()
        if basic:
            headers.setdefault("Authorization", f"Basic {basic}")
        self._sign(headers, key)
        secrets = (key, *own.values(), basic, self._login.partition(":")[2])
        return headers, tuple(secret for secret in secrets if len(secret) >= 6)

    def _key(self) -> str:
        """The key in the environment; empty where none is needed. Raises ConfigError."""
        name = self.options.api_key_env or self.key_env
        key = os.environ.get(name, "").strip()
        if not key and self.needs_key and not (self._own_url or self.options.headers):
            raise ConfigError([Problem("", "", f"{self.provider}/{self.options.name} needs a key", f"Set {name}, or base_url")])
        if not (key.isascii() and key.isprintable()):
            raise ConfigError([Problem("", name, "holds characters that no key has", "Set it again, without quotes or line breaks")])
        return key

    def _sign(self, headers: dict[str, str], key: str) -> None:
        """Put the key where the service looks for it, unless the user's own headers do."""
        if key:
            headers.setdefault("Authorization", f"Bearer {key}")

    def _session(self, headers: Mapping[str, str]) -> ClientSession:
        try:
            import aiohttp
        except ModuleNotFoundError as error:
            raise MissingExtra("aiohttp", "hosted", f"the model {self.provider!r}") from error
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self.options.timeout_s),
            proxy=_proxy(self.base_url),
            auto_decompress=True,
        )

    async def _ask(self, session: ClientSession, speed: pace.Pace, request: Request) -> Reply:
        """One try. Raises Again, Refused or Halted."""
        import aiohttp

        url, content, headers = self._url(request), self._body(request), await self._fresh_headers()
        sent_at = time.perf_counter()
        try:
            async with session.post(url, data=content, headers=headers, allow_redirects=False) as response:
                raw = await response.read()
        except TimeoutError:
            raise Again(f"no answer within {self.options.timeout_s:g} s", crowded=True) from None
        except (aiohttp.InvalidURL, aiohttp.ClientConnectorCertificateError) as error:
            raise Halted(f"{type(error).__name__}: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Again(f"connection lost: {error or type(error).__name__}") from None
        latency = time.perf_counter() - sent_at
        speed.read(response.headers)
        reply = self._read(response.status, response.headers, raw, request.output_id, latency)
        if reply.text == "" and reply.finish == "stop":
            raise Again("an empty answer", cost_usd=reply.cost_usd, reply=reply)
        return reply

    async def _fresh_headers(self) -> Mapping[str, str] | None:
        """What a request's headers need beside the session's: a token that is renewed while the run lasts."""
        return None

    def _url(self, request: Request) -> str:
        """Where a request is posted."""
        raise NotImplementedError

    def _body(self, request: Request) -> bytes:
        """What is posted."""
        raise NotImplementedError

    def _read(self, status: int, headers: Mapping[str, str], raw: bytes, output_id: str, latency_s: float) -> Reply:
        """What came back. Raises Again, Refused or Halted."""
        raise NotImplementedError


class OpenAIChat(HostedChat):
    """OpenAI, and whoever speaks its protocol."""

    Options: ClassVar[type[protocols.Options]] = ChatOptions
    provider: ClassVar[str] = "openai"
    url: ClassVar[str] = "https://api.openai.com/v1"
    url_env: ClassVar[str] = "OPENAI_BASE_URL"
    key_env: ClassVar[str] = "OPENAI_API_KEY"
    token_limit: ClassVar[str] = "max_completion_tokens"

    def __init__(self, options: ChatOptions) -> None:
        super().__init__(options)
        self.options: ChatOptions = options
        self._limit_field = options.token_limit or self.token_limit
        if options.batch and self.provider != "openai":
            raise ConfigError([Problem("", "batch", f"{self.provider} has no Batch API that evalh speaks", "Take batch out")])

    def estimate(self, request: Request) -> float | None:
        """As of all hosted models; half of it in batches."""
        cost = super().estimate(request)
        return batches.DISCOUNT * cost if self.options.batch and cost is not None else cost

    async def generate(self, requests: Iterable[Request]) -> AsyncGenerator[Reply]:
        """One reply per request, in any order, as they come. Raises ConfigError if the key is not set, MissingExtra."""
        replies = self._in_batches(list(requests)) if self.options.batch else super().generate(requests)
        async with contextlib.aclosing(replies) as found:
            async for reply in found:
                yield reply

    async def _in_batches(self, requests: list[Request]) -> AsyncGenerator[Reply]:
        headers, secrets = self._headers()
        sdk, calls = self._sdk(headers)
        name = digest(self.identity())
        below = "/chat/completions" if self._by_deployment else "/v1/chat/completions"
        asked = batches.Batches(
            sdk, calls, name, self._body, lambda raw, key: self._read(200, {}, raw, key, 0.0), self.options.batch_poll_s, below
        )
        with contextlib.closing(sdk):
            async with contextlib.aclosing(asked.replies(requests)) as found:
                async for reply in found:
                    yield _redacted(reply, secrets) if reply.error is not None else reply

    def _sdk(self, headers: Mapping[str, str]) -> tuple[Any, Calls]:
        try:
            import openai
        except ModuleNotFoundError as error:
            raise MissingExtra("openai", "hosted", "batch: true") from error
        key = os.environ.get(self.options.api_key_env or self.key_env, "").strip()
        own = {name: value for name, value in headers.items() if name not in ("Content-Type", "Accept")}
        version = {"api-version": self.options.api_version} if self.options.api_version else None
        sdk = openai.OpenAI(
            api_key=key or "none", base_url=self.base_url, default_headers=own, default_query=version, max_retries=4,
            timeout=self.options.timeout_s,
        )  # fmt: skip
        return sdk, Calls((openai.APIError,), key)

    def _url(self, request: Request) -> str:
        if self.options.api_version is None:
            return f"{self.base_url}/chat/completions"
        version = quote(self.options.api_version, safe="")
        below = f"/deployments/{quote(request.adapter or self.options.name, safe='')}" if self._by_deployment else ""
        return f"{self.base_url}{below}/chat/completions?api-version={version}"

    @property
    def _by_deployment(self) -> bool:
        """Azure OpenAI's dated API, which names a deployment in the path; its /v1 is like everybody's."""
        return self.options.api_version is not None and not self.base_url.endswith("/v1")

    def _sign(self, headers: dict[str, str], key: str) -> None:
        if self.options.api_version is None:
            super()._sign(headers, key)
        elif key:
            headers.setdefault("api-key", key)

    def _body(self, request: Request) -> bytes:
        return wire.body(request, self.options.name, self._limit_field, self.options.extra_body)

    def _read(self, status: int, headers: Mapping[str, str], raw: bytes, output_id: str, latency_s: float) -> Reply:
        return wire.reply(wire.payload(status, headers, raw), output_id, latency_s, self._price)


class TogetherChat(OpenAIChat):
    """Together AI."""

    provider, url, url_env, key_env = "together", "https://api.together.ai/v1", "TOGETHER_BASE_URL", "TOGETHER_API_KEY"
    token_limit = "max_tokens"

    @classmethod
    def address(cls, base_url: str) -> str:
        """Either form of the address: the one that the SDK takes, or the one that ends in /v1."""
        base_url = super().address(base_url)
        return base_url if base_url.endswith("/v1") else f"{base_url}/v1"


class FireworksChat(OpenAIChat):
    """Fireworks AI; its chat API lies below /inference/v1 of the address that its SDK and jobs use."""

    provider, url, url_env, key_env = "fireworks", "https://api.fireworks.ai", "FIREWORKS_BASE_URL", "FIREWORKS_API_KEY"
    token_limit = "max_tokens"

    def __init__(self, options: ChatOptions) -> None:
        if "/" not in options.name:  # one word is a model of Fireworks' own, as in its trainer
            options = options.model_copy(update={"name": f"accounts/fireworks/models/{options.name}"})
        super().__init__(options)

    @classmethod
    def address(cls, base_url: str) -> str:
        """Any form of the address: the service's own, or the one that ends in /inference or /v1."""
        base_url = super().address(base_url)
        return base_url if base_url.endswith("/v1") else f"{base_url.removesuffix('/inference')}/inference/v1"


class HuggingFaceChat(OpenAIChat):
    """Hugging Face's router, or an Inference Endpoint by its base_url."""

    provider, url, url_env, key_env = "hf", "https://router.huggingface.co/v1", "HF_BASE_URL", "HF_TOKEN"
    token_limit = "max_tokens"


class VLLMChat(OpenAIChat):
    """A vLLM server; LoRA adapters that it serves are asked for by their names."""

    provider, url, url_env, key_env = "vllm", "http://localhost:8000/v1", "VLLM_BASE_URL", "VLLM_API_KEY"
    needs_key, token_limit = False, "max_tokens"


class OllamaChat(OpenAIChat):
    """An Ollama server."""

    provider, url, url_env, key_env = "ollama", "http://localhost:11434/v1", "OLLAMA_BASE_URL", "OLLAMA_API_KEY"
    needs_key, token_limit = False, "max_tokens"


def _without_login(url: str) -> tuple[str, str]:
    """A base URL without its "user:password@", and that. Raises ConfigError for a query, which no base URL has."""
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        fix = "Give api_version for a version, and headers for a key; what comes before the '?' is the base URL"
        raise ConfigError([Problem("", "base_url", "holds a '?' or '#'", fix)])
    login, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=place)), unquote(login)


def _proxy(url: str) -> str | None:
    """The environment's proxy for a URL, looked up once: aiohttp's own way reads files for every request."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _redacted(reply: Reply, secrets: tuple[str, ...]) -> Reply:
    """The reply with no secret in its error and raw text, wherever a server or library put one."""
    from dataclasses import replace

    def clean(text: str | None) -> str | None:
        for secret in secrets:
            text = text.replace(secret, "***") if text else text
        return text

    return replace(reply, error=clean(reply.error), raw=clean(reply.raw))
