"""Prompts: Jinja2 templates in a sandbox, few-shot examples, and the chats that models and trainings get.

>>> sample = Sample.of([Message("user", "2+2?")], ["4"])
>>> [m.content for m in render(Prompt("Answer with one number."), sample, ())]
['Answer with one number.', '2+2?']
>>> [m.content for m in render(Prompt("Q: {{ input }} A:"), sample, ())]
['Q: 2+2? A:']

A template without `input` is the system message; one with `input` is the user's turn. A template that names `examples`
places the few-shot examples itself, otherwise they stand as turns before the question.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evalharness.errors import ConfigError, DataError, Problem
from evalharness.ids import digest
from evalharness.records import Message, Sample

_FILE = re.compile(r"[^\n{}]+\.(md|txt|j2|jinja)")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template's text and where it came from (a file's path, or "" for text in the suite)."""

    text: str
    source: str = ""

    def identity(self) -> dict[str, str]:
        """What an arm's hash holds of the prompt: its text, not its file's name."""
        return {"text": digest(self.text)}


def read_prompt(value: str, root: Path) -> Prompt:
    """The prompt that a suite names: a file below `root` if it ends in .md, .txt, .j2 or .jinja, else the text itself.

    Raises ConfigError for a file that is not there or not UTF-8, and for a template that is none.
    """
    prompt = _from_file(root / value, value) if _FILE.fullmatch(value) else Prompt(value)
    if not prompt.text.strip():
        raise ConfigError([Problem(prompt.source, "", "the prompt is empty", "Write prompt: null for none")])
    variables(prompt)
    if any(meta.find_referenced_templates(_environment().parse(prompt.text))):
        found = "the template includes or extends another one"
        raise ConfigError([Problem(prompt.source, "", found, "A prompt is one file: copy what it needs into it")])
    return prompt


def _from_file(path: Path, name: str) -> Prompt:
    try:
        return Prompt(path.read_text("utf-8-sig"), name)
    except OSError:
        raise ConfigError([Problem("", "", f"there is no file {name}", "Text of more than a file name stands for itself")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(name, "", f"byte {error.start + 1} is not UTF-8", "Save the file as UTF-8")]) from None


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    return _environment().from_string(text)


@lru_cache(maxsize=256)
def _names(text: str) -> frozenset[str]:
    environment = _environment()
    _template(text)  # finds unknown filters and tests, which parsing alone does not
    return frozenset(meta.find_undeclared_variables(environment.parse(text))) - frozenset(environment.globals)


def variables(prompt: Prompt) -> frozenset[str]:
    """The names that the template takes from a row (`input`, its columns) or from evalh (`examples`).

    Raises ConfigError with the line of a syntax error.
    """
    try:
        return _names(prompt.text)
    except TemplateSyntaxError as error:
        where = f"{prompt.source}:{error.lineno}" if prompt.source else ""
        found = f"the template has an error in line {error.lineno}: {(error.message or '').rstrip('.')}"
        raise ConfigError([Problem(where, "", found, "Templates are written in Jinja2, e.g. {{ input }}")]) from None


def render(prompt: Prompt | None, sample: Sample, examples: Sequence[Sample]) -> tuple[Message, ...]:
    """The chat that asks for this sample's answer: no target in it but those of the examples.

    Raises DataError (the prompt, the row) for a field that the row does not have.
    """
    turns = _turns(sample)
    if prompt is None:
        own = tuple(m for m in sample.messages if m.role == "system")
        return (*own, *_as_turns(None, examples), *turns)
    names = variables(prompt)
    shown = () if "examples" in names else tuple(examples)
    text = _fill(prompt, sample, examples)
    if "input" not in names:
        return (Message("system", text), *_as_turns(None, shown), *turns)
    return (*_as_turns(prompt, shown), *_with_last(turns, text))


def _turns(sample: Sample) -> tuple[Message, ...]:
    return tuple(message for message in sample.messages if message.role != "system")


def _with_last(turns: Sequence[Message], text: str) -> tuple[Message, ...]:
    """The turns with the text in place of the last user turn; what went before it stays."""
    last = max(i for i, turn in enumerate(turns) if turn.role == "user")
    return (*turns[:last], Message("user", text), *turns[last + 1 :])


def _as_turns(prompt: Prompt | None, examples: Sequence[Sample]) -> tuple[Message, ...]:
    """Each example as question and answer; with a prompt, the question is the filled template."""
    chat: list[Message] = []
    for example in examples:
        turns = _turns(example)
        chat += turns if prompt is None else _with_last(turns, _fill(prompt, example, ()))
        chat.append(Message("assistant", example.targets[0]))
    return tuple(chat)


def _fill(prompt: Prompt, sample: Sample, examples: Sequence[Sample]) -> str:
    shown = [{**example.fields, "input": example.input, "target": example.targets[0]} for example in examples]
    return fill(prompt, {**sample.fields, "input": sample.input, "examples": shown}, sample)


def fill(prompt: Prompt, values: Mapping[str, object], sample: Sample) -> str:
    """The template with these values in it. Raises DataError (the prompt, the sample's row) for a value that is not there."""
    try:
        text = _template(prompt.text).render(values)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        where = f"{prompt.source or 'the prompt'}: row {sample.source or sample.id}"
        known = ", ".join(sorted(values))
        raise DataError([Problem(where, "", f"cannot be filled: {error}", f"Fields of the row: {known}")]) from None
    return text.strip("\n")


def choose_examples(train: Sequence[Sample], n: int, seed: int) -> tuple[Sample, ...]:
    """n different training rows by hash of seed and content: the same ones whatever the order of the file.

    Raises ConfigError if there are fewer than n.
    """
    different = {digest([[m.as_dict() for m in sample.messages], sample.targets]): sample for sample in reversed(train)}
    if n > len(different):
        raise ConfigError([Problem("", "shots", f"{n} examples, but {len(different)} different training rows", "Lower it")])
    ranked = sorted(different, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    return tuple(different[key] for key in ranked[:n])


def training_rows(prompt: Prompt | None, train: Sequence[Sample], examples: Sequence[Sample]) -> tuple[tuple[Message, ...], ...]:
    """Each training row as the chat that an arm with this prompt sees, plus the answer; a row is never its own example."""
    return tuple(
        (*render(prompt, sample, [e for e in examples if e.messages != sample.messages]), Message("assistant", sample.targets[0]))
        for sample in train
    )
