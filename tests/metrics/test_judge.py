"""The judge as a metric: identity, panels, orders, second tries, errors with their texts, and what it costs."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import json
import pkgutil
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from evalharness import registry
from evalharness.errors import ConfigError
from evalharness.ids import digest
from evalharness.metrics import judge as package
from evalharness.metrics.judge import Judge, JudgeOptions, Vote, read_why
from evalharness.metrics.judge.family import family, kinship
from evalharness.metrics.judge.votes import by_judge, combine, flips, why
from evalharness.protocols import AskingMetric, Metric, Opinion, Options, Question
from evalharness.records import Message, Reply, Request, Sample
from tests.emulators.judge import Faults, JudgeService
from tests.emulators.openai import OpenAIEmulator

Say = Callable[[Request, int], str | Reply | None]
PRICES = {"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 2.0}


class Puppet:
    """A judge's model that says what it is told to; `say(request, nth call)`."""

    Options = Options

    def __init__(self, say: Say, *, local: bool = False) -> None:
        self.say, self.local, self.asked, self.closed, self.at_once = say, local, list[Request](), False, 0
        self.pool = "puppet"
        self._now = 0

    def identity(self) -> dict[str, str]:
        return {"model": "puppet"}

    def estimate(self, request: Request) -> float | None:
        return 0.5

    async def generate(self, requests: Sequence[Request]) -> AsyncGenerator[Reply]:
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        for request in requests:
            await asyncio.sleep(0)
            self.asked.append(request)
            said = self.say(request, len(self.asked))
            if isinstance(said, str):
                said = Reply(request.output_id, said, "stop", cost_usd=0.25)
            if said is not None:
                yield said
        self._now -= 1

    async def close(self) -> None:
        self.closed = True


def verdict(value: object, key: str = "score") -> str:
    return json.dumps({"reason": "so it is", key: value})


def judge(*says: Say, local: bool = False, **options: Any) -> tuple[Judge, list[Puppet]]:
    """A judge whose models are puppets."""
    uses = [f"openai/judge-{i}" for i in range(len(says))]
    who: dict[str, Any] = {"panel": uses} if len(says) > 1 else {"model": uses[0]}
    made = Judge(JudgeOptions(**{"rubric": "Is it right?", **who, **options}))
    puppets = [Puppet(say, local=local) for say in says]
    for juror, puppet in zip(made.jurors, puppets, strict=True):
        object.__setattr__(juror, "model", puppet)
    made.local = local
    return made, puppets


def question(key: str, text: str | None, other: str | None = None, *, pair: bool = False) -> Question:
    sample = Sample.of([Message("user", f"question {key}")], ["target"], fields={"tone": "warm"})
    second = Reply("o", other, "stop" if other is not None else "error") if pair or other is not None else None
    return Question(key, sample, Reply(key, text, "stop"), second)


def ask(made: Judge, questions: Sequence[Question]) -> dict[str, Opinion]:
    async def collect() -> list[Opinion]:
        found = [opinion async for opinion in made.ask(questions)]
        await made.close()
        return found

    opinions = asyncio.run(collect())
    assert sorted(opinion.key for opinion in opinions) == sorted(each.key for each in questions)
    return {opinion.key: opinion for opinion in opinions}


@pytest.mark.parametrize("name", sorted(module.name for module in pkgutil.iter_modules(package.__path__)))
def test_examples_run_as_written(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"{package.__name__}.{name}"))
    assert result.attempted > 0 or name == "lanes"  # whose example needs models
    assert result.failed == 0


def test_it_is_an_asking_metric() -> None:
    made, _ = judge(lambda request, n: verdict(4))
    assert isinstance(made, AskingMetric)
    assert isinstance(made, Metric)
    with pytest.raises(TypeError, match="asked"):
        made.score(question("q", "x").sample, Reply("o", "x", "stop"))


