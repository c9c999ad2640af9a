"""ragas: faithfulness, relevancy, context precision and recall, and more, by ragas's own code with any model as its judge.

In YAML: `ragas: {metric: faithfulness, model: openai/gpt-x}`, for rows that have a column `contexts` (a list of texts).
ragas writes the prompts and makes the score; evalh asks the model, with its retries, prices and stored errors.

>>> metric = Ragas(RagasOptions(metric="answer_relevancy", model="openai/gpt-x", embedding="openai/text-embedding-x"))
>>> metric.calls(10), metric.identity()["name"]
(80, 'ragas')
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr, model_validator

from evalharness import protocols
from evalharness.errors import MissingExtra
from evalharness.metrics import PerSample
from evalharness.metrics.embedders import embedder
from evalharness.metrics.judge.chat import transcript
from evalharness.metrics.judge.family import kinship
from evalharness.metrics.judge.jurors import Juror
from evalharness.metrics.ragas_calls import Bill, RagasError, made, score
from evalharness.protocols import Opinion, Question
from evalharness.records import Message, Reply, Request, Sample, Sampling
from evalharness.spec import Use

_INSTRUCTIONS = 8000
"""Characters of ragas's longest prompt, examples and schema included."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A ragas metric: its class, most calls of the judge for one answer (for each context, if so), what it is given, its settings."""

    class_name: str
    calls: int
    needs: tuple[str, ...]
    settings: tuple[str, ...] = ()
    embeds: bool = False
    each_context: bool = False


_ASKED, _ANSWER, _TARGET, _CONTEXTS = "user_input", "response", "reference", "retrieved_contexts"
KINDS: Mapping[str, Kind] = {
    "answer_accuracy": Kind("AnswerAccuracy", 2, (_ASKED, _ANSWER, _TARGET)),
    "answer_correctness": Kind("AnswerCorrectness", 3, (_ASKED, _ANSWER, _TARGET), ("weights", "beta"), embeds=True),
    "answer_relevancy": Kind("AnswerRelevancy", 3, (_ASKED, _ANSWER), ("strictness",), embeds=True),
    "context_entity_recall": Kind("ContextEntityRecall", 2, (_TARGET, _CONTEXTS)),
    "context_precision": Kind("ContextPrecision", 1, (_ASKED, _TARGET, _CONTEXTS), each_context=True),
    "context_recall": Kind("ContextRecall", 1, (_ASKED, _CONTEXTS, _TARGET)),
    "context_relevance": Kind("ContextRelevance", 2, (_ASKED, _CONTEXTS)),
    "context_utilization": Kind("ContextUtilization", 1, (_ASKED, _ANSWER, _CONTEXTS), each_context=True),
    "factual_correctness": Kind("FactualCorrectness", 4, (_ANSWER, _TARGET), ("mode", "beta", "atomicity", "coverage")),
    "faithfulness": Kind("Faithfulness", 2, (_ASKED, _ANSWER, _CONTEXTS)),
    "response_groundedness": Kind("ResponseGroundedness", 2, (_ANSWER, _CONTEXTS)),
}


