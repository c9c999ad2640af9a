"""What most inputs begin and end with: a form that is filled in. Only what stands in it says whether two inputs are near.

>>> rows = ["Sort this mail please: " + text for text in ["my card is lost", *map(str, range(20))]]
>>> Form.of(lambda: iter(rows)).rest(rows[0])
'my card is lost'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from evalharness.data.leaks import words

SHARE = 0.5
"""More than this share of the inputs make a form."""
_FEWEST = 4
_LONGEST = 1000
"""Words of a form's beginning, and of its end."""
_FEWEST_LEFT = 2
_FEWEST_TEXTS = 20
"""Of fewer texts, more than half may well be one text and its copies."""
Texts = Callable[[], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Form:
    """The words at the beginning, and those at the end from the last one on."""

    begin: Sequence[str] = ()
    end: Sequence[str] = ()

    @staticmethod
    def of(texts: Texts) -> Form:
        """The form that more than half of the (normalised) texts have; they are gone through up to four times."""
        begin = _shared(texts, words)
        return Form(begin, _shared(texts, lambda text: words(text)[::-1]))

    def rest(self, text: str) -> str:
        """What stands in the form; a text that has another beginning or end keeps it. One word that is left is too little to compare."""
        if not self.begin and not self.end:
            return text
        said = words(text)
        begin = len(self.begin) if self.begin and said[: len(self.begin)] == list(self.begin) else 0
        end = len(self.end) if self.end and said[-len(self.end) :][::-1] == list(self.end) else 0
        if not begin and not end:
            return text
        left = said[begin : max(begin, len(said) - end)]
        return " ".join(left) if len(left) >= _FEWEST_LEFT else ""


def _shared(texts: Texts, read: Callable[[str], list[str]]) -> Sequence[str]:
    """The first words of more than half of the texts, as `read` puts them; nothing if they are few."""
    usual = _majority(map(read, texts()))
    if usual is None:
        return ()
    lengths, total = Counter[int](), 0
    for said in map(read, texts()):
        total += 1
        alike = next((k for k, (one, other) in enumerate(zip(said, usual, strict=False)) if one != other), min(len(said), len(usual)))
        lengths[alike] += 1
    at_least = 0
    for length in sorted(lengths, reverse=True):
        at_least += lengths[length]
        if at_least > SHARE * total:
            return usual[:length] if length >= _FEWEST and total >= _FEWEST_TEXTS else ()
    return ()


def _majority(rows: Iterable[list[str]]) -> list[str] | None:
    """A row that begins as more than half do, if there is such a beginning (Boyer and Moore's vote); else any one."""
    kept: list[str] | None = None
    votes = 0
    for said in rows:
        if kept is None or not votes:
            kept, votes = said[:_LONGEST], 1
        else:
            votes += 1 if said[:_FEWEST] == kept[:_FEWEST] else -1
    return kept