@pytest.mark.parametrize(
    ("options", "kind", "ends"),
    [
        ({}, "mean", (1.0, 5.0)),
        ({"scale": "0-10"}, "mean", (0.0, 10.0)),
        ({"scale": "pass_fail"}, "binary", (0.0, 1.0)),
        ({"scale": {"good": 1, "poor": -1, "fair": 0.5}}, "mean", (-1.0, 1.0)),
        ({"scale": {True: 1, False: 0}}, "binary", (0.0, 1.0)),
        ({"against": "base"}, "mean", (0.0, 1.0)),
    ],
)
def test_scales(options: dict[str, Any], kind: str, ends: tuple[float, float]) -> None:
    made, _ = judge(lambda request, n: verdict(4), **options)
    assert (made.kind, made.range) == (kind, ends)
    sample = question("q", "x").sample
    worst, best = made.failed(sample), made.perfect(sample)
    assert len(worst) == len(best) == (5 if "against" in options else 1)
    assert (worst[0], best[0]) == ends
    assert float(made.finish(np.array([worst, best]).sum(axis=0), np.array(2.0))) == pytest.approx(sum(ends) / 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rubric": "x"}, "exactly one of 'model' and 'panel'"),
        ({"rubric": "x", "model": "openai/a", "panel": ["openai/b"]}, "exactly one"),
        ({"model": "openai/a"}, "rubric"),
        ({"rubric": "x", "model": "openai/a", "scale": "1-5", "against": "b"}, "'scale' beside 'against'"),
        ({"rubric": "x", "model": "openai/a", "scale": "5-1"}, "expected 1-5"),
        ({"rubric": "x", "model": "openai/a", "scale": "stars"}, "expected 1-5"),
        ({"rubric": "x", "model": "openai/a", "scale": {"a": 1}}, "two different"),
        ({"rubric": "x", "model": "openai/a", "scale": {"a": 1, "A": 2}}, "two different"),
        ({"rubric": "x", "model": "openai/a", "scale": {"a": "good", "b": 1}}, "needs a number"),
        ({"rubric": "x", "panel": ["openai/a", "openai/b"], "combine": "majority"}, "odd number"),
        ({"rubric": "{{ answer }}", "model": "openai/a"}, "the rubric names 'answer'"),
        ({"rubric": "{{ output }}", "model": "openai/a", "against": "b"}, "the rubric names 'output'"),
        ({"rubric": "x", "model": "openai/a", "name": "a b"}, "pattern"),
    ],
)
def test_wrong_options_say_what_is_wrong(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        JudgeOptions.model_validate(options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rubric": "{% if %}", "model": "openai/a"}, "the template has an error in line 1"),
        ({"rubric": "gone.md", "model": "openai/a"}, "rubric: there is no file gone.md"),
        ({"rubric": "x", "model": "opnai/a"}, "Did you mean 'openai'"),
        ({"rubric": "x", "model": {"openai": {"name": "a", "speed": 3}}}, "openai.speed"),
        ({"rubric": "x", "panel": ["openai/a", {"openai": {"name": "a"}}]}, "twice"),
    ],
)
def test_wrong_files_and_models_are_config_errors(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Judge(JudgeOptions.model_validate(options))


def test_the_rubric_is_read_below_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "rubric.md").write_text("Is it polite?")
    made = registry.options(Judge, {"model": "openai/a", "rubric": "rubric.md"}, tmp_path)
    assert isinstance(made, JudgeOptions)
    assert (made.rubric, made.root) == ("Is it polite?", tmp_path)


def identity(**options: Any) -> dict[str, object]:
    return Judge(JudgeOptions(**{"model": "openai/a", "rubric": "Right?", **options})).identity()


def test_what_decides_the_answer_is_in_the_identity_and_nothing_else() -> None:
    plain = digest(identity())
    different: list[dict[str, Any]] = [
        {"model": "openai/b"}, {"rubric": "Wrong?"}, {"scale": "1-7"}, {"reference": True}, {"against": "base"}, {"seed": 1},
        {"against": "base", "orders": "one"}, {"max_tokens": 99}, {"temperature": 0.5}, {"model": None, "panel": ["openai/a"]},
        {"structured": False}, {"model": {"openai": {"name": "a", "extra_body": {"reasoning_effort": "low"}}}},
    ]  # fmt: skip
    assert len({plain, *(digest(identity(**each)) for each in different)}) == len(different) + 1
    fast = {"openai": {"name": "a", "concurrency": 3, "prices": PRICES, "headers": {"x-key": "secret-0123"}}}
    assert (
        digest(identity(model=fast)) == digest(identity(name="mine")) == digest(identity(scale="1-5")) == digest(identity(model="openai/a"))
    )
    assert "secret-0123" not in json.dumps(identity(model=fast))


