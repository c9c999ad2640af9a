"""Judging as part of a run: asked once, stored as it comes, errors told and tried again, nothing lost and nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalharness.cli.plan import lines
from evalharness.errors import ConfigError
from evalharness.metrics.judge import read_why
from evalharness.pipeline import Event, make_plan
from evalharness.pipeline.outlook import outlook
from evalharness.pipeline.scoring import metric_id
from evalharness.reading import load_suite
from evalharness.records import Score
from evalharness.verdict import gate
from evalharness.verdict.view import load
from tests import tiny
from tests.emulators.core import KEY
from tests.emulators.judge import Faults, JudgeService, Script
from tests.emulators.vertex import VertexEmulator
from tests.pipeline.conftest import Workspace

JUDGE = (
    "{model: {openai: {name: gpt-x, base_url: URL, prices: {usd_per_million_input_tokens: 1, usd_per_million_output_tokens: 1}}}, RUBRIC}"
)
SUITE = """
data: {test: data/test.jsonl}
baselines:
  base: {outputs: data/base.jsonl}
candidates:
  tuned: {outputs: data/tuned.jsonl}
metrics: METRICS
"""
N = 12


class Court(Workspace):
    """A workspace with two recorded arms and a scripted judge."""

    def __init__(self, root: Path, service: JudgeService) -> None:
        super().__init__(root)
        self.service = service
        self.write("data/test.jsonl", "".join(json.dumps({"input": f"question {i}", "target": "right"}) + "\n" for i in range(N)))
        self.answers("base", [f"item {i} q=0.0" for i in range(N)])
        self.answers("tuned", [f"item {i} q=1.0 long" for i in range(N)])
        self.use("rubric: 'Is it right?', scale: pass_fail")

    @property
    def script(self) -> Script:
        return self.service.script

    def answers(self, label: str, texts: list[str | None]) -> None:
        rows = ({"input": f"question {i}", "output": text} for i, text in enumerate(texts))
        self.write(f"data/{label}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def use(self, *options: str, more: str = "", suite: str = SUITE) -> None:
        judges = [JUDGE.replace("URL", self.service.url).replace("RUBRIC", each) for each in options]
        metrics = ", ".join(f"{{judge: {each}}}" for each in judges)
        self.suite(suite.replace("METRICS", f"[exact_match, {metrics}]") + more)

    def asked(self) -> int:
        """Calls since the last time this was asked."""
        count = len(self.script.bodies)
        self.script.bodies.clear()
        return count

    def scores(self, label: str, metric: str = "judge") -> list[Score]:
        """The newest run's scores of an arm, in data order."""
        plan = self.plan()
        run = self.store.latest_run()
        assert run is not None
        part = next(part for part in self.store.run_arms(run.run_id) if part.arm.label == label)
        return self.store.scores(metric_id(plan.loaded.metrics[metric]), part.arm.arm_id, part.dataset_id)

    def values(self, label: str, metric: str = "judge") -> list[float | None]:
        return [score.value for score in self.scores(label, metric)]

    def planned(self) -> list[str]:
        plan = self.plan()
        return lines(plan, outlook(plan, self.store, None))

    def said(self, kind: str = "warning") -> list[str]:
        return [event.text for event in self.events if event.kind == kind]


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    with JudgeService() as service:
        yield Court(tmp_path, service)


def test_every_answer_is_judged_once(court: Court) -> None:
    result = court.run()
    assert (result.state, result.failures, result.tally.scored, court.asked()) == ("succeeded", {}, 4 * N, 2 * N)
    assert (court.values("base"), court.values("tuned")) == ([0.0] * N, [1.0] * N)
    score = court.scores("tuned")[0]
    assert read_why(score.why or "")[0].reason == "As the rubric says."
    assert score.other_output_id is None
    assert score.cost_usd == pytest.approx(120e-6)
    progress = [event for event in court.events if event.stage == "score" and event.label == "judge" and event.kind == "progress"]
    assert (progress[-1].done, progress[-1].total) == (2 * N, 2 * N)
    assert progress[-1].cost_usd == pytest.approx(2 * N * 120e-6)
    again = court.run()
    assert (again.state, again.tally.scored, court.asked()) == ("succeeded", 0, 0)
    assert court.plan().nothing_to_do


