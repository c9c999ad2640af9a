"""Rows of a label task whose label a simple classifier, trained on the other rows, finds unlikely: for review, never taken out.

>>> found = suspects(texts, labels)                                                 # doctest: +SKIP
>>> found.rows[0].row, found.rows[0].predicted, found.rows[0].probability          # doctest: +SKIP
(4711, 'card_arrival', 0.93)

TF-IDF of words and word pairs, logistic regression by stochastic gradient, five folds (equal inputs in one fold). How many rows are
listed is the number of confident disagreements (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068): rows that get a probability for
another label which is at least what rows of that label get for it on average, or 0.8, where that is less. Which ones: those whose own
label is least likely.
"""

from __future__ import annotations

import importlib.util
import warnings
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

from evalharness.data.leaks import normal
from evalharness.doctor.corpus import split_words
from evalharness.doctor.findings import MOST_PLACES, BrokenRow, Case, Finding, Place, SeenRow
from evalharness.doctor.secrets import excerpt
from evalharness.doctor.targets import LabelTask
from evalharness.doctor.wording import many

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FOLDS = 5
MOST_ROWS = 30_000
_MOST_CHARACTERS, _ALL_CHARACTERS = 2000, 12_000_000
"""Of one row, and of all: each different pair of words is in memory once, about half a gigabyte in all."""
_WORK = 1e8
"""Labels times non-zero entries: about half a minute of one core. More rows than that are thinned out by hash."""
_FEWEST = 5
"""Rows of a label that can be judged."""
_SURE = 0.8
_GOOD = 0.75
"""Share of rows that a classifier has to be right on before its doubts count: with few rows a label it learns too little."""
RULE = "target.mislabelled"


@dataclass(frozen=True, slots=True)
class Suspect:
    """Row number in what was given, the label it got instead and its probability, and that of its own label."""

    row: int
    predicted: str
    probability: float
    own: float


@dataclass(frozen=True, slots=True)
class Suspects:
    """Rows predicted to have another label, least likely first; the first `confident` of them are worth a look.

    `looked` rows were judged; `agreed` is the share of them whose predicted label is their own.
    """

    rows: tuple[Suspect, ...]
    confident: int
    looked: int
    agreed: float


