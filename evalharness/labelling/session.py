"""One person's way through the asks: each answer is stored at once, undo takes it back, skipped ones come back next time.

>>> session = Session(store, plan.question, plan.asks, "ada", (0.0, 1.0))                             # doctest: +SKIP
>>> session.answer(1.0); session.undo(); session.current == plan.asks[0]                              # doctest: +SKIP
True
"""

from __future__ import annotations

from collections.abc import Sequence

from evalharness.labelling.choosing import Ask
from evalharness.store import Label, Store


class Session:
    """The asks that this person has not labelled yet, in order; `bounds` is the metric's range."""

    def __init__(self, store: Store, question: str, asks: Sequence[Ask], annotator: str, bounds: tuple[float, float]) -> None:
        self.annotator, self.total = annotator, len(asks)
        self._store, self._question, self._bounds = store, question, bounds
        self._open = [ask for ask in asks if annotator not in ask.annotators]
        self.before = self.total - len(self._open)
        self._done: list[list[Label]] = []

    @property
    def current(self) -> Ask | None:
        """What to label now; None at the end."""
        return self._open[len(self._done)] if len(self._done) < len(self._open) else None

    @property
    def labelled(self) -> int:
        """How many of all asks this person has labelled, now and before."""
        return self.before + sum(map(bool, self._done))

    @property
    def skipped(self) -> int:
        """How many were skipped in this session."""
        return sum(not labels for labels in self._done)

    def answer(self, value: float, note: str = "") -> None:
        """Store the label of what is current. In pairs `value` is what it is worth to the text shown first."""
        ask = self.current
        if ask is None:
            raise ValueError("there is nothing left to label")
        labels = labels_of(ask, self._question, self.annotator, value, note, self._bounds)
        self._store.put_labels(labels)
        self._done.append(labels)

    def skip(self) -> None:
        """Leave what is current for another time."""
        if self.current is not None:
            self._done.append([])

    def undo(self) -> bool:
        """Go back one, forgetting its label; False at the beginning of the session."""
        if not self._done:
            return False
        if labels := self._done.pop():
            self._store.drop_labels(labels)
        return True


def labels_of(ask: Ask, question: str, annotator: str, value: float, note: str, bounds: tuple[float, float]) -> list[Label]:
    """The labels that an answer is worth: one for each output with this text, turned back if the other one stood first."""
    mine = sum(bounds) - value if ask.turned else value
    return [Label(question, output_id, annotator, mine, ask.other, note) for output_id in ask.outputs]
