"""The two YAML files as typed, frozen models: a Suite (what to compare) and a Trainer (how to train).

Only shapes and ranges are checked here; names, files and labels that must exist are checked by reading.py.

>>> suite = Suite.model_validate({"data": {"test": "test.jsonl"}, "baselines": {"a": {"model": "local/embedded"}}, "metrics": ["bleu"]})
>>> suite.baselines["a"].model
'local/embedded'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from evalharness.records import Sampling

LABEL = re.compile(r"\w[\w .+-]*")
FEWEST_LABELS = 50
"""Labelled items from which on a judge's scores are corrected (PPI++): intervals keep what they promise from there."""
_PLUGIN_FILE = re.compile(r"(?P<name>.+\.py:\w+)(?:/(?P<rest>.*))?", re.DOTALL)


def wrong(found: str, fix: str) -> PydanticCustomError:
    """A validation error that carries what was found and what to do; reading.py makes a Problem of it."""
    return PydanticCustomError("evalh", "{found}. {fix}", {"found": found, "fix": fix})


class Spec(BaseModel):
    """Part of a YAML file: unknown keys are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _label(value: str) -> str:
    if not LABEL.fullmatch(value) or len(value) > 80:
        raise wrong(f"{value!r} cannot be a label", "Use letters, digits, '-', '_', '.', '+' and spaces, 80 characters at most")
    return value


def _each(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _shots(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"n": value}
    if not isinstance(value, Mapping | Shots):
        raise wrong(f"expected how many examples, found {value!r}", "Write a number, or {n: 4, seed: 7}")
    return value


def _seeds(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= 100:
            raise wrong(f"{value} seeds", "Give how many (1 to 100), or a list of different seeds such as [0, 7]")
        return tuple(range(value))
    if not isinstance(value, list | tuple):
        raise wrong(f"expected how many seeds, found {value!r}", "Write a number, or a list such as [0, 7]")
    return value


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise wrong(f"the seeds {list(seeds)}", "Give at least one seed, each of them once")
    return seeds


def _source(value: object) -> object:
    if not isinstance(value, str | list | tuple | Mapping | Source):
        raise wrong(f"expected a file, found {value!r}", "Write a file's name, a list of them, or {lines: {...}}")
    return {"files": value} if isinstance(value, str | list | tuple) else value


def _reason(value: str) -> str:
    if not value.strip():
        raise wrong("no reason", "Say in a few words why this is fine: it is shown with the finding")
    return value


def _stops(values: tuple[str, ...]) -> tuple[str, ...]:
    if "" in values:
        raise wrong("an empty text", "Every answer would end before it begins: name the text that ends one, or take it out")
    return values


def _is_inline(value: object) -> str:
    return "name" if isinstance(value, str) else "inline"


Label = Annotated[str, AfterValidator(_label)]
Names = Annotated[tuple[str, ...], BeforeValidator(_each, json_schema_input_type=str | tuple[str, ...])]
Use = str | dict[str, Any]
"""A plug-in and its options: `bleu`, `{judge: rubric.md}`, `{judge: {rubric: rubric.md}}`; for models also `local/embedded`."""


class Source(Spec):
    """Where the rows of one split are: files of rows, or line-aligned text files."""

    files: Names = ()
    """JSON Lines, JSON, CSV, TSV or Parquet files (text ones also as .gz), or folders that datasets' save_to_disk wrote, one after
    another; addresses of files (https://, s3://, gs://), too."""
    lines: dict[str, Names] = Field(default_factory=dict)
    """Column -> text file with one value a line; line k of every file belongs to row k. Several files: several values."""

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if bool(self.files) == bool(self.lines):
            raise wrong("need either files or 'lines'", "Write train.jsonl, [a.jsonl, b.jsonl] or {lines: {input: a.txt, target: b.txt}}")
        if self.lines and "input" not in self.lines:
            raise wrong("'lines' has no 'input'", "Name the text file that holds the inputs, e.g. {input: src.txt, target: ref.txt}")
        return self


Rows = Annotated[Source, BeforeValidator(_source, json_schema_input_type=str | tuple[str, ...] | Source)]


class Split(Spec):
    """A split by content hash: a row keeps its side for ever, also when rows are added or reordered.

    A row of train (or dev) that is near a held-out one is left out, unless data.leaks is allow.
    """

    test: float = Field(gt=0, lt=1)
    """Share of rows that become the test split."""
    dev: float = Field(default=0.0, ge=0, lt=1)
    """Share of rows that become the dev split."""
    by: str | None = None
    """Field whose equal values stay on one side; `cluster` is what data.cluster names. Left out: data.cluster's field, else equal inputs
    (up to case, punctuation and space)."""
    stratify: str | None = None
    """Field whose values are counted on each side, with a word where a value is missing or far from its share. It moves no row."""
    near: float = Field(default=0.9, ge=0.7, le=1)
    """Inputs with this share of their words in common (by edits of words) may not be on two sides; 1: equal inputs only."""
    seed: int = Field(default=0, ge=0)
    """Another seed is another split."""

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Split:
        if self.test + self.dev >= 1:
            raise wrong(f"test {self.test} and dev {self.dev} leave no training rows", "Make their sum less than 1")
        return self


class Limit(Spec):
    """At most so many rows of each split, chosen by content hash (the same rows whatever the file order)."""

    train: int | None = Field(default=None, ge=1)
    """Training rows to keep."""
    dev: int | None = Field(default=None, ge=1)
    """Dev rows to keep."""
    test: int | None = Field(default=None, ge=1)
    """Test rows to keep."""
    seed: int = Field(default=0, ge=0)
    """Another seed is another choice."""


class DataSpec(Spec):
    """Which rows to train on and which to score on. Paths are relative to `root`, and `root` to the workspace."""

    root: str = "."
    """Folder of the data files; `${NAME:-default}` is taken from the environment."""
    train: Rows | None = None
    """Training rows; few-shot examples come from here too."""
    dev: Rows | None = None
    """Rows to stop training early on and to pick the best candidate with."""
    test: Rows | None = None
    """Held-out rows: every arm is scored on these."""
    file: Rows | None = None
    """One set of rows that `split` divides; not read where test (train, dev) files are named."""
    split: Split | None = None
    """How `file` is divided; `evalh split` writes the files."""
    fields: dict[str, Names] = Field(default_factory=dict)
    """What evalh calls a field -> the column's name in the files, e.g. {input: text, target: label}."""
    cluster: str | None = None
    """Field whose equal values belong together (one customer, one document): intervals widen accordingly."""
    slices: Names = ()
    """Fields to break scores down by."""
    leaks: Literal["error", "drop_train", "allow"] = "error"
    """The same input in train (or dev) and test: stop, drop the training rows, or go on and say so."""
    limit: Limit | None = None
    """Use fewer rows."""
    allow: dict[str, Annotated[str, AfterValidator(_reason)]] = Field(default_factory=dict)
    """Findings of `evalh check` that are known and fine: rule id -> why, e.g. {leak.group: customers come back}."""

    @model_validator(mode="after")
    def _files_or_split(self) -> DataSpec:
        if (self.file is None) != (self.split is None):
            raise wrong("'file' and 'split' need each other", "Write {file: all.jsonl, split: {test: 0.2}}, or test, train and dev files")
        if self.file is None and self.test is None:
            raise wrong("no held-out rows", "Add test: a file, or file: and split:")
        if self.file is not None and self.test is None and (self.train or self.dev):
            raise wrong("'file' beside train or dev", "Name the test file, too (then file and split are not read), or none of them")
        return self

    @property
    def divides(self) -> bool:
        """Whether rows come from `file` by `split`; test files that are named win."""
        return self.split is not None and self.test is None

    def leaves_out(self, near: float = 1.0) -> bool:
        """Whether rows to learn from are left out that have so much in common with a held-out one; 1: equal inputs."""
        if self.divides and self.split is not None:
            return self.leaks != "allow" and self.split.near <= near
        return self.leaks == "drop_train" and near == 1.0


class SamplingSpec(Spec):
    """Decoding settings; what is left out comes from the suite, then from evalh (greedy, 256 tokens)."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Answers stop here and count as truncated."""
    temperature: float | None = Field(default=None, ge=0, le=10)
    """0 is greedy."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus sampling."""
    stop: Annotated[Names, AfterValidator(_stops)] | None = None
    """Strings that end the answer and are not part of it."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of sampled answers."""


class Shots(Spec):
    """Few-shot examples, chosen from the training rows by content hash."""

    n: int = Field(ge=0, le=1000)
    """How many."""
    seed: int = Field(default=0, ge=0)
    """Another seed is another choice."""


class _Prompted(Spec):
    """What prompted and trained arms share."""

    prompt: str | None = None
    """A file, or the text itself. Left out: the suite's prompt; null: none."""
    shots: Annotated[Shots, BeforeValidator(_shots, json_schema_input_type=int | Shots)] = Shots(n=0)
    """Few-shot examples: how many, or {n: 4, seed: 7}."""
    sampling: SamplingSpec = SamplingSpec()
    """Decoding settings where they differ from the suite's."""
    outputs: str | None = None
    """File of outputs that exist already: rows {"id" or "input", "output"}, or a line of text for each test row."""
    description: str = ""
    """Words for people; changes no result."""


class ArmSpec(_Prompted):
    """A baseline: a model that is prompted, or outputs that exist already."""

    model: Use | None = None
    """`local/embedded`, `{local: {base: ...}}` or a plug-in's name."""

    @model_validator(mode="after")
    def _model_or_outputs(self) -> ArmSpec:
        if (self.model is None) == (self.outputs is None):
            raise wrong("need exactly one of 'model' and 'outputs'", "Write e.g. {model: local/embedded} or {outputs: yesterday.jsonl}")
        return self


class Trainer(Spec):
    """How to train: the runner, the base model, its settings and prices."""

    runner: str
    """Who trains: a registered runner or `path.py:Name`."""
    base: str
    """The model to start from: a hub id, a folder, `embedded`, or a provider's model name."""
    revision: str | None = None
    """Commit or tag of the base model."""
    params: dict[str, Any] = Field(default_factory=dict)
    """The runner's settings (rank, learning_rate, epochs, ...)."""
    serve: dict[str, Any] = Field(default_factory=dict)
    """How the trained model is served, where the runner has a choice."""
    prices: dict[str, float] = Field(default_factory=dict)
    """Your prices where they differ from the price book, e.g. {usd_per_hour: 1.20}."""
    description: str = ""
    """Words for people; changes no result."""

    @property
    def options(self) -> dict[str, Any]:
        """What the runner takes: the settings, and how to serve and what it costs where the file says so."""
        beside = {"serve": self.serve, "prices": self.prices}
        return {**self.params, **{name: value for name, value in beside.items() if value}}


class CandidateSpec(_Prompted):
    """A candidate: a trained model, or outputs that exist already."""

    train: Annotated[Annotated[str, Tag("name")] | Annotated[Trainer, Tag("inline")], Discriminator(_is_inline)] | None = None
    """A trainer's name (trainers/NAME.yaml), or the same settings inline."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Settings that differ from the trainer's."""
    checkpoint: int | None = None
    """A checkpoint that the service kept instead of the final model: 1 is the first, -1 the last."""
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds, json_schema_input_type=int | tuple[int, ...]), AfterValidator(_different)] = (
        0,
    )
    """How many trainings that differ only in their seed, or the seeds themselves."""

    @model_validator(mode="after")
    def _train_or_outputs(self) -> CandidateSpec:
        if (self.train is None) == (self.outputs is None):
            raise wrong("need exactly one of 'train' and 'outputs'", "Write e.g. {train: lora} or {outputs: yesterday.jsonl}")
        return self