@pytest.mark.parametrize(
    "options", [{}, {"against": "base", "orders": "one"}, {"scale": {"no": 0, "yes": 1}}, {"panel": ["openai/a", "openai/b"]}]
)
def test_it_can_be_made_again_from_what_is_stored(options: dict[str, Any]) -> None:
    stored = identity(**(options | ({"model": None} if "panel" in options else {})))
    back = Judge(registry.options(Judge, json.loads(json.dumps(stored))["options"]))  # type: ignore[arg-type]
    assert digest(back.identity()) == digest(stored)


def test_the_question_is_the_same_whoever_judges() -> None:
    def of(**options: Any) -> str:
        return Judge(JudgeOptions(**{"model": "openai/a", "rubric": "Right?", **options})).question_id()

    assert of() == of(model="openai/b", temperature=1.0, scale="1-5", max_tokens=99)
    assert of(against="x") == of(against="y", orders="one")
    assert len({of(), of(rubric="Wrong?"), of(scale="1-7"), of(against="x")}) == 4


def test_one_answer_one_opinion() -> None:
    made, (puppet,) = judge(lambda request, n: verdict(4), reference=True, seed=7, max_tokens=99)
    found = ask(made, [question("q", "An answer.")])["q"]
    assert (found.stats, found.error, found.raw, found.cost_usd) == ((4.0,), None, None, 0.25)
    assert read_why(found.why or "") == (Vote("openai/judge-0", "4", 4.0, "so it is"),)
    (request,) = puppet.asked
    assert (request.sampling.temperature, request.sampling.seed, request.sampling.max_tokens) == (0.0, 7, 99)
    assert request.schema is not None
    assert "target" in request.messages[1].content
    assert puppet.closed


@pytest.mark.parametrize(("winner", "expected"), [("A", (0.5, 1.0)), ("tie", (0.5, 0.0)), ("B", (0.5, 1.0))])
def test_a_judge_that_goes_by_the_place_only_is_a_tie_and_a_flip(winner: str, expected: tuple[float, float]) -> None:
    made, (puppet,) = judge(lambda request, n: verdict(winner, "winner"), against="base")
    found = ask(made, [question("q", "mine", "the other")])["q"]
    assert found.stats == (*expected, 1.0, 4.0, 9.0)
    shown = [request.messages[1].content for request in puppet.asked]
    assert sorted(text.index("\nmine\n") < text.index("\nthe other\n") for text in shown) == [False, True]


def by_text(best: str) -> Say:
    """A judge that prefers one text, wherever it stands."""

    def say(request: Request, n: int) -> str:
        first = request.messages[1].content.split("<<<ANSWER B")[0]
        return verdict("A" if f"\n{best}\n" in first else "B", "winner")

    return say


@pytest.mark.parametrize(("best", "value"), [("mine", 1.0), ("the other", 0.0)])
def test_a_judge_that_goes_by_the_text_is_believed(best: str, value: float) -> None:
    made, _ = judge(by_text(best), against="base")
    found = ask(made, [question("q", "mine", "the other")])["q"]
    assert found.stats == (value, 0.0, 1.0, 4.0, 9.0)
    votes = read_why(found.why or "")
    assert [(vote.first, vote.value) for vote in votes] == [("mine", value), ("other", value)]


def test_one_order_is_drawn_by_hash() -> None:
    made, (puppet,) = judge(by_text("mine"), against="base", orders="one")
    found = ask(made, [question(f"q{i}", "mine", "the other") for i in range(60)])
    assert {each.stats for each in found.values()} == {(1.0, 0.0, 0.0, 4.0, 9.0)}
    firsts = [read_why(each.why or "")[0].first for each in found.values()]
    assert len(puppet.asked) == 60
    assert 15 < firsts.count("mine") < 45


