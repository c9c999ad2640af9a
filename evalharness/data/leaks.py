"""The leak rule: a held-out input must not be among the rows that a candidate or a few-shot prompt learns from.

>>> normal("  Where's my card??") == normal("WHERE’S MY CARD")
True

Two inputs are the same if they are equal after NFKC, case folding, and collapsing punctuation and space. Whether words are written
apart is no difference, since punctuation may have been deleted or replaced: "don't", "don t" and "dont", "top-up" and "top up".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from evalharness.errors import DataError, Problem
from evalharness.records import Sample


class _Plain(dict[int, str | int]):
    """Translation table, filled as characters come: punctuation and space become a space, invisible ones nothing."""

    def __missing__(self, code: int) -> str | int:
        category = unicodedata.category(chr(code))
        self[code] = " " if category[0] in "PZ" or category == "Cc" else "" if category == "Cf" else code
        return self[code]


_PLAIN = _Plain()


def normal(text: str) -> str:
    """The text as the leak rule compares it. A text of nothing but punctuation stands for itself."""
    folded = _folded(text)
    return " ".join(folded.translate(_PLAIN).split()) or folded.strip()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


_GAP = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_])")
_SPELLED = re.compile(r"(?<!\S)[^\W\d_](?: [^\W\d_]){2,}(?!\S)")


def squeezed(plain: str) -> str:
    """A normalised text without the spaces between letters, but for three or more single letters in a row, which spell something.

    >>> squeezed("i don t see top up 1 of 10 in x y z")
    'idontseetopup 1 of 10 inx y z'
    """
    if _SPELLED.search(plain) is None:
        together = plain.replace(" ", "")
        return together if together.isalpha() else _GAP.sub("", plain)
    kept = _SPELLED.sub(lambda found: found[0].replace(" ", "."), plain)
    return _GAP.sub("", kept).replace(".", " ")


UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts that put no space between words: each character counts as one."""
_UNSPACED = re.compile(f"([{UNSPACED}])")


def words(plain: str) -> list[str]:
    """The words of a normalised text."""
    return (plain if plain.isascii() else _UNSPACED.sub(r" \1 ", plain)).split()


_INSIDE = re.compile(r"[^\W_](?:_|[^\w\s])+[^\W_]")
_HYPHEN = "\ue000"  # is no punctuation
_MOST_PARTS = 3


def joined(text: str) -> str:
    """The normalised text with a hyphen where two or three parts were one word: a word that was changed is then one word, not three.

    >>> joined("It isn't MY top-up of $1.00; see a.b.c.d!")
    'it isn-t my top-up of 1-00 see a b c d'
    """
    folded = _folded(text)
    marked = " ".join(map(_hyphened, folded.split())) if _INSIDE.search(folded) else folded
    return " ".join(marked.translate(_PLAIN).split()).replace(_HYPHEN, "-") or folded.strip()


def _hyphened(word: str) -> str:
    if _INSIDE.search(word) is None or _UNSPACED.search(word):
        return word
    parts = word.translate(_PLAIN).split()
    return _HYPHEN.join(parts) if len(parts) <= _MOST_PARTS else word


def near_key(sample: Sample) -> str:
    """What is compared word by word: all turns but the system's, `joined`."""
    return "\n".join(joined(message.content) for message in sample.messages if message.role != "system")


def input_key(sample: Sample) -> str:
    """What must not occur on both sides: all turns but the system's, normalised and squeezed (a bare "yes" deep in a chat is no leak)."""
    return "\n".join(squeezed(normal(message.content)) for message in sample.messages if message.role != "system")


def input_words(sample: Sample) -> str:
    """The words of all turns but the system's, normalised."""
    return "\n".join(normal(message.content) for message in sample.messages if message.role != "system")


def exact_key(sample: Sample) -> str:
    """What is compared letter by letter: all turns but the system's."""
    return "\n".join(message.content for message in sample.messages if message.role != "system")


@dataclass(frozen=True, slots=True)
class Leak:
    """A row to learn from whose input is also held out."""

    learned: Sample
    held_out: Sample


def find_leaks(learned: Sequence[Sample], held_out: Sequence[Sample]) -> list[Leak]:
    """Every row of `learned` whose input is in `held_out`, each with the first such held-out row, in file order."""
    if not learned or not held_out:
        return []
    first: dict[str, Sample] = {}
    for sample in held_out:
        first.setdefault(input_key(sample), sample)
    found = ((sample, first.get(input_key(sample))) for sample in learned)
    return [Leak(sample, other) for sample, other in found if other is not None]


RULES = ("leak.exact", "leak.normalised")
"""The data doctor's names for equal inputs, by which a suite allows them with a reason (data.allow)."""


def not_allowed(leaks: Sequence[Leak], held_out: Sequence[Sample], allow: Collection[str]) -> list[Leak]:
    """The leaks that no rule in `allow` covers."""
    exact = {exact_key(sample) for sample in held_out} if leaks and any(rule in allow for rule in RULES) else set()
    return [leak for leak in leaks if RULES[exact_key(leak.learned) not in exact] not in allow]


def refuse(leaks: Sequence[Leak], learned: str, held_out: str, file: str = "", most: int = 10) -> DataError:
    """The error that names both lines of the first leaks and how many there are in all; `file` is what is learned from."""
    inputs = len({input_key(leak.held_out) for leak in leaks})
    found = f"{len(leaks):,} of the {learned} rows have the input of a {held_out} row ({inputs:,} different inputs)"
    fix = f"Take them out of one side, or set leaks: drop_train to leave them out of {learned}"
    problems = [Problem(file, "data.leaks", found, fix)]
    problems += [Problem(f"{leak.learned.source} <-> {leak.held_out.source}", "", _short(leak.held_out.input)) for leak in leaks[:most]]
    if len(leaks) > most:
        problems.append(Problem("", "", f"... and {len(leaks) - most:,} more"))
    return DataError(problems)


def _short(text: str, width: int = 80) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= width else line[: width - 1] + "…")