class Rule(Spec):
    """One check of the gate."""

    metric: str
    """Which metric of this suite."""
    margin: float | None = Field(default=None, ge=0)
    """How much worse than the reference is still fine, in the metric's own unit."""
    at_least: float | None = None
    """A floor for the candidate's own score, instead of a margin."""
    slice: str | None = None
    """One slice only, written field=value."""
    every_slice: bool = False
    """Every value of every field in data.slices, each by itself."""

    require_labels: int | None = None
    """A judge's metric: without so many items labelled by people (50 or more) the gate is INVALID, it cannot pass."""

    @model_validator(mode="after")
    def _one_check(self) -> Rule:
        if self.require_labels is not None and self.require_labels < FEWEST_LABELS:
            raise wrong(
                f"require_labels: {self.require_labels}", f"Labels correct a judge from {FEWEST_LABELS} on: ask for as many or more"
            )
        if (self.margin is None) == (self.at_least is None):
            raise wrong("need exactly one of 'margin' and 'at_least'", "Write e.g. {metric: exact_match, margin: 0.02}")
        if self.slice is not None and self.every_slice:
            raise wrong("both 'slice' and 'every_slice'", "Keep one of the two")
        if self.slice is not None and "=" not in self.slice:
            raise wrong(f"the slice {self.slice!r}", "Write field=value, or every_slice: true")
        return self