class RagasOptions(protocols.Options):
    """Which ragas metric, and who judges. Of several targets the first is the reference."""

    shorthand: ClassVar[str | None] = "metric"

    metric: str
    """ragas's name for it, e.g. faithfulness."""
    model: Use
    """The judge: any model that an arm could be, `openai/gpt-x` or {openai: {name: gpt-x, base_url: ...}}."""
    embedding: Use | None = None
    """For answer_relevancy and answer_correctness: `openai/NAME` or `local/FOLDER-OR-NAME`."""
    contexts: str = "contexts"
    """The column that holds what was retrieved: a list of texts, or one text."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The metric's own, as ragas calls them, e.g. {mode: recall} for factual_correctness."""
    temperature: float = Field(default=0.01, ge=0, le=2)
    """ragas's default."""
    max_tokens: int = Field(default=2048, ge=64)
    """Longest answer of the judge."""
    most_contexts: int = Field(default=20, ge=1)
    """An item with more is an error: some metrics ask about each."""
    concurrency: int = Field(default=16, ge=1, le=256)
    """Answers judged side by side."""

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    @model_validator(mode="after")
    def _fits_together(self) -> RagasOptions:
        if self.metric not in KINDS:
            raise ValueError(f"ragas has no metric {self.metric!r} here; known: {', '.join(KINDS)}")
        kind = KINDS[self.metric]
        if kind.embeds and self.embedding is None:
            raise ValueError(f"{self.metric} needs 'embedding', e.g. openai/text-embedding-3-small")
        if unknown := sorted(set(self.settings) - set(kind.settings)):
            raise ValueError(f"{self.metric} has no setting {unknown[0]!r}; it has {', '.join(kind.settings) or 'none'}")
        return self

    def model_post_init(self, context: Any) -> None:
        """Remember the workspace, below which files are found."""
        root = context.get("root") if isinstance(context, Mapping) else None
        self._root = root if isinstance(root, Path) else Path.cwd()

    @property
    def root(self) -> Path:
        """The workspace."""
        return self._root