def test_only_what_changed_is_judged_again(court: Court) -> None:
    pairs = "rubric: 'Which is right?', against: base, name: pairs"
    court.use("rubric: 'Is it right?', scale: pass_fail", pairs)
    court.run()
    assert court.asked() == 2 * N + 2 * N  # the reference meets itself for nothing
    court.answers("tuned", ["another q=1.0", *(f"item {i} q=1.0 long" for i in range(1, N))])
    court.run()  # recorded answers are another arm, but its other texts are judged under other ids
    assert court.asked() > 0
    court.run()
    assert court.asked() == 0
    court.use("rubric: 'Is it right?', scale: pass_fail, name: renamed", pairs)
    court.run()
    assert court.asked() == 0  # what the suite calls it changes nothing
    court.use("rubric: 'Is it really right?', scale: pass_fail", pairs)
    court.run()
    assert court.asked() == 2 * N


def test_pairs_are_judged_in_both_orders_against_the_named_arm(court: Court) -> None:
    court.answers("tuned", ["item 0 q=0.0", *(f"item {i} q=1.0 long" for i in range(1, N))])
    court.use("rubric: 'Which is right?', against: base")
    court.run()
    assert court.asked() == 2 * (N - 1)  # equal answers tie without a call
    assert court.values("tuned") == [0.5] + [1.0] * (N - 1)
    assert court.values("base") == [0.5] * N
    run = court.store.latest_run()
    assert run is not None
    parts = {part.arm.label: part.arm.arm_id for part in court.store.run_arms(run.run_id)}
    key = metric_id(court.plan().loaded.metrics["judge"])
    dataset = court.plan().splits.test.id
    table = court.store.score_tables(list(parts.values()), dataset, [key], other_arm_id=parts["base"])[key]
    assert table.values.shape == (2, N, 1)
    assert table.stats[1, 1, 0].tolist() == [1.0, 0.0, 1.0, 17.0, 12.0]  # preference, flips, pairs, lengths
    assert not table.failed.any()


def test_errors_are_outcomes_with_their_text_and_are_tried_again(court: Court) -> None:
    court.script.faults = Faults(fails_on="q=0.0")
    first = court.run()
    assert (first.state, court.asked()) == ("succeeded", 3 * N)  # each bad answer twice
    scores = court.scores("base")
    assert len(scores) == N
    assert all(score.value is None and score.stats == () and score.error for score in scores)
    assert all(read_why(score.why or "")[0].raw for score in scores)
    assert court.values("tuned") == [1.0] * N
    assert any("12 of 24 questions failed; they count as missing" in text for text in court.said("note"))
    assert court.plan().judging[0].questions == N
    spent = court.store.spending("toy").usd
    assert spent == pytest.approx(3 * N * 120e-6)
    court.script.faults = Faults()
    court.run()
    assert (court.asked(), court.values("base")) == (N, [0.0] * N)
    assert court.store.spending("toy").usd == pytest.approx(spent + N * 120e-6)  # what the failures have cost is not forgotten


def test_an_answer_that_failed_is_the_worst_without_a_call(court: Court) -> None:
    court.answers("tuned", [None, *(f"item {i} q=1.0" for i in range(1, N))])
    court.use("rubric: 'Right?', scale: 1-5", "rubric: 'Which?', against: base, name: pairs")
    court.run()
    calls = court.asked()
    assert calls == (2 * N - 1) + 2 * (N - 1)
    for metric, worst in (("judge", 1.0), ("pairs", 0.0)):
        score = court.scores("tuned", metric)[0]
        assert (score.value, score.stats[0], bool(score.error)) == (worst, worst, True)
    court.run()
    assert court.asked() == 0


