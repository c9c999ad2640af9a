"""The three plug-in protocols. A plug-in is a class with an `Options` model; evalh makes one instance per use.

    Runner   trains:  submit, find, poll, cancel, serve, served, release
    Model    answers: generate
    Metric   scores:  score, finish

Register one by an entry point (`evalharness.runners`, `evalharness.models`, `evalharness.metrics`) or name it in
YAML as `path.py:Name`. `Options` is a pydantic model with `extra="forbid"`; its class variable `shorthand` names
the option that a bare value fills, so that `judge: rubric.md` and `judge: {rubric: rubric.md}` are the same.

>>> from evalharness.metrics.exact_match import ExactMatch
>>> isinstance(ExactMatch(ExactMatch.Options()), Metric)
True
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from evalharness.records import Endpoint, Handle, Job, Reply, Request, Sample, Status, TrainedModel

Floats = npt.NDArray[np.float64]


class Options(BaseModel):
    """A plug-in's options: unknown keys are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    shorthand: ClassVar[str | None] = None


@runtime_checkable
class Runner(Protocol):
    """Trains a model somewhere. All methods block (evalh calls them in threads) and may raise RunError.

    `local` runners take turns on this machine's device; others run side by side. A runner whose service lists what is new
    with a delay has `looks_s`, pauses in seconds: where a run died in doubt, `find` and `served` are asked after each of them.
    """

    Options: ClassVar[type[Options]]
    local: ClassVar[bool]

    def identity(self, base: str) -> dict[str, object]:
        """What decides the trained model besides rows and seed: the base's revision or weights, and the settings
        that matter (not device, paths or prices). Hashed into the training's id."""
        ...

    def check(self, job: Job) -> list[str]:
        """What is wrong with this job, found before anything is spent; empty if nothing."""
        ...

    def submit(self, job: Job) -> Handle:
        """Start the job. Called once per intent, after `find` said None."""
        ...

    def find(self, job: Job) -> Handle | None:
        """The job that was already submitted for this intent, if there is one. Never spends."""
        ...

    def poll(self, handle: Handle) -> Status:
        """The job's state now. Never spends."""
        ...

    def cancel(self, handle: Handle) -> None:
        """Stop the job; no error if it is over. A later `submit` of a local job goes on from its last checkpoint."""
        ...

    def estimate(self, job: Job) -> float | None:
        """Dollars that the job will cost, rather too many than too few; 0.0 if nothing is bought, None if nobody knows. Never spends."""
        ...

    def hourly(self, model: TrainedModel) -> float | None:
        """Dollars an hour that `serve` costs while it is open; 0.0 if nothing stays open, None if nobody knows. Never spends."""
        ...

    def serve(self, model: TrainedModel, key: str) -> Endpoint:
        """Make the trained model answer requests; returns once it does. What is open for this intent key already is
        adopted, so two calls open one thing. Raises ProviderError with nothing left open, or with what `served` finds."""
        ...

    def served(self, key: str) -> Endpoint | None:
        """What is open for this intent key, also if it is not ready or has failed; None if nothing is. Never spends."""
        ...

    def release(self, endpoint: Endpoint) -> None:
        """Undo `serve`: only `resource_id` need be known. No error if it is gone already. Raises ProviderError if it may still run."""
        ...


@runtime_checkable
class Model(Protocol):
    """Answers requests. One instance serves every arm whose `pool` is equal (one base in memory, many adapters).

    A model or metric with a method `check()` is asked, before a run begins, to raise ConfigError if a key or a package is missing.
    """

    Options: ClassVar[type[Options]]
    local: ClassVar[bool]

    @property
    def pool(self) -> str:
        """Arms with equal pools share one instance."""
        ...

    def identity(self) -> dict[str, str]:
        """What decides this model's answers besides prompt and sampling (revision, weights or template hash, URL)."""
        ...

    def estimate(self, request: Request) -> float | None:
        """Dollars that the answer will cost, rather too many than too few; 0.0 if nothing is paid, None if nobody knows. Never spends."""
        ...

    def generate(self, requests: Sequence[Request]) -> AsyncGenerator[Reply]:
        """One reply per request, in any order, as they come. A failed request is a reply with finish "error"."""
        ...

    async def close(self) -> None:
        """Free memory and connections."""
        ...


@runtime_checkable
class Metric(Protocol):
    """Scores an output by statistics that sum over samples, and finishes sums into a number."""

    Options: ClassVar[type[Options]]
    name: str
    version: str
    higher_is_better: bool
    range: tuple[float, float]
    kind: Literal["binary", "mean", "corpus"]
    """binary: statistics are (0,) or (1,). mean: (value,). corpus: finish is not linear in the sums (BLEU).

    A metric with an attribute `needs_targets = False` also takes rows without a target.
    """

    def identity(self) -> dict[str, object]:
        """Name, version and options (and library signature) that decide the number; hashed into the metric's id."""
        ...

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Statistics of one reply that has a text."""
        ...

    def failed(self, sample: Sample) -> tuple[float, ...]:
        """The worst statistics this sample can have: what an output that failed or is missing counts as."""
        ...

    def perfect(self, sample: Sample) -> tuple[float, ...]:
        """The best statistics this sample can have: what a missing output may have been, for claims of loss."""
        ...

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """(..., k) summed statistics and (...) counts -> (...) values; vectorised, the mean by default."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What an asking metric is asked about: a reply to a sample and, if it compares pairs, the other arm's reply to it."""

    key: str
    sample: Sample
    reply: Reply
    other: Reply | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """An asking metric's answer to the question with this key: statistics, or the error (then `stats` is empty).

    `why` is the reason given, `raw` an unusable answer's text; `cost_usd` is None where the price is unknown.
    """

    key: str
    stats: tuple[float, ...]
    why: str | None = None
    error: str | None = None
    cost_usd: float | None = None
    raw: str | None = None


@runtime_checkable
class AskingMetric(Metric, Protocol):
    """A metric that needs calls to a model (a judge, ragas): it is asked about many replies at once, side by side.

    `score` is not called. `against` is the label of the arm whose replies it compares with, None if it looks at one alone.
    A metric with an attribute `opinions = False` asks for what is no opinion (vectors): people's labels correct nothing of it.
    """

    against: str | None
    local: bool

    def calls(self, questions: int) -> int:
        """How many model calls so many questions take, at most."""
        ...

    def estimate(self, questions: Sequence[Question]) -> float | None:
        """Dollars that they will cost, rather too many than too few; None if nobody knows. Never spends."""
        ...

    def ask(self, questions: Sequence[Question]) -> AsyncGenerator[Opinion]:
        """One opinion per question, in any order, as they come. A judge that fails is an opinion with an error."""
        ...

    async def close(self) -> None:
        """Free memory and connections."""
        ...


def opines(metric: object) -> TypeGuard[AskingMetric]:
    """Whether the metric's values are a model's opinions."""
    return isinstance(metric, AskingMetric) and getattr(metric, "opinions", True)
