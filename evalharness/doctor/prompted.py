"""Held-out inputs typed into a prompt: in its running text, or as a line of their own.

>>> lines(Prompt("Sort mails.\\nQ: Where is my card?\\nLost it -> card_lost"))
['Sort mails.', 'Q: Where is my card?', 'Where is my card?', 'Lost it -> card_lost', 'card_lost', 'Lost it']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from evalharness.data.leaks import input_key, input_words, normal, squeezed
from evalharness.doctor.findings import MOST_PLACES, Case, Finding, Place, SeenRow, Severity
from evalharness.doctor.index import HEAD, SIDES, Index, bare, mark
from evalharness.doctor.secrets import excerpt
from evalharness.prompts import Prompt
from evalharness.reading import LoadedSuite

IDS = ("leak.prompt",)
_LABEL = re.compile(r"\s*[\w .#()-]{0,30}?(?::|->|→|=>|=|\|)\s*")
_BREAK = re.compile(r"""["“”„«»「」『』<>|`\t]|->|→|=>|⇒|(?<!\w)'|'(?!\w)""")
"""What a text is set off by: quotes, tags, cells, arrows."""
_FEWEST_WORDS = 2
_SIGN_WEIGHT = 0.5
"""Two characters of a script without spaces say about as much as a word."""
_MOST_SYSTEMS = 100
_LONGEST_SYSTEM = 1 << 16


class Systems:
    """System prompts that several rows share: an arm without a prompt of its own asks with them."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

    def see(self, row: SeenRow) -> None:
        """One row; where every row has a text of its own, there is nothing to keep."""
        first = row.sample.messages[0]
        if (
            first.role == "system"
            and len(first.content) <= _LONGEST_SYSTEM
            and (first.content in self._seen or len(self._seen) < _MOST_SYSTEMS)
        ):
            source, count = self._seen.get(first.content, (row.sample.source, 0))
            self._seen[first.content] = (source, count + 1)

    def prompts(self) -> list[Prompt]:
        """Those of more than one row; their source is the first one."""
        return [Prompt(text, f"the system prompt of {source}") for text, (source, count) in self._seen.items() if count > 1]


def prompts_of(loaded: LoadedSuite, systems: Sequence[Prompt] = ()) -> dict[str, tuple[Prompt, list[str]]]:
    """Text -> the prompt and the labels of the arms that have it; arms without one have those of the rows."""
    found: dict[str, tuple[Prompt, list[str]]] = {}
    for label, prompt in loaded.prompts.items():
        for each in systems if prompt is None else [prompt]:
            found.setdefault(each.text, (each, []))[1].append(label)
    return found


def lines(prompt: Prompt) -> list[str]:
    """Each line of the prompt, what is set off in it, and what follows a label there ("Q: ...", "Input -> ...")."""
    found = []
    for line in prompt.text.splitlines():
        set_off = [piece for piece in _BREAK.split(line) if _weight(bare(normal(piece))) >= _FEWEST_WORDS]  # a "yes" tells nothing
        for piece in dict.fromkeys([line, *set_off]):
            label = _LABEL.match(piece)
            found += [piece, *([piece[label.end() :]] if label else [])]
    return list(dict.fromkeys(text.strip() for text in found if text.strip()))


def in_prompts(
    index: Index, near: Sequence[tuple[int, str]], prompts: Mapping[str, tuple[Prompt, list[str]]], case: Case
) -> Iterator[Finding]:
    """One finding a prompt (by text, with the arms that have it) that holds inputs of test or dev; an error if one is of test.

    `near` are rows (by position) and the lines of prompts that differ from them in few words.
    """
    for prompt, labels in prompts.values():
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
    """The prompt's words, and the marks of its lines."""
    return " ".join(bare(normal(prompt.text))), frozenset(
        mark(squeezed(line)) for line in map(normal, lines(prompt)) if _weight(bare(line)) >= _FEWEST_WORDS
    )


def _whole(prompt: Prompt, row: SeenRow) -> bool:
    """Whether the row's whole input stands in the prompt, between other words or as a line."""
    words, (text, alone) = bare(input_words(row.sample)), _read(prompt)
    return mark(input_key(row.sample)) in alone or (_weight(words) >= HEAD and f" {' '.join(words)} " in f" {text} ")


def _weight(words: Sequence[str]) -> float:
    return sum(1 if word.isascii() or len(word) > 1 else _SIGN_WEIGHT for word in words)


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
    key = " ".join(bare(normal(text)))
    at = next((k for k, line in enumerate(prompt.text.splitlines(), 1) if key in " ".join(bare(normal(line)))), None)
    return where if at is None else f"{where}:{at}"