def test_a_reference_that_failed_on_an_item_is_an_error_there(court: Court) -> None:
    court.answers("base", [None, *(f"item {i} q=0.0" for i in range(1, N))])
    court.use("rubric: 'Which?', against: base")
    result = court.run()
    assert result.state == "succeeded"
    assert court.asked() == 2 * (N - 1)
    score = court.scores("tuned")[0]
    assert (score.value, score.error) == (None, "the answer of base, to compare with, has no text")
    assert court.plan().nothing_to_do or court.plan().arms[0].to_do  # recorded failures are read again, nobody is asked
    assert court.run().tally.scored <= 2
    assert court.asked() == 0


def test_a_reference_that_has_no_answers_is_told(court: Court) -> None:
    suite = SUITE.replace("base: {outputs: data/base.jsonl}", "base: {model: {doubles.py:Echo: {crash: true}}}")
    court.write("doubles.py", _doubles())
    court.use("rubric: 'Which?', against: base", suite=suite)
    result = court.run()
    assert result.failures["metric judge"] == "base has no answers to compare with"
    assert result.state == "failed"
    assert court.asked() == 0


def _doubles() -> str:
    from tests.pipeline.conftest import DOUBLES

    return DOUBLES


def test_an_unknown_reference_is_refused_before_anything_is_asked(court: Court) -> None:
    court.use("rubric: 'Which?', against: bass")
    with pytest.raises(ConfigError, match="no arm is called 'bass'"):
        court.plan()


def test_one_metrics_failure_is_told_and_leaves_the_rest_alone(court: Court) -> None:
    court.write("doubles.py", _doubles())
    metrics = "[exact_match, {judge: {model: {doubles.py:Echo: {name: x, crash: true}}, rubric: 'Right?', name: broken}}, {judge: %s}]"
    good = JUDGE.replace("URL", court.service.url).replace("RUBRIC", "rubric: 'Right?', scale: pass_fail")
    court.suite(SUITE.replace("METRICS", metrics % good))
    result = court.run()
    assert result.state == "failed"
    assert "the model is broken" in result.failures["metric broken"]
    assert court.values("tuned") == [1.0] * N
    assert any("the model is broken" in text for text in court.said())


def test_when_every_question_fails_the_metric_has_failed(court: Court) -> None:
    court.script.faults = Faults(garbage=1.0)
    result = court.run()
    assert "every one of 24 questions failed" in result.failures["metric judge"]
    assert len(court.scores("tuned")) == N


def test_pairs_have_failed_too_where_only_the_reference_beside_itself_has_a_verdict(court: Court) -> None:
    court.use("rubric: 'Which is right?', against: base")
    court.script.faults = Faults(garbage=1.0)
    assert "every one of 12 questions failed" in court.run().failures["metric judge"]


def test_what_fails_again_beside_good_verdicts_fails_no_run(court: Court) -> None:
    court.script.faults = Faults(fails_on="item 3 ")
    first = court.run()
    assert (first.state, court.asked()) == ("succeeded", 2 * N + 2)  # two that it never judges, asked twice each
    again = court.run()
    assert (again.state, again.failures, court.asked()) == ("succeeded", {}, 4)
    court.answers("tuned", [f"item {i} q=1.0 other" for i in range(N)])
    court.script.faults = Faults(garbage=1.0)
    assert "every one of 13 questions failed" in court.run().failures["metric judge"]  # new ones, none of them judged


def test_a_judge_of_the_same_family_is_told(court: Court) -> None:
    court.write("doubles.py", _doubles())
    suite = SUITE.replace("base: {outputs: data/base.jsonl}", "base: {model: {doubles.py:Echo: {name: gpt-4o}}}")
    court.use("rubric: 'Right?', scale: pass_fail", suite=suite)
    court.run()
    assert any("openai/gpt-x: the same family (gpt) as base" in text for text in court.said())
    assert court.plan().judging[0].warnings == ("openai/gpt-x: the same family (gpt) as base",)


