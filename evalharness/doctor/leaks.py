"""Held-out inputs among what is learned from or shown: training and dev rows, few-shot examples, prompt texts, groups.

A leak into test is an error: scores on it are not to be trusted. What `data.load` refuses anyway is an error, too; with
`leaks: drop_train` or a split it is a note, because those rows are left out; with `leaks: allow` it is an error that the suite allows.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator

import numpy as np

from evalharness.data.leaks import normal, squeezed
from evalharness.data.split import rank
from evalharness.doctor.drafts import Draft
from evalharness.doctor.findings import SeenRow, Severity, Side
from evalharness.doctor.index import SIDES, Index, Rows, has_labels, head, mark, on, shared
from evalharness.doctor.near import NEAR, Near
from evalharness.reading import LoadedSuite
from evalharness.spec import DataSpec

IDS = ("leak.exact", "leak.normalised", "leak.near", "leak.turns", "leak.shots", "leak.group")
PAIRS: tuple[tuple[Side, Side], ...] = (("train", "test"), ("dev", "test"), ("train", "dev"))
ALLOWED = "data.leaks is allow"
_SAMENESS = {
    "leak.exact": "letter by letter",
    "leak.normalised": "up to case, punctuation and space",
    "leak.near": "with at most a tenth of its words changed",
}


def severity(held_out: Side, rule: DataSpec) -> tuple[Severity, str | None]:
    """How bad an equal input on a learned and this held-out side is under the suite's leak rule, and who allows it."""
    if rule.leaves_out():
        return "note", None
    if rule.leaks == "allow":
        return ("error" if held_out == "test" else "warning"), ALLOWED
    return "error", None


def leaks(index: Index, near: Near, loaded: LoadedSuite) -> Iterator[Draft]:
    """Equal and near inputs on two sides, the few-shot examples among them, and clusters on two sides."""
    for learned, held_out in PAIRS:
        rows, others = on(index, learned), on(index, held_out)
        exact, exact_other = shared(index.exact, rows, others)
        plain, plain_other = shared(index.plain, rows, others)
        more = ~np.isin(plain, exact)
        yield from _equal(index, "leak.exact", learned, held_out, exact, exact_other, loaded)
        yield from _equal(index, "leak.normalised", learned, held_out, plain[more], plain_other[more], loaded)
        near_rows, first = _near_rows(index, near, rows, others, loaded.suite.data)
        held, _ = _near_rows(index, near, others, near_rows, loaded.suite.data)
        yield from _near(index, learned, held_out, near_rows, first, held, loaded)
        yield from _groups(index, learned, held_out)
    yield from _shots(index, near, loaded)


def _equal(index: Index, rule: str, learned: Side, held_out: Side, rows: Rows, others: Rows, loaded: LoadedSuite) -> Iterator[Draft]:
    if not len(rows):
        return
    bad, allowed = severity(held_out, loaded.suite.data)
    n, numbers = len(np.unique(index.plain[others])), index.number[rows].tolist()
    which = f"{len(rows):,} {learned} {'row has' if len(rows) == 1 else 'rows have'} the input of a {held_out} row {_SAMENESS[rule]}"
    inputs = f"{n:,} {'input' if n == 1 else 'different inputs'}"
    if bad == "note":
        found, fix = f"{which} ({inputs}); they are left out of {learned} ({_by(loaded)})", "Nothing to do"
    else:
        harm = "scores show what was learned by heart" if held_out == "test" else "the best candidate is picked on what it has seen"
        found = f"{which} ({inputs}): {harm}"
        fix = f"Take them out of {learned}: set leaks: drop_train, or evalh check SUITE --fix OUT writes copies without them"
    pairs = list(zip(numbers, index.number[others].tolist(), strict=True))
    yield Draft(rule, bad, len(rows), found, fix, pairs, numbers, allowed=allowed, figures={"inputs": n})


