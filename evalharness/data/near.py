"""Near-duplicates: pairs of texts that differ in few of their words, found without comparing all pairs.

>>> a = "how do I get the money back that was taken from my account twice"
>>> [(i, j, round(score, 2)) for i, j, score in near_pairs([a, "something else", a.replace("twice", "again")])]
[(0, 2, 0.93)]

Two texts are near if at most 1 - threshold of the words (of the longer one) have to be replaced, inserted or deleted to make
one of the other; case, punctuation and space do not count, and a word like "isn't" or "top-up" counts as one or as its parts,
whatever makes them nearer. Nothing is left to chance: k edits of n words leave a run of at
least (n - k) / (k + 1) of them whole, and from every stretch of that length both texts choose the same few words in a row to
be looked up by: the rarest (winnowing, Schleimer, Wilkerson and Aiken, SIGMOD 2003, which takes the least hash instead).
Where more than 64 texts have such words in common, each is compared with some of the others, so that a form letter costs little.

Memory: about 0.6 KB a text of 100 words; the words themselves (4 bytes each) go to a temporary file.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

from evalharness.data.leaks import joined, squeezed, words

Longs = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
_BATCH = 1 << 18  # words that are worked on at a time
_BINS = 1 << 22  # most counters of word sequences; two that share a counter look more common than they are
_ALL = 64  # texts with words in common that are all compared with each other
_SOME = 8  # how many others each is compared with where there are more
_ENOUGH = 32  # others that a text is near to, from which on it waits for texts that have fewer
_LATER = 1 << 31  # marks the second and third part of a word
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def near_pairs(texts: Iterable[str], threshold: float = 0.9) -> Iterator[tuple[int, int, float]]:
    """(i, j, share of words that stay), i < j, in order of j. The texts are read once.

    A text that equals an earlier one is paired with the first such text alone (score 1.0): n equal texts are n - 1 pairs, and
    only the first of them is compared with others. Texts of fewer than threshold / (1 - threshold) words (9 for 0.9) are near
    only if they are equal; texts without words never. Two texts that are both near 32 others need not be paired.
    Raises ValueError for a threshold below 0.7 or above 1.
    """
    others: Counter[int] = Counter()
    pairs = []
    for i, j, score in near_some(texts, threshold, lambda i, j: others[i] < _ENOUGH or others[j] < _ENOUGH):
        pairs.append((i, j, score))
        if score < 1:
            others.update((i, j))
    yield from sorted(pairs, key=lambda pair: (pair[1], pair[0]))


def near_some(texts: Iterable[str], threshold: float, wanted: Callable[[int, int], bool]) -> Iterator[tuple[int, int, float]]:
    """The same pairs as they are found: all equal ones first, then near ones in an order that only the texts decide.

    `wanted` is asked right before two texts are compared: what came before may have made it needless.
    """
    if not 0.7 <= threshold <= 1:
        raise ValueError(f"threshold {threshold}: expected 0.7 to 1")
    with tempfile.TemporaryFile(prefix="evalh-near-") as file:
        kept = _Kept(file)
        yield from kept.fill(texts)
        yield from _verified(kept, *_candidates(kept, _Length(threshold)), threshold, wanted)


class _Length:
    """What a threshold promises of texts of n words."""

    def __init__(self, threshold: float) -> None:
        self._edits = (1 - threshold) / threshold
        lengths = np.arange(1, 400)
        self.shared = int(min(4, self.run(lengths[self.edits(lengths) > 0]).min(initial=4)))
        """Words in a row that texts are looked up by."""

    def edits(self, n: Ints) -> Ints:
        """Most edits of a near text, which may be the longer one."""
        return np.asarray(np.floor(n * self._edits + 1e-9), np.int64)

    def run(self, n: Ints) -> Ints:
        """Words in a row that stay, at least."""
        k = self.edits(n)
        return np.asarray(-((k - n) // (k + 1)), np.int64)

    def window(self, n: Ints) -> Ints:
        """Of so many neighbouring places one is chosen."""
        return np.asarray(np.clip(self.run(n) - self.shared + 1, 1, 8), np.int64)


class _Kept:
    """The different texts: their words, by number, in a file; place, length, hash and a bitmap of the words in memory.

    `length` counts the parts of words like "isn't", `whole` does not. Lists of words are of parts, but for `wholes`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places, self._lengths, self._wholes = array("q"), array("q"), array("q")
        self._digests = array("Q")
        self._maps: list[Longs] = []
        self.place, self.length, self.whole, self.start = (np.zeros(0, np.int64) for _ in range(4))
        self.digest, self.bitmap = np.zeros(0, np.uint64), np.zeros((0, 4), np.uint64)

    def fill(self, texts: Iterable[str]) -> Iterator[tuple[int, int, float]]:
        """Keeps what was not there yet; gives the pairs of equal texts."""
        first: dict[int, int] = {}
        batch, numbers = array("I"), _Numbers()
        for place, text in enumerate(texts):
            compared = joined(text)
            plain = compared.replace("-", " ")
            digest = int.from_bytes(hashlib.blake2b(squeezed(plain).encode("utf-8", "surrogatepass"), digest_size=8).digest())
            if (earlier := first.setdefault(digest, place)) != place:
                if plain:
                    yield earlier, place, 1.0
                continue
            if not (said := words(plain)):
                continue
            wholes = said if plain == compared else words(compared)
            if len(wholes) == len(said):
                batch.extend(map(numbers.__getitem__, said))
            else:
                batch.extend(numbers[part] | (_LATER if k else 0) for whole in wholes for k, part in enumerate(whole.split("-")))
            self._places.append(place)
            self._lengths.append(len(said))
            self._wholes.append(len(wholes))
            self._digests.append(digest)
            if len(batch) > _BATCH:
                self._store(batch)
                batch = array("I")
                numbers.shrink()
        self._store(batch)
        self._finish()

    def _store(self, batch: array[int]) -> None:
        if not batch:
            return
        self._file.write(batch.tobytes())
        done = sum(len(part) for part in self._maps)
        lengths = np.asarray(self._lengths, np.int64)[done:]
        starts = np.cumsum(lengths) - lengths
        words = np.asarray(batch, np.uint32).astype(np.uint64)
        bits = np.uint64(1) << (words & np.uint64(63))
        quarter = (words >> np.uint64(6)) & np.uint64(3)
        columns = [np.bitwise_xor.reduceat(np.where(quarter == q, bits, np.uint64(0)), starts) for q in range(4)]
        self._maps.append(np.column_stack(columns))

    def _finish(self) -> None:
        self._file.flush()
        self.place, self.length, self.whole = (np.asarray(each, np.int64) for each in (self._places, self._lengths, self._wholes))
        self.digest = np.asarray(self._digests, np.uint64)
        self.start = np.cumsum(self.length) - self.length
        if self._maps:
            self.bitmap = np.concatenate(self._maps)

    def words(self, k: int, until: int | None = None) -> Longs:
        """The words of text k (or of all texts from k to `until`), by number."""
        return self._read(k, k + 1 if until is None else until) & ~np.uint64(_LATER)

    def wholes(self, k: int) -> Longs:
        """The words of text k, those that have parts as one."""
        parts = self._read(k, k + 1)
        later = parts >= _LATER
        mixed = (parts & ~np.uint64(_LATER)) * np.where(later, _GOLDEN, np.uint64(1))
        return np.asarray(np.add.reduceat(mixed, np.flatnonzero(~later)), np.uint64)

    def _read(self, k: int, until: int) -> Longs:
        self._file.seek(4 * int(self.start[k]))
        content = self._file.read(4 * int(self.start[until - 1] + self.length[until - 1] - self.start[k]))
        return np.frombuffer(content, np.uint32).astype(np.uint64)

    def batches(self) -> Iterator[tuple[int, int]]:
        """(first text, text after the last) of stretches of about as many words as are worked on at a time."""
        begin = 0
        while begin < len(self.place):
            end = int(np.searchsorted(self.start, self.start[begin] + _BATCH, "right"))
            yield begin, max(begin + 1, end)
            begin = max(begin + 1, end)


