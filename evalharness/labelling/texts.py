"""The words that a person reads for an ask: the question, what is accepted if the judge sees it, and the answers.

>>> shown = read(view, plan.asks[:1], measure)[plan.asks[0].key]                                      # doctest: +SKIP
>>> shown.answers                                                                                     # doctest: +SKIP
('Please reset it in the settings.',)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalharness.labelling.choosing import Ask
from evalharness.records import Message
from evalharness.verdict.measures import Measure
from evalharness.verdict.view import View


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands before a person; two answers in pairs, in the order in which they are shown."""

    messages: tuple[Message, ...]
    targets: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def question(self) -> str:
        """What was asked, a chat with its roles."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n\n".join(f"{message.role}: {message.content}" for message in self.messages)


def read(view: View, asks: Sequence[Ask], measure: Measure) -> dict[str, Shown]:
    """ask key -> its texts, read from the store. People see the accepted answers where the judge does, or none is asked."""
    sample_ids = list(dict.fromkeys(ask.sample_id for ask in asks))
    samples = {sample.id: sample for sample in view.store.samples(view.dataset.dataset_id, sample_ids)}
    wanted = {ask.arm for ask in asks} | ({measure.against} if measure.against is not None else set())
    texts: dict[tuple[str, str, int], str] = {}
    for arm in wanted:
        for output in view.store.outputs(view.contender(arm).arm.arm_id, view.dataset.dataset_id, sample_ids):
            texts[arm, output.sample_id, output.repeat] = output.reply.text or ""
    with_targets = bool(getattr(getattr(measure.plugin, "options", None), "reference", True))
    found = {}
    for ask in asks:
        answers = [texts[ask.arm, ask.sample_id, ask.repeat]]
        if measure.against is not None:
            answers.append(texts[measure.against, ask.sample_id, ask.repeat])
        sample = samples[ask.sample_id]
        shown = answers[::-1] if ask.turned else answers
        found[ask.key] = Shown(sample.messages, sample.targets if with_targets else (), tuple(shown))
    return found


def rubric_of(measure: Measure) -> str:
    """What to judge by, in the judge's own rubric; else the metric's name."""
    found = getattr(getattr(measure.plugin, "options", None), "rubric", None)
    return found if isinstance(found, str) else f"How good is the answer, by {measure.label}?"
