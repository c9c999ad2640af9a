"""One set of rows divided into train, dev and test, so that no held-out row has a near-duplicate that is learned from.

>>> torn = Torn(["train", "test"])
>>> torn.add(0, 1, 0.95)                                        # row 0 is near row 1, which is held out
>>> torn.rows()
{0: 1}

What is promised, of any two sets of rows that have a row in common, in any order:

* The row is on the same side of both, or left out of one: a test row stays a test row, and none ever comes from train or dev.
* Rows of a group, and equal inputs where there are no groups, are on one side.
* No row of train is near (`near.py`) a row of dev or test, none of dev near one of test: such rows are left out.

So test rows depend on nothing but themselves; what other rows do to a row is to leave it out of train or dev. All three
cannot be had without leaving rows out: a row may come that is near a test row and near a train row.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from evalharness.data.files import Faults, Row
from evalharness.data.leaks import near_key
from evalharness.data.near import near_some
from evalharness.data.rows import split_group, stratum_of
from evalharness.data.split import SIDES, Side, side
from evalharness.records import Sample
from evalharness.spec import DataSpec, Split

_ORDER: Mapping[Side, int] = {each: k for k, each in enumerate(SIDES)}
_FAR = 4.0  # standard deviations from its share at which a stratum is told


@dataclass(frozen=True, slots=True)
class Divided:
    """Side of each row by its place; `left_out` row -> the row of another side that it is near; stratum -> rows of each side."""

    sides: Sequence[Side]
    left_out: Mapping[int, int]
    strata: Mapping[str, Counter[Side]] = field(default_factory=dict)

    @property
    def sizes(self) -> Counter[Side]:
        """Rows of each side without those that are left out."""
        return Counter(each for k, each in enumerate(self.sides) if k not in self.left_out)


def divide(rows: Iterable[tuple[Row, Sample]], spec: DataSpec, faults: Faults) -> Divided:
    """The side of every row by `spec.split`. The rows are read once and not kept; a row without its group is a fault."""
    assert spec.split is not None  # the caller divides only where the suite says how
    split, sides, strata = spec.split, list[Side](), list[str]()

    def inputs() -> Iterator[str]:
        for row, sample in rows:
            group = split_group(row, sample, spec, faults)
            sides.append("train" if group is None else side(group, split))
            if split.stratify is not None:
                strata.append(stratum_of(row, spec, split.stratify, faults))
            yield near_key(sample)

    left_out: dict[int, int] = {}
    if spec.leaks == "allow":
        deque(inputs(), maxlen=0)
    else:
        left_out = _torn(inputs(), split, sides)
    counts: dict[str, Counter[Side]] = {}
    for k, value in enumerate(strata):
        counts.setdefault(value, Counter())[sides[k]] += k not in left_out
    return Divided(sides, left_out, counts)


def _torn(inputs: Iterator[str], split: Split, sides: Sequence[Side]) -> dict[int, int]:
    found = Torn(sides)
    for pair in near_some(inputs, split.near, found.wanted):
        found.add(*pair)
    return found.rows()


class Torn:
    """Finds the rows that are near or equal to one that is held out more strictly: test before dev before train.

    Pairs come as `near_some` gives them: equal texts first, each with the first of its kind, which alone is near others.
    """

    def __init__(self, sides: Sequence[Side]) -> None:
        self._sides = sides  # which may still grow while equal texts come
        self._first: dict[int, int] = {}
        self._near: dict[int, int] | None = None
        self._strictest: dict[int, int] = {}
        self._orders: dict[int, set[int]] = {}

    def wanted(self, i: int, j: int) -> bool:
        """Whether it would leave out a row more if these texts were near."""
        return self._tears(i, j) or self._tears(j, i)

    def add(self, i: int, j: int, score: float) -> None:
        """A pair that was found."""
        if score == 1.0:
            self._first[j] = i
        elif self._tears(i, j):
            self._known()[i] = self._strictest[j]
        elif self._tears(j, i):
            self._known()[j] = self._strictest[i]

    def rows(self) -> dict[int, int]:
        """Row to leave out -> a row that it is near to."""
        near = self._known()
        kinds = [near[self._first.get(k, k)] for k in range(len(self._sides))]
        return {k: kinds[k] for k, each in enumerate(self._sides) if self._order(kinds[k]) > _ORDER[each]}

    def _order(self, row: int) -> int:
        return _ORDER[self._sides[row]]

    def _tears(self, one: int, other: int) -> bool:
        near = self._known()
        known, strict = self._order(near[one]), self._order(self._strictest[other])
        return any(known <= order < strict for order in self._orders[one])

    def _known(self) -> dict[int, int]:
        """First of a kind -> the strictest row known of those that are near or equal to it."""
        if self._near is None:
            for k in range(len(self._sides)):
                kind = self._first.get(k, k)
                self._orders.setdefault(kind, set()).add(self._order(k))
                if self._order(k) > self._order(self._strictest.setdefault(kind, k)):
                    self._strictest[kind] = k
            self._near = dict(self._strictest)
        return self._near


def sentences(made: Divided, spec: DataSpec, source: Callable[[int], str]) -> Iterator[str]:
    """What a report says of the split; `source` tells where a row is."""
    assert spec.split is not None  # see divide
    sizes = ", ".join(f"{made.sizes[each]:,} {each}" for each in SIDES if made.sizes[each])
    yield f"{len(made.sides):,} rows divided by content hash: {sizes}"
    lost = Counter(made.sides[k] for k in made.left_out)
    for each, many in sorted(lost.items()):
        k = next(k for k in sorted(made.left_out) if made.sides[k] == each)
        example = f"the first: {source(k)} is near {source(made.left_out[k])}"
        advice = ". Rows that are made from one template are best kept together: data.split.by" if many > 0.05 * len(made.sides) else ""
        yield f"{many:,} {each} rows are near held-out rows: left out of {each} ({example}){advice}"
    yield from _of_strata(made, spec.split)


def _of_strata(made: Divided, split: Split) -> Iterator[str]:
    if not made.strata:
        return
    shares: dict[Side, float] = {"train": 1 - split.test - split.dev, "dev": split.dev, "test": split.test}
    yield f"{split.stratify} has {len(made.strata):,} {'value' if len(made.strata) == 1 else 'values'}"
    for each in SIDES:
        none = sorted(value for value, counts in made.strata.items() if not counts[each])
        if none and shares[each]:
            yield f"{split.stratify}: no {each} rows of {_few(none)}"
    far = sorted(value for value, counts in made.strata.items() if _is_far(counts, split.test))
    if far:
        yield f"{split.stratify}: the test share of {_few(far)} is more than {_FAR:.0f} standard deviations off (large groups do that)"


def _is_far(counts: Counter[Side], share: float) -> bool:
    n = counts.total()
    return abs(counts["test"] - n * share) > _FAR * sqrt(n * share * (1 - share)) + 1


def _few(values: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(repr(value[:40]) for value in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most:,} more"