class _Numbers(dict[str, int]):
    """Word -> 31 bits of its CRC: two of a text's words having the same is rarer than a misprint."""

    def __missing__(self, word: str) -> int:
        self[word] = zlib.crc32(word.encode("utf-8", "surrogatepass")) & (_LATER - 1)
        return self[word]

    def shrink(self, most: int = 1 << 18) -> None:
        """Forget all, if there are too many."""
        if len(self) > most:
            self.clear()


def _sequences(kept: _Kept, begin: int, end: int, q: int) -> Longs:
    """A hash of the q words from each word of the texts on; the last q - 1 of a text run into the next one."""
    words = kept.words(begin, end)
    mixed = np.zeros(len(words), np.uint64)
    for k in range(q):
        left = max(0, len(words) - k)
        mixed[:left] = mixed[:left] * _GOLDEN + words[k:] + np.uint64(1)
    mixed ^= mixed >> np.uint64(31)
    mixed *= _GOLDEN
    return mixed ^ (mixed >> np.uint64(29))


def _counts(kept: _Kept, q: int) -> npt.NDArray[np.uint32]:
    """How often the word sequences occur, by the last bits of their hashes."""
    size = min(_BINS, 1 << int(kept.length.sum()).bit_length())
    counts = np.zeros(size, np.uint32)
    for begin, end in kept.batches():
        counts += np.bincount(_bins(_sequences(kept, begin, end, q), size), minlength=size).astype(np.uint32)
    return counts