def _near_rows(index: Index, near: Near, rows: Rows, others: Rows, spec: DataSpec) -> tuple[Rows, Rows]:
    """Rows near to a held-out one, but equal to none.

    With another label they give nothing away (one word made the difference), but a split leaves them out all the same.
    """
    found, held = near.rows(rows, others, index, "same" if has_labels(index) and not spec.leaves_out(NEAR) else "any")
    equal = np.isin(index.plain[found], index.plain[others])
    return found[~equal], held[~equal]


def _near(index: Index, learned: Side, held_out: Side, rows: Rows, others: Rows, all_held: Rows, loaded: LoadedSuite) -> Iterator[Draft]:
    """Only a split leaves near ones out: those of files that are named stay in train whatever the suite's leak rule."""
    if not len(rows):
        return
    n, numbers = len(np.unique(index.plain[all_held])), index.number[rows].tolist()
    which = f"{len(rows):,} {learned} {'row has' if len(rows) == 1 else 'rows have'} the input of a {held_out} row {_SAMENESS['leak.near']}"
    which = f"{which} ({n:,} {'input' if n == 1 else 'different inputs'})"
    found = f"{which}: close to learning the answers by heart"
    fix = f"evalh check SUITE --fix OUT writes copies of {learned} without them; or allow it: data.allow: {{leak.near: why they are fine}}"
    pairs = list(zip(numbers, index.number[others].tolist(), strict=True))
    bad: Severity = "error" if held_out == "test" else "warning"
    allowed = ALLOWED if loaded.suite.data.leaks == "allow" else None
    if loaded.suite.data.leaves_out(NEAR):
        bad, found, fix = "note", f"{which}; they are left out of {learned} ({_by(loaded)})", "Nothing to do"
    yield Draft(
        "leak.near",
        bad,
        len(rows),
        found,
        fix,
        pairs,
        numbers,
        allowed=allowed,
        figures={"inputs": n},
        shown="both",
        clashes=index.number[all_held].tolist(),
    )


def _by(loaded: LoadedSuite) -> str:
    return "data.split" if loaded.suite.data.divides else "leaks: drop_train"


class Turns:
    """Beginnings of chats that are a whole question by themselves: services train on every turn of the assistant's."""

    def __init__(self) -> None:
        self._rows, self._begun = array("Q"), array("Q")

    def see(self, row: SeenRow, position: int) -> None:
        """One row and its position in the index."""
        turns = [message for message in row.sample.messages if message.role != "system"]
        if row.side == "test" or len(turns) < 3:
            return
        said = [normal(turn.content) for turn in turns]
        for k in range(1, len(turns)):
            if turns[k].role == "assistant" and head("\n".join(said[:k])):  # a shorter beginning, such as "Hello", is that of many
                self._rows.append(position)
                self._begun.append(mark("\n".join(map(squeezed, said[:k]))))

    def drafts(self, index: Index, loaded: LoadedSuite) -> Iterator[Draft]:
        """One finding a pair of sides."""
        positions, begun = np.asarray(self._rows, np.intp), np.asarray(self._begun, np.uint64)
        for learned, held_out in PAIRS:
            mine = index.side[positions] == SIDES.index(learned)
            others = on(index, held_out)
            marks = np.concatenate([begun[mine], index.plain[others]])
            places = np.arange(len(marks))
            hit, other = shared(marks, places[: int(mine.sum())], places[int(mine.sum()) :])
            if not len(hit):
                continue
            rows, first = np.unique(positions[mine][hit], return_index=True)
            held = others[other[first] - int(mine.sum())]
            yield _turns(index, learned, held_out, rows, held, loaded)