def test_the_plan_says_what_judging_takes(court: Court) -> None:
    court.use("rubric: 'Right?', scale: pass_fail, max_tokens: 100", "rubric: 'Which?', against: base, name: pairs, max_tokens: 100")
    alone, pairs = court.plan().judging
    assert (alone.questions, alone.calls, pairs.questions, pairs.calls) == (2 * N, 4 * N, N, 4 * N)
    assert alone.usd is not None
    assert alone.usd > 2 * N * 100e-6
    assert any(f"judge: {2 * N} questions, at most {4 * N} calls, at most about" in line for line in court.planned())
    assert not court.plan().nothing_to_do
    result = court.run()
    assert result.state == "succeeded"
    spent = sum(score.cost_usd or 0.0 for label in ("base", "tuned") for score in court.scores(label))
    assert spent <= alone.usd
    assert [each.questions for each in court.plan().judging] == [0, 0]
    assert any("pairs: all opinions stored" in line for line in court.planned())


def test_a_rehearsal_asks_nobody(court: Court) -> None:
    plan = make_plan(load_suite(court.root / "suites" / "toy.yaml"), court.store, court.root / "results", rehearse=True)
    assert (plan.judging[0].calls, plan.judging[0].usd) == (0, 0.0)
    import asyncio

    from evalharness.pipeline import execute

    result = asyncio.run(execute(plan, court.store, court.events.append))
    assert (result.state, court.asked()) == ("succeeded", 0)
    assert set(court.values("tuned")) == {0.0, 1.0}


def test_the_budget_holds_for_judging(court: Court) -> None:
    court.use("rubric: 'Right?', scale: pass_fail, max_tokens: 100", more="budget: {usd: 0.0025}\n")
    result = court.run()
    calls = court.asked()
    assert 0 < calls < 2 * N
    assert "budget" in result.failures["metric judge"]
    spent = sum(score.cost_usd or 0.0 for label in ("base", "tuned") for score in court.scores(label))
    assert spent == pytest.approx(calls * 120e-6)
    assert spent <= 0.0025


def test_a_metric_that_crashes_or_forgets_is_told(court: Court) -> None:
    court.write("asking.py", ASKING)
    court.suite(SUITE.replace("METRICS", "[exact_match, asking.py:Forgetful, asking.py:Broken]"))
    result = court.run()
    assert result.failures["metric broken"] == "ZeroDivisionError: float division by zero"
    errors = [score.error for score in court.scores("tuned", "forgetful")]
    assert errors[0] == "forgetful gave no opinion"
    assert errors[1] == "forgetful: the statistics are (nan,)"
    assert errors[2:] == [None] * (N - 2)


ASKING = """
from evalharness.metrics import PerSample
from evalharness.protocols import Opinion


class Forgetful(PerSample):
    "Has no opinion of its first question, and an impossible one of its second."
    against, local = None, False

    def calls(self, questions):
        return questions

    def estimate(self, questions):
        return 0.0

    async def ask(self, questions):
        seen = sorted(questions, key=lambda question: int(question.reply.text.split()[1]))
        for question in seen:
            number = int(question.reply.text.split()[1])
            if number > 0:
                yield Opinion(question.key, (float("nan") if number == 1 else 1.0,), cost_usd=None)
                yield Opinion(question.key, (0.0,))

    async def close(self):
        pass


class Broken(Forgetful):
    async def ask(self, questions):
        yield Opinion(questions[0].key, (1.0,))
        1.0 / 0.0
"""


FIXED = """
from evalharness.protocols import Options
from evalharness.records import Reply


class Fixed:
    "A model that is handed a list, as every model is promised, and always gives the same verdict."
    Options = Options
    local = True
    pool = "fixed"

    def __init__(self, options):
        pass

    def identity(self):
        return {"model": "fixed-1"}

    def estimate(self, request):
        return 0.0

    async def generate(self, requests):
        for request in requests[: len(requests)]:
            yield Reply(request.output_id, '{"reason": "It is fine.", "score": 4}', "stop")

    async def close(self):
        pass
"""


