"""Training rows that are cut and lose part of their answer, and questions that leave no room for theirs.

>>> fits([Message("user", "2+2?")], 1024)
True

Tokens are counted by the base model's own tokenizer where it is on this machine (embedded, a folder, or in the hub's cache), otherwise
estimated at four characters each, and said so. Rows are rendered with the arm's prompt and examples. The longest rows are all
looked at; where even they do not reach down to those that fit, a sample of the others tells about how many there are.
"""

from __future__ import annotations

import importlib.util
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

from evalharness.bases import resolve
from evalharness.doctor.findings import MOST_PLACES, BrokenRow, Case, Finding, Place, SeenRow, Severity
from evalharness.doctor.secrets import excerpt
from evalharness.doctor.wording import many
from evalharness.errors import ConfigError
from evalharness.prompts import Prompt, choose_examples, render, training_rows
from evalharness.reading import LoadedSuite
from evalharness.records import Message, Sample

LONGEST, SAMPLED = 2000, 1000
CHARACTERS_A_TOKEN = 4
_PER_TURN, _PER_CHAT = 32, 128
"""More tokens than chat templates put around a turn and a chat."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose tokens are counted: a folder or hub id, and its revision; nothing of it is known for a service's own model."""

    name: str = ""
    revision: str | None = None