def _turns(index: Index, learned: Side, held_out: Side, rows: Rows, held: Rows, loaded: LoadedSuite) -> Draft:
    n, numbers = len(rows), index.number[rows].tolist()
    begin = "chat begins" if n == 1 else "chats begin"
    found = f"{n:,} {learned} {begin} with the whole input of a {held_out} row, and what the assistant said to it"
    fix = f"Keep chats and their beginnings on one side; evalh check SUITE --fix OUT writes copies of {learned} without them"
    bad: Severity = "error" if held_out == "test" else "warning"
    allowed = ALLOWED if loaded.suite.data.leaks == "allow" else None
    pairs = list(zip(numbers, index.number[held].tolist(), strict=True))
    return Draft("leak.turns", bad, n, found, fix, pairs, numbers, allowed=allowed, shown="both")


def _groups(index: Index, learned: Side, held_out: Side) -> Iterator[Draft]:
    rows, others = on(index, held_out), on(index, learned)
    inside, other = shared(index.group, rows, others)
    if not len(inside):
        return
    groups = len(np.unique(index.group[inside]))
    share = len(inside) / len(rows)
    found = (
        f"{len(inside):,} {held_out} rows ({share:.0%}) are of {'a cluster' if groups == 1 else f'{groups:,} clusters'} "
        f"that {learned} has rows of: answers may be known from there"
    )
    fix = "Split by the cluster: data.split: {by: FIELD}; or allow it with a reason where the same ones come back in use"
    _, first = np.unique(index.group[inside], return_index=True)  # one place a cluster
    pairs = list(zip(index.number[inside[first]].tolist(), index.number[other[first]].tolist(), strict=True))
    yield Draft("leak.group", "warning", len(inside), found, fix, pairs, figures={"clusters": groups})


def arms_with_shots(loaded: LoadedSuite) -> dict[tuple[int, int], list[str]]:
    """(how many, seed) -> labels of the arms that show these examples."""
    found: dict[tuple[int, int], list[str]] = {}
    for label, arm in loaded.suite.arms.items():
        if arm.outputs is None and arm.shots.n:
            found.setdefault((arm.shots.n, arm.shots.seed), []).append(label)
    return found


def shown(index: Index, shots: tuple[int, int], spec: DataSpec, dropped: Rows) -> list[int]:
    """Positions of the training rows that `choose_examples` picks for these shots; repeats count once."""
    left = np.setdiff1d(on(index, "train"), dropped) if spec.leaves_out() else on(index, "train")
    ids = dict(reversed([(index.id(position), position) for position in left.tolist()]))
    if spec.limit is not None and spec.limit.train is not None:
        limit = spec.limit
        kept = sorted(ids, key=lambda key: (rank(limit.seed, key), ids[key]))[: limit.train]
        ids = {key: ids[key] for key in kept}
    n, seed = shots
    ranked = sorted(ids, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    return [ids[key] for key in ranked[:n]]


def _shots(index: Index, near: Near, loaded: LoadedSuite) -> Iterator[Draft]:
    spec = loaded.suite.data
    held = np.flatnonzero((index.side == SIDES.index("test")) | (index.side == SIDES.index("dev")))
    train = on(index, "train")
    leaked, _ = shared(index.plain, train, held)
    if spec.leaves_out(NEAR):
        leaked = np.concatenate([leaked, near.rows(train, held, index, "any")[0]])
    for shots, labels in arms_with_shots(loaded).items():
        positions = np.sort(np.asarray(shown(index, shots, spec, leaked), np.intp))
        pairs = [
            *zip(*shared(index.plain, positions, held), strict=True),
            *zip(*_near_rows(index, near, positions, held, spec), strict=True),
        ]
        if pairs:
            n, numbers = len(pairs), [(int(index.number[row]), int(index.number[other])) for row, other in pairs]
            which = f"{n:,} few-shot {'example' if n == 1 else 'examples'} of {', '.join(labels)} {'is' if n == 1 else 'are'}"
            found = f"{which} also held out, or nearly: the prompt gives the answer away"
            fix = "Take the rows out of train, or choose others: shots: {n: N, seed: SEED}"
            yield Draft("leak.shots", "error", n, found, fix, numbers)
