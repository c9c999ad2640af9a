"""Fireworks' SDK, with answers as plain dictionaries under the API's own names: fields that are missing or new break nothing.

>>> Service(FireworksOptions()).read(lambda sdk: sdk.deployments.get("d", account_id="acme"))          # doctest: +SKIP
{'name': 'accounts/acme/deployments/d', 'state': 'READY', …}
"""

from __future__ import annotations

import functools
import os
import re
import weakref
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from evalharness.buying import LOOKS_S, Calls, NotThere, sentence
from evalharness.errors import ConfigError, MissingExtra, Problem, ProviderError
from evalharness.runners import hosted
from evalharness.runners.fireworks.options import FireworksOptions

if TYPE_CHECKING:
    import ssl

    import httpx
    from fireworks import Fireworks

T = TypeVar("T")
Json = dict[str, Any]

URL = "https://api.fireworks.ai"
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_BYTES = 64 * 2**20
"""More than any file of metrics has."""
_SIGNATURE = re.compile(r"(?<=\S)\?[^\s'\"?]*[Ss]ig[^\s'\"]*")
_NO_ROUTE = frozenset({"", "not found", "404: not found", "404 page not found", "a web page", "error code: 404"})
"""What web servers say of a path they do not know, as opposed to a thing that a service does not have."""


class FireworksCalls(Calls):
    """Its errors hold the answer's body, in the form of gRPC or of OpenAI."""

    def said(self, error: Exception) -> str:
        """The service's own sentence, without the secret, and without what signs an address."""
        found, status = sentence(getattr(error, "body", None)), getattr(error, "status_code", None)
        shown = found if status is None or str(status) in found else f"HTTP {status}: {found}"
        return _SIGNATURE.sub("?***", super().said(RuntimeError(shown)) if found else super().said(error))

    def refused(self, error: Exception) -> bool:
        """Also what the account has no quota or credit for (429 or 412, like gRPC's RESOURCE_EXHAUSTED and FAILED_PRECONDITION)."""
        status = getattr(error, "status_code", None)
        out = status == 429 and "quota" in str(getattr(error, "body", "")).lower()
        return out or status == 412 or super().refused(error)


