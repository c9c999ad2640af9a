"""Embedding similarity: the cosine between the vectors of answer and target, best of the targets.

In YAML: `embedding_similarity: openai/text-embedding-3-small`, `embedding_similarity: local/all-MiniLM-L6-v2`, or
`embedding_similarity: {model: {vllm: {name: bge-m3, base_url: "http://127.0.0.1:8000/v1"}}}`.

>>> metric = EmbeddingSimilarity(EmbeddingOptions(model={"openai": {"name": "e", "base_url": "http://127.0.0.1:9/v1"}}))
>>> metric.range, metric.calls(10)
((0.0, 1.0), 20)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import PrivateAttr

from evalharness import metrics, protocols
from evalharness.errors import ConfigError, DataError, ProviderError
from evalharness.metrics import PerSample
from evalharness.metrics.embedders import embedder
from evalharness.protocols import Floats, Opinion, Question
from evalharness.records import Reply, Sample
from evalharness.spec import Use

_PART = 64


class EmbeddingOptions(protocols.Options):
    """Which model makes the vectors."""

    shorthand: ClassVar[str | None] = "model"

    model: Use
    """A service's embedding model, `openai/NAME`, or sentence-transformers on this machine, `local/FOLDER-OR-NAME`."""

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Remember the workspace, below which folders are found."""
        root = context.get("root") if isinstance(context, Mapping) else None
        self._root = root if isinstance(root, Path) else Path.cwd()

    @property
    def root(self) -> Path:
        """The workspace."""
        return self._root


class EmbeddingSimilarity(PerSample):
    """Cosine similarity, 0 to 1: what points the other way is as wrong as what has nothing in common, an empty answer too."""

    Options: ClassVar[type[protocols.Options]] = EmbeddingOptions
    options: EmbeddingOptions
    name = "embedding_similarity"
    against: str | None = None
    opinions = False

    def __init__(self, options: EmbeddingOptions) -> None:
        """Raises ConfigError for a model that cannot be made, MissingExtra without sentence-transformers."""
        super().__init__(options)
        self._embedder = embedder(options.model, options.root)
        self.local = self._embedder.local

    def identity(self) -> dict[str, object]:
        """The model, and what decides its vectors."""
        embedding = self._embedder.identity()
        signature = f"cosine|model:{embedding.get('model', self.options.model)}|version:{self.version}"
        options = {"model": self._embedder.use()}
        return {"name": self.name, "version": self.version, "options": options, "embedding": embedding, "signature": signature}

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Raises TypeError: a model is asked."""
        raise TypeError(f"{self.name} has to be asked; it cannot score by itself")

    def calls(self, questions: int) -> int:
        """At most one for each answer and one for each item's targets; many share a request."""
        return 2 * questions

    def estimate(self, questions: Sequence[Question]) -> float | None:
        """Every answer and every target."""
        return self._embedder.estimate([text for question in questions for text in (question.reply.text or "", *question.sample.targets)])

    async def ask(self, questions: Sequence[Question]) -> AsyncGenerator[Opinion]:
        """One opinion per question. A service that fails is an error of the questions that it was asked about."""
        for start in range(0, len(questions), _PART):
            for opinion in await self._opinions(questions[start : start + _PART]):
                yield opinion

    async def close(self) -> None:
        """Nothing is held between two calls of ask but a model on this machine."""

    async def _opinions(self, questions: Sequence[Question]) -> list[Opinion]:
        found: list[Opinion] = []
        pairs: dict[str, tuple[str, list[str]]] = {}
        for question in questions:
            try:
                answer = metrics.text_of(question.reply).strip()
                targets = [target for target in metrics.targets_of(question.sample, self.name) if target.strip()]
            except (ValueError, DataError) as error:
                found.append(Opinion(question.key, (), error=str(error)))
                continue
            if answer and targets:
                pairs[question.key] = (answer, targets)
            else:
                found.append(Opinion(question.key, (float(not answer and not targets),), cost_usd=0.0))
        return found + (await self._asked(pairs) if pairs else [])

    async def _asked(self, pairs: Mapping[str, tuple[str, Sequence[str]]]) -> list[Opinion]:
        """Every text goes once, however often it comes; its price is shared out over the questions."""
        texts = list(dict.fromkeys(text for answer, targets in pairs.values() for text in (answer, *targets)))
        try:
            vectors, cost = await self._embedder.embed(texts)
        except ConfigError:
            raise
        except ProviderError as error:
            return [Opinion(key, (), error=str(error)) for key in pairs]
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
        place = {text: number for number, text in enumerate(texts)}
        share = None if cost is None else cost / len(pairs)
        return [Opinion(key, (_best(unit, place, answer, targets),), cost_usd=share) for key, (answer, targets) in pairs.items()]


def _best(unit: Floats, place: Mapping[str, int], answer: str, targets: Sequence[str]) -> float:
    cosines = unit[[place[target] for target in targets]] @ unit[place[answer]]
    return float(np.clip(cosines.max(), 0.0, 1.0))
