"""ragas's side: its metric classes, and evalh's models in the form that they take. Nothing here sends usage statistics.

>>> unfenced('```json\\n{"a": 1}\\n```')
'{"a": 1}'
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from evalharness.errors import ConfigError, EvalhError, Problem
from evalharness.metrics.embedders import Embedder
from evalharness.metrics.judge.jurors import Juror
from evalharness.records import Message, Reply, Request, Sampling

_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL | re.IGNORECASE)
_NO_SCHEMA = re.compile(r"HTTP (400|404|415|422|501)\b.*(response_format|schema|structured|guided|grammar)", re.IGNORECASE | re.DOTALL)
_AGAIN = "\n\nYour last answer could not be used: {why}\nAnswer with one JSON object that follows the schema, and nothing else."
_SHOWN = 300


class RagasError(Exception):
    """Why one answer has no score."""


@dataclass(slots=True)
class Bill:
    """What judging one answer took: calls, dollars (None once a price is unknown), the last error, an unusable text."""

    key: str
    calls: int = 0
    dollars: float | None = 0.0
    error: str | None = None
    raw: str | None = None
    fatal: list[EvalhError] = field(default_factory=list)

    def add(self, cost: float | None) -> None:
        """One more call."""
        self.calls += 1
        self.dollars = None if self.dollars is None or cost is None else self.dollars + cost


_BILL: ContextVar[Bill] = ContextVar("bill")


async def score(library: Any, given: Mapping[str, object], bill: Bill) -> float:
    """The metric's value; may be NaN. Raises RagasError, and what makes every further call useless (a missing key)."""
    token = _BILL.set(bill)
    try:
        found = await library.ascore(**given)
        return float(found.value)
    except Exception as error:  # ragas raises whatever its parts do: it is the outcome of this answer
        raise RagasError(bill.error or f"{type(error).__name__}: {' '.join(str(error).split())[:_SHOWN]}") from error
    finally:
        _BILL.reset(token)
        if bill.fatal:
            raise bill.fatal[0]


def made(class_name: str, settings: Mapping[str, Any], juror: Juror, embedder: Embedder | None, sampling: Sampling) -> Any:
    """An instance of ragas's class that asks these models. Raises ConfigError for settings that it does not take."""
    ragas = _ragas()
    parts: dict[str, Any] = {"llm": ragas.judge(juror, sampling), **settings}
    if embedder is not None:
        parts["embeddings"] = ragas.vectors(embedder)
    found = getattr(ragas.collections, class_name)
    try:
        instance = found(**parts)
    except (TypeError, ValueError) as error:
        raise ConfigError([Problem("", "settings", f"ragas refuses them: {error}")]) from None
    if hasattr(instance, "max_retries"):
        instance.max_retries = 1  # tries are evalh's
    return instance


@dataclass(frozen=True, slots=True)
class _Ragas:
    collections: Any
    judge: Any
    vectors: Any


@cache
def _ragas() -> _Ragas:
    """The library, imported without its telemetry and without the warnings of what it imports."""
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from ragas._analytics import do_not_track
            from ragas.embeddings.base import BaseRagasEmbedding
            from ragas.llms.base import InstructorBaseRagasLLM
            from ragas.metrics import collections
        except ImportError as error:  # ragas 0.4 needs a langchain-community that still has its Vertex classes
            raise ConfigError([Problem("", "", f"ragas cannot be imported: {error}", "Install 'evalh[ragas]' anew")]) from None
    do_not_track.cache_clear()  # it may have been asked before

    class AskedJudge(InstructorBaseRagasLLM):
        """A model of evalh's as ragas's LLM."""

        def __init__(self, juror: Juror, sampling: Sampling) -> None:
            self._asking = Asking(juror, sampling)

        def generate(self, prompt: str, response_model: type[Any]) -> Any:
            raise TypeError("evalh's models are asked asynchronously")

        async def agenerate(self, prompt: str, response_model: type[Any]) -> Any:
            return await self._asking.answer(prompt, response_model)

    class AskedVectors(BaseRagasEmbedding):
        """An embedder of evalh's as ragas's embeddings."""

        def __init__(self, embedder: Embedder) -> None:
            super().__init__()
            self._embedder = embedder

        def embed_text(self, text: str, **options: Any) -> list[float]:
            raise TypeError("evalh's models are asked asynchronously")

        async def aembed_text(self, text: str, **options: Any) -> list[float]:
            return (await self.aembed_texts([text]))[0]

        async def aembed_texts(self, texts: list[str], **options: Any) -> list[list[float]]:
            return await vectors(self._embedder, texts)

    return _Ragas(collections, AskedJudge, AskedVectors)


