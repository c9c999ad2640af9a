"""OpenAI's Batch API: many requests as one file, answered within a day at half the price, bought once.

    look     batches of before that hold some of these requests: what they answered is taken, what they still do is waited for
    buy      the rest, as a file named by its content and a batch that carries the intent key
    wait     until each is over; what it could not answer is an error, tried again by the next run

>>> async for reply in Batches(sdk, calls, name, body, read).replies(requests):                       # doctest: +SKIP
...     print(reply.text)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalharness.buying import Calls, pages, whole
from evalharness.ids import digest
from evalharness.models.chat.outcome import Again, Halted, Refused
from evalharness.records import Reply, Request

MOST_REQUESTS, MOST_BYTES = 50_000, 200 * 10**6
"""Of one batch. developers.openai.com, guide to the Batch API."""
DISCOUNT = 0.5
"""What an answer costs against one at once; the same guide."""
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_MARK, _KEY = "evalh", "evalh_key"


@dataclass(slots=True)
class _Bought:
    """A batch at the service, and which of the requests it holds."""

    batch: Any
    ids: set[str]


class Batches:
    """Requests of one model through one service's Batch API."""

    def __init__(
        self, sdk: Any, calls: Calls, name: str, body: Callable[[Request], bytes], read: Callable[[bytes, str], Reply], poll_s: float
    ) -> None:
        self._sdk, self._calls, self._name, self._body, self._read, self._poll_s = sdk, calls, name, body, read, poll_s

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
                bought.batch = await asyncio.to_thread(self._now, bought.batch.id)
                if bought.batch.status not in _OVER:
                    continue
                waiting.remove(bought)
                for reply in await asyncio.to_thread(self._answered, bought):
                    if open_ids.pop(reply.output_id, None) is not None:
                        yield reply
                for key in bought.ids & open_ids.keys():
                    del open_ids[key]
                    yield Reply(key, None, "error", error=self._why(bought.batch))
            if waiting:
                await asyncio.sleep(self._poll_s)

    def _now(self, batch_id: str) -> Any:
        return self._calls.read(lambda: whole(self._sdk.batches.retrieve(batch_id), "status"))

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
        line = {"custom_id": request.output_id, "method": "POST", "url": "/v1/chat/completions", "body": json.loads(self._body(request))}
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    def _buy(self, part: Sequence[Request]) -> _Bought:
        content = b"".join(map(self._line, part))
        key = digest(["batch", self._name, sorted(request.output_id for request in part)])
        once, file = self._sdk.with_options(max_retries=0), self._upload(content)
        asked: dict[str, Any] = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "input_file_id": file}
        asked["metadata"] = {_MARK: self._mark, _KEY: key}

        def mine() -> list[str]:
            found = self._calls.read(lambda: list(pages(self._sdk.batches.list(limit=100))))
            return [batch.id for batch in found if (batch.metadata or {}).get(_KEY) == key]

        known = set(mine())  # over, or they would be waited for
        made = self._calls.buy(
            lambda: whole(once.batches.create(**asked, extra_headers={"Idempotency-Key": digest([key, len(known)])}), "id").id,
            lambda: next((batch for batch in mine() if batch not in known), None),
        )
        return _Bought(self._now(made), {request.output_id for request in part})

    def _upload(self, content: bytes) -> str:
        name = f"evalh-batch-{digest(content.decode('utf-8', 'replace'))}.jsonl"

        def there() -> str | None:
            files = self._calls.read(lambda: list(pages(self._sdk.files.list(purpose="batch"))))
            fit = (file for file in files if file.filename == name and file.bytes == len(content) and file.status != "error")
            return next((file.id for file in fit), None)

        once = self._sdk.with_options(max_retries=0)
        return there() or self._calls.buy(lambda: whole(once.files.create(file=(name, content), purpose="batch"), "id").id, there)

    def _answered(self, bought: _Bought) -> list[Reply]:
        """What the batch has answered so far, failures included."""
        found = []
        for file in (bought.batch.output_file_id, bought.batch.error_file_id):
            found += [self._reply(line) for line in self._lines(file)] if file else []
        return [reply for reply in found if reply.output_id in bought.ids]

    def _lines(self, file: str) -> list[Mapping[str, Any]]:
        """A file's rows; none where the service keeps the file no more."""
        content = self._calls.optional(lambda: bytes(self._sdk.files.content(file).content), b"")
        rows = [json.loads(line) for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
        return [row for row in rows if isinstance(row, dict)]

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