def test_any_model_can_judge_also_one_in_the_workspace(court: Court) -> None:
    court.write("fixed.py", FIXED)
    court.write("rubrics/right.md", "Is {{ output }} right?")
    judges = "{judge: {model: fixed.py:Fixed, rubric: rubrics/right.md}}, {judge: {model: rehearsal, rubric: 'Right?', name: echo}}"
    court.suite(SUITE.replace("METRICS", f"[exact_match, {judges}]"))
    result = court.run()
    assert court.values("tuned") == [4.0] * N
    assert "every one of 24 questions failed" in result.failures["metric echo"]  # it says a word, never a verdict


@pytest.mark.slow
def test_a_model_on_this_machine_can_judge(court: Court) -> None:
    tiny.make(court.root / "tiny")
    judges = "{judge: {model: {local: {name: %s, device: cpu}}, rubric: 'Right?', max_tokens: 16}}" % (court.root / "tiny")
    court.suite(SUITE.replace("METRICS", f"[exact_match, {judges}]"))
    result = court.run()
    scores = court.scores("tuned")
    assert "every one of 24 questions failed" in result.failures["metric judge"]  # it babbles
    assert all(score.value is None and read_why(score.why or "")[0].tries == 2 for score in scores)
    assert len(scores) == N


def test_events_are_small(court: Court) -> None:
    court.run()
    scored = [event for event in court.events if event.stage == "score"]
    assert all(isinstance(event, Event) for event in scored)
    assert {event.label for event in scored if event.label == "judge"} == {"judge"}


def test_pairs_have_verdicts_like_any_metric(court: Court) -> None:
    gate_yaml = "gate: {against: base, rules: [{metric: judge, margin: 0.05}]}\n"
    court.use("rubric: 'Which?', against: base", more=gate_yaml)
    court.run()
    run = court.store.latest_run()
    assert run is not None
    view = load(court.store, run.run_id, court.root)
    assert (view.missing("base", "judge"), view.missing("tuned", "judge")) == (0.0, 0.0)
    found = gate(view)
    assert found.outcome == "PASS"
    assert found.evidence["candidates"][0]["checks"][0]["difference"]["value"] == pytest.approx(0.5)
    court.script.faults = Faults(garbage=1.0)
    court.answers("tuned", [f"another {i} q=1.0" for i in range(N)])
    court.run()
    run = court.store.latest_run()
    assert run is not None
    view = load(court.store, run.run_id, court.root)
    assert view.missing("tuned", "judge") == 1.0
    assert gate(view).outcome == "INVALID"


@pytest.mark.parametrize("provider", ["openai", "vllm", "ollama"])
def test_every_server_of_chats_can_judge(court: Court, provider: str) -> None:
    model = f"{{{provider}: {{name: m, base_url: '{court.service.url}'}}}}"
    court.suite(SUITE.replace("METRICS", f"[exact_match, {{judge: {{model: {model}, rubric: 'Right?', scale: pass_fail}}}}]"))
    assert court.run().state == "succeeded"
    assert court.values("tuned") == [1.0] * N
    (body, *_) = court.script.bodies
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["temperature"], body["seed"]) == (0.0, 0)


def test_gemini_can_judge(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(contents: list[Any], model: str) -> str:
        return json.dumps({"reason": "It says so.", "score": "pass" if "q=1.0" in str(contents) else "fail"})

    with VertexEmulator(answer=verdict) as service:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        judge = f"{{judge: {{model: {{gemini: {{name: gemini-x, base_url: '{service.url}'}}}}, rubric: 'Right?', scale: pass_fail}}}}"
        court.suite(SUITE.replace("METRICS", f"[exact_match, {judge}]"))
        assert court.run().state == "succeeded"
        assert (court.values("base"), court.values("tuned")) == ([0.0] * N, [1.0] * N)
        config = service.called("gemini")[0].body["generationConfig"]
    assert config["responseJsonSchema"]["required"] == ["reason", "score"]
    assert config["temperature"] == 0.0
