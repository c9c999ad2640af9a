"""Which answers people are asked about: so many labels that buy the most for the difference between arms.

The design. A unit is an item with all compared arms' answers to it: a difference needs both, and noise that an item
has in common falls out of it. Items are drawn without looking at who wins:

* Items on which all arms gave the same text have a difference of 0 that nobody has to label. They are drawn a quarter
  as often as the others (an arm's own score needs some), and cost one label instead of one an arm.
* Within either layer every item has the same chance. The order is a draw by hash that is spread evenly over ten bins
  of the judge's difference and score, so that few labels meet all kinds of items; stopping anywhere leaves a sample.

So the corrected difference is unbiased whatever the judge's faults: all items that can differ had the same chance. The
estimator is `verdict.correcting`, stratified by the two layers. Drawing more where the judge is unsure would save about
a tenth of the variance, and tie the labels' worth to one judge; labels are to outlive it.

Blind: nothing shown or exported tells the arm. Answers of an item come in an order drawn by hash; in pairs so does
which of the two stands first. What somebody labelled comes first for the next person, so that they can be compared.

>>> found = plan(view, "judge", n=100)                                                                # doctest: +SKIP
>>> len(found.asks), found.items                                                                      # doctest: +SKIP
(100, 50)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from evalharness.errors import ConfigError, Problem
from evalharness.ids import digest
from evalharness.protocols import Floats
from evalharness.verdict.labels import people
from evalharness.verdict.view import View, reference_of

BINS = 10
SAME_AS_OFTEN = 0.25
"""How often an item with equal answers is drawn, for one with different ones."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One text, or one pair of texts, to be labelled. `key` names it without telling the arm.

    A label goes to each of `outputs` (more than one where arms gave the same text), compared with `other` in pairs;
    `turned` says that the other one is shown first.
    """

    key: str
    sample_id: str
    outputs: tuple[str, ...]
    arm: str
    repeat: int
    other: str = ""
    turned: bool = False
    annotators: frozenset[str] = field(default_factory=frozenset)
    """Who labelled it already."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The asks of so many labels, whole items in the order they are asked; `whole` if there are no more."""

    question: str
    asks: tuple[Ask, ...]
    items: int
    arms: tuple[str, ...]
    against: str | None
    whole: bool


def plan(view: View, metric: str, n: int, arms: Sequence[str] | None = None) -> Plan:
    """The first `n` labels (answers to read; an item is never cut in two, one item at least) for these arms.

    Left out, `arms` are the reference and the candidates, or all arms where there are no candidates. Raises ConfigError
    for unknown names and where there is nothing to compare.
    """
    found = people(view, metric)
    chosen = _arms(view, arms, found.against)
    taken: list[Ask] = []
    items, whole = 0, True
    for asks in _items(view, metric, chosen):
        if items and len(taken) + len(asks) > n:
            whole = False
            break
        taken += asks
        items += 1
    if not items:
        fix = "Run the suite again: what failed is tried again"
        raise ConfigError([Problem("", metric, f"no item has an answer of each of {', '.join(chosen)}", fix)])
    return Plan(found.question, tuple(taken), items, tuple(chosen), found.against, whole)


def everything(view: View, metric: str, found: Plan) -> tuple[Ask, ...]:
    """All asks that there are for the plan's arms: what a file of labels may name."""
    return tuple(ask for asks in _items(view, metric, found.arms) for ask in asks)


def _items(view: View, metric: str, arms: Sequence[str]) -> Iterator[list[Ask]]:
    """Each item's asks: items that somebody labelled first, then the others, both in the order of the draw."""
    found = people(view, metric)
    labelled = [{(read.item, read.repeat) for read in found.arms[arm].reads} for arm in arms]
    places = sorted(_order(view, metric, arms), key=lambda place: not all(place in each for each in labelled))
    for place in places:
        if asks := list(_asks(view, metric, *place, arms)):
            yield asks


