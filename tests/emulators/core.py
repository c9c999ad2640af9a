"""What all emulators share: a loopback server in a thread, faults on demand, and checks against a published description.

A service's emulator subclasses Emulator and gives `routes()`; every request and every answer that is no fault is
checked by openapi-core, and leaving the `with` block fails the test if one broke the description.

>>> with OpenAIEmulator() as service:                                                                 # doctest: +SKIP
...     service.fail("create_job", Fault.reset_after())
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast
from urllib.parse import urlsplit

from aiohttp import web
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse
from werkzeug.formparser import FormDataParser

SPECS = Path(__file__).parents[2].parent / "shared" / "specs"
KEY = "sk-emulator-0123456789"


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad answer: instead of the true one, or (after=True) once the request has taken effect."""

    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    reset: bool = False
    after: bool = False
    hang_s: float = 0.0
    cut: bool = False
    """The true answer, half of it."""

    @staticmethod
    def http(status: int, message: str = "it failed", *, code: str | None = None, **headers: str) -> Fault:
        """An error answer in OpenAI's form; headers with '_' for '-'."""
        kind = {401: "invalid_request_error", 429: "requests"}.get(status, "server_error" if status >= 500 else "invalid_request_error")
        error = {"message": message, "type": kind, "param": None, "code": code}
        return Fault(status, {"error": error}, {name.replace("_", "-"): value for name, value in headers.items()})

    @staticmethod
    def quota() -> Fault:
        """429 that no waiting helps."""
        return Fault(
            429,
            {"error": {"message": "You exceeded your quota", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}},
        )

    @staticmethod
    def reset_before() -> Fault:
        """The connection breaks before anything happened."""
        return Fault(reset=True)

    @staticmethod
    def reset_after() -> Fault:
        """The request takes effect; its answer is lost."""
        return Fault(reset=True, after=True)

    @staticmethod
    def html(status: int = 200, *, after: bool = False) -> Fault:
        """A web page, as proxies and gateways send."""
        return Fault(status, "<!DOCTYPE html><html><title>Bad gateway</title></html>", content_type="text/html", after=after)

    @staticmethod
    def hang(seconds: float, *, after: bool = False) -> Fault:
        """No answer for so long, then a 504."""
        return Fault(
            504, {"error": {"message": "too late", "type": "server_error", "param": None, "code": None}}, hang_s=seconds, after=after
        )


@dataclass(frozen=True, slots=True)
class Call:
    """A request that came: route name, HTTP method, path with query, body (None if it is no JSON), answer's status (0: none)."""

    route: str
    method: str
    path: str
    body: Any
    status: int


class Refuse(Exception):
    """An emulator's own error answer: HTTP status and the JSON body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass(slots=True)
class Incoming:
    """What a route gets: path parameters, query, the JSON body or the form's fields (files as (name, bytes)), or the bare body."""

    params: dict[str, str]
    query: dict[str, str]
    json: Any = None
    form: dict[str, Any] = field(default_factory=dict)
    content_type: str = ""
    raw: bytes = b""


Route = Callable[[Incoming], Any]
"""Returns the JSON answer, or bytes, or a whole response."""


