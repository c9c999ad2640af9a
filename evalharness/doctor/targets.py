"""Target trouble of label tasks: labels never trained on, other shares in test than in train, one label for nearly all, one label twice.

>>> task = LabelTask()
>>> for k in range(40):
...     task.add("train", ("yes" if k % 2 else "no",), f"train.jsonl:{k + 1}")
>>> task.labels
['no', 'yes']
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from evalharness.data.leaks import normal
from evalharness.doctor.findings import MOST_PLACES, BrokenRow, Case, Finding, Place, SeenRow
from evalharness.doctor.secrets import LOGS, excerpt
from evalharness.doctor.wording import many

MOST_LABELS = 1000
LONGEST_LABEL = 200
"""Characters."""
FEWEST_ROWS = 5
"""Rows a label, on average, from which on targets are labels."""
_DRAWS = 999


@dataclass(slots=True)
class LabelTask:
    """Counts of targets by side, as long as they look like labels: few different ones, each of them short."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    first: dict[tuple[str, str], str] = field(default_factory=dict)
    """(side, label) -> where it stands first."""
    _too_many: bool = False

    def add(self, side: str, targets: Sequence[str], source: str) -> None:
        """Count a row by its first target; test rows that have none are left aside."""
        if self._too_many or not targets:
            return
        label = targets[0].strip()
        self.counts[side][label] += 1
        self.first.setdefault((side, label), source)
        if len(label) > LONGEST_LABEL or len(self.counts[side]) > MOST_LABELS:
            self._too_many = True
            self.counts.clear()
            self.first.clear()

    @property
    def labels(self) -> list[str]:
        """The labels of the training rows (of the test rows where there are none), sorted; empty if this is no label task."""
        counted = self.counts.get("train") or self.counts.get("test") or Counter()
        few = len(counted) >= 2 and len(counted) * FEWEST_ROWS <= counted.total()
        return sorted(counted) if few else []


class Targets:
    """Labels that test asks for and train does not have, shifted shares, spellings of one label, and what a constant answer would get."""

    ids: tuple[str, ...] = ("target.unseen", "target.shift", "target.majority", "target.spelling")
    cheap = True

    def __init__(self) -> None:
        self.task = LabelTask()

    def see(self, row: SeenRow) -> None:
        if row.side != LOGS:
            self.task.add(row.side, row.sample.targets, row.sample.source)

    def broken(self, row: BrokenRow) -> None:
        """A row without a sample has no target."""

    def findings(self, case: Case) -> Iterator[Finding]:
        if not self.task.labels:
            return
        train, test = (self.task.counts.get(side, Counter()) for side in ("train", "test"))
        if train and test:
            yield from self._unseen(train, test)
            yield from self._shift(train, test)
        yield from self._majority(test)
        yield from self._spelling(train + test)

    def _unseen(self, train: Counter[str], test: Counter[str]) -> Iterator[Finding]:
        unseen = Counter({label: count for label, count in test.items() if label not in train})
        if unseen:
            rows = unseen.total()
            yield Finding(
                "target.unseen", "warning", rows,
                f"{many(rows, 'test row')} of {many(len(unseen), 'label')} that no training row has: no training can teach them",
                "Add training rows of these labels, or correct their spelling",
                tuple(Place(self.task.first["test", label], _name(label, f"{many(count, 'row')}"))
                      for label, count in unseen.most_common(MOST_PLACES)),
                figures={"labels": len(unseen), "share": rows / test.total()},
            )  # fmt: skip

    def _shift(self, train: Counter[str], test: Counter[str]) -> Iterator[Finding]:
        distance, p = shift(train, test)
        if distance < 0.1 or p >= 0.01:
            return
        shares = {label: (train[label] / train.total(), test[label] / test.total()) for label in train | test}
        apart = sorted(shares, key=lambda label: (-abs(shares[label][0] - shares[label][1]), label))
        yield Finding(
            "target.shift", "warning", round(distance * test.total()),
            f"labels have other shares in test than in train: {distance:.0%} of the test rows would need another label (p = {p:.3f})",
            "Split again by hash, or weigh scores by slice: one of the two does not look like what you will meet",
            tuple(
                Place(self.task.first.get(("test", label)) or self.task.first["train", label],
                      _name(label, f"{shares[label][0]:.1%} of train, {shares[label][1]:.1%} of test"))
                for label in apart[:MOST_PLACES]
            ),
            figures={"total_variation": distance, "p": p},
        )  # fmt: skip

    def _majority(self, test: Counter[str]) -> Iterator[Finding]:
        if not test:
            return
        label, count = max(test.items(), key=lambda item: (item[1], item[0]))
        share = count / test.total()
        if share >= 0.7:
            yield Finding(
                "target.majority", "warning" if share >= 0.9 else "note", count,
                f"{share:.0%} of the test rows have the label {_short(label)}: always answering it scores as much",
                "Read accuracy beside that, or use macro_f1",
                (Place(self.task.first["test", label], _short(label)),), figures={"share": share},
            )  # fmt: skip

    def _spelling(self, counts: Counter[str]) -> Iterator[Finding]:
        alike: dict[str, list[str]] = defaultdict(list)
        for label in counts:
            alike[normal(label)].append(label)
        twice = {key: sorted(labels, key=lambda each: -counts[each]) for key, labels in alike.items() if len(labels) > 1}
        if twice:
            rare = [(label, labels[0]) for labels in twice.values() for label in labels[1:]]
            yield Finding(
                "target.spelling", "warning", sum(counts[label] for label, _ in rare),
                f"{many(len(twice), 'label')} in more than one spelling: answers in the other one count as wrong",
                "Write each label in one way",
                tuple(Place(self._where(label), f"{label[:60]!r}", f"{usual[:60]!r} ({self._where(usual)})")
                      for label, usual in rare[:MOST_PLACES]),
            )  # fmt: skip

    def _where(self, label: str) -> str:
        return self.task.first.get(("train", label)) or self.task.first["test", label]


def shift(train: Counter[str], test: Counter[str]) -> tuple[float, float]:
    """Total variation distance of the two distributions (0 to 1), and the p-value of the chi-square statistic under permutation.

    999 random divisions of all rows into sides of the same sizes, by a fixed seed.
    """
    import numpy as np

    labels = sorted(train | test)
    a, b = (np.array([counts[label] for label in labels], dtype=np.int64) for counts in (train, test))
    pooled, n, m = a + b, a.sum(), b.sum()
    expected = pooled * (m / (n + m))
    draws = np.random.default_rng(0).multivariate_hypergeometric(pooled, m, size=_DRAWS, method="marginals")
    at_least = (((draws - expected) ** 2 / expected).sum(axis=1) >= ((b - expected) ** 2 / expected).sum() - 1e-9).sum()
    return float(np.abs(a / n - b / m).sum() / 2), float((1 + at_least) / (1 + _DRAWS))


def _name(label: str, figures: str) -> str:
    return f"{_short(label)}: {figures}"


def _short(label: str) -> str:
    return repr(excerpt(label, 60))
