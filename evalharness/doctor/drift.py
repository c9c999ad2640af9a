"""How far test inputs and production inputs lie from the training rows: nearest neighbours, unknown words, length.

Inputs are compared by cosine over TF-IDF of their words. What counts as near is told by the training rows themselves: 5% of them lie
farther from all others than the threshold. Where many more test inputs do, the test asks for what training never showed.

>>> distance([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])[0]
0.0
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalharness.doctor.corpus import Corpus
from evalharness.doctor.findings import MOST_PLACES, BrokenRow, Case, Finding, Place, SeenRow, Severity
from evalharness.doctor.secrets import LOGS, excerpt

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

TRAIN_ROWS, OTHER_ROWS, ASKED = 50_000, 20_000, 1_000
"""Most training rows and others that are kept, and most rows of each side whose neighbours are looked for."""
FEWEST = 50
FAR = 0.05
"""Share of training rows that are far from all others: it sets the threshold."""
_WORK = 2e8
"""Most multiplications for one side's neighbours; the commonest words, which tell least, are left out to keep to it."""
_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Nearest:
    """(rows,) cosine of each asked row to the nearest training row, and which one that is."""

    cosine: Floats
    neighbour: npt.NDArray[np.int64]


class Space:
    """The training rows as unit vectors of TF-IDF."""

    def __init__(self, train: Corpus) -> None:
        import numpy as np

        self.train = train
        flat, self.lengths = train.flat()
        self.vocabulary, columns = np.unique(flat, return_inverse=True)
        rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
        counts = self._counts(rows, columns, len(self.lengths))
        self.documents = np.bincount(counts.indices, minlength=len(self.vocabulary))
        self.idf = np.log((1 + len(self.lengths)) / (1 + self.documents)) + 1
        self.matrix = self._weighted(counts)

    def _counts(self, rows: Any, columns: Any, n: int) -> Any:
        import numpy as np
        from scipy.sparse import csr_matrix

        found = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(n, len(self.vocabulary)))
        found.sum_duplicates()
        return found

    def _weighted(self, counts: Any) -> Any:
        import numpy as np

        counts.data = ((1 + np.log(counts.data)) * self.idf[counts.indices]).astype(np.float32)
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        norms = np.sqrt(np.bincount(rows, weights=counts.data.astype(np.float64) ** 2, minlength=counts.shape[0]))
        counts.data /= np.maximum(norms, 1e-12)[rows].astype(np.float32)
        return counts

    def look_up(self, corpus: Corpus, asked: Sequence[int]) -> tuple[Any, Floats]:
        """The asked rows as vectors of this space, and the (rows,) share of their words that it does not know."""
        import numpy as np

        words = [corpus.words(i) for i in asked]
        lengths = np.array([len(each) for each in words], dtype=np.int64)
        flat = np.concatenate([*words, np.empty(0, np.uint32)])
        place = np.minimum(np.searchsorted(self.vocabulary, flat), max(len(self.vocabulary) - 1, 0))
        known = self.vocabulary[place] == flat
        rows = np.repeat(np.arange(len(asked)), lengths)
        unknown = np.bincount(rows[~known], minlength=len(asked)) / np.maximum(lengths, 1)
        return self._weighted(self._counts(rows[known], place[known], len(asked))), unknown

    def nearest(self, vectors: Any, own: Sequence[int] | None = None) -> Nearest:
        """The nearest training row of each vector; `own` names the training row that each of them is, which does not count."""
        import numpy as np

        used = self._affordable(vectors)
        queries, base = vectors[:, used].tocsr(), self.matrix[:, used].T.tocsr()
        cosine, neighbour = np.zeros(vectors.shape[0]), np.zeros(vectors.shape[0], np.int64)
        for begin in range(0, vectors.shape[0], _BLOCK):
            block = queries[begin : begin + _BLOCK] @ base
            for i in range(block.shape[0]):
                part = slice(block.indptr[i], block.indptr[i + 1])
                data, indices = block.data[part], block.indices[part]
                if own is not None:
                    data = np.where(indices == own[begin + i], 0, data)
                if len(data):
                    best = int(data.argmax())
                    cosine[begin + i], neighbour[begin + i] = data[best], indices[best]
        return Nearest(cosine, neighbour)

    def _affordable(self, vectors: Any) -> npt.NDArray[np.int64]:
        import numpy as np

        asked = np.bincount(vectors.indices, minlength=len(self.vocabulary))
        order = np.argsort(self.documents, kind="stable")
        within = np.cumsum(asked[order].astype(float) * self.documents[order]) <= _WORK
        return np.sort(order[within])


class Drift:
    """Test and production inputs that no training row is near to, words it never shows, and other lengths."""

    ids: tuple[str, ...] = ("drift.coverage", "drift.vocabulary", "drift.length")
    cheap = False

    def __init__(self) -> None:
        self.sides = {"train": Corpus(TRAIN_ROWS), "test": Corpus(OTHER_ROWS), LOGS: Corpus(OTHER_ROWS)}

    def see(self, row: SeenRow) -> None:
        if row.side in self.sides:
            text = "\n".join(message.content for message in row.sample.messages if message.role != "system")
            self.sides[row.side].add(row.number, row.sample.id, text)

    def broken(self, row: BrokenRow) -> None:
        """A row without a sample lies nowhere."""

    def findings(self, case: Case) -> Iterator[Finding]:
        train = self.sides["train"]
        others = {side: corpus for side, corpus in self.sides.items() if side != "train" and len(corpus) >= FEWEST}
        if len(train) < FEWEST or not others:
            return
        space = Space(train)
        own = train.spread(ASKED)
        among = space.nearest(space.matrix[own], own).cosine
        for side, corpus in others.items():
            yield from _compare(side, corpus, space, among, case)