class Emulator:
    """A service on 127.0.0.1; `url` is what clients take for its base URL."""

    description: ClassVar[str | None] = None
    """File in shared/specs."""
    server: ClassVar[str] = "https://example.com"
    """The server URL that the description names."""
    undescribed: ClassVar[frozenset[str]] = frozenset()
    """Routes that the description does not know: their requests and answers are not checked."""

    def __init__(self, *, key: str = KEY, checked: bool = True, latency_s: float = 0.0) -> None:
        self.key, self.latency_s = key, latency_s
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.watch: Callable[[str, str], None] | None = None
        """Called with the route's name, and "before" or "after": when a request has come, and when it has taken effect."""
        self.twist: Callable[[str, Any], Any] | None = None
        """Makes another legal answer of a route's JSON answer; see tests.emulators.strange."""
        self.page_size = 0
        """At most so many items a page, whatever was asked for; 0: as asked."""
        self.closes = False
        """Every answer comes in chunks, and its connection is closed behind it."""
        self.created = 200
        """The status of what a POST has made."""
        self.mount = ""
        """A path before all others, as gateways have it."""
        self.open_to_all = False
        """Asks for no key."""
        self._checked = checked
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.url = ""

    def routes(self) -> Iterable[tuple[str, str, str, Route]]:
        """(name, method, path below the base URL, function)."""
        raise NotImplementedError

    def described(self, path: str) -> tuple[str | None, str]:
        """The description of a path and the server URL it names; a service with several says which."""
        return self.description, self.server

    def fail(self, route: str, *faults: Fault) -> None:
        """The next calls of a route get these faults, one each."""
        self.faults[route].extend(faults)

    def called(self, route: str) -> list[Call]:
        """Calls of a route so far."""
        return [call for call in self.calls if call.route == route]

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self.start(), self._loop).result(30)
        self.url = f"http://127.0.0.1:{port}{self.mount}{urlsplit(self.server).path}"
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self.stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()
        if error[0] is None:
            assert not self.violations, "\n".join(self.violations)

    async def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1 in the running loop; returns the port."""
        app = web.Application(client_max_size=1 << 30)
        prefix = self.mount + urlsplit(self.server).path
        for name, method, path, function in self.routes():
            app.router.add_route(method, prefix + path, functools.partial(self._serve, name, function))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024)
        await self._site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening, let connections that were being accepted come in, then close them all and end what still hangs."""
        for stage in (self._site.stop, self._runner.cleanup):
            await stage()
            for _ in range(10):
                await asyncio.sleep(0)
        hanging = asyncio.all_tasks() - {asyncio.current_task()}
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    async def _serve(self, name: str, function: Route, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = self.faults[name].popleft() if self.faults.get(name) else None
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if fault is not None and not fault.after and not fault.cut:
            return await self._misbehave(name, fault, request, body)
        try:
            if not self.open_to_all:
                self.authorize(request)
            incoming = _incoming(request, body)
            if self.page_size:
                incoming.query |= {key: str(self.page_size) for key in ("limit", "pageSize") if key in incoming.query}
            self._tell(name, "before")
            answer = function(incoming)
            self._tell(name, "after")
            if self.twist is not None:
                answer = self.twist(name, answer)
            response = _response(self.created if name.startswith("create_") else 200, answer)
        except Refuse as refusal:
            response = _response(refusal.status, refusal.body)
        if fault is not None:
            return await self._misbehave(name, fault, request, body, response)
        self._note(name, request, body, response.status)
        if name not in self.undescribed and self.twist is None:
            self._check(request, body, response)
        if self.closes:
            response.force_close()
            response.enable_chunked_encoding()
        return response

    def _tell(self, name: str, when: str) -> None:
        if self.watch is not None:
            self.watch(name, when)

    def authorize(self, request: web.Request) -> None:
        """Raise Refuse unless the request holds the key."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            said = f"Incorrect API key provided: {request.headers.get('Authorization')}"
            raise Refuse(401, {"error": {"message": said, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}})

    async def _misbehave(
        self, name: str, fault: Fault, request: web.Request, body: bytes, true: web.Response | None = None
    ) -> web.StreamResponse:
        self._note(name, request, body, 0 if fault.reset else fault.status)
        if fault.hang_s:
            await asyncio.sleep(fault.hang_s)
        if fault.reset:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        if fault.cut and true is not None:
            whole = true.body if isinstance(true.body, bytes) else b""
            return web.Response(status=200, body=whole[: len(whole) // 2], content_type="application/json")
        text = fault.body if isinstance(fault.body, str) else json.dumps(fault.body) if fault.body is not None else ""
        return web.Response(status=fault.status, text=text, headers=fault.headers, content_type=fault.content_type)

    def _note(self, name: str, request: web.Request, body: bytes, status: int) -> None:
        is_json = request.content_type == "application/json" and body
        self.calls.append(Call(name, request.method, request.path_qs, json.loads(body) if is_json else None, status))

    def _check(self, request: web.Request, body: bytes, response: web.Response) -> None:
        description, server = self.described(request.path)
        if not self._checked or response.status == 401 or (known := _headers(description)) is None:
            return
        headers = tuple(sorted((name, value) for name, value in request.headers.items() if name.lower() in known))
        query, kind = tuple(request.query.items()), request.headers.get("Content-Type", "application/json")
        asked = Asked(description, server, request.method, request.path, query, headers, kind, body)
        answered = response.status == 200 and response.content_type == "application/json"
        broken = _broken(asked) + (_badly_answered(replace(asked, body=b""), bytes(response.body or b"")) if answered else ())  # type: ignore[arg-type]
        self.violations += [f"{request.method} {request.path_qs}: {why}" for why in broken]


@dataclass(frozen=True, slots=True)
class Asked:
    """All of a request that a description speaks of."""

    description: str | None
    server: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    content_type: str
    body: bytes

    def mocked(self) -> MockRequest:
        """As openapi-core takes it."""
        parts = urlsplit(self.server)
        base, query = f"{parts.scheme}://{parts.netloc}", cast("Any", list(self.query))
        return MockRequest(
            base, self.method, self.path, args=query, headers=dict(self.headers), data=self.body, content_type=self.content_type
        )


@functools.lru_cache(4096)
def _broken(asked: Asked) -> tuple[str, ...]:
    """What the description finds wrong with a request; a poll that comes a hundred times is looked at once."""
    api = _api(asked.description)
    return _errors(lambda: api.validate_request(asked.mocked())) if api else ()


@functools.lru_cache(4096)
def _badly_answered(asked: Asked, body: bytes) -> tuple[str, ...]:
    """What the description finds wrong with the JSON of a 200."""
    api = _api(asked.description)
    return _errors(lambda: api.validate_response(asked.mocked(), MockResponse(body, 200, content_type="application/json"))) if api else ()


def _errors(check: Callable[[], object]) -> tuple[str, ...]:
    try:
        check()
    except OpenAPIError as error:
        why = "; ".join(str(part) for part in getattr(error.__cause__, "schema_errors", [])) or str(error.__cause__ or "")
        return (f"{error} {why}",)
    return ()


def _incoming(request: web.Request, body: bytes) -> Incoming:
    kind = request.headers.get("Content-Type", "")
    incoming = Incoming(dict(request.match_info), dict(request.query), content_type=kind, raw=body)
    if request.content_type == "application/json" and body:
        incoming.json = json.loads(body)
    elif request.content_type == "multipart/form-data":
        options = {key: value.strip('"') for key, _, value in (part.strip().partition("=") for part in kind.split(";")[1:])}
        _, fields, files = FormDataParser().parse(io.BytesIO(body), request.content_type, len(body), options)
        incoming.form.update(fields.to_dict())
        for name, file in files.items():
            with file.stream:
                incoming.form[name] = (file.filename, file.stream.read())
    return incoming


def _response(status: int, answer: object) -> web.Response:
    if isinstance(answer, web.Response):
        return answer
    if isinstance(answer, bytes):
        return web.Response(status=status, body=answer, content_type="application/octet-stream")
    return web.Response(status=status, body=json.dumps(answer).encode(), content_type="application/json")


@functools.cache
def _api(description: str | None) -> OpenAPI | None:
    path = SPECS / description if description else None
    return OpenAPI.from_file_path(str(path)) if path and path.is_file() else None


@functools.cache
def _headers(description: str | None) -> frozenset[str] | None:
    """The headers that a description speaks of, in small letters; None without a description."""
    path = SPECS / description if description else None
    if path is None or not path.is_file():
        return None
    found, left = {"authorization"}, [json.loads(path.read_text())]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if part.get("in") == "header":
                found.add(str(part["name"]).lower())
            left += part.values()
        elif isinstance(part, list):
            left += part
    return frozenset(found)
