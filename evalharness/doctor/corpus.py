"""A bounded sample of one side's inputs as hashed words: what drift is measured on.

>>> corpus = Corpus(most=1000)
>>> corpus.add(0, "0f", "Where is my card?")
>>> corpus.words(0).tolist() == hashed("where is MY card").tolist()
True

Rows are kept by the hash of their content: while there are more than `most`, every second one goes. So the sample is the same for any
order of the rows, and grows and shrinks with nothing but the rows themselves.
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING
from zlib import crc32

from evalharness.data.leaks import UNSPACED

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.uint32]

_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(r"\w+")
_WORD_OR_SIGN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_CACHED = 200_000


class _Hashes(dict[str, int]):
    """word -> 32 bits that are the same everywhere; forgotten and begun anew where there are too many."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _CACHED:
            self.clear()
        self[word] = found = crc32(word.encode("utf-8", "surrogatepass"))
        return found


_HASHES = _Hashes()


def split_words(text: str) -> list[str]:
    """The words of the text in lower case."""
    lower = text.lower()
    pattern = _WORD if lower.isascii() or _HAS_UNSPACED.search(lower) is None else _WORD_OR_SIGN
    return pattern.findall(lower)


def hashed(text: str) -> Words:
    """The hashes of the text's words, in order."""
    import numpy as np

    return np.frombuffer(_hashes(text), dtype=np.uint32)


def _hashes(text: str) -> array[int]:
    return array("I", map(_HASHES.__getitem__, split_words(text)))


class Corpus:
    """At most `most` rows: their numbers, and the hashed words of each (of its first `most_words`)."""

    def __init__(self, most: int, most_words: int = 2000) -> None:
        self.most, self.most_words = most, most_words
        self.total = 0
        self.numbers = array("Q")
        self._keys = array("Q")
        self._words: list[array[int]] = []
        self._limit = 1 << 32

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, number: int, sample_id: str, text: str) -> None:
        """Offer a row; `sample_id` is the hash of its content."""
        self.total += 1
        key = int(sample_id[:8], 16)
        if key >= self._limit:
            return
        self.numbers.append(number)
        self._keys.append(key)
        self._words.append(_hashes(text[: 8 * self.most_words])[: self.most_words])
        while len(self.numbers) > self.most:
            self._thin()

    def _thin(self) -> None:
        self._limit //= 2
        kept = [i for i, key in enumerate(self._keys) if key < self._limit]
        self.numbers = array("Q", (self.numbers[i] for i in kept))
        self._keys = array("Q", (self._keys[i] for i in kept))
        self._words = [self._words[i] for i in kept]

    def words(self, i: int) -> Words:
        """The hashed words of the i-th row that was kept."""
        import numpy as np

        return np.frombuffer(self._words[i], dtype=np.uint32)

    def flat(self) -> tuple[Words, npt.NDArray[np.int64]]:
        """All words of all kept rows, one row after the other, and the (rows,) numbers of words."""
        import numpy as np

        lengths = np.fromiter(map(len, self._words), dtype=np.int64, count=len(self._words))
        flat = np.empty(int(lengths.sum()), dtype=np.uint32)
        at = 0
        for words in self._words:
            flat[at : at + len(words)] = words
            at += len(words)
        return flat, lengths

    def spread(self, n: int) -> list[int]:
        """At most n of the kept rows, by hash, in order."""
        return sorted(sorted(range(len(self)), key=lambda i: (self._keys[i], self.numbers[i]))[:n])