def _bins(hashes: Longs, size: int) -> Ints:
    return (hashes & np.uint64(size - 1)).astype(np.int64)


def _chosen(kept: _Kept, about: _Length) -> tuple[Longs, Ints]:
    """(hash of a word sequence, text) of all that texts are looked up by."""
    counts = _counts(kept, about.shared)
    found: list[tuple[Longs, Ints]] = []
    for begin, end in kept.batches():
        hashes = _sequences(kept, begin, end, about.shared)
        rarity = (counts[_bins(hashes, len(counts))].astype(np.uint64) << np.uint64(32)) | (hashes >> np.uint64(32))
        length = kept.length[begin:end]
        windows = np.minimum(about.window(length), about.window(kept.whole[begin:end]))
        text = np.repeat(np.arange(begin, end), length)
        left = np.repeat(np.cumsum(length), length) - np.arange(len(hashes))  # words from here to the end of the text
        for window in np.unique(windows):
            inside = np.repeat(windows == window, length) & (left >= window + about.shared - 1)
            at = np.flatnonzero(inside)
            best = _least(rarity, at, int(window))
            found.append((hashes[best], text[best]))
    if not found:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    return np.concatenate([each for each, _ in found]), np.concatenate([each for _, each in found])


def _least(values: Longs, at: Ints, window: int) -> Ints:
    """The different places of the least value among `window` values from each of the places on."""
    best, low = at, values[at]
    for k in range(1, window):
        other = values[at + k]
        best, low = np.where(other < low, at + k, best), np.minimum(other, low)
    return np.unique(best)


def _candidates(kept: _Kept, about: _Length) -> tuple[Ints, Ints]:
    """Pairs of texts that share chosen words and are not told apart by their lengths and bitmaps."""
    hashes, text = _chosen(kept, about)
    order = np.lexsort(((kept.digest[text] ^ hashes) * _GOLDEN, hashes))
    hashes, text = hashes[order], text[order]
    crowd = np.searchsorted(hashes, hashes, "right") - np.searchsorted(hashes, hashes, "left")
    pairs = np.zeros(0, np.int64)
    for apart in range(1, _ALL):
        at = np.flatnonzero((hashes[apart:] == hashes[:-apart]) & ((crowd[apart:] <= _ALL) | (apart <= _SOME)))
        if not len(at):
            break
        low, high = np.minimum(text[at], text[at + apart]), np.maximum(text[at], text[at + apart])
        fine = _possible(kept, about, low, high)
        pairs = _different(np.concatenate([pairs, low[fine] * len(kept.place) + high[fine]]))
    a, b = pairs // max(1, len(kept.place)), pairs % max(1, len(kept.place))
    order = np.argsort((kept.digest[a] + kept.digest[b]) * _GOLDEN, kind="stable")
    return a[order], b[order]


