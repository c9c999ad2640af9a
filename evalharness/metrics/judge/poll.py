"""Questions to a panel in progress: the requests they need, the votes so far, and the opinion once all are in.

>>> from evalharness.records import Sample
>>> options = JudgeOptions(model="openai/gpt-x", rubric="Is it polite?")
>>> question = Question("q1", Sample.of([Message("user", "Hi")], []), Reply("o1", "Hello.", "stop"))
>>> poll = Poll(options, Form("score", tuple(options.values)), ["openai/gpt-x"], [question], set())
>>> key = poll.requests[0][0].output_id
>>> poll.again(0, Reply(key, '{"reason": "It greets.", "score": 4}', "stop"))  # nothing to send in its place
>>> poll.take(key).stats
(4.0,)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from evalharness.errors import DataError
from evalharness.ids import digest
from evalharness.metrics.judge.chat import Form, again, chat
from evalharness.metrics.judge.options import JudgeOptions
from evalharness.metrics.judge.reading import Unusable, read, schema
from evalharness.metrics.judge.votes import Vote, combine, flips, why
from evalharness.prompts import Prompt
from evalharness.protocols import Opinion, Question
from evalharness.records import Message, Reply, Request, Sampling

First = Literal["mine", "other"]
_NO_SCHEMA = re.compile(r"HTTP (400|404|415|422|501)\b.*(response_format|schema|structured|guided|grammar)", re.IGNORECASE | re.DOTALL)
_REFUSED = re.compile(r"refusal|finish_reason|content.?(filter|policy|management)|safety|blocked", re.IGNORECASE)
_KEPT = 4000
_LONGEST_WHY = 120
"""Bytes of the longest reason for a second try."""


@dataclass(slots=True)
class _Ballot:
    """One question's votes so far. `spent` is None once an answer came whose price nobody knows."""

    question: Question
    open: int = 0
    votes: list[Vote] = field(default_factory=list)
    spent: float | None = None
    unpriced: bool = False

    def pay(self, reply: Reply) -> None:
        if reply.cost_usd is not None:
            self.spent = (self.spent or 0.0) + reply.cost_usd
        elif reply.text is not None:
            self.unpriced = True

    @property
    def cost_usd(self) -> float | None:
        return None if self.unpriced else self.spent


@dataclass(slots=True)
class _Call:
    """A request on its way, and whose answer stands first in it."""

    request: Request
    ballot: _Ballot
    judge: str
    first: First | None
    tries: int = 1
    vote: Vote | None = None