def _arms(view: View, arms: Sequence[str] | None, against: str | None) -> list[str]:
    """The arms whose answers are read, the one that pairs are compared with left out."""
    if arms is None:
        reference = reference_of(view)
        candidates = [each.label for each in view.candidates]
        arms = [reference, *candidates] if candidates else [each.label for each in view.scored]
    for label in arms:
        if (problem := view.contender(label).problem) is not None:
            raise ConfigError([Problem("", label, f"has nothing to label: {problem}", "Name other arms with --arm")])
    chosen = [label for label in dict.fromkeys(arms) if label != against]
    if not chosen:
        raise ConfigError([Problem("", "--arm", f"{against} is the arm that the others are compared with", "Name another one")])
    return chosen


def _order(view: View, metric: str, arms: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(item, repeat) of every item that all arms answered, in the order of the draw."""
    found = people(view, metric)
    shown = [*arms, *([found.against] if found.against is not None else [])]
    answered = np.logical_and.reduce([found.arms[arm].answered for arm in shown])
    same = found.same(shown) if len(shown) > 1 else np.zeros(view.n, np.bool_)
    chance = np.array([_two_uniform(view.seed, found.question, sample_id) for sample_id in view.ids]).T
    judged = np.array([found.arms[arm].judged for arm in arms])
    gap = judged[1:].mean(axis=0) - judged[0] if len(arms) > 1 else judged[0]
    keys = np.full(view.n, np.inf)
    for layer, rate in ((answered & ~same, 1.0), (answered & same, SAME_AS_OFTEN)):
        keys[layer] = _spread(gap[layer], judged.mean(axis=0)[layer], *chance[:, layer]) / rate
    for item in np.lexsort((chance[0], keys)):
        if answered[item]:
            repeat = int(_uniform(view.seed, found.question, view.ids[item], "repeat") * view.repeats)
            yield int(item), repeat


def _spread(gap: Floats, mean: Floats, chance: Floats, other_chance: Floats) -> Floats:
    """(n,) keys in 0..1 in whose order any beginning has its share of every bin, and every item the same chance.

    Which of equal items fall into the lower bin is drawn apart from the order within a bin: drawn as one, the few that
    fill a bin up would always come first in it.
    """
    n = len(gap)
    keys = np.zeros(n)
    ranked = np.lexsort((other_chance, mean, gap))
    for members in np.array_split(ranked, min(BINS, max(1, n // 5))):
        by_chance = members[np.argsort(chance[members])]
        offset = (chance[members].sum() * 1e6) % 1.0  # drawn, too: a fixed one would let some bins come first in every draw
        keys[by_chance] = (np.arange(len(members)) + offset) / max(1, len(members))
    return keys


def _asks(view: View, metric: str, item: int, repeat: int, arms: Sequence[str]) -> Iterator[Ask]:
    """The item's texts, equal ones once, in an order drawn by hash."""
    found = people(view, metric)
    other = view.answers(found.against) if found.against is not None else None
    texts: dict[str, list[str]] = {}
    for arm in arms:
        mark = view.answers(arm).marks[item, repeat]
        if other is None or mark != other.marks[item, repeat]:  # the same as what it is compared with: a tie, known
            texts.setdefault(mark, []).append(arm)
    for mark in sorted(texts, key=lambda mark: digest([view.seed, view.ids[item], mark])):
        sharing = texts[mark]
        beside = "" if other is None else other.output_ids[item, repeat]
        key = digest([found.question, view.ids[item], mark, "" if other is None else other.marks[item, repeat]])[:16]
        outputs = tuple(view.answers(arm).output_ids[item, repeat] for arm in sharing)
        who = frozenset(read.annotator for arm in sharing for read in found.arms[arm].reads if (read.item, read.repeat) == (item, repeat))
        turned = other is not None and _uniform(view.seed, key, "turned") < 0.5
        yield Ask(key, view.ids[item], outputs, sharing[0], repeat, beside, turned, who)


def _two_uniform(*parts: object) -> tuple[float, float]:
    """Two independent draws from one hash."""
    drawn = int(digest(list(parts)), 16)
    return (drawn >> 48) / 16**12, (drawn & (1 << 48) - 1) / 16**12


def _uniform(*parts: object) -> float:
    """A number in 0..1 drawn by hash: it stays when items are added."""
    return int(digest(list(parts)), 16) / 16**24