@dataclass(slots=True)
class Check:
    """One way to render rows, with one limit in tokens. `reserve` tokens of it are for the answer of a test row."""

    side: str
    arms: list[str]
    prompt: Prompt | None
    shots: tuple[int, int]
    base: Origin
    limit: int
    reserve: int = 0
    examples: tuple[Sample, ...] = ()
    estimated: bool = False
    over: list[tuple[int, Place]] = field(default_factory=list)
    """(tokens beyond the limit, which row) of the worst ones."""
    counts: dict[str, int] = field(default_factory=lambda: {"longest": 0, "sampled": 0, "no_room": 0, "last": 0})

    def look(self, row: SeenRow, part: str, *, last: bool) -> None:
        """Count the row if it is too long; a row that cannot be rendered is for other rules to tell."""
        try:
            prompt, total = self._tokens(row.sample)
        except ConfigError:
            return
        needed = total if self.side == "train" else prompt + self.reserve
        if needed <= self.limit:
            return
        self.counts[part] += 1
        self.counts["last"] += last
        self.counts["no_room"] += prompt >= self.limit
        self.over.append((needed - self.limit, Place(row.sample.source, excerpt(row.sample.input, 80), f"{needed:,} tokens")))
        if len(self.over) > 4 * MOST_PLACES:
            self.over = self.worst()

    def worst(self) -> list[tuple[int, Place]]:
        return sorted(self.over, key=lambda each: -each[0])[:MOST_PLACES]

    def _tokens(self, sample: Sample) -> tuple[int, int]:
        """Tokens of the prompt, and of prompt and answer; (0, 0) where no count is needed to know that it fits."""
        if self.side == "train":
            chat = training_rows(self.prompt, [sample], self.examples)[0]
        else:
            chat = render(self.prompt, sample, self.examples)
        if fits(chat, self.limit - self.reserve):
            return 0, 0
        tokenizer = _tokenizer(self.base)
        if tokenizer is None:
            self.estimated = True
            sizes = [len(message.content) // CHARACTERS_A_TOKEN + 4 for message in chat]
            return (sum(sizes[:-1]), sum(sizes)) if self.side == "train" else (sum(sizes), 0)
        from evalharness.causal import encode_example, encode_prompt

        if self.side != "train":
            return len(encode_prompt(tokenizer, chat)), 0
        example = encode_example(tokenizer, chat, 1 << 60)
        return example.answer_start, len(example.ids)


class Truncated:
    """Rows beyond what a training takes, or beyond the context of a model on this machine."""

    ids: tuple[str, ...] = ("truncated.train", "truncated.test")
    cheap = False

    def __init__(self) -> None:
        self._numbers = {"train": array("Q"), "test": array("Q")}
        self._sizes = {"train": array("Q"), "test": array("Q")}

    def see(self, row: SeenRow) -> None:
        if row.side in self._numbers:
            sample = row.sample
            self._numbers[row.side].append(row.number)
            self._sizes[row.side].append(sum(len(m.content) for m in sample.messages) + sum(map(len, sample.targets[:1])))

    def broken(self, row: BrokenRow) -> None:
        """A row without a sample is not sent anywhere."""

    def findings(self, case: Case) -> Iterator[Finding]:
        checks = [check for check in [*_trainings(case.loaded), *_answers(case.loaded)] if self._numbers[check.side]]
        if not checks:
            return
        self._choose_examples(checks, case)
        parts = {side: self._chosen(side) for side in {check.side for check in checks}}
        where = {number: (side, part, last) for side, each in parts.items() for number, (part, last) in each.items()}
        for row in case.read(where):
            side, part, last = where[row.number]
            for check in checks:
                if check.side == side:
                    check.look(row, part, last=last)
        for check in checks:
            yield from _finding(check, len(self._numbers[check.side]))

    def _chosen(self, side: str) -> dict[int, tuple[str, bool]]:
        """Row number -> which part it is of; and whether it is among the shortest of the longest."""
        numbers, sizes = self._numbers[side], self._sizes[side]
        order = sorted(range(len(numbers)), key=lambda i: (-sizes[i], i))
        found = {numbers[i]: ("longest", place >= LONGEST - LONGEST // 10) for place, i in enumerate(order[:LONGEST])}
        rest = sorted((numbers[i] for i in order[LONGEST:]), key=lambda number: crc32(b"%d" % number))
        return found | dict.fromkeys(rest[:SAMPLED], ("sampled", False))

    def _choose_examples(self, checks: Sequence[Check], case: Case) -> None:
        known: dict[tuple[int, int], tuple[Sample, ...]] = {}
        for check in checks:
            if check.shots[0] and check.shots not in known:
                known[check.shots] = _examples(case.read(self._numbers["train"]), *check.shots)
            check.examples = known.get(check.shots, ())


def fits(chat: Sequence[Message], limit: int) -> bool:
    """Whether the chat is within the limit for any tokenizer: none makes more tokens than there are bytes."""
    size = sum(len(message.content) for message in chat)
    if size + _PER_TURN * len(chat) + _PER_CHAT > limit:
        return False
    return all(m.content.isascii() for m in chat) or (
        sum(len(m.content.encode("utf-8", "surrogatepass")) for m in chat) + _PER_TURN * len(chat) + _PER_CHAT <= limit
    )


def _examples(rows: Iterable[SeenRow], n: int, seed: int) -> tuple[Sample, ...]:
    """The few-shot examples, chosen piece by piece: the best of all are the best of each piece's best."""
    kept: list[Sample] = []
    rows = iter(rows)
    while piece := [row.sample for row in islice(rows, 5000)]:
        kept += piece
        try:
            kept = list(choose_examples(kept, n, seed))
        except ConfigError:  # fewer than n different ones up to here
            continue
    return tuple(kept[:n])


def _trainings(loaded: LoadedSuite) -> list[Check]:
    """What candidates are trained on, one check for those that differ in nothing that matters here."""
    found: dict[object, Check] = {}
    for label, chosen in loaded.runners.items():
        trainer, spec = loaded.trainers[label], loaded.suite.candidates[label]
        base = Origin(resolve(trainer.base, loaded.root), trainer.revision or getattr(chosen.options, "revision", None))
        limit = _train_limit(chosen.name, chosen.options, base)
        if limit is not None:
            shots = (spec.shots.n, spec.shots.seed)
            key = (loaded.prompts.get(label), shots, base, limit)
            found.setdefault(key, Check("train", [], loaded.prompts.get(label), shots, base, limit)).arms.append(label)
    return list(found.values())


def _train_limit(runner: str, options: Any, base: Origin) -> int | None:
    """Tokens after which a training row is cut, dropped or refused; None where nobody knows."""
    if runner == "vertex":
        from evalharness.runners.vertex.rows import MAX_TOKENS

        return MAX_TOKENS
    stated = [value for name in ("max_length", "max_context_length") if isinstance(value := getattr(options, name, None), int)]
    context = _context(base) if hasattr(options, "max_length") else None
    return min([*stated, *([context] if context else [])], default=None)


def _answers(loaded: LoadedSuite) -> list[Check]:
    """What models on this machine are asked; a service's context is its own affair."""
    found: dict[object, Check] = {}
    for label, spec in loaded.suite.arms.items():
        chosen = loaded.models.get(label) or loaded.runners.get(label)
        if chosen is None or not chosen.instance.local:
            continue
        name = loaded.trainers[label].base if label in loaded.trainers else getattr(chosen.options, "name", "")
        base = Origin(resolve(name, loaded.root), getattr(chosen.options, "revision", None))
        context, reserve = _context(base), loaded.suite.sampling_of(spec).max_tokens
        if context is not None:
            shots = (spec.shots.n, spec.shots.seed)
            key = (loaded.prompts.get(label), shots, base, reserve)
            found.setdefault(key, Check("test", [], loaded.prompts.get(label), shots, base, context, reserve)).arms.append(label)
    return list(found.values())


def _finding(check: Check, rows: int) -> Iterator[Finding]:
    reached = rows <= LONGEST or not check.counts["last"]
    rest = rows - LONGEST
    count = check.counts["longest"] if reached else check.counts["longest"] + round(check.counts["sampled"] * rest / min(SAMPLED, rest))
    if not count:
        return
    about = "about " if not reached or check.estimated else ""
    how = f", at {CHARACTERS_A_TOKEN} characters a token, because the model's own tokenizer is not here" if check.estimated else ""
    arms = ", ".join(check.arms)
    figures = {"limit": check.limit, "share": count / rows, "no_room": check.counts["no_room"], "tokens_estimated": int(check.estimated)}
    places = tuple(place for _, place in check.worst())
    if check.side == "train":
        lost = check.counts["no_room"]
        severity: Severity = "error" if lost and not check.estimated else "warning"
        whole = f"; the whole answer of {lost:,} of them" if lost else ""
        said = f"{about}{many(count, 'training row')} of {arms} with more than {check.limit:,} tokens lose part of the answer{whole}{how}"
        fix = "Raise max_length if the base model's context allows, shorten the prompt, or take the rows out"
        yield Finding("truncated.train", severity, count, said, fix, places, figures=figures)
        return
    none = f"; {check.counts['no_room']:,} of them cannot be asked at all" if check.counts["no_room"] else ""
    said = (
        f"{about}{many(count, 'test question')} of {arms} with an answer of {check.reserve:,} tokens exceed the model's context of "
        f"{check.limit:,}{none}{how}"
    )
    fix = "Lower sampling.max_tokens, use fewer examples, or choose a model with a longer context"
    yield Finding("truncated.test", "warning", count, said, fix, places, figures=figures)


@lru_cache(maxsize=8)
def _tokenizer(base: Origin) -> Any:
    """The base's tokenizer with its chat template, or None where it is not on this machine. Nothing is fetched, no code of it run."""
    if not base.name or importlib.util.find_spec("transformers") is None:
        return None
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(base.name, revision=base.revision or "main", local_files_only=True)
    except (OSError, ValueError):
        return None
    return found if found.chat_template is not None else None


def _context(base: Origin) -> int | None:
    """Tokens of the base's context by its config, where that is on this machine."""
    path = Path(base.name) / "config.json"
    if not path.is_file():
        if importlib.util.find_spec("huggingface_hub") is None or not re.fullmatch(r"[\w.-]+/[\w.-]+", base.name):
            return None
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(base.name, "config.json", revision=base.revision)
        if not isinstance(cached, str):
            return None
        path = Path(cached)
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    found = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    return found if isinstance(found, int) else None