class Service:
    """One account of Fireworks, or of whoever speaks its protocol. `strict`: the SDK refuses answers unlike its types."""

    def __init__(self, options: FireworksOptions, *, looks_s: tuple[float, ...] = LOOKS_S, strict: bool = False) -> None:
        self.options, self._looks_s, self._strict = options, looks_s, strict

    def read(self, call: Callable[[Fireworks], object]) -> Json:
        """The answer. Raises ProviderError (NotThere for HTTP 404)."""
        return self.calls.read(lambda: plain(call(self.sdk)))

    def optional(self, call: Callable[[Fireworks], object]) -> Json:
        """Like read; empty where the service has no such thing."""
        return self.calls.optional(lambda: plain(call(self.sdk)), {})

    def items(self, path: str, field: str) -> list[Json]:
        """Every item of a list, all pages of it; a field that is left out is an empty list, as in all of proto JSON."""
        found: list[Json] = []
        query: dict[str, object] = {"pageSize": 200}
        while True:
            page = self.read(functools.partial(_page, path=path, query=dict(query)))
            found += [item for item in page.get(field) or [] if isinstance(item, dict)]
            if not (following := page.get("nextPageToken")) or following == query.get("pageToken"):
                return found
            query["pageToken"] = following

    def buy(self, create: Callable[[Fireworks], object], name: str, find: Callable[[], str | None]) -> str:
        """`name`, once what it names was made, once: the SDK's own retries are off. Raises Refused, ProviderError."""
        return self.calls.buy(self._made(create, name), find)

    def make(self, create: Callable[[Fireworks], object], name: str, find: Callable[[], str | None]) -> str:
        """Like buy, for what costs nothing: it is asked for again where nothing came of it."""
        return self.calls.upload(self._made(create, name), find)

    def _made(self, create: Callable[[Fireworks], object], name: str) -> Callable[[], str]:
        once = self.sdk.with_options(max_retries=0)

        def made() -> str:
            if not plain(create(once)):
                raise ValueError("an empty answer came")
            return name

        return made

    def fetch(self, url: str) -> bytes:
        """What lies at a signed address, without credentials; empty if nothing does. Raises the SDK's errors."""
        with self._storage(self.options.timeout_s) as storage, storage.stream("GET", self.signed(url)) as answer:
            if answer.status_code == 404:
                return b""
            answer.raise_for_status()
            content = bytearray()
            for part in answer.iter_bytes():
                content += part
                if len(content) > _MOST_BYTES:
                    raise ValueError("it is larger than any file of metrics")
            return bytes(content)

    def put(self, url: str, content: IO[bytes], headers: dict[str, str]) -> None:
        """Lay a file at a signed address, without credentials. Raises the SDK's errors."""
        with self._storage(10 * self.options.timeout_s) as storage:
            storage.put(self.signed(url), content=content, headers=headers).raise_for_status()

    def signed(self, url: str) -> str:
        """A signed address in full. Raises ValueError unless it is encrypted, on this machine, or where the service itself is."""
        full = urljoin(f"{self.address}/", url)
        parts = urlsplit(full)
        own = urlsplit(self.address)
        if parts.scheme == "https" or (parts.scheme == "http" and (parts.hostname in _LOCAL or parts.hostname == own.hostname)):
            return full
        raise ValueError(f"an address that is not encrypted came: {parts.scheme}://{parts.hostname}")

    @property
    def address(self) -> str:
        """The gateway's address; that of its chat API may be given, too."""
        given = (self.options.base_url or os.environ.get("FIREWORKS_BASE_URL") or URL).rstrip("/")
        return given.removesuffix("/v1").removesuffix("/inference")

    @functools.cached_property
    def account(self) -> str:
        """The account that pays: the trainer's, FIREWORKS_ACCOUNT_ID, or the key's only one. Raises ConfigError, ProviderError."""
        if chosen := self.options.account_id or os.environ.get("FIREWORKS_ACCOUNT_ID", "").strip():
            return last(chosen)
        try:
            known = sorted({last(str(one["name"])) for one in self.items("/v1/accounts", "accounts") if one.get("name")})
        except NotThere:
            known = []
        if len(known) != 1:
            found = f"the key is for {len(known)} accounts: {', '.join(known)}" if known else "the service does not say whose the key is"
            raise ConfigError([Problem("", "account_id", found, "Set account_id, or FIREWORKS_ACCOUNT_ID")])
        return known[0]

    def _storage(self, timeout_s: float) -> httpx.Client:
        import httpx

        return httpx.Client(timeout=timeout_s, follow_redirects=True, verify=self._certificates)

    @functools.cached_property
    def _certificates(self) -> ssl.SSLContext:
        """Read once: it takes longer than most calls."""
        import httpx

        return httpx.create_ssl_context()

    @functools.cached_property
    def calls(self) -> Calls:
        """How this SDK's calls are made."""
        import httpx

        errors = (_package().FireworksError, httpx.HTTPError)  # signed addresses are asked without the SDK
        return FireworksCalls(errors, hosted.api_key(self.options.api_key_env, "fireworks"), self._looks_s)

    @functools.cached_property
    def sdk(self) -> Fireworks:
        """The SDK's client. Its retries are for reads; creates switch them off."""
        made: Fireworks = _package().Fireworks(
            api_key=hosted.api_key(self.options.api_key_env, "fireworks"),
            base_url=self.address,
            max_retries=4,
            timeout=self.options.timeout_s,
            _strict_response_validation=self._strict,
        )
        weakref.finalize(self, made.close)  # the SDK's objects refer to each other, so nobody knows when they would be collected
        return made


def plain(answer: Any) -> Json:
    """An answer as a dictionary. Raises ValueError for a web page, and for nothing."""
    found = answer if isinstance(answer, dict | str) else answer.to_dict(mode="json", warnings=False)
    if not isinstance(found, dict):
        raise ValueError("a web page or half an answer came")
    return found


def last(name: str) -> str:
    """The id at the end of a resource's name: accounts/acme/models/m -> m."""
    return name.rstrip("/").rpartition("/")[2]


def is_no_route(error: ProviderError) -> bool:
    """HTTP 404 of a web server that does not know the path, rather than of the service."""
    said = str(error).strip().lower().removeprefix("http 404:").strip()
    return isinstance(error, NotThere) and said.rstrip(".") in _NO_ROUTE


def _page(sdk: Fireworks, path: str, query: dict[str, object]) -> object:
    return sdk.get(path, cast_to=object, options={"params": query})


def _package() -> Any:
    try:
        import fireworks
    except ModuleNotFoundError as error:
        raise MissingExtra("fireworks-ai", "fireworks", "the runner 'fireworks'") from error
    return fireworks
