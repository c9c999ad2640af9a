"""The records that travel between stages: frozen, plain, in the field's own words.

>>> Sample.of([Message("user", "2+2?")], ["4"], source="test.jsonl:1").id
'03b9d583f0b586fb6cd27f18'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from evalharness.ids import digest

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "error"]
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn."""

    role: str
    content: str

    def as_dict(self) -> dict[str, str]:
        """The turn as chat APIs and chat templates take it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Sample:
    """One item. `messages` is the input (no target turn); `targets` are the accepted answers, best first."""

    id: str
    messages: tuple[Message, ...]
    targets: tuple[str, ...]
    fields: Mapping[str, str] = field(default_factory=dict)
    cluster: str | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    @staticmethod
    def of(
        messages: Sequence[Message],
        targets: Sequence[str],
        *,
        fields: Mapping[str, str] | None = None,
        cluster: str | None = None,
        slices: Mapping[str, str] | None = None,
        source: str = "",
        occurrence: int = 0,
    ) -> Sample:
        """A sample with its content hash; the k-th exact repeat of an item in a data set passes `occurrence=k`."""
        content: list[object] = [[m.as_dict() for m in messages], list(targets)]
        key = digest(content if occurrence == 0 else [*content, occurrence])
        return Sample(key, tuple(messages), tuple(targets), fields or {}, cluster, slices or {}, source)

    @property
    def input(self) -> str:
        """The last user turn: what a person would call the question."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True)
class Dataset:
    """Samples of one split, in file order."""

    name: str
    split: Literal["train", "dev", "test"]
    samples: tuple[Sample, ...]
    source: str = ""

    @cached_property
    def id(self) -> str:
        """Hash of the ordered sample ids; computed once, because every output asks for it."""
        return digest([sample.id for sample in self.samples])

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding settings. Temperature 0 is greedy; `stop` ends the answer and is not part of it."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked: the rendered chat, who asks it (`output_id`), and the adapter to wear, if any.

    `schema` is a JSON schema that the answer should follow: sent where a service takes one, ignored elsewhere.
    """

    output_id: str
    sample_id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    adapter: str | None = None
    repeat: int = 0
    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered to a request. `finish == "error"` iff `error` is set; then `text` may be None.

    `latency_s` is wall seconds for this item (a batch's seconds divided over its items for local models);
    `cost_usd` is None where the price is unknown (never 0 for unknown). `raw` keeps an unusable answer's text.
    """

    output_id: str
    text: str | None
    finish: Finish
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    cost_usd: float | None = None
    error: str | None = None
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """A reply as stored: what an arm answered to a sample."""

    output_id: str
    arm_id: str
    dataset_id: str
    sample_id: str
    repeat: int
    reply: Reply
    run_id: str

    @property
    def outcome_key(self) -> str:
        """Hash of what a metric sees of this output: scores of an older text are stale when it changes."""
        return digest([self.output_id, self.reply.text, self.reply.finish, self.reply.error])


@dataclass(frozen=True, slots=True)
class Score:
    """One metric's statistics for one output, or the error. `stats` sum over samples; `value` is finish(stats)."""

    score_id: str
    output_id: str
    metric_id: str
    value: float | None
    stats: tuple[float, ...]
    why: str | None = None
    error: str | None = None
    cost_usd: float | None = None
    other_output_id: str | None = None


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A finished training's product: a model name that `Model` plug-ins take, and the adapter, if it is one.

    `identity` is what an arm's hash holds (adapter hash, template hash, provider's model id);
    `facts` are numbers and words for reports (trained_parameters, total_parameters, truncated_rows, ...).
    """

    model: str
    adapter: str | None
    identity: Mapping[str, str]
    facts: Mapping[str, float | int | str | None] = field(default_factory=dict)
    checkpoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """One logged point of a training: losses are mean nats per answer token; `seconds` since training began."""

    step: int
    train_loss: float | None = None
    dev_loss: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A training to be done, complete and content-hashed: everything a runner may know.

    `train`/`dev` are rendered chats whose last turn is the target. `workdir` is the job's own folder on this
    machine. `key` is the intent key that travels to a provider; equal keys mean the same purchase.
    """

    training_id: str
    key: str
    base: str
    params: Mapping[str, object]
    seed: int
    train: tuple[tuple[Message, ...], ...]
    dev: tuple[tuple[Message, ...], ...]
    workdir: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Handle:
    """A submitted job: `provider_id` finds it again (a provider's job id, or the job's folder for local runs)."""

    training_id: str
    provider_id: str


@dataclass(frozen=True, slots=True)
class Status:
    """What polling a job says. `points` are all points known so far; `model` is set iff state is succeeded.

    `again` says whether a failed job is worth another try: a diverged loss or an adapter without effect is not.
    """

    state: State
    detail: str = ""
    step: int | None = None
    total_steps: int | None = None
    points: tuple[Point, ...] = ()
    model: TrainedModel | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None
    error: str | None = None
    again: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A served model: the name and adapter that requests use, and the resource to release afterwards, if any.

    `options` are options of the model plug-in (base_url, ...); `usd_per_hour` is None where nobody knows it.
    """

    model: str
    adapter: str | None = None
    resource_id: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing compared: model + prompt + sampling. `arm_id` hashes these three; label and role are outside."""

    arm_id: str
    label: str
    role: Literal["baseline", "candidate"]
    model: Mapping[str, object]
    prompt: Mapping[str, object]
    sampling: Sampling
    training_id: str | None = None
