"""Held-out inputs typed into a prompt: in its running text, or as a line of their own.

>>> lines(Prompt("Sort mails.\\nQ: Where is my card?\\nA: card_arrival"))
['Sort mails.', 'Q: Where is my card?', 'Where is my card?', 'A: card_arrival', 'card_arrival']
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from evalharness.data.leaks import input_key, normal
from evalharness.doctor.findings import MOST_PLACES, Case, Finding, Place, SeenRow, Severity
from evalharness.doctor.index import HEAD, SIDES, Index, mark
from evalharness.doctor.secrets import excerpt
from evalharness.prompts import Prompt
from evalharness.reading import LoadedSuite

IDS = ("leak.prompt",)
_LABEL = re.compile(r"\s*[\w .#()-]{0,30}?(?::|->|→|=>|=|\|)\s*")
_FEWEST_WORDS = 2


def prompts_of(loaded: LoadedSuite) -> dict[str, tuple[Prompt, list[str]]]:
    """Text -> the prompt and the labels of the arms that have it."""
    found: dict[str, tuple[Prompt, list[str]]] = {}
    for label, prompt in loaded.prompts.items():
        if prompt is not None:
            found.setdefault(prompt.text, (prompt, []))[1].append(label)
    return found


def lines(prompt: Prompt) -> list[str]:
    """Each line of the prompt, and what follows a label in it ("Q: ...", "Input -> ...")."""
    found = []
    for line in prompt.text.splitlines():
        label = _LABEL.match(line)
        found += [line, *([line[label.end() :]] if label else [])]
    return [line for line in found if line.strip()]


def in_prompts(index: Index, case: Case) -> Iterator[Finding]:
    """One finding a prompt that holds inputs of test or dev; an error if one is of test."""
    for prompt, labels in prompts_of(case.loaded).values():
        rows = list(_held(prompt, index, case))
        if rows:
            yield _finding(prompt, labels, rows)


def _held(prompt: Prompt, index: Index, case: Case) -> Iterator[SeenRow]:
    """Held-out rows whose whole input stands in the prompt, between other words or as a line.

    An input that is also an answer ("Pending transfer?" beside the label pending_transfer) is no sign: prompts list labels.
    """
    text = normal(prompt.text)
    words = text.split()
    heads = {mark(" ".join(words[k : k + HEAD])) for k in range(len(words) - HEAD + 1)}
    alone = {mark(line) for line in map(normal, lines(prompt)) if len(line.split()) >= _FEWEST_WORDS}
    held = (index.side == SIDES.index("test")) | (index.side == SIDES.index("dev"))
    known = np.asarray(sorted(heads), np.uint64), np.asarray(sorted(alone), np.uint64)
    near = held & (np.isin(index.head, known[0]) | np.isin(index.plain, known[1])) & ~np.isin(index.plain, index.target)
    for row in case.read(index.number[near].tolist()):
        key = " ".join(input_key(row.sample).split())
        if mark(input_key(row.sample)) in alone or f" {key} " in f" {text} ":
            yield row


def _finding(prompt: Prompt, labels: list[str], rows: list[SeenRow]) -> Finding:
    where = prompt.source or f"the prompt of {labels[0]}"
    tests = sum(row.side == "test" for row in rows)
    bad: Severity = "error" if tests else "warning"
    side = "test" if tests == len(rows) else "dev" if not tests else "held-out"
    found = f"{where} ({', '.join(labels)}) holds the input of {len(rows):,} {side} {'row' if len(rows) == 1 else 'rows'}"
    fix = "Take them out of the prompt, or out of the held-out rows"
    rows.sort(key=lambda row: row.side != "test")
    worst = tuple(Place(row.sample.source, excerpt(row.sample.input), _line(prompt, row, where)) for row in rows[:MOST_PLACES])
    return Finding("leak.prompt", bad, len(rows), f"{found}: the prompt may give answers away", fix, worst)


def _line(prompt: Prompt, row: SeenRow, where: str) -> str:
    """The prompt's line where the input stands, as far as it stands in one."""
    key = normal(row.sample.input)
    at = next((k for k, line in enumerate(prompt.text.splitlines(), 1) if key in normal(line)), None)
    return where if at is None else f"{where}:{at}"
