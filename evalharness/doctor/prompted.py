"""Held-out inputs typed into a prompt: in its running text, or as a line of their own.

>>> lines(Prompt("Sort mails.\\nQ: Where is my card?\\nA: card_arrival"))
['Sort mails.', 'Q: Where is my card?', 'Where is my card?', 'A: card_arrival', 'card_arrival']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

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


def in_prompts(index: Index, near: Sequence[tuple[int, str]], case: Case) -> Iterator[Finding]:
    """One finding a prompt that holds inputs of test or dev; an error if one is of test.

    `near` are rows (by position) and the lines of prompts that differ from them in few words.
    """
    for prompt, labels in prompts_of(case.loaded).values():
        texts = set(lines(prompt))
        found = dict.fromkeys(_held(prompt, index), "")
        for position, text in near:
            if text in texts:
                found |= dict.fromkeys(_like(index, position), text)
        rows = [(row, "" if _whole(prompt, row) else found[row.number]) for row in case.read(found)]
        rows = [(row, text) for row, text in rows if text or _whole(prompt, row)]
        if rows:
            yield _finding(prompt, labels, rows)


def _held_out(index: Index) -> npt.NDArray[np.bool_]:
    """Held-out rows. One whose input is also an answer ("Pending transfer?" beside the label pending_transfer) tells nothing."""
    held = (index.side == SIDES.index("test")) | (index.side == SIDES.index("dev"))
    told: npt.NDArray[np.bool_] = held & ~np.isin(index.plain, index.target)
    return told


def _held(prompt: Prompt, index: Index) -> list[int]:
    """Numbers of held-out rows that begin like something in the prompt, or are a line of it."""
    text, alone = _read(prompt)
    words = text.split()
    heads = {mark(" ".join(words[k : k + HEAD])) for k in range(len(words) - HEAD + 1)}
    like = np.isin(index.head, np.asarray(sorted(heads), np.uint64)) | np.isin(index.plain, np.asarray(sorted(alone), np.uint64))
    found: list[int] = index.number[_held_out(index) & like].tolist()
    return found


@lru_cache(maxsize=1)
def _read(prompt: Prompt) -> tuple[str, frozenset[int]]:
    """The prompt's text, normalised, and the marks of its lines."""
    return normal(prompt.text), frozenset(mark(line) for line in map(normal, lines(prompt)) if len(line.split()) >= _FEWEST_WORDS)


def _whole(prompt: Prompt, row: SeenRow) -> bool:
    """Whether the row's whole input stands in the prompt, between other words or as a line."""
    key, (text, alone) = input_key(row.sample), _read(prompt)
    return mark(key) in alone or f" {' '.join(key.split())} " in f" {text} "


def _like(index: Index, position: int) -> list[int]:
    found: list[int] = index.number[_held_out(index) & (index.plain == index.plain[position])].tolist()
    return found


def _finding(prompt: Prompt, labels: list[str], rows: list[tuple[SeenRow, str]]) -> Finding:
    where = prompt.source or f"the prompt of {labels[0]}"
    tests = sum(row.side == "test" for row, _ in rows)
    bad: Severity = "error" if tests else "warning"
    side = "test" if tests == len(rows) else "dev" if not tests else "held-out"
    few = sum(bool(text) for _, text in rows)
    changed = f" ({few:,} of them with few words changed)" if few else ""
    found = f"{where} ({', '.join(labels)}) holds the input of {len(rows):,} {side} {'row' if len(rows) == 1 else 'rows'}{changed}"
    fix = "Take them out of the prompt, or out of the held-out rows"
    rows.sort(key=lambda each: each[0].side != "test")
    worst = tuple(
        Place(row.sample.source, excerpt(row.sample.input), _line(prompt, text or row.sample.input, where))
        for row, text in rows[:MOST_PLACES]
    )
    numbers = tuple(sorted(row.number for row, _ in rows))
    return Finding("leak.prompt", bad, len(rows), f"{found}: the prompt may give answers away", fix, worst, about=numbers)


def _line(prompt: Prompt, text: str, where: str) -> str:
    """The prompt's line where the text stands, as far as it stands in one."""
    key = normal(text)
    at = next((k for k, line in enumerate(prompt.text.splitlines(), 1) if key in normal(line)), None)
    return where if at is None else f"{where}:{at}"
