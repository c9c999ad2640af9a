"""A suite's arms before they have answered: which model, prompt, examples and training each one is.

>>> [entry.label for entry in entries(loaded, splits, Path("results"))]                               # doctest: +SKIP
['zero-shot', 'few-shot', 'tuned']
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from evalharness import registry
from evalharness.data import Splits
from evalharness.data.paths import display
from evalharness.errors import ConfigError
from evalharness.ids import digest
from evalharness.pipeline.training import Training
from evalharness.prompts import Prompt, choose_examples, training_rows
from evalharness.protocols import Model, Runner
from evalharness.reading import LoadedSuite
from evalharness.records import Arm, Endpoint, Job, Sample, Sampling, TrainedModel
from evalharness.spec import ArmSpec, CandidateSpec, model_use

REHEARSAL = "rehearsal"
FRESH_S = 60.0
"""So long a service may not know a model yet that it has just made or deployed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One arm to be. A prompted or recorded one has a `model`; a trained one has a `training` that gives it one."""

    label: str
    role: Literal["baseline", "candidate"]
    prompt: Prompt | None
    examples: tuple[Sample, ...]
    sampling: Sampling
    plugin: str = ""
    model: Model | None = None
    training: Training | None = None

    def arm(self, trained: TrainedModel | None = None) -> Arm:
        """The arm with its content hash: model + prompt + sampling. Label, role and training stay outside.

        A trained arm is identified by what was trained, not by where it is served: nothing has to be deployed to know it.
        """
        if trained is not None:
            identity = {"plugin": model_use(trained.model)[0], **trained.identity}
        else:
            assert self.model is not None  # an entry has a model or a training
            identity = {"plugin": self.plugin, **self.model.identity()}
        prompt: dict[str, object] = {}
        if self.plugin != "recorded":  # a recorded answer does not depend on the prompt
            template = self.prompt.identity() if self.prompt else None
            prompt = {"template": template, "examples": [example.id for example in self.examples]}
        key = digest([identity, prompt, asdict(self.sampling)])
        return Arm(key, self.label, self.role, identity, prompt, self.sampling, self.training_id)

    def absent(self) -> Arm:
        """The place of a candidate that has no model: an arm without outputs."""
        return Arm(digest(["absent", self.training_id]), self.label, self.role, {}, {}, self.sampling, self.training_id)

    @property
    def local(self) -> bool:
        """Whether this machine's device does the work."""
        worker = self.training.runner if self.training else self.model
        assert worker is not None  # an entry has a model or a training
        return worker.local

    @property
    def training_id(self) -> str | None:
        return self.training.job.training_id if self.training else None


def entries(loaded: LoadedSuite, splits: Splits, results: Path, *, rehearse: bool = False) -> list[Entry]:
    """Every arm of the suite in file order; a candidate with several seeds becomes one entry a seed.

    With `rehearse`, test doubles stand in for every model and runner that could cost money or time.
    """
    found: list[Entry] = []
    for label, spec in loaded.suite.arms.items():
        role: Literal["baseline", "candidate"] = "baseline" if label in loaded.suite.baselines else "candidate"
        examples = _examples(loaded, spec, f"{role}s.{label}", splits)
        bare = Entry(label, role, loaded.prompts.get(label), examples, loaded.suite.sampling_of(spec))
        if label in loaded.outputs:
            recorded = make_model("recorded", {"path": str(loaded.outputs[label])}, loaded.root)
            found.append(replace(bare, plugin="recorded", model=recorded))
        elif isinstance(spec, CandidateSpec):
            found += _trained(bare, spec, loaded, splits, results, rehearse=rehearse)
        elif rehearse:
            found.append(replace(bare, plugin=REHEARSAL, model=make_model(REHEARSAL, label, loaded.root)))
        else:
            chosen = loaded.models[label]
            found.append(replace(bare, plugin=chosen.name, model=chosen.instance))
    return found


def _examples(loaded: LoadedSuite, spec: ArmSpec | CandidateSpec, key: str, splits: Splits) -> tuple[Sample, ...]:
    if not spec.shots.n:
        return ()
    try:
        return choose_examples(splits.train.samples, spec.shots.n, spec.shots.seed)
    except ConfigError as error:
        raise ConfigError([replace(each, file=display(loaded.path), key=f"{key}.{each.key}") for each in error.problems]) from None


def _trained(bare: Entry, spec: CandidateSpec, loaded: LoadedSuite, splits: Splits, results: Path, *, rehearse: bool) -> list[Entry]:
    trainer, name, params = loaded.trainers[bare.label], REHEARSAL, {}
    if rehearse:
        plugin = registry.find("runners", REHEARSAL, loaded.root)
        runner: Runner = plugin(registry.options(plugin, None))
    else:
        name, params, runner = trainer.runner, trainer.params, loaded.runners[bare.label].instance
    rows = training_rows(bare.prompt, splits.train.samples, bare.examples)
    dev = training_rows(bare.prompt, splits.dev.samples, bare.examples)
    data = digest([[[m.as_dict() for m in chat] for chat in side] for side in (rows, dev)])
    folder = loaded.root / trainer.base  # a base may be a folder of the workspace
    own = runner.local and trainer.base != "embedded" and (folder / "config.json").is_file()
    base = str(folder) if own else trainer.base
    settings = {"base": base, "options": {} if rehearse else trainer.options}
    found = []
    seeds, checkpoint = spec.seeds, None if rehearse else spec.checkpoint
    for seed in seeds:
        label = bare.label if len(seeds) == 1 else f"{bare.label} (seed {seed})"
        key = digest([name, runner.identity(base), data, seed, *([trainer.model_dump()] if rehearse else [])])
        workdir = str(results / "trainings" / key)
        job = Job(key, digest(["training", key]), base, params, seed, rows, dev, workdir, label)
        found.append(replace(bare, label=label, training=Training(label, name, runner, job, settings, checkpoint)))
    return found


def endpoint_model(endpoint: Endpoint, root: Path) -> tuple[str, Model]:
    """The model plug-in that speaks to a served model, and its name. Services may show a new model to chat a little later."""
    plugin, argument = model_use(endpoint.model)
    taken = registry.find("models", plugin, root).Options
    options = {**({"fresh_s": FRESH_S} if "fresh_s" in taken.model_fields else {}), **endpoint.options}
    if options:
        argument = {taken.shorthand: argument, **options}
    return plugin, make_model(plugin, argument, root)


def make_model(plugin: str, argument: object, root: Path) -> Model:
    """An instance of a model plug-in with the argument as its options."""
    found = registry.find("models", plugin, root)
    model: Model = found(registry.options(found, argument))
    return model