class Poll:
    """`requests` are those of each judge; `settled` the opinions that need none. `no_schema` holds the judges' seats
    whose services refuse JSON schemas; it is added to.
    """

    def __init__(
        self, options: JudgeOptions, form: Form, judges: Sequence[str], questions: Sequence[Question], no_schema: set[int]
    ) -> None:
        self._options, self._form, self._judges, self._no_schema = options, form, judges, no_schema
        self._rubric, self._values = Prompt(options.rubric), options.values
        self._sampling = Sampling(max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed)
        self._schema = schema(form.key, form.labels) if options.structured else None
        self._calls: dict[str, _Call] = {}
        self.settled: list[Opinion] = []
        self.requests: list[list[Request]] = [[] for _ in judges]
        for question in questions:
            self._open(question)

    def again(self, seat: int, reply: Reply) -> Request | None:
        """The request to send in place of the one that got this reply; None if the reply is final."""
        call = self._calls[reply.output_id]
        call.ballot.pay(reply)
        if reply.error is not None and call.request.schema is not None and _NO_SCHEMA.search(reply.error):
            self._no_schema.add(seat)
            call.request = replace(call.request, schema=None)
            return call.request
        call.vote = self._vote(call, reply)
        unlucky = reply.error is None or _REFUSED.search(reply.error) is not None
        if call.vote.error is None or call.tries > 1 or not unlucky:
            return None
        call.tries += 1
        messages = again(call.request.messages, call.vote.error if reply.error is None else "it was a refusal")
        taken = None if seat in self._no_schema else call.request.schema
        call.request = replace(call.request, messages=messages, repeat=1, schema=taken)
        return call.request

    def second(self, request: Request) -> Request:
        """The second try as it will be at its longest: whoever counts what judging may cost has to count it, too."""
        return replace(request, messages=again(request.messages, " " * _LONGEST_WHY), repeat=1)

    def take(self, output_id: str) -> Opinion | None:
        """Count a final reply that `again` has seen; the opinion if it was the question's last one."""
        call = self._calls.pop(output_id)
        assert call.vote is not None  # `again` has seen the reply
        ballot = call.ballot
        ballot.votes.append(call.vote)
        ballot.open -= 1
        return self._opinion(ballot) if ballot.open == 0 else None

    def _open(self, question: Question) -> None:
        """Settle the question at once, or make its requests."""
        mine, other = question.reply, question.other
        if mine.text is None or (other is not None and other.text is None):
            whose = "the answer" if mine.text is None else f"the answer of {self._options.against}, to compare with,"
            self.settled.append(Opinion(question.key, (), error=f"{whose} has no text"))
        elif (other is None) != (self._options.against is None):
            self.settled.append(Opinion(question.key, (), error=f"there is no answer of {self._options.against} to compare with"))
        elif other is not None and other.text is not None and mine.text.strip() == other.text.strip():
            vote = Vote("none", "tie", 0.5, "the two answers are the same")
            self.settled.append(Opinion(question.key, self._stats(question, [vote], 0.5), why([vote]), cost_usd=0.0))
        else:
            self._request(question)

    def _request(self, question: Question) -> None:
        ballot = _Ballot(question)
        try:
            chats = [(first, self._chat(question, first)) for first in self._orders(question)]
        except DataError as error:
            self.settled.append(Opinion(question.key, (), error=str(error)))
            return
        for seat, judge in enumerate(self._judges):
            for first, messages in chats:
                key = digest([question.key, seat, first])
                taken = None if seat in self._no_schema else self._schema
                request = Request(key, question.sample.id, messages, self._sampling, schema=taken)
                self._calls[key] = _Call(request, ballot, judge, first)
                self.requests[seat].append(request)
                ballot.open += 1

    def _orders(self, question: Question) -> tuple[First | None, ...]:
        if self._options.against is None:
            return (None,)
        if self._options.orders == "both":
            return ("mine", "other")
        return ("mine",) if int(digest([question.sample.id, self._options.seed]), 16) % 2 else ("other",)

    def _chat(self, question: Question, first: First | None) -> tuple[Message, ...]:
        texts = [reply.text or "" for reply in (question.reply, question.other) if reply is not None]
        shown = texts if first != "other" else texts[::-1]
        return chat(self._rubric, self._form, question.sample, shown, self._options.reference)

    def _vote(self, call: _Call, reply: Reply) -> Vote:
        """What the reply says, or why it says nothing."""
        bare = Vote(call.judge, first=call.first, tries=call.tries)
        if reply.error is not None:
            return replace(bare, error=reply.error, raw=_short(reply.raw or reply.text))
        question, text = call.ballot.question, reply.text or ""
        judged = [each.text or "" for each in (question.reply, question.other) if each is not None]
        try:
            label, reason = read(text, self._form.key, self._form.labels, judged)
        except Unusable as error:
            cut = "; it was cut off at max_tokens" if reply.finish == "length" else ""
            return replace(bare, error=f"{error}{cut}", raw=_short(text))
        value = self._values[label]
        return replace(bare, label=label, value=1.0 - value if call.first == "other" else value, reason=reason)

    def _opinion(self, ballot: _Ballot) -> Opinion:
        question = ballot.question
        votes = sorted(ballot.votes, key=lambda vote: (self._judges.index(vote.judge), vote.first or ""))
        value, told = combine(votes, len(self._judges), self._options.combine), why(votes)
        if value is not None:
            return Opinion(question.key, self._stats(question, votes, value), told, cost_usd=ballot.cost_usd)
        bad = next(vote for vote in votes if vote.error is not None)
        return Opinion(question.key, (), told, f"{bad.judge}: {bad.error}", ballot.cost_usd, bad.raw)

    def _stats(self, question: Question, votes: Sequence[Vote], value: float) -> tuple[float, ...]:
        if question.other is None:
            return (value,)
        changed, both = flips(votes)
        lengths = (len(reply.text or "") for reply in (question.reply, question.other))
        return (value, float(changed), float(both), *map(float, lengths))


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _KEPT else text[: _KEPT - 1] + "…"
