"""What turns texts into vectors: a service's embeddings endpoint (OpenAI protocol), or sentence-transformers on this machine.

Named like an arm's model: `openai/text-embedding-3-small`, {vllm: {name: ..., base_url: ...}}, `local/FOLDER-OR-NAME`.

>>> from pathlib import Path
>>> embedder({"openai": {"name": "text-embedding-x", "base_url": "http://127.0.0.1:8000/v1"}}, Path(".")).identity()["model"]
'text-embedding-x'
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from pydantic import Field, ValidationError

from evalharness import protocols
from evalharness.errors import ConfigError, MissingExtra, Problem, ProviderError
from evalharness.ids import file_digest
from evalharness.metrics.judge.jurors import Juror
from evalharness.prices import price
from evalharness.protocols import Floats
from evalharness.spec import Use, model_use
from evalharness.waits import retry_after

if TYPE_CHECKING:
    from aiohttp import ClientSession

BATCH = 128
_AGAIN = frozenset({408, 409, 425, 429})
_LONGEST_PAUSE_S, _SHOWN = 30.0, 300


class Embedder(Protocol):
    """Texts -> vectors."""

    local: bool

    def identity(self) -> dict[str, str]:
        """What decides the vectors."""
        ...

    def use(self) -> Use:
        """The shortest way to name it."""
        ...

    def estimate(self, texts: Sequence[str]) -> float | None:
        """Dollars for so many texts, rather too many than too few; None if nobody knows. Never spends."""
        ...

    async def embed(self, texts: Sequence[str]) -> tuple[Floats, float | None]:
        """(n, d) vectors of n > 0 texts that are not empty, and dollars (None if nobody knows). Raises ProviderError, ConfigError."""
        ...


def embedder(use: Use, root: Path) -> Embedder:
    """The embedder that `use` names. Raises ConfigError if there is none, MissingExtra without sentence-transformers."""
    plugin, argument = model_use(use)
    if plugin == "local":
        return LocalEmbedder(_local_options(argument), root)
    juror = Juror.of(use, root)
    if not hasattr(juror.model, "base_url"):
        found = f"{plugin!r} has no embeddings endpoint"
        raise ConfigError([Problem("", "", found, "Name a service (openai, together, fireworks, hf, vllm, ollama) or local/FOLDER")])
    return ServiceEmbedder(juror)


class ServiceEmbedder:
    """POST /embeddings at a chat model's service: its address, its key, its timeout, its tries."""

    local = False

    def __init__(self, juror: Juror) -> None:
        self._juror, self._model = juror, juror.model
        self._settings: Any = getattr(juror.model, "options")  # noqa: B009 (models of the OpenAI protocol have them)
        self._url = f"{getattr(juror.model, 'base_url')}/embeddings"  # noqa: B009
        self._price = price(str(getattr(juror.model, "provider", "")), self._settings.name, self._settings.prices)

    def identity(self) -> dict[str, str]:
        """Service and model."""
        return self._juror.identity()

    def use(self) -> Use:
        """The shortest way to name it."""
        return self._juror.use()

    def estimate(self, texts: Sequence[str]) -> float | None:
        """By the price book; three bytes to a token."""
        return self._dollars(sum(len(text.encode("utf-8", "replace")) // 3 + 8 for text in texts))

    def _dollars(self, tokens: int) -> float | None:
        rate = self._price.usd_per_million_input_tokens
        return None if rate is None else tokens * rate / 1e6

    async def embed(self, texts: Sequence[str]) -> tuple[Floats, float | None]:
        """A request for every `BATCH` texts, one after the other."""
        try:
            import aiohttp
        except ModuleNotFoundError:
            raise MissingExtra("aiohttp", "hosted", "an embeddings endpoint") from None
        key, timeout = self._key(), aiohttp.ClientTimeout(total=self._settings.timeout_s)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        parts: list[Floats] = []
        tokens: int | None = 0
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=True) as session:
            for start in range(0, len(texts), BATCH):
                vectors, used = await self._batch(session, texts[start : start + BATCH], key)
                parts.append(vectors)
                tokens = None if tokens is None or used is None else tokens + used
        if len({part.shape[1] for part in parts}) > 1:
            raise ProviderError("the embeddings endpoint answered with vectors of different lengths")
        return np.concatenate(parts), None if tokens is None else self._dollars(tokens)

    def _key(self) -> str:
        name = self._settings.api_key_env or getattr(self._model, "key_env", "OPENAI_API_KEY")
        key = os.environ.get(name, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError([Problem("", name, "holds characters that no key has", "Set it again, without quotes or line breaks")])
        return key

    async def _batch(self, session: ClientSession, texts: Sequence[str], key: str) -> tuple[Floats, int | None]:
        """One request, tried as often as the options say."""
        for tried in range(self._settings.max_retries + 1):
            status, content, after = await self._post(session, texts)
            if status == 200:
                return _vectors(content, len(texts))
            said = str(content)[:_SHOWN].replace(key, "***") if key else str(content)[:_SHOWN]
            why = (
                f"embeddings of {self._settings.name}: HTTP {status}: {said}" if status else f"embeddings of {self._settings.name}: {said}"
            )
            if status and status not in _AGAIN and status < 500:
                raise ProviderError(why)
            if tried < self._settings.max_retries:
                await asyncio.sleep(min(_LONGEST_PAUSE_S, after if after is not None else 0.25 * 2**tried))
        raise ProviderError(why)

    async def _post(self, session: ClientSession, texts: Sequence[str]) -> tuple[int, Any, float | None]:
        """(status, body, seconds to wait); status 0 where no answer came."""
        import aiohttp

        body = {"model": self._settings.name, "input": list(texts), "encoding_format": "float"}
        try:
            async with session.post(self._url, json=body, allow_redirects=False) as response:
                content = await response.json(content_type=None) if response.status == 200 else await response.text()
                return response.status, content, retry_after(response.headers)
        except TimeoutError:
            return 0, f"no answer within {self._settings.timeout_s:g} s", None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return 0, f"connection lost: {error or type(error).__name__}", None


def _vectors(content: Any, count: int) -> tuple[Floats, int | None]:
    """The endpoint's vectors in the order of their index, and the tokens that it counted. Raises ProviderError."""
    try:
        rows = sorted(content["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ProviderError(f"the embeddings endpoint's answer has not the form it should: {type(error).__name__}: {error}") from None
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1] or not np.isfinite(vectors).all():
        raise ProviderError(f"the embeddings endpoint answered {count} texts with an array of shape {vectors.shape}")
    usage = content.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return vectors, tokens if isinstance(tokens, int) else None


class LocalOptions(protocols.Options):
    """Which sentence-transformers model, and where it runs."""

    shorthand: ClassVar[str | None] = "name"

    name: str = Field(min_length=1)
    """A folder of the workspace, or a name on the Hugging Face hub."""
    revision: str | None = None
    """Commit or tag on the hub."""
    device: str | None = None
    """cpu, cuda, ...; the best there is if left out."""
    batch_size: int = Field(default=32, ge=1)


class LocalEmbedder:
    """A sentence-transformers model on this machine: safetensors only, no code of the model's own."""

    local = True

    def __init__(self, options: LocalOptions, root: Path) -> None:
        if find_spec("sentence_transformers") is None:
            raise MissingExtra("sentence-transformers", "embedding", "an embedding on this machine")
        self._options, self._folder = options, root / options.name
        self._model: Any = None

    def identity(self) -> dict[str, str]:
        """A folder's content, or name and revision on the hub."""
        if not self._folder.is_dir():
            return {"plugin": "local", "model": self._options.name, "revision": self._options.revision or "main"}
        files = sorted(path for path in self._folder.rglob("*") if path.is_file() and path.suffix in {".json", ".safetensors", ".txt"})
        return {"plugin": "local", "files": file_digest(*files)}

    def use(self) -> Use:
        """Name and revision."""
        revision = {"revision": self._options.revision} if self._options.revision else {}
        return {"local": {"name": self._options.name, **revision}}

    def estimate(self, texts: Sequence[str]) -> float | None:
        """Nothing is bought."""
        return 0.0

    async def embed(self, texts: Sequence[str]) -> tuple[Floats, float | None]:
        """In a thread; the model is loaded when it is first asked. Raises ConfigError if it cannot be."""
        return await asyncio.to_thread(self._embed, list(texts)), 0.0

    def _embed(self, texts: list[str]) -> Floats:
        if self._model is None:
            self._model = self._load()
        found = self._model.encode(texts, batch_size=self._options.batch_size, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float64)

    def _load(self) -> Any:
        from sentence_transformers import SentenceTransformer

        name = str(self._folder) if self._folder.is_dir() else self._options.name
        try:
            return SentenceTransformer(
                name,
                device=self._options.device,
                revision=self._options.revision,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError) as error:
            found = f"the embedding model {self._options.name!r} cannot be loaded: {' '.join(str(error).split())[:_SHOWN]}"
            raise ConfigError([Problem("", "", found, "Name a folder, or a model that this machine can reach")]) from None


def _local_options(argument: object) -> LocalOptions:
    try:
        return LocalOptions.model_validate(dict(argument) if isinstance(argument, Mapping) else {"name": argument})
    except ValidationError as error:
        problems = [Problem("", ".".join(["local", *map(str, each["loc"])]), each["msg"]) for each in error.errors(include_url=False)]
        raise ConfigError(problems) from None