def test_equal_answers_tie_without_a_call() -> None:
    made, (puppet,) = judge(lambda request, n: verdict("A", "winner"), against="base")
    found = ask(made, [question("q", "same\n", "same")])["q"]
    assert (found.stats, found.cost_usd, puppet.asked) == ((0.5, 0.0, 0.0, 5.0, 4.0), 0.0, [])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (question("q", None, "x"), "the answer has no text"),
        (question("q", "x", None, pair=True), "the answer of base, to compare with, has no text"),
        (question("q", "x"), "no answer of base"),
    ],
)
def test_what_has_no_text_is_an_error_without_a_call(asked: Question, said: str) -> None:
    made, (puppet,) = judge(lambda request, n: verdict("A", "winner"), against="base")
    found = ask(made, [asked])["q"]
    assert found.stats == ()
    assert said in (found.error or "")
    assert not puppet.asked


def test_an_unusable_answer_is_asked_again_once_and_told_why() -> None:
    made, (puppet,) = judge(lambda request, n: "I like it." if n == 1 else verdict(2))
    found = ask(made, [question("q", "x")])["q"]
    assert (found.stats, found.error, found.cost_usd) == ((2.0,), None, 0.5)
    assert read_why(found.why or "")[0].tries == 2
    assert "not one JSON object" in puppet.asked[1].messages[0].content
    assert puppet.asked[1].repeat == 1  # another seed


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_unusable_twice_is_an_error_with_its_text(finish: Any) -> None:
    made, (puppet,) = judge(lambda request, n: Reply(request.output_id, "I like it.", finish, cost_usd=0.25))
    found = ask(made, [question("q", "x")])["q"]
    assert (found.stats, found.raw, found.cost_usd, len(puppet.asked)) == ((), "I like it.", 0.5, 2)
    assert "openai/judge-0: it is not one JSON object" in (found.error or "")
    assert ("max_tokens" in (found.error or "")) == (finish == "length")


def test_a_refusal_is_asked_again_an_outage_is_not() -> None:
    def refuse(request: Request, n: int) -> Reply:
        return Reply(request.output_id, None, "error", error="refusal: no", raw="I can't help")

    def down(request: Request, n: int) -> Reply:
        return Reply(request.output_id, None, "error", error="HTTP 500: down")

    for say, calls, raw in ((refuse, 2, "I can't help"), (down, 1, None)):
        made, (puppet,) = judge(say)
        found = ask(made, [question("q", "x")])["q"]
        assert (found.stats, found.raw, len(puppet.asked), found.cost_usd) == ((), raw, calls, None)
        assert found.error is not None


def test_a_judge_that_says_nothing_is_an_error() -> None:
    made, _ = judge(lambda request, n: None)
    assert "no reply" in (ask(made, [question("q", "x")])["q"].error or "")


def test_a_service_without_schemas_is_asked_without() -> None:
    def say(request: Request, n: int) -> str | Reply:
        if request.schema is not None:
            return Reply(request.output_id, None, "error", error="HTTP 400: response_format is not supported")
        return verdict(3)

    made, (puppet,) = judge(say)
    found = ask(made, [question(f"q{i}", f"x{i}") for i in range(80)])
    assert {each.stats for each in found.values()} == {(3.0,)}
    assert sum(request.schema is not None for request in puppet.asked) == 50  # the first few show it


def test_a_missing_field_is_that_rows_error() -> None:
    made, _ = judge(lambda request, n: verdict(3), rubric="Is it {{ fields.tone }}?")
    bare = Question("bare", Sample.of([Message("user", "hi")], ["x"]), Reply("bare", "x", "stop"))
    found = ask(made, [question("q", "x"), bare])
    assert found["q"].stats == (3.0,)
    assert "cannot be filled" in (found["bare"].error or "")


