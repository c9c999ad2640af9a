"""What the arms of a suite need: prompts, models, trainers, recorded outputs; each checked where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from evalharness.data import template_fields
from evalharness.data.paths import data_root, display, resolve, resolve_all
from evalharness.data.rows import has_answer_name
from evalharness.errors import ConfigError, DataError, Problem
from evalharness.prompts import Prompt, read_prompt, variables
from evalharness.reading.plugins import At, Chosen, find, make, take
from evalharness.reading.problems import explain, nearest
from evalharness.reading.yamlfile import parse, read_text
from evalharness.spec import ArmSpec, CandidateSpec, DataSpec, Trainer

_Model = TypeVar("_Model", bound=BaseModel)
_BESIDE = {"serve", "prices"}
"""Parts of a trainer file beside `params` that are options of the runner, too."""


@dataclass(slots=True)
class Found:
    """What the arms name, by label, as far as it was in order; `problems` has the rest."""

    prompts: dict[str, Prompt | None] = field(default_factory=dict)
    models: dict[str, Chosen] = field(default_factory=dict)
    trainers: dict[str, Trainer] = field(default_factory=dict)
    runners: dict[str, Chosen] = field(default_factory=dict)
    outputs: dict[str, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def piece(model: type[_Model], value: object) -> _Model | None:
    """A part of the suite by itself, without the keys that are wrong in it: one mistake hides no other. None if that is nothing."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
        if not wrong or not isinstance(value, Mapping) or not wrong & set(value):
            return None
        return piece(model, {key: each for key, each in value.items() if key not in wrong})


def is_whole(part: BaseModel, value: object) -> bool:
    """Whether no key of the value was wrong: nobody should be told that something is missing which is only misspelt."""
    return isinstance(value, Mapping) and part.model_fields_set == set(value)


def check_data(raw: Mapping[str, Any], at: At, problems: list[Problem]) -> tuple[DataSpec | None, frozenset[str] | None]:
    """The data part, and the names that templates may use (None if the rows cannot tell)."""
    spec = piece(DataSpec, raw.get("data"))
    if spec is None:
        return None, None
    try:
        resolve_all(spec, at.root)
    except ConfigError as error:
        problems.extend(at.below("data").place(error))
        return spec, None
    try:
        return spec, template_fields(spec, at.root)
    except DataError:  # loading the rows tells what is wrong with them, all of it
        return spec, None


