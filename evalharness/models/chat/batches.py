"""OpenAI's Batch API: many requests as one file, answered within a day at half the price, bought once.

    look     batches of before that hold some of these requests: what they answered is taken, what they still do is waited for
    buy      the rest, as a file named by its content and a batch that carries the intent key
    wait     until each is over; what it could not answer is an error, tried again by the next run

>>> async for reply in Batches(sdk, calls, name, body, read).replies(requests):                       # doctest: +SKIP
...     print(reply.text)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from evalharness.buying import LOOKS_S, Calls, Denied, NotThere, pages, plain, whole
from evalharness.errors import ProviderError
from evalharness.ids import digest
from evalharness.models.chat.outcome import Again, Halted, Refused
from evalharness.records import Reply, Request

MOST_REQUESTS, MOST_BYTES = 50_000, 200 * 10**6
"""Of one batch. developers.openai.com, guide to the Batch API."""
DISCOUNT = 0.5
"""What an answer costs against one at once; the same guide."""
MOST_MISSES = 10
"""Looks at a batch in a row that may fail before its run ends; the next run finds it again."""
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_MARK, _KEY = "evalh", "evalh_key"


Json = dict[str, Any]


@dataclass(slots=True)
class _Bought:
    """A batch at the service, and which of the requests it holds."""

    batch: Any
    ids: set[str]
    misses: int = 0


class Batches:
    """Requests of one model through one service's Batch API; `below` is the path that the requests are for."""

    looks_s: ClassVar[tuple[float, ...]] = LOOKS_S
    """Pauses before each look for a batch that a run bought and died: services list what is new with a delay."""

    def __init__(
        self, sdk: Any, calls: Calls, name: str, body: Callable[[Request], bytes], read: Callable[[bytes, str], Reply], poll_s: float,
        below: str = "/v1/chat/completions",
    ) -> None:  # fmt: skip
        self._sdk, self._calls, self._name, self._body, self._read = sdk, calls, name, body, read
        self._poll_s, self._below = poll_s, below

    async def replies(self, requests: Sequence[Request]) -> AsyncGenerator[Reply]:
        """One reply per request, as batches come to their end. Raises ProviderError if nothing more can be bought or asked."""
        open_ids = {request.output_id: request for request in requests}
        waiting: list[_Bought] = []
        for bought in await asyncio.to_thread(lambda: list(self._before(set(open_ids)))):
            for reply in await asyncio.to_thread(self._answered, bought):
                if reply.error is None and open_ids.pop(reply.output_id, None) is not None:
                    yield reply
            if bought.batch.status not in _OVER:
                waiting.append(bought)
        held = set().union(*(bought.ids for bought in waiting)) if waiting else set()
        rest = [request for key, request in open_ids.items() if key not in held]
        waiting += [await asyncio.to_thread(self._buy, part) for part in self._parts(rest)]
        async for reply in self._wait(waiting, open_ids):
            yield reply

    async def _wait(self, waiting: list[_Bought], open_ids: dict[str, Request]) -> AsyncGenerator[Reply]:
        while waiting:
            for bought in list(waiting):
                await asyncio.to_thread(self._look, bought)
                if bought.batch.status not in _OVER:
                    continue
                waiting.remove(bought)
                for reply in await asyncio.to_thread(self._answered, bought, True):
                    if open_ids.pop(reply.output_id, None) is not None:
                        yield reply
                for key in bought.ids & open_ids.keys():
                    del open_ids[key]
                    yield Reply(key, None, "error", error=self._why(bought.batch))
            if waiting:
                await asyncio.sleep(self._poll_s)

    def _look(self, bought: _Bought) -> None:
        """The batch as it is now. It goes on whether it is looked at or not: what passes is not the end of a day's wait."""
        try:
            bought.batch = self._calls.read(lambda: whole(self._sdk.batches.retrieve(bought.batch.id), "status"))
            bought.misses = 0
        except Denied:
            raise
        except ProviderError:
            bought.misses += 1
            if bought.misses > MOST_MISSES:
                raise

    def _before(self, wanted: set[str]) -> Iterator[_Bought]:
        """Batches of this model that hold some of these requests, newest first."""
        for batch in self._calls.read(lambda: list(pages(self._sdk.batches.list(limit=100)))):
            if (batch.metadata or {}).get(_MARK) != self._mark or batch.status == "failed":
                continue
            lines = self._lines(batch.input_file_id)
            ids = wanted & {str(line.get("custom_id")) for line in lines}
            if ids:
                yield _Bought(batch, ids)

    @property
    def _mark(self) -> str:
        return digest(["batch", self._name])

    def _parts(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        part: list[Request] = []
        size = 0
        for request in requests:
            more = len(self._line(request))
            if part and (len(part) == MOST_REQUESTS or size + more > MOST_BYTES):
                yield part
                part, size = [], 0
            part.append(request)
            size += more
        if part:
            yield part

    def _line(self, request: Request) -> bytes:
        line = {"custom_id": request.output_id, "method": "POST", "url": self._below, "body": json.loads(self._body(request))}
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    def _buy(self, part: Sequence[Request]) -> _Bought:
        content = b"".join(map(self._line, part))
        key = digest(["batch", self._name, sorted(request.output_id for request in part)])
        once, file = self._sdk.with_options(max_retries=0), self._upload(content)
        asked: dict[str, Any] = {"endpoint": self._below, "completion_window": "24h", "input_file_id": file}
        asked["metadata"] = {_MARK: self._mark, _KEY: key}

        def mine() -> list[Any]:
            found = self._calls.read(lambda: list(pages(self._sdk.batches.list(limit=100))))
            return [batch for batch in found if (batch.metadata or {}).get(_KEY) == key or batch.input_file_id == file]

        def going() -> Any:
            return next((batch for batch in mine() if batch.status not in _OVER), None)

        over = {batch.id for batch in mine()}
        made = self._missed(going) or self._calls.buy(
            lambda: whole(once.batches.create(**asked, extra_headers={"Idempotency-Key": digest([key, len(over)])}), "id"),
            lambda: next((batch for batch in mine() if batch.id not in over), None),
        )
        return _Bought(made, {request.output_id for request in part})

    def _missed(self, going: Callable[[], Any]) -> Any:
        """A batch for the same requests that a dead run may have bought a moment ago; None after the last look."""
        for pause in self.looks_s:
            time.sleep(pause)
            if found := going():
                return found
        return None

    def _upload(self, content: bytes) -> str:
        name = f"evalh-batch-{digest(content.decode('utf-8', 'replace'))}.jsonl"

        def there() -> Json | None:
            files = self._calls.read(lambda: [plain(file) for file in pages(self._sdk.files.list(purpose="batch"))])
            same = (file for file in files if file.get("filename") == name and str(file.get("bytes")) == str(len(content)))
            return next((file for file in same if file.get("status") not in ("error", "deleted") and file.get("id")), None)

        once = self._sdk.with_options(max_retries=0, timeout=10 * self._sdk.timeout)
        file = there() or self._calls.upload(lambda: plain(once.files.create(file=(name, content), purpose="batch"), "id"), there)
        self._calls.settle(file.get("status"), lambda: plain(self._sdk.files.retrieve(str(file["id"]))).get("status"))
        return str(file["id"])

    def _answered(self, bought: _Bought, new: bool = False) -> list[Reply]:
        """What the batch has answered so far, failures included. The files of one that is over a moment ago may come a moment later."""
        found = []
        for file in (bought.batch.output_file_id, bought.batch.error_file_id):
            found += [self._reply(line) for line in self._lines(file, self.looks_s if new else ())] if file else []
        return [reply for reply in found if reply.output_id in bought.ids]

    def _lines(self, file: str, again_s: Sequence[float] = ()) -> list[Mapping[str, Any]]:
        """A file's rows; none where the service has no such file, nor after each of these pauses."""

        def rows() -> list[Mapping[str, Any]]:
            text = bytes(self._sdk.files.content(file).content).decode("utf-8", "replace")
            return [row for line in text.split("\n") if line.strip() and isinstance(row := json.loads(line), dict)]

        for pause in again_s:
            time.sleep(pause)
            with contextlib.suppress(NotThere):
                return self._calls.read(rows)
        return self._calls.optional(rows, [])

    def _reply(self, line: Mapping[str, Any]) -> Reply:
        key, response = str(line.get("custom_id")), line.get("response")
        if not isinstance(response, dict) or response.get("status_code") != 200:
            error = line.get("error") or (response or {}).get("body", {}).get("error") or {}
            said = error.get("message") if isinstance(error, dict) else error
            return Reply(key, None, "error", error=f"the batch could not answer it: {said or 'no reason given'}")
        try:
            reply = self._read(json.dumps(response.get("body")).encode(), key)
        except (Again, Refused, Halted) as error:
            return Reply(key, None, "error", error=str(error), raw=getattr(error, "raw", None))
        cost = None if reply.cost_usd is None else DISCOUNT * reply.cost_usd
        return replace(reply, latency_s=None, cost_usd=cost)

    def _why(self, batch: Any) -> str:
        errors = getattr(batch.errors, "data", None) or []
        said = next((error.message for error in errors if error.message), "it gave no answer to this request")
        return f"batch {batch.id} {batch.status}: {said}"
