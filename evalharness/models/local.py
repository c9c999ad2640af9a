"""A causal language model on this machine: many requests at a time, one base in memory for all its adapters.

>>> model = LocalModel(LocalOptions(name="embedded"))               # doctest: +SKIP
>>> replies = [reply async for reply in model.generate(requests)]         # doctest: +SKIP

Decoding is greedy at temperature 0 and otherwise drawn with dice that belong to the request (its seed, sample and
repeat), so an answer does not depend on the requests beside it. Nothing of the model's generation_config is used but
its end tokens: settings such as repetition penalties would hide in a file what the suite should say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from evalharness import bases, protocols
from evalharness.bases import identity, resolve
from evalharness.errors import ConfigError
from evalharness.ids import digest
from evalharness.models._peft import unfit
from evalharness.records import Message, Reply, Request

if TYPE_CHECKING:
    from evalharness.models._decode import Batch, Engine
    from evalharness.models._rows import Row

T = TypeVar("T")


class LocalOptions(protocols.Options):
    """Which model, how it is loaded, and how much is done at once."""

    shorthand: ClassVar[str | None] = "name"
    name: str = "embedded"
    """`embedded`, a folder (from the workspace on), or a hub id."""
    revision: str | None = None
    """Commit or tag of a hub model."""
    device: str = "auto"
    """cuda, mps or cpu; auto takes the first that is there."""
    dtype: str = "auto"
    """float32, bfloat16 or float16; auto is bfloat16 on CUDA devices that have it, else float32."""
    load_in_4bit: bool = False
    """Quantise the base to 4 bits (needs CUDA and bitsandbytes)."""
    trust_remote_code: bool = False
    """Run model code that comes with the weights."""
    batch_size: int = Field(default=32, ge=1)
    """Most rows decoded at once."""
    batch_tokens: int = Field(default=32768, ge=1)
    """Most tokens of keys and values held at once (rows times the longest prompt with its answer)."""
    usd_per_hour: float | None = Field(default=None, ge=0)
    """What this machine costs; without it, the cost of an answer is unknown."""

    @field_validator("name")
    @classmethod
    def _of_the_workspace(cls, name: str, info: ValidationInfo) -> str:
        """A folder of the workspace by its whole path: evalh may be called from elsewhere."""
        root = (info.context or {}).get("root")
        return name if name == "embedded" or root is None else resolve(name, root)


class LocalModel:
    """Answers with a transformers model (extra `local`). The model is loaded at the first request, not before."""

    Options: ClassVar[type[protocols.Options]] = LocalOptions
    local: ClassVar[bool] = True

    def __init__(self, options: LocalOptions) -> None:
        self.options = options
        self._engine: Engine | None = None
        self._thread: ThreadPoolExecutor | None = None

    @property
    def pool(self) -> str:
        """Equal for equal bases and settings: then one instance holds the base once for all arms and adapters."""
        settings = self.options.model_dump() | {"name": resolve(self.options.name)}
        return f"local:{digest(settings)}"

    def identity(self) -> dict[str, str]:
        """Hashes of weights, template and end tokens (or hub id and revision), and the dtype or quantisation if one was chosen."""
        found = identity(self.options.name, self.options.revision) | bases.ends(self.options.name)
        if self.options.dtype != "auto":
            found["dtype"] = self.options.dtype
        if self.options.load_in_4bit:
            found["quantisation"] = "4bit"
        return found

    def check(self) -> None:
        """Raises MissingExtra without torch or transformers, ConfigError for a hub id that is neither cached nor reachable."""
        bases.require("torch", "transformers", needed_by=f"the model 'local/{self.options.name}'")
        if self.options.load_in_4bit:
            bases.require_four_bit()
        bases.check(resolve(self.options.name), self.options.revision)

    def check_adapter(self, folder: str) -> str | None:
        """Why the adapter in `folder` cannot be used on this base (another base, another chat template, no LoRA); else None."""
        return unfit(Path(folder), identity(self.options.name, self.options.revision))

    def estimate(self, request: Request) -> float | None:
        """Nothing is paid."""
        return 0.0

    async def generate(self, requests: Sequence[Request]) -> AsyncGenerator[Reply]:
        """One reply per request, as rows finish. A prompt beyond the context or an unusable adapter is an error reply.

        Raises ConfigError if the model cannot be loaded, MissingExtra without torch and transformers.
        """
        if not requests:
            return
        batch, refused = await self._work(lambda: self._prepare(requests))
        try:
            for row in refused:
                yield self._reply(row)
            while batch.busy:
                for row in await self._work(batch.advance):
                    yield self._reply(row)
        finally:
            batch.stop()

    async def close(self) -> None:
        """Free the model's memory. A later request loads it again."""
        if self._thread is not None:
            await self._work(self._unload)
            self._thread.shutdown(wait=False)
            self._thread = None

    async def _work(self, task: Callable[[], T]) -> T:
        """Run in this model's own thread: the device does one thing at a time, and the event loop goes on."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "evalh-local-model")
        return await asyncio.get_running_loop().run_in_executor(self._thread, task)

    def _prepare(self, requests: Sequence[Request]) -> tuple[Batch, list[Row]]:
        """The batch that will answer, and the rows that cannot be asked."""
        from evalharness.models._decode import Batch

        engine = self._load()
        unusable = {folder: self.check_adapter(folder) for folder in {request.adapter for request in requests} if folder}
        rows = [self._row(engine, request) for request in requests]
        for row in rows:
            if row.finish is None and row.request.adapter and (why := unusable[row.request.adapter]):
                row.fail(f"invalid candidate: {why}")
        good = [row for row in rows if row.finish is None]
        batch = Batch(engine, good, most_rows=self.options.batch_size, most_tokens=self.options.batch_tokens)
        return batch, [row for row in rows if row.finish is not None]

    def _load(self) -> Engine:
        if self._engine is None:
            from evalharness.causal import load

            wanted = self.options.model_dump(include={"revision", "device", "dtype", "load_in_4bit", "trust_remote_code"})
            causal = load(self.options.name, **wanted)

            from evalharness.models._decode import Engine

            self._engine = Engine(causal.model, causal.tokenizer, causal.device, end_tokens(causal.model, causal.tokenizer))
        return self._engine

    def _unload(self) -> None:
        device = self._engine.device if self._engine else "cpu"
        self._engine = None
        if device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()

    def _row(self, engine: Engine, request: Request) -> Row:
        from evalharness.causal import encode_prompt
        from evalharness.models._rows import Row

        context = getattr(engine.model.config.get_text_config(), "max_position_embeddings", None)
        special = engine.tokenizer.get_added_vocab()  # a stop string that is a special token never shows in the text
        ends = engine.ends | {special[stop] for stop in request.sampling.stop if stop in special}
        row = Row(request, [], request.sampling.max_tokens, ends)
        try:
            row.prompt = encode_prompt(engine.tokenizer, request.messages)
        except ConfigError as error:
            row.fail(str(error))
            return row
        if not row.prompt:
            row.fail("the chat template makes nothing of this chat")
        elif context is not None and len(row.prompt) >= context:
            row.fail(f"the prompt has {len(row.prompt)} tokens, the model's context only {context}")
        elif context is not None:
            row.limit = min(row.limit, context - len(row.prompt))
        return row

    def _reply(self, row: Row) -> Reply:
        price = self.options.usd_per_hour
        return Reply(
            row.request.output_id,
            None if row.error else row.text,
            row.finish or "error",
            prompt_tokens=len(row.prompt) or None,
            completion_tokens=len(row.ids),
            latency_s=row.seconds,
            cost_usd=None if price is None else row.seconds / 3600 * price,
            error=row.error,
        )


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: those of the model's generation_config, the tokenizer's, and the template's end of turn."""
    from evalharness.causal import encode_example

    named = getattr(model.generation_config, "eos_token_id", None)
    ends = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    try:
        turn = encode_example(tokenizer, [Message("user", "a"), Message("assistant", "b")], 1 << 20).ids[-1:]
    except ConfigError:  # a template that only renders prompts has no end of turn to learn from
        turn = ()
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(end for end in ends | (set(turn) & special) if end is not None)