class Arms:
    """Checks one arm after the other; a prompt or trainer that several arms share is read once."""

    def __init__(self, raw: Mapping[str, Any], data: DataSpec | None, fields: frozenset[str] | None, at: At) -> None:
        self.raw, self.data, self.fields, self.at = raw, data, fields, at
        self.found = Found()
        self._trainable = data is None or data.train is not None or data.divides or not is_whole(data, raw.get("data"))
        self._prompts: dict[str, Prompt | None] = {}
        self._trainers: dict[Path, Trainer | None] = {}

    def check(self) -> Found:
        """Everything that the arms name, and every problem with it."""
        for part, model in (("baselines", ArmSpec), ("candidates", CandidateSpec)):
            entries = self.raw.get(part)
            for label, value in entries.items() if isinstance(entries, Mapping) else ():
                arm = piece(model, value)
                if arm is not None:
                    self._arm(label, arm, self.at.below(part, label))  # type: ignore[arg-type]
        return self.found

    def _arm(self, label: str, arm: ArmSpec | CandidateSpec, at: At) -> None:
        if arm.outputs is not None:
            self._outputs(label, arm.outputs, at.below("outputs"))
            return
        self._prompt(label, arm, at)
        if arm.shots.n and not self._trainable:
            self._tell(at.below("shots").problem("few-shot examples come from training rows, and there are none", "Add data.train"))
        if isinstance(arm, ArmSpec):
            self._keep(self.found.models, label, take("models", arm.model, at.below("model"), self.found.problems))
        else:
            self._candidate(label, arm, at)

    def _tell(self, problem: Problem) -> None:
        if problem not in self.found.problems:
            self.found.problems.append(problem)

    @staticmethod
    def _keep(kept: dict[str, Chosen], label: str, chosen: Chosen | None) -> None:
        if chosen is not None:
            kept[label] = chosen

    def _outputs(self, label: str, name: str, at: At) -> None:
        if self.data is None:
            return
        try:
            self.found.outputs[label] = resolve("", name, data_root(self.data, self.at.root), rows=False)
        except ConfigError as error:
            self.found.problems.extend(at.place(error))

    def _prompt(self, label: str, arm: ArmSpec | CandidateSpec, at: At) -> None:
        own = "prompt" in arm.model_fields_set
        value = arm.prompt if own else self.raw.get("prompt")
        if not isinstance(value, str):
            self.found.prompts[label] = None
            return
        if value not in self._prompts:
            self._prompts[value] = self._read_prompt(value, (at if own else self.at).below("prompt"))
        self.found.prompts[label] = self._prompts[value]

    def _read_prompt(self, value: str, at: At) -> Prompt | None:
        try:
            prompt = read_prompt(value, self.at.root)
        except ConfigError as error:
            self.found.problems.extend(at.place(error))
            return None
        for name in sorted(variables(prompt) - (self.fields or frozenset()) - {"input", "examples"} if self.fields is not None else ()):
            found, fix = f"the template names {{{{ {name} }}}}, which the rows do not have", self._field_hint(name)
            self._tell(Problem(prompt.source, "", found, fix) if prompt.source else at.problem(found, fix))
        return prompt

    def _field_hint(self, name: str) -> str:
        if self.data is not None and has_answer_name(name, self.data):
            return "It is the answer: a prompt must not see it"
        renamed = [mine for mine, columns in self.data.fields.items() if name in columns] if self.data is not None else []
        return f"data.fields calls it {renamed[0]!r}" if renamed else nearest(name, [*(self.fields or ()), "examples"])

    def _candidate(self, label: str, arm: CandidateSpec, at: At) -> None:
        if not self._trainable:
            self._tell(at.problem("a candidate needs training rows, and there are none", "Add data.train"))
        if isinstance(arm.train, Trainer):
            self._train(label, arm, arm.train, at.below("train"), at)
            return
        file = self.at.root / "trainers" / f"{arm.train}.yaml"
        trainer = self._trainer(file, at.below("train"))
        if trainer is not None:
            self._train(label, arm, trainer, At(display(file), (), self.at.root), at)

    def _trainer(self, file: Path, at: At) -> Trainer | None:
        if file not in self._trainers:
            self._trainers[file] = self._read_trainer(file, at)
        return self._trainers[file]

    def _read_trainer(self, file: Path, at: At) -> Trainer | None:
        if not file.is_file():
            there = [each.stem for each in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
            self._tell(at.problem(f"there is no file {display(file)}", nearest(file.stem, there)))
            return None
        try:
            raw = parse(read_text(file), display(file))
            return Trainer.model_validate(raw)
        except ConfigError as error:
            self.found.problems.extend(error.problems)
        except ValidationError as error:
            self.found.problems.extend(explain(error, raw, Trainer, display(file)))
        return None

    def _train(self, label: str, arm: CandidateSpec, trainer: Trainer, where: At, at: At) -> None:
        """The runner with the trainer's settings under the candidate's; what is wrong is told in the file where it stands."""
        pinned = {} if trainer.revision is None else {"revision": trainer.revision}
        merged = trainer.model_copy(update={"params": {**trainer.params, **pinned, **arm.params}})
        self.found.trainers[label] = merged
        told: list[Problem] = []
        plugin = find("runners", trainer.runner, where.below("runner"), told)
        settings: list[Problem] = []
        options = merged.options
        if plugin is not None:
            for part in _BESIDE & set(options) - set(plugin.Options.model_fields):
                told.append(where.below(part).problem(f"the runner {trainer.runner!r} takes no {part!r}", "Take it out"))
                del options[part]
        chosen = make(trainer.runner, plugin, options, At("", (), self.at.root), settings) if plugin is not None else None
        for problem in [*told, *(_placed(each, arm, where.below("params"), at.below("params")) for each in settings)]:
            self._tell(problem)
        self._keep(self.found.runners, label, chosen)


def _placed(problem: Problem, arm: CandidateSpec, trainer: At, candidate: At) -> Problem:
    """A problem with a setting, put at the candidate if that gives the setting, else at the trainer."""
    name = problem.key.split(".")[0].split("[")[0]
    if name in _BESIDE and name not in arm.params:
        trainer = replace(trainer, key=trainer.key[:-1])  # they stand beside params
    at = candidate if name in arm.params else trainer
    return at.below(*([problem.key] if problem.key else [])).problem(problem.found, problem.fix)