class Mislabelled:
    """Likely mislabelled training rows of label tasks (extra `check`)."""

    ids: tuple[str, ...] = (RULE,)
    cheap = False

    def __init__(self) -> None:
        self.task = LabelTask()
        self._rows = array("Q")

    def see(self, row: SeenRow) -> None:
        if row.side == "train":
            self.task.add(row.side, row.sample.targets, row.sample.source)
            self._rows.append(row.number)

    def broken(self, row: BrokenRow) -> None:
        """A row without a sample has no label."""

    def findings(self, case: Case) -> Iterator[Finding]:
        if len(self._rows) < 2 * _FEWEST * FOLDS:  # too few to learn from
            return
        if not self.task.labels:
            yield _not_looked("the targets of training rows are free text, not labels", "Nothing: this check is for label tasks")
            return
        if importlib.util.find_spec("sklearn") is None:
            yield _not_looked("scikit-learn is not installed", "pip install -c constraints.txt 'evalh[check]'")
            return
        seen = sorted(sorted(self._rows, key=lambda number: crc32(b"%d" % number))[:MOST_ROWS])
        most = min(_MOST_CHARACTERS, _ALL_CHARACTERS // len(seen))
        rows, texts, labels = [], [], []
        for row in case.read(seen):
            rows.append((row.number, row.sample.source, excerpt(row.sample.input, 80)))
            texts.append("\n".join(m.content for m in row.sample.messages)[:most])
            labels.append(row.sample.targets[0].strip())
        found = suspects(texts, labels)
        if found.confident:
            yield _finding(found, rows, labels, len(self._rows))


def _not_looked(why: str, fix: str) -> Finding:
    return Finding(RULE, "note", 0, f"Likely mislabelled rows were not looked for: {why}", fix)


def _finding(found: Suspects, rows: Sequence[tuple[int, str, str]], labels: Sequence[str], total: int) -> Finding:
    share, weak = found.confident / found.looked, found.agreed < _GOOD
    worst = tuple(
        Place(rows[each.row][1], rows[each.row][2], f"{labels[each.row][:60]!r}, rather {each.predicted[:60]!r} ({each.probability:.0%})")
        for each in found.rows[: min(found.confident, MOST_PLACES)]
    )
    part = "" if found.looked == total else f" of {found.looked:,} looked at"
    return Finding(
        RULE, "warning" if share >= 0.01 and not weak else "note", found.confident,
        f"{many(found.confident, 'training row')}{part} with a label that a classifier trained on the others finds unlikely ({share:.1%})"
        + (f"; it is right on {found.agreed:.0%} of the rows only, so most of these are its own mistakes" if weak else ""),
        "Look at them, worst first; correct those that are wrong. Nothing is taken out by itself",
        worst, figures={"looked": found.looked, "share": share, "agreed": found.agreed},
    )  # fmt: skip


def suspects(texts: Sequence[str], labels: Sequence[str]) -> Suspects:
    """Every row that is predicted to have another label than its own, and how many of them are confident disagreements.

    The same for any order of the rows. Labels of fewer than five rows are not judged. Needs scikit-learn.
    """
    import numpy as np

    counts = Counter(labels)
    keys = [crc32(normal(text).encode("utf-8", "surrogatepass")) for text in texts]
    judged = sorted((i for i in range(len(texts)) if counts[labels[i]] >= _FEWEST), key=lambda i: (keys[i], labels[i], texts[i]))
    names = sorted({labels[i] for i in judged})
    if len(names) < 2:
        return Suspects((), 0, 0, 1.0)
    matrix = _matrix([texts[i] for i in judged], len(names))
    if matrix is None:
        return Suspects((), 0, 0, 1.0)
    fits = max(1000, int(_WORK / len(names) / max(1.0, matrix.nnz / len(judged))))
    judged, matrix = judged[:fits], matrix[:fits]  # in the order of a hash: the first ones are any ones
    number = {name: k for k, name in enumerate(names)}
    y = np.array([number[labels[i]] for i in judged])
    folds = np.array([keys[i] // 7 % FOLDS for i in judged])
    return _judge(_probabilities(matrix, y, folds, len(names)), y, judged, names)


def _matrix(texts: list[str], labels: int) -> Any:
    """(rows, features) TF-IDF of words and pairs; few enough features for the classifier to fit into memory. None without words."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2 if len(texts) > 200 else 1, sublinear_tf=True, dtype=np.float32,
        tokenizer=split_words, token_pattern=None, lowercase=False, max_features=max(2000, 20_000_000 // labels),
    )  # fmt: skip
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:  # no text has a word, or none that another one has
        return None


def _probabilities(matrix: Any, y: npt.NDArray[np.int64], folds: npt.NDArray[np.int64], labels: int) -> npt.NDArray[np.float32]:
    """(rows, labels) probability of each label, told by a classifier that did not see the row."""
    import numpy as np
    from sklearn.linear_model import SGDClassifier

    found = np.zeros((len(y), labels), np.float32)
    for fold in range(FOLDS):
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if not len(held) or len(np.unique(y[rest])) < 2:
            continue
        model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=10, tol=None, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a rough classifier is wanted: that it could go on learning is no news
            model.fit(matrix[rest], y[rest])
        found[np.ix_(held, model.classes_)] = model.predict_proba(matrix[held])
    return found


def _judge(p: npt.NDArray[np.float32], y: npt.NDArray[np.int64], judged: Sequence[int], names: Sequence[str]) -> Suspects:
    import numpy as np

    n = np.arange(len(y))
    own, predicted = p[n, y], p.argmax(axis=1)
    usual = np.array([min(_SURE, p[y == k, k].mean()) if (y == k).any() else 2.0 for k in range(len(names))])
    sure = np.where(p >= usual, p, 0.0)
    confident = int(((sure.max(axis=1) > 0) & (sure.argmax(axis=1) != y)).sum())
    other = np.flatnonzero(predicted != y)
    order = other[np.argsort(own[other], kind="stable")]
    rows = tuple(Suspect(judged[i], names[predicted[i]], float(p[i, predicted[i]]), float(own[i])) for i in order)
    return Suspects(rows, min(confident, len(rows)), len(y), float((predicted == y).mean()))