def test_a_missing_reference_is_that_rows_error() -> None:
    for options in ({"reference": True}, {"rubric": "Like {{ reference }}?"}):
        made, (puppet,) = judge(lambda request, n: verdict(3), **options)
        bare = Question("bare", Sample.of([Message("user", "hi")], []), Reply("bare", "x", "stop"))
        assert "judge needs one" in (ask(made, [bare])["bare"].error or "")
        assert made.needs_targets
        assert not puppet.asked
    assert not judge(lambda request, n: verdict(3))[0].needs_targets


@pytest.mark.parametrize(
    ("combine_by", "values", "expected"),
    [("mean", (1, 2, 5), 8 / 3), ("majority", (2, 2, 5), 2.0), ("majority", (1, 5, 2), 2.0), ("mean", (4, 4, 4), 4.0)],
)
def test_panels(combine_by: str, values: tuple[int, ...], expected: float) -> None:
    made, _ = judge(*[lambda request, n, value=value: verdict(value) for value in values], combine=combine_by)
    found = ask(made, [question("q", "x")])["q"]
    assert found.stats == pytest.approx((expected,))
    assert by_judge(read_why(found.why or "")) == {f"openai/judge-{i}": float(value) for i, value in enumerate(values)}


def test_a_panel_without_one_of_its_judges_has_no_mean_but_may_have_a_majority() -> None:
    says: list[Say] = [lambda request, n: verdict(4), lambda request, n: verdict(4), lambda request, n: "?"]
    made, _ = judge(*says, combine="majority")
    assert ask(made, [question("q", "x")])["q"].stats == (4.0,)
    made, _ = judge(*says)
    found = ask(made, [question("q", "x")])["q"]
    assert (found.stats, found.raw) == ((), "?")
    assert by_judge(read_why(found.why or ""))["openai/judge-0"] == 4.0


def test_votes_round_trip_and_nonsense_is_refused() -> None:
    votes = (Vote("a", "A", 1.0, "r", "mine"), Vote("a", None, None, None, "other", "it failed", "raw \ud800 text", 2))
    assert read_why(why(votes)) == votes
    assert combine(votes, 1, "mean") is None
    assert flips(votes) == (0, 0)
    with pytest.raises(ValueError, match="no votes"):
        read_why('[{"who": 1}]')


def test_second_tries_go_out_at_once_beside_the_first_ones() -> None:
    def say(request: Request, n: int) -> str:
        return "?" if request.repeat == 0 and n <= 30 else verdict(3)

    made, (puppet,) = judge(say)
    found = ask(made, [question(f"q{i}", f"x{i}") for i in range(50)])
    assert {each.stats for each in found.values()} == {(3.0,)}
    assert next(i for i, request in enumerate(puppet.asked) if request.repeat) < 10
    assert puppet.at_once == 2


def test_models_on_this_machine_take_turns() -> None:
    says: list[Say] = [lambda request, n: verdict(3) if request.repeat else "?"] * 2
    made, puppets = judge(*says, local=True)
    found = ask(made, [question(f"q{i}", f"x{i}") for i in range(260)])
    assert {each.stats for each in found.values()} == {(3.0,)}
    assert [puppet.at_once for puppet in puppets] == [1, 1]
    assert max(puppet.asked.index(next(r for r in puppet.asked if r.repeat)) for puppet in puppets) == 50  # after the first part


def test_what_a_model_raises_is_raised_after_what_it_said() -> None:
    def say(request: Request, n: int) -> str:
        if n == 3:
            raise ConfigError("no key")
        return verdict(3)

    made, _ = judge(say)
    seen: list[Opinion] = []

    async def run() -> None:
        async for opinion in made.ask([question(f"q{i}", f"x{i}") for i in range(9)]):
            seen.append(opinion)

    with pytest.raises(ConfigError, match="no key"):
        asyncio.run(run())
    assert len(seen) == 2