class GateSpec(Spec):
    """When a candidate may replace the reference; `evalh gate` turns it into an exit code."""

    against: str | None = None
    """The reference arm's label; the first baseline if left out."""
    rules: tuple[Rule, ...] = Field(min_length=1)
    """All of them must pass."""


class DecideSpec(Spec):
    """Which metric decides, and how much better a candidate has to be."""

    metric: str
    """Which metric of this suite."""
    min_gain: float = Field(default=0.0, ge=0)
    """Smallest gain worth the change, in the metric's own unit."""
    against: str | None = None
    """The reference arm's label; the gate's, or the first baseline, if left out."""
    volume: int | None = Field(default=None, gt=0)
    """Requests a month in use: what hosting by the hour, idle hours included, and the pay-back date are counted with."""


class Budget(Spec):
    """What the suite may spend, all runs together."""

    usd: float = Field(gt=0)
    """Nothing is bought that would pass this sum."""


class Suite(Spec):
    """What to compare, on which data, by which metrics, with which gate. Paths are relative to the workspace."""

    name: str = ""
    """The suite's name; the file's name without .yaml if left out."""
    description: str = ""
    """Words for people; changes no result."""
    data: DataSpec
    """Training and held-out rows."""
    prompt: str | None = None
    """Every arm's prompt unless it has its own: a file, or the text itself."""
    baselines: dict[Label, ArmSpec] = Field(default_factory=dict)
    """Prompted models, by label."""
    candidates: dict[Label, CandidateSpec] = Field(default_factory=dict)
    """Trained models, by label."""
    metrics: tuple[Use, ...] = Field(min_length=1)
    """How answers are scored."""
    gate: GateSpec | None = None
    """When a candidate may replace the reference."""
    decide: DecideSpec | None = None
    """Which metric decides between training and keeping the prompt."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of every interval."""
    budget: Budget | None = None
    """What may be spent."""
    sampling: SamplingSpec = SamplingSpec()
    """Decoding settings of every arm."""
    repeats: int = Field(default=1, ge=1, le=1000)
    """Answers per test row and arm."""
    seed: int = Field(default=0, ge=0)
    """Seed of sampled answers that have none of their own, and of resampling."""

    @model_validator(mode="after")
    def _some_arms(self) -> Suite:
        if not self.baselines and not self.candidates:
            raise wrong("nothing to compare", "Add baselines: or candidates:")
        if both := sorted(set(self.baselines) & set(self.candidates)):
            raise wrong(f"{both[0]!r} is a baseline and a candidate", "Give every arm its own label")
        return self

    @property
    def arms(self) -> dict[str, ArmSpec | CandidateSpec]:
        """Baselines, then candidates, in file order."""
        return {**self.baselines, **self.candidates}

    @property
    def reference(self) -> str:
        """The label that candidates are compared with: the gate's, else the decision's, else the first arm's."""
        named = (part.against for part in (self.gate, self.decide) if part is not None)
        return next((label for label in named if label is not None), next(iter(self.arms)))

    @property
    def level(self) -> float:
        """The level of each interval, so that those of all K candidates, each seed one, hold together: 1 - α/K."""
        from evalharness.stats.multiple import bonferroni_level

        return bonferroni_level(self.confidence, max(1, sum(len(each.seeds) for each in self.candidates.values())))

    def prompt_of(self, arm: ArmSpec | CandidateSpec) -> str | None:
        """The arm's own prompt (also if it is null), else the suite's."""
        return arm.prompt if "prompt" in arm.model_fields_set else self.prompt

    def sampling_of(self, arm: ArmSpec | CandidateSpec) -> Sampling:
        """The arm's decoding settings over the suite's over evalh's; the suite's seed where none is given."""
        settings: dict[str, Any] = {"seed": self.seed}
        for part in (self.sampling, arm.sampling):
            settings |= part.model_dump(exclude_none=True)
        return Sampling(**settings)


def model_use(use: Use) -> tuple[str, object]:
    """A model's use -> (plug-in, argument): `local`, `local/embedded`, `dir/own.py:Name`, `{local: {...}}`.

    Raises ConfigError if it is none of these.
    """
    from evalharness.registry import split_use

    name, argument = split_use(use)
    if isinstance(use, Mapping):
        return name, argument
    if match := _PLUGIN_FILE.fullmatch(name):
        return match["name"], match["rest"]
    plugin, slash, rest = name.partition("/")
    return plugin, rest if slash else None
