"""Together's SDK, with answers as plain dictionaries under the API's own names: fields that are missing or new break nothing.

>>> Service(TogetherOptions()).read(lambda sdk: sdk.fine_tuning.retrieve("ft-1"), "status")            # doctest: +SKIP
{'id': 'ft-1', 'status': 'running', …}
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from evalharness.buying import LOOKS_S, Calls, pages, plain, whole
from evalharness.errors import MissingExtra
from evalharness.runners import hosted
from evalharness.runners.together.options import TogetherOptions

if TYPE_CHECKING:
    from together import Together

T = TypeVar("T")
Json = dict[str, Any]

URL = "https://api.together.ai"


class Service:
    """One account of Together, or of whoever speaks its protocol. `strict`: the SDK refuses answers unlike its types."""

    def __init__(self, options: TogetherOptions, *, looks_s: tuple[float, ...] = LOOKS_S, strict: bool = False) -> None:
        self.options, self._looks_s, self._strict = options, looks_s, strict

    def read(self, call: Callable[[Together], object], *fields: str) -> Json:
        """The answer, with these fields set. Raises ProviderError (NotThere for HTTP 404)."""
        return self.calls.read(lambda: plain(call(self.sdk), *fields))

    def optional(self, call: Callable[[Together], object]) -> Json:
        """Like read; empty where the service has no such thing."""
        return self.calls.optional(lambda: plain(call(self.sdk)), {})

    def items(self, call: Callable[[Together], object]) -> list[Json]:
        """Every item of a list, all pages of it. Raises ProviderError (NotThere for HTTP 404)."""
        return self.calls.read(lambda: _items(call(self.sdk)))

    def optional_items(self, call: Callable[[Together], object]) -> list[Json]:
        """Like items; empty where the service has no such list."""
        none: list[Json] = []
        return self.calls.optional(lambda: _items(call(self.sdk)), none)

    def buy(self, create: Callable[[Together], object], find: Callable[[], str | None]) -> str:
        """The id of what was made, once: the SDK's own retries are off. Raises Refused, ProviderError."""
        once = self.sdk.with_options(max_retries=0)
        return self.calls.buy(lambda: str(plain(create(once), "id")["id"]), find)

    @property
    def address(self) -> str:
        """The API's address without the /v1 that chat clients want at its end: either form may be given."""
        given = self.options.base_url or os.environ.get("TOGETHER_BASE_URL") or URL
        return given.rstrip("/").removesuffix("/v1")

    @functools.cached_property
    def calls(self) -> Calls:
        """How this SDK's calls are made."""
        import httpx

        errors = (_package().TogetherError, httpx.HTTPError)  # uploads and downloads speak httpx without the SDK's own errors
        return Calls(errors, hosted.api_key(self.options.api_key_env, "together"), self._looks_s)

    @functools.cached_property
    def sdk(self) -> Together:
        """The SDK's client. Its retries are for reads; creates switch them off."""
        made: Together = _package().Together(
            api_key=hosted.api_key(self.options.api_key_env, "together"),
            base_url=self.address,
            max_retries=4,
            timeout=self.options.timeout_s,
            project_id=self.options.serve.project_id,
            _strict_response_validation=self._strict,
        )
        weakref.finalize(self, made.close)  # the SDK's objects refer to each other, so nobody knows when they would be collected
        return made

    @property
    def patient(self) -> Together:
        """The client for one upload or download: no retries, ten times the time."""
        return self.sdk.with_options(max_retries=0, timeout=10 * self.options.timeout_s)


def _items(answer: Any) -> list[Json]:
    if isinstance(answer, dict):
        return [item for item in plain(answer, "data")["data"] if isinstance(item, dict)]
    if hasattr(answer, "has_next_page"):
        return [plain(item) for item in pages(answer)]
    return [plain(item) for item in whole(answer, "data").data]


def _package() -> Any:
    try:
        import together
    except ModuleNotFoundError as error:
        raise MissingExtra("together", "together", "the runner 'together'") from error
    return together