def test_calls_and_dollars_are_known_before() -> None:
    made, puppets = judge(lambda request, n: "?", lambda request, n: "?", against="base")
    asked = [question("a", "x", "y"), question("b", "x", "x"), question("c", "x", "z")]
    assert made.estimate(asked) == 0.5 * 2 * 2 * 2 * 2  # two that differ, two judges, two orders, two tries
    ask(made, asked)
    assert made.calls(2) == sum(len(puppet.asked) for puppet in puppets)
    assert made.estimate([]) == 0
    assert Judge(JudgeOptions(model="openai/nobody-knows", rubric="x")).estimate([question("q", "x")]) is None
    priced = JudgeOptions(model={"openai": {"name": "nobody-knows", "prices": PRICES}}, rubric="x", max_tokens=1000)
    dollars = Judge(priced).estimate([question("q", "x")])
    assert dollars is not None
    assert 0.004 < dollars < 0.008  # a judge that is cut off at its longest answer is asked for another one as long


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4.1-mini", "gpt"),
        ("o4-mini", "gpt"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "gpt"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "llama"),
        ("accounts/fireworks/models/qwen3-8b", "qwen"),
        ("Qwen/QwQ-32B", "qwen"),
        ("mistralai/Mixtral-8x7B", "mistral"),
        ("gemini-2.5-flash", "gemini"),
        ("llama3.2:3b", "llama"),
        ("7b", ""),
    ],
)
def test_families(model: str, name: str) -> None:
    assert family(model) == name


def test_kinship_is_told() -> None:
    mine = {"plugin": "openai", "model": "gpt-x-mini"}
    assert kinship(mine, {"plugin": "openai", "model": "gpt-x-mini"}) == "the same model"
    assert kinship(mine, {"model": "gpt-4o"}) == "the same family (gpt)"
    assert kinship(mine, {"model": "claude"}) is None
    assert kinship({"model": "Qwen/Qwen3-8B"}, {"adapter": "f0"}, ["Qwen/Qwen3-4B"]) == "the same family (qwen)"
    assert kinship({"weights": "aa", "template": "b"}, {"weights": "aa"}) == "the same model"
    assert kinship({"weights": "aa"}, {"weights": "bb"}) is None
    made = Judge(JudgeOptions(model="openai/gpt-x", rubric="x"))
    assert made.kin({"model": "gpt-y"}) == "openai/gpt-x: the same family (gpt)"
    assert made.kin({"model": "llama"}) is None


@pytest.fixture
def service() -> Iterator[JudgeService]:
    with JudgeService(Faults(garbage=0.1, refusals=0.05)) as made:
        yield made


def test_requests_keep_to_the_published_description(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIEmulator(answer=lambda messages, model: verdict("pass")) as service:  # fails on leaving if one did not
        monkeypatch.setenv("OPENAI_API_KEY", service.key)
        made = Judge(JudgeOptions(model={"openai": {"name": "gpt-x-mini", "base_url": service.url}}, rubric="x", scale="pass_fail"))
        assert ask(made, [question("q", "x")])["q"].stats == (1.0,)
        assert service.calls[0].body["response_format"]["json_schema"]["strict"] is True


def test_over_the_wire(service: JudgeService) -> None:
    options = {"name": "gpt-x", "base_url": service.url, "prices": PRICES}
    made = Judge(JudgeOptions(model={"openai": options}, rubric="Is it right?", scale="pass_fail", seed=3))
    found = ask(made, [question(f"q{i}", f"q={i / 200} and so on") for i in range(200)])
    body = service.script.bodies[0]
    assert body["response_format"]["json_schema"]["schema"]["properties"]["score"]["enum"] == ["fail", "pass"]
    assert (body["temperature"], body["seed"]) == (0.0, 3)
    first = [body for body in service.script.bodies if body["seed"] == 3]
    again = [body for body in service.script.bodies if body["seed"] == 4]
    assert (len(first), len(service.script.bodies)) == (200, 200 + len(again))
    assert 15 < len(again) < 50
    errors = [each for each in found.values() if each.error is not None]
    said = service.script.said
    assert said["garbage"] + said["refusal"] == len(again) + len(errors)
    assert all(each.raw and each.stats == () for each in errors)
    assert sum(each.cost_usd or 0.0 for each in found.values()) == pytest.approx(len(service.script.bodies) * 140e-6, rel=0.06)