async def vectors(embedder: Embedder, texts: Sequence[str]) -> list[list[float]]:
    """(n, d) as ragas wants them; what it took goes to the bill."""
    bill = _BILL.get()
    try:
        found, cost = await embedder.embed(texts)
    except ConfigError as error:
        bill.fatal.append(error)
        raise
    except EvalhError as error:
        bill.error = str(error)
        raise
    bill.add(cost)
    rows: list[list[float]] = found.tolist()
    return rows


class Asking:
    """Asks the judge for an object of a schema: by structured output where the service has it, at most twice."""

    def __init__(self, juror: Juror, sampling: Sampling) -> None:
        self._juror, self._sampling, self._schemas = juror, sampling, True

    async def answer(self, prompt: str, form: type[BaseModel]) -> BaseModel:
        """The validated object. Raises RagasError if two tries gave none."""
        bill = _BILL.get()
        request = Request(f"{bill.key}:{bill.calls}", "", (Message("user", prompt),), self._sampling, repeat=bill.calls)
        reply = await self._asked(request, form, bill)
        found, why = _read(reply, form)
        if found is None and reply.error is None:
            again = replace(request, messages=(Message("user", prompt + _AGAIN.format(why=why)),), repeat=bill.calls)
            reply = await self._asked(again, form, bill)
            found, why = _read(reply, form)
        if found is None:
            bill.error, bill.raw = why, reply.text if reply.text is not None else reply.raw
            raise RagasError(why)
        return found

    async def _asked(self, request: Request, form: type[BaseModel], bill: Bill) -> Reply:
        if self._schemas:
            reply = await self._reply(replace(request, schema=strict(form.model_json_schema())), bill)
            if reply.error is None or not _NO_SCHEMA.search(reply.error):
                return reply
            self._schemas = False  # ragas's prompts hold the schema in words, too
        return await self._reply(request, bill)

    async def _reply(self, request: Request, bill: Bill) -> Reply:
        try:
            async with aclosing(self._juror.model.generate([request])) as replies:
                async for reply in replies:
                    bill.add(reply.cost_usd)
                    return reply
        except EvalhError as error:
            bill.fatal.append(error)
            raise
        return Reply(request.output_id, None, "error", error="the judge gave no reply")


def _read(reply: Reply, form: type[BaseModel]) -> tuple[BaseModel | None, str]:
    """The object, or why there is none."""
    if reply.error is not None or reply.text is None:
        return None, reply.error or "the judge gave no text"
    if reply.finish == "length":
        return None, f"the answer was cut at {reply.completion_tokens or 'its most'} tokens: raise max_tokens"
    try:
        return form.model_validate_json(unfenced(reply.text)), ""
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return None, f"the judge's answer is not of the form asked for: {'.'.join(map(str, first['loc']))} {first['msg']}".strip()


def unfenced(text: str) -> str:
    """What a Markdown block holds, where the text is one; else the text."""
    block = _FENCE.fullmatch(text.strip())
    return block[1] if block else text


def strict(schema: Any) -> Any:
    """A JSON schema as structured output wants it: every property required, no others, no defaults."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items() if key != "default"}
    if isinstance(found.get("properties"), dict):
        found |= {"additionalProperties": False, "required": list(found["properties"])}
    return found