def _compare(side: str, corpus: Corpus, space: Space, among: Floats, case: Case) -> Iterator[Finding]:
    import numpy as np

    name = "production inputs" if side == LOGS else "test inputs"
    asked = corpus.spread(ASKED)
    vectors, unknown = space.look_up(corpus, asked)
    yield from _coverage(name, corpus, asked, space.nearest(vectors), float(np.quantile(among, FAR)), space.train, case)
    yield from _vocabulary(name, corpus, asked, unknown, space, case)
    yield from _length(name, corpus, space.lengths)


def _coverage(
    name: str, corpus: Corpus, asked: Sequence[int], found: Nearest, threshold: float, train: Corpus, case: Case
) -> Iterator[Finding]:
    import numpy as np

    far = float((found.cosine < threshold).mean())
    beyond_chance = far - 3 * math.sqrt(far * (1 - far) / len(asked)) > FAR
    if far < 2 * FAR or not beyond_chance:
        return
    severity: Severity = "warning" if far >= 3 * FAR else "note"
    least = np.argsort(found.cosine, kind="stable")[:MOST_PLACES]
    pairs = [(corpus.numbers[asked[i]], train.numbers[int(found.neighbour[i])] if found.cosine[i] > 0 else None) for i in least]
    texts = {row.number: row for row in case.read({n for pair in pairs for n in pair if n is not None})}
    yield Finding(
        "drift.coverage", severity, round(far * corpus.total),
        f"{_about(corpus, asked)}{far:.0%} of the {name} have no training row near them (of the training rows themselves, {FAR:.0%})",
        "Add training rows like these, or ask whether they belong to the task",
        tuple(_far_place(texts[mine], None if near is None else texts[near]) for mine, near in pairs),
        figures={"far": far, "threshold": threshold, "median_cosine": float(np.median(found.cosine)), "asked": len(asked)},
    )  # fmt: skip


def _far_place(row: SeenRow, near: SeenRow | None) -> Place:
    other = f"nearest: {near.sample.source}: {excerpt(near.sample.input, 60)}" if near else "no word in common with any training row"
    return Place(row.sample.source, excerpt(row.sample.input, 80), other)


def _vocabulary(name: str, corpus: Corpus, asked: Sequence[int], unknown: Floats, space: Space, case: Case) -> Iterator[Finding]:
    import numpy as np

    lengths = np.array([len(corpus.words(i)) for i in asked])
    share = float((unknown * lengths).sum() / max(1, lengths.sum()))
    once = float((space.documents == 1).sum() / max(1, space.lengths.sum()))
    if share < 2 * once or share < once + 0.03:
        return
    worst = [corpus.numbers[asked[i]] for i in np.argsort(-unknown * np.log1p(lengths), kind="stable")[:MOST_PLACES]]
    texts = {row.number: row.sample for row in case.read(worst)}
    yield Finding(
        "drift.vocabulary", "warning", round(float((unknown > 0).mean()) * corpus.total),
        f"{_about(corpus, asked)}{share:.1%} of the words of the {name} are in no training row (of a left-out training row's, {once:.1%})",
        "Add training rows that use them, or ask whether these inputs belong to the task",
        tuple(Place(texts[number].source, excerpt(texts[number].input, 80)) for number in worst),
        figures={"unknown": share, "unknown_of_left_out_train": once},
    )  # fmt: skip


def _length(name: str, corpus: Corpus, train: npt.NDArray[np.int64]) -> Iterator[Finding]:
    import numpy as np

    _, lengths = corpus.flat()
    apart, p = distance(train, lengths)
    if apart < 0.1 or p >= 0.001:
        return
    points = (0.05, 0.5, 0.95)
    here, there = (np.quantile(each, points).round().astype(int).tolist() for each in (lengths, train))
    yield Finding(
        "drift.length", "warning" if apart >= 0.2 else "note", round(apart * corpus.total),
        f"the {name} have another length than training rows: {here[1]} words in the middle against {there[1]}"
        f" (nine of ten have {here[0]} to {here[2]} against {there[0]} to {there[2]})",
        "Train on inputs as long as those that will be asked",
        figures={"kolmogorov_smirnov": apart, "p": p, "median": here[1], "train_median": there[1]},
    )  # fmt: skip


def _about(corpus: Corpus, asked: Sequence[int]) -> str:
    return "" if len(asked) == corpus.total else f"of {len(asked):,} of {corpus.total:,} rows looked at, "


def distance(a: Any, b: Any) -> tuple[float, float]:
    """Kolmogorov and Smirnov's distance of two samples (0 to 1), and its asymptotic p-value."""
    import numpy as np

    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    d = float(np.abs(np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)).max())
    x = d * math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    p = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101)) if x > 0.2 else 1.0
    return d, min(1.0, max(0.0, p))