class Ragas(PerSample):
    """A metric of ragas 0.4, 0 to 1 (a cosine below 0 counts 0). What ragas cannot score (NaN, an exception) is an error, not 0."""

    Options: ClassVar[type[protocols.Options]] = RagasOptions
    options: RagasOptions
    name = "ragas"
    against: str | None = None

    def __init__(self, options: RagasOptions) -> None:
        """Raises MissingExtra without ragas, ConfigError for a model that cannot be made."""
        super().__init__(options)
        self._kind = KINDS[options.metric]
        self.needs_targets = _TARGET in self._kind.needs
        try:
            self._library = version("ragas")
        except PackageNotFoundError:
            raise MissingExtra("ragas", "ragas", f"ragas: {options.metric}") from None
        self.juror = Juror.of(options.model, options.root)
        self._embedder = embedder(options.embedding, options.root) if options.embedding is not None and self._kind.embeds else None
        self.local = self.juror.model.local or (self._embedder is not None and self._embedder.local)

    def check(self) -> None:
        """Raises ConfigError for a model that lacks its key or package."""
        self.juror.check()

    @cached_property
    def _identity(self) -> dict[str, object]:
        chosen = self.options.model_dump(mode="json", exclude_defaults=True, exclude={"model", "embedding", "concurrency"})
        chosen["model"] = self.juror.use()
        known: dict[str, object] = {"judge": self.juror.identity(), "ragas": self._library}
        if self._embedder is not None:
            chosen["embedding"] = self._embedder.use()
            known["embedding"] = self._embedder.identity()
        signature = f"ragas:{self._library}|metric:{self.options.metric}|judge:{self.juror.name}|temperature:{self.options.temperature:g}"
        return {"name": self.name, "version": self.version, "options": chosen, **known, "signature": signature}

    def identity(self) -> dict[str, object]:
        """ragas's version, the metric and its settings, judge and embedding."""
        return self._identity

    def kin(self, arm: Mapping[str, object], names: Sequence[str] = ()) -> str | None:
        """How the judge is related to an arm's model; None if it is not."""
        found = kinship(self.juror.identity(), arm, list(names))
        return None if found is None else f"{self.juror.name}: {found}"

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Raises TypeError: a model is asked."""
        raise TypeError(f"{self.name} has to be asked; it cannot score by itself")

    def calls(self, questions: int) -> int:
        """Every call tried twice, and two requests for vectors where the metric compares them."""
        return questions * (2 * self._most_calls + (2 if self._embedder is not None else 0))

    def estimate(self, questions: Sequence[Question]) -> float | None:
        """Every call, tried twice, with all of the item's texts beside ragas's longest instructions, and an answer as long as allowed."""
        total = 0.0
        for question in questions:
            sample = question.sample
            texts = [transcript(sample), question.reply.text or "", *sample.targets[:1], sample.fields.get(self.options.contexts, "")]
            prompt = Message("user", " " * _INSTRUCTIONS + "".join(texts))
            cost = self.juror.model.estimate(Request("", sample.id, (prompt,), self._sampling))
            vectors = 0.0 if self._embedder is None else self._embedder.estimate(2 * texts)
            if cost is None or vectors is None:
                return None
            total += 2 * cost * self._most_calls + vectors
        return total

    @property
    def _most_calls(self) -> int:
        count = int(self.options.settings.get("strictness", self._kind.calls))
        return count * self.options.most_contexts if self._kind.each_context else count

    @property
    def _sampling(self) -> Sampling:
        top_p = 0.1 if self.options.temperature > 0 else 1.0  # ragas's default
        return Sampling(max_tokens=self.options.max_tokens, temperature=self.options.temperature, top_p=top_p)

    async def ask(self, questions: Sequence[Question]) -> AsyncGenerator[Opinion]:
        """One opinion per question, as they come. Raises what the judge's model raises (a missing key), ConfigError."""
        library = made(self._kind.class_name, self.options.settings, self.juror, self._embedder, self._sampling)
        slots = asyncio.Semaphore(1 if self.local else self.options.concurrency)

        async def one(question: Question) -> Opinion:
            async with slots:
                return await self._opinion(library, question)

        tasks = [asyncio.create_task(one(question)) for question in questions]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Free the judge's memory and connections."""
        await self.juror.model.close()

    async def _opinion(self, library: Any, question: Question) -> Opinion:
        bill = Bill(question.key)
        try:
            value = await score(library, self._given(question), bill)
        except RagasError as error:
            return Opinion(question.key, (), error=str(error), cost_usd=bill.dollars, raw=bill.raw)
        if bill.error is not None or math.isnan(value):  # where one of its two judges fails, ragas takes the other's word
            why = bill.error or "ragas gave no number: it found nothing to score"
            return Opinion(question.key, (), error=why, cost_usd=bill.dollars, raw=bill.raw)
        return Opinion(question.key, (min(max(value, 0.0), 1.0),), cost_usd=bill.dollars)

    def _given(self, question: Question) -> dict[str, object]:
        """The texts that the metric takes. Raises RagasError for what the item lacks."""
        sample, reply = question.sample, question.reply
        sources: dict[str, Any] = {
            _ASKED: lambda: transcript(sample),
            _ANSWER: lambda: reply.text,
            _TARGET: lambda: sample.targets[0] if sample.targets else None,
            _CONTEXTS: lambda: contexts_of(sample, self.options.contexts, self.options.most_contexts),
        }
        given = {name: sources[name]() for name in self._kind.needs}
        if missing := [name for name, value in given.items() if not value]:
            raise RagasError(f"{sample.source or sample.id}: {self.options.metric} needs a {missing[0]}, and there is none")
        return given


def contexts_of(sample: Sample, field: str, most: int) -> list[str]:
    """The retrieved texts of a column: a list (of texts, or of objects with a `text` or `content`), or one text.

    Raises RagasError if there is no such column, or too much in it.
    """
    if field not in sample.fields:
        there = ", ".join(sorted(sample.fields)) or "none"
        raise RagasError(f"{sample.source or sample.id}: there is no column {field!r} (columns: {there}); set contexts: COLUMN")
    text = sample.fields[field].strip()
    try:
        found = json.loads(text) if text.startswith("[") else [text] if text else []
    except json.JSONDecodeError:
        found = [text]  # a text that only begins like a list
    texts = [_text(each, field) for each in found]
    if len(texts) > most:
        raise RagasError(f"{sample.source or sample.id}: {len(texts)} contexts, at most {most} (most_contexts)")
    return [each for each in texts if each.strip()]


def _text(context: object, field: str) -> str:
    if isinstance(context, Mapping):
        context = next((context[name] for name in ("text", "content", "page_content") if name in context), None)
    if not isinstance(context, str):
        raise RagasError(f"column {field!r} holds {type(context).__name__}, expected texts")
    return context