def _different(values: Ints) -> Ints:
    """The different ones, in order: numpy's own `unique` takes several times as long for numbers that repeat."""
    ordered = np.sort(values)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _possible(kept: _Kept, about: _Length, a: Ints, b: Ints, block: int = 1 << 20) -> npt.NDArray[np.bool_]:
    """Whether lengths and bitmaps (each edit changes two bits at most) allow that the texts are near.

    An edit of a whole word is one of up to three parts, two of which are among the parts that one of the texts has beyond its words.
    """
    found: npt.NDArray[np.bool_] = a != b
    for begin in range(0, len(a), block):
        here = slice(begin, begin + block)
        edits = about.edits(np.minimum(kept.whole[a[here]], kept.whole[b[here]]))
        parts = (kept.length - kept.whole)[a[here]] + (kept.length - kept.whole)[b[here]]
        edits = np.maximum(edits + np.minimum(2 * edits, parts), about.edits(np.minimum(kept.length[a[here]], kept.length[b[here]])))
        bits = np.bitwise_count(kept.bitmap[a[here]] ^ kept.bitmap[b[here]]).sum(axis=1)
        found[here] &= (abs(kept.length[a[here]] - kept.length[b[here]]) <= edits) & (bits <= 2 * edits)
    return found


def _verified(kept: _Kept, a: Ints, b: Ints, threshold: float, wanted: Callable[[int, int], bool]) -> Iterator[tuple[int, int, float]]:
    for one, other, i, j in zip(a.tolist(), b.tolist(), kept.place[a].tolist(), kept.place[b].tolist(), strict=True):
        if not wanted(i, j):
            continue
        for length, read in (kept.length, kept.words), (kept.whole, kept.wholes):
            longer = int(max(length[one], length[other]))
            most = int((1 - threshold) * longer + 1e-9)
            edits = word_edits(read(one).tolist(), read(other).tolist(), most)
            if edits is not None:
                yield i, j, 1 - edits / longer
                break
            if kept.length[one] == kept.whole[one] and kept.length[other] == kept.whole[other]:
                break


def word_edits(a: list[int], b: list[int], most: int) -> int | None:
    """Least number of words replaced, inserted or deleted to make b of a; None if it is more than `most`.

    What is equal at both ends is cut off; then bounds that are mostly the answer; then furthest reaching diagonals.
    """
    shorter = min(len(a), len(b))
    start = next((k for k in range(shorter) if a[k] != b[k]), shorter)
    end = next((k for k in range(shorter - start) if a[-1 - k] != b[-1 - k]), shorter - start)
    a, b = a[start : len(a) - end], b[start : len(b) - end]
    one, other = set(a), set(b)
    least = max(len(one - other), len(other - one), abs(len(a) - len(b)))
    if least > most:
        return None
    replaced = sum(map(int.__ne__, a, b)) if len(a) == len(b) else max(len(a), len(b))
    return least if replaced == least else _by_diagonals(a, b, most)


def _by_diagonals(a: list[int], b: list[int], most: int) -> int | None:
    """The same by furthest reaching diagonals (Ukkonen 1985): the work grows with the square of the edits, not with the length."""
    rows, columns, far = len(a), len(b), {0: 0}
    for edits in range(most + 1):
        reach: dict[int, int] = {}
        for diagonal in range(-edits, edits + 1):
            row = 0 if not edits else max(far.get(diagonal - 1, -1), far.get(diagonal, -2) + 1, far.get(diagonal + 1, -2) + 1)
            row = min(row, rows, columns - diagonal)
            if row < max(0, -diagonal):
                continue
            while row < rows and row + diagonal < columns and a[row] == b[row + diagonal]:
                row += 1
            reach[diagonal] = row
        if reach.get(columns - rows) == rows:
            return edits
        far = reach
    return None
