"""The judge as a metric: what it is asked, what its answers are worth, and what decides them.

In YAML: `judge: {model: openai/gpt-x, rubric: rubric.md, scale: 1-5}`, or `{..., against: few-shot}` for pairs.

>>> judge = Judge(JudgeOptions(model="openai/gpt-x", rubric="Is it polite?", scale="pass_fail"))
>>> judge.kind, judge.range, judge.local
('binary', (0.0, 1.0), False)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import ClassVar, Literal

from evalharness import metrics, protocols
from evalharness.errors import ConfigError
from evalharness.ids import digest
from evalharness.metrics.judge.chat import Form, prompt_identity
from evalharness.metrics.judge.family import kinship
from evalharness.metrics.judge.jurors import Juror
from evalharness.metrics.judge.lanes import replies
from evalharness.metrics.judge.options import JudgeOptions
from evalharness.metrics.judge.poll import Poll
from evalharness.prompts import Prompt, variables
from evalharness.protocols import Floats, Opinion, Question
from evalharness.records import Reply, Sample

_FIRST, _MANY, _FEW = 50, 5000, 200


class Judge:
    """Models that judge answers by a rubric, alone on a scale or in pairs against another arm; see `JudgeOptions`.

    Statistics of one answer: (value,). In pairs: (preference, flips, pairs, length, other's length), where preference
    is 1 for a win, 0.5 for a tie and 0 for a loss, `flips` counts the judges that changed their mind when the answers
    changed places, `pairs` the judges asked in both orders, and lengths are characters. So the flip rate of an arm is
    sum(flips) / sum(pairs), and `evalharness.stats.length` takes preference and lengths as they are.
    """

    Options: ClassVar[type[protocols.Options]] = JudgeOptions
    version = "1"
    higher_is_better = True

    def __init__(self, options: JudgeOptions) -> None:
        """Raises ConfigError for a model that cannot be made, and for a panel that seats one judge twice."""
        self.options = options
        self.name = options.name
        self.jurors = tuple(Juror.of(use, options.root) for use in options.uses)
        if len({juror.name for juror in self.jurors}) < len(self.jurors):
            raise ConfigError("a judge sits in the panel twice: its second vote would be the first one again")
        self.against = options.against
        self.needs_targets = options.reference or "reference" in variables(Prompt(options.rubric))
        self.choices: Mapping[str, float] = options.values
        self.form = Form("score" if self.against is None else "winner", tuple(self.choices))
        self.range = (min(self.choices.values()), max(self.choices.values()))
        one = self.against is None and (len(self.jurors) == 1 or options.combine == "majority")
        self.kind: Literal["binary", "mean", "corpus"] = "binary" if one and set(self.choices.values()) == {0.0, 1.0} else "mean"
        self.local = any(juror.model.local for juror in self.jurors)
        self._no_schema: set[int] = set()

    def check(self) -> None:
        """Raises ConfigError for a judge that lacks its key or package."""
        for juror in self.jurors:
            juror.check()

    @cached_property
    def _identity(self) -> dict[str, object]:
        options = self.options.model_dump(mode="json", exclude_defaults=True, exclude={"name", "model", "panel"})
        if options.get("scale") == "1-5":
            del options["scale"]  # said or left out, it is the same scale
        uses = [juror.use() for juror in self.jurors]
        options |= {"panel": uses} if self.options.panel else {"model": uses[0]}
        jurors = [juror.identity() for juror in self.jurors]
        prompt = {"rubric": digest(self.options.rubric), **prompt_identity()}
        known: dict[str, object] = {"name": "judge", "version": self.version, "options": options}
        return {**known, "judges": jurors, "prompt": prompt, "signature": self.signature}

    def identity(self) -> dict[str, object]:
        """Models, rubric's text, all other words that judges read, scale and settings; not what the suite calls it."""
        return self._identity

    @property
    def signature(self) -> str:
        """The settings in one line, the rubric by its hash."""
        options = self.options
        scale = f"against:{options.against}|orders:{options.orders}" if options.against else f"scale:{','.join(self.choices)}"
        who = "+".join(juror.name for juror in self.jurors)
        panel = f"|combine:{options.combine}" if len(self.jurors) > 1 else ""
        shown = "|reference:yes" if options.reference else ""
        return (
            f"judges:{who}{panel}|rubric:{digest(options.rubric)}|{scale}{shown}|temperature:{options.temperature:g}|version:{self.version}"
        )

    def question_id(self) -> str:
        """Hash of what a person would be asked, too: the rubric's text and the scale, whoever judges."""
        return digest(["question", self.options.rubric, dict(self.choices), self.form.key])

    def kin(self, arm: Mapping[str, object], names: Iterable[str] = ()) -> str | None:
        """Which judge is related to an arm's model, and how: "openai/gpt-x: the same family (gpt)"; None if none is."""
        known = list(names)
        for juror in self.jurors:
            if (found := kinship(juror.identity(), arm, known)) is not None:
                return f"{juror.name}: {found}"
        return None

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Raises TypeError: a judge is asked."""
        raise TypeError(f"{self.name} has to be asked; it cannot score by itself")

    def failed(self, sample: Sample) -> tuple[float, ...]:
        """The lowest value of the scale; in pairs a loss."""
        return self._stats(self.range[0])

    def perfect(self, sample: Sample) -> tuple[float, ...]:
        """The highest value of the scale; in pairs a win."""
        return self._stats(self.range[1])

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """The mean value; in pairs the win rate, ties counting half."""
        return metrics.mean(sums, n)

    def calls(self, questions: int) -> int:
        """Every judge, every order, and every one of these tried twice."""
        return 2 * questions * len(self.jurors) * (2 if self.against is not None and self.options.orders == "both" else 1)

    def estimate(self, questions: Sequence[Question]) -> float | None:
        """Dollars for every judge and order, asked twice, every answer as long as allowed; None where a judge has no price."""
        poll = self._poll(questions)
        costs = [juror.dollars([*mine, *map(poll.second, mine)]) for juror, mine in zip(self.jurors, poll.requests, strict=True)]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    async def ask(self, questions: Sequence[Question]) -> AsyncGenerator[Opinion]:
        """One opinion per question. What needs no call comes first: equal answers tie, what has no text is an error.

        Raises what a judge's model raises (a missing key, a missing package).
        """
        for part in self._parts(questions):
            poll = self._poll(part)
            for settled in poll.settled:
                yield settled
            models = [juror.model for juror in self.jurors]
            async with aclosing(replies(models, poll.requests, poll.again)) as stream:
                async for _, reply in stream:
                    if (opinion := poll.take(reply.output_id)) is not None:
                        yield opinion

    async def close(self) -> None:
        """Free the judges' memory and connections."""
        for juror in self.jurors:
            await juror.model.close()

    def _poll(self, questions: Sequence[Question]) -> Poll:
        return Poll(self.options, self.form, [juror.name for juror in self.jurors], questions, self._no_schema)

    def _parts(self, questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
        """A first few, which show whether the service takes schemas; then many at a time, few where judges wait for each other."""
        size = _FEW if self.local or len(self.jurors) > 1 else _MANY
        start, end = 0, _FIRST
        while start < len(questions):
            yield questions[start:end]
            start, end = end, end + size

    def _stats(self, value: float) -> tuple[float, ...]:
        return (value,) if self.against is None else (value, 0.0, 0.0, 0.0, 0.0)
