"""Calls to a service by its SDK: reads that try again, and creates that happen once.

    read      again where the answer was broken; the SDK tries lost connections and server errors again itself
    optional  like read; what a service does not have (404) is the given default
    upload    a file, which costs nothing: like buy, and again where nothing came of it
    settle    until an uploaded file may be used
    buy       one create with the SDK's retries off; a clear no is a no, anything else may have bought: look for it

>>> calls = Calls((openai.APIError,), secret="sk-...")                                                # doctest: +SKIP
>>> calls.buy(lambda: client.jobs.create(...).id, lambda: find(job))                                  # doctest: +SKIP
'ftjob-...'
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from evalharness.errors import ProviderError, Refused
from evalharness.waits import retry_after, retry_info

T = TypeVar("T")

LOOKS_S = (0.0, 1.0, 4.0, 10.0)
"""Pauses before each look for something whose create is in doubt: services list what is new with a delay."""
_READS_S = (0.5, 2.0)
_TURNS, _LONGEST_WAIT_S = 4, 30.0
"""How often a create that rate limits turn away is asked for, and the longest pause between, in seconds."""
_BROKEN = (ValueError, AttributeError, TypeError, KeyError)
"""What SDKs raise, besides their own errors, when a web page or half an answer comes where JSON should."""
_REFUSALS = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422})
_ABSENT = frozenset({404, 410, 501})
_NO_CREDIT = "insufficient_quota"
_LONG = re.compile(r"Error code: |[A-Z]+ https?://")
"""How SDKs begin an error that shows all that came."""
_LOST = "Connection error."
"""All that SDKs say of a service that cannot be reached."""
_LOGIN = re.compile(r"(?<=\bBasic )(?:[\w+/-]{16,}={0,2}|[\w+/-]+={1,2})|(?<=://)[^\s/@]+(?=@)")
"""A name and password, as headers and addresses have them."""
_PAGE = re.compile(r"(?i)\s*<(!doctype|html|head|body|\?xml)\b")
_READING_S = {"pending": 1800.0, "processing": 1800.0, "running": 1800.0, "missing": 5.0}
"""States of an uploaded file that pass, and seconds to wait for that at most."""
_PERHAPS_READING_S = 60.0
"""The same of a state that nobody knows, and of "uploaded", at which some services leave all files."""
_READ = frozenset({"none", "", "processed", "ready", "completed", "succeeded", "error", "failed", "deleted", "cancelled", "expired"})


class NotThere(ProviderError):
    """The service has no such thing (HTTP 404), has it no longer (410), or never had it (501)."""


class Denied(ProviderError):
    """The service read the question and said no (HTTP 400, 401, 402, 403 and the like): waiting does not help."""


class Calls:
    """How one SDK's calls are made. `sdk_errors`: what it raises; `secret`: what no message may show."""

    def __init__(self, sdk_errors: tuple[type[Exception], ...], secret: str, looks_s: tuple[float, ...] = LOOKS_S) -> None:
        self._sdk_errors, self._secret, self._looks_s = sdk_errors, secret, looks_s
        self.errors: tuple[type[Exception], ...] = (*sdk_errors, *_BROKEN)
        """What a call may raise, answers that are no JSON or not whole included."""

    def read(self, call: Callable[[], T]) -> T:
        """What `call` returns. Raises ProviderError (NotThere for HTTP 404, Denied for another clear no)."""
        for pause in _READS_S:
            try:
                return self._once(call)
            except _BROKEN:  # a web page, or half of the JSON: gone in a moment, most often
                time.sleep(pause)
        try:
            return self._once(call)
        except _BROKEN as error:
            raise ProviderError(f"the service's answer cannot be read: {self.said(error)}") from None

    def _once(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except self._sdk_errors as error:
            status = status_of(error)
            kind = NotThere if status in _ABSENT else Denied if status in _REFUSALS else ProviderError
            raise kind(self.said(error)) from None

    def optional(self, call: Callable[[], T], default: T) -> T:
        """Like read; `default` where the service has no such thing."""
        try:
            return self.read(call)
        except NotThere:
            return default

    def settle(self, state: object, now: Callable[[], object]) -> None:
        """Wait while a new file's state says that the service still reads it: until then a create that names it may be refused.

        `state` is the one that is known, `now` asks for it again. A state that does not pass is left to the create, which says why.
        """
        began, pause = time.monotonic(), 0.2
        while str(state).lower() not in _READ and time.monotonic() - began < _READING_S.get(str(state).lower(), _PERHAPS_READING_S):
            time.sleep(pause)
            state, pause = self.optional(lambda: str(now()), "missing"), min(2 * pause, 10.0)

    def buy(self, create: Callable[[], T], find: Callable[[], T | None]) -> T:
        """What `create` made (its id), or what `find` shows if the answer was lost.

        Raises Refused if the service said no, ProviderError if it is not clear what it did: nothing is sent twice. What a rate
        limit has turned away with an invitation (429 that says how long to wait) is asked for again, after the wait and a look.
        """
        for turn in range(_TURNS):
            try:
                return create()
            except self.errors as error:
                said = self.said(error)
                if self.refused(error):
                    raise Refused(f"the service refused: {said}") from None
                wait = asked_wait(error) if status_of(error) == 429 else None
                if wait is None or turn == _TURNS - 1:
                    break
                time.sleep(wait)
            if found := find():
                return found
        for pause in self._looks_s:
            time.sleep(pause)
            if found := find():
                return found
        raise ProviderError(f"no clear answer ({said}), and the service shows nothing made. Run again: it looks before it buys") from None

    def upload(self, create: Callable[[], T], find: Callable[[], T | None]) -> T:
        """Like buy, for what costs nothing, which may be sent again: twice more where no clear answer came."""
        for pause in _READS_S:
            try:
                return self.buy(create, find)
            except Refused:
                raise
            except ProviderError:
                time.sleep(pause)
        return self.buy(create, find)

    def refused(self, error: Exception) -> bool:
        """The service has read the request and said no: nothing was made, and asking again changes nothing."""
        return status_of(error) in _REFUSALS or getattr(error, "code", None) == _NO_CREDIT

    def said(self, error: Exception) -> str:
        """An error in one printable line, without the secret."""
        shown = "".join(character if character.isprintable() else " " for character in _message(error))
        text = _LOGIN.sub("***", " ".join(shown.split())[:400]) or type(error).__name__
        return text.replace(self._secret, "***") if self._secret else text


def _message(error: Exception) -> str:
    """What the service says in an SDK's error, in its own words, and the HTTP status."""
    said, status = str(getattr(error, "message", None) or error), status_of(error)
    if isinstance(error, json.JSONDecodeError):
        return "an answer that is no JSON"
    if _LONG.match(said):
        said = _own_words(error) or said
    said = "a web page" if _PAGE.match(said) else said
    if said == _LOST and (url := getattr(getattr(error, "request", None), "url", None)) is not None:
        said = f"no connection to {url.host}{'' if url.port is None else f':{url.port}'}"
    return said if status is None or str(status) in said else f"HTTP {status}: {said}"


def _own_words(error: Exception) -> str:
    """The sentence in the body that an error holds, or in its response's, or a response that is plain text."""
    body, response = getattr(error, "body", None), getattr(error, "response", None)
    if not isinstance(body, dict) and response is not None:  # SDKs keep of {"error": "X", "message": ...} only the X
        try:
            body = response.json()
        except ValueError:
            body = body or getattr(response, "text", None)
    return body if isinstance(body, str) else sentence(body)


def sentence(body: object) -> str:
    """The sentence in an error's body: {"error": {"message"}}, {"message"}, also beside a short "error", {"detail"} or {"error"}."""
    if not isinstance(body, dict):
        return ""
    inner = body["error"] if isinstance(body.get("error"), dict) else body
    found = (inner.get(name) for name in ("message", "detail", "error"))
    return next((said for said in found if said and isinstance(said, str)), "")


def asked_wait(error: Exception) -> float | None:
    """Seconds that an SDK's error asks to wait, at most half a minute; None if it does not say.

    By headers (Retry-After), or by the details of its body, which is how Google's services say it.
    """
    said = getattr(error, "retry_after", None)
    headers = getattr(getattr(error, "response", None), "headers", None)
    said = retry_after(headers) if said is None and headers is not None else said
    said = retry_info(getattr(error, "details", None)) if said is None else said
    return min(said, _LONGEST_WAIT_S) if said is not None else None


def status_of(error: Exception) -> int | None:
    """The HTTP status that an SDK's error holds, by the names that SDKs give it (Google's call it `code`)."""
    found = getattr(error, "status_code", None) or getattr(error, "code", None)
    return found if isinstance(found, int) else None


def whole(answer: T, field: str) -> T:
    """The answer, if it holds `field`; SDKs hand on web pages and empty objects as they are. Raises ValueError."""
    if getattr(answer, field, None) is None:
        raise ValueError("a web page or half an answer came")
    return answer


def plain(answer: Any, *fields: str) -> dict[str, Any]:
    """An SDK's answer as a dictionary under the API's own names, so that fields that are missing or new break nothing.

    Raises ValueError for a web page, or if one of `fields` is not set.
    """
    found = answer if isinstance(answer, dict | str) else answer.to_dict(mode="json", warnings=False)
    if not isinstance(found, dict) or any(found.get(field) is None for field in fields):
        raise ValueError("a web page or half an answer came")
    return found


def pages(page: Any) -> Iterator[Any]:
    """Every item of an SDK's paged list. Raises ValueError for a broken page: no answer is not the same as nothing there."""
    while True:
        yield from whole(page, "data").data
        if not page.has_next_page():
            return
        page = page.get_next_page()
