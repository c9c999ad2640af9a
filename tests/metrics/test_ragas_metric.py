"""ragas's own code against a judge on loopback: every figure is what ragas's published formula gives by hand."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from evalharness import registry
from evalharness.errors import ConfigError, MissingExtra
from evalharness.ids import digest
from evalharness.metrics import ragas_calls
from evalharness.metrics.ragas_metric import KINDS, Ragas, RagasOptions
from evalharness.protocols import AskingMetric, Metric, Opinion, Question
from evalharness.records import Message, Reply, Sample
from tests.emulators.core import KEY, Fault
from tests.emulators.ragas import RagasEmulator
from tests.metrics.asked import Asked
from tests.metrics.contract import MetricContract

CONTEXTS = ["The tower is in Paris. It is tall.", "Bread is made of flour."]
SAMPLE = Sample.of(
    [Message("user", "Where is the tower?")],
    ["The tower is in Paris. Bread is cheap."],
    fields={"contexts": json.dumps(CONTEXTS)},
    source="rag.jsonl:1",
)
REPLY = Reply("o1", "The tower is in Paris. It was built of gold.", "stop")
PRICES = {"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 2.0}


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RagasEmulator]:
    with RagasEmulator() as emulator:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.url)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        yield emulator


def options(metric: str, **more: Any) -> RagasOptions:
    embedding = {"openai": {"name": "text-embedding-x", "prices": PRICES, "max_retries": 1}} if KINDS[metric].embeds else None
    model = {"openai": {"name": "gpt-x-mini", "prices": PRICES, "max_retries": 1, "concurrency": 8}}
    return RagasOptions(metric=metric, model=model, embedding=embedding, **more)


def ask(metric: AskingMetric, *questions: Question) -> list[Opinion]:
    async def gather() -> list[Opinion]:
        return [opinion async for opinion in metric.ask(questions)]

    found = {opinion.key: opinion for opinion in asyncio.run(gather())}
    assert len(found) == len(questions)
    return [found[question.key] for question in questions]


def opinion(metric: str, sample: Sample = SAMPLE, reply: Reply = REPLY, **more: Any) -> Opinion:
    return ask(Ragas(options(metric, **more)), Question("k", sample, reply))[0]


def value(found: Opinion) -> float:
    """Of an opinion that is no error."""
    assert found.error is None
    (number,) = found.stats
    return number


class TestRagas(MetricContract):
    def make(self) -> Metric:
        return cast("Metric", Asked(Ragas(options("factual_correctness"))))

    @pytest.mark.parametrize("text", ["word " * 500, "<script>", "\x00\x1b[31mred", "‮abc"])
    def test_any_text_gets_a_score(self, metric: Metric, text: str) -> None:
        super().test_any_text_gets_a_score(metric, text)

    def pairs(self) -> list[tuple[Sample, Reply]]:
        return [(SAMPLE, REPLY), (SAMPLE, replace(REPLY, text=SAMPLE.targets[0])), (SAMPLE, replace(REPLY, text="No."))]


@pytest.mark.parametrize(
    ("metric", "expected", "calls"),
    [
        ("faithfulness", 0.5, 2),
        ("context_recall", 0.5, 1),
        ("context_precision", 0.0, 2),
        ("context_utilization", 0.0, 2),
        ("factual_correctness", 0.5, 4),
        ("context_entity_recall", 2 / 3, 2),
        ("answer_accuracy", 0.75, 2),
        ("context_relevance", 1.0, 2),
        ("response_groundedness", 1.0, 2),
    ],
)
def test_every_metric_end_to_end(service: RagasEmulator, metric: str, expected: float, calls: int) -> None:
    """One of two statements is faithful, one of two of the target recalled; F1 of 1 right, 1 wrong, 1 missed; 2 of 3 entities."""
    if metric in ("context_relevance", "response_groundedness"):
        service.ratings = [2, 2]
    if metric == "context_entity_recall":
        sample = replace(SAMPLE, fields={"contexts": "The tower of Paris."})
        found = opinion(metric, sample)
    else:
        found = opinion(metric)
    assert value(found) == pytest.approx(expected, abs=1e-6)
    assert len(service.called("chat")) == calls
    bodies = [call.body for call in service.called("chat")]
    assert all(body["response_format"]["json_schema"]["strict"] for body in bodies)
    prompts = sum(len(body["messages"][0]["content"].split()) for body in bodies) / 1e6
    assert found.cost_usd is not None
    assert prompts < found.cost_usd < 1.5 * prompts


def test_context_precision_is_the_mean_of_precision_at_each_useful_rank() -> None:
    sample = replace(SAMPLE, targets=("Paris",), fields={"contexts": json.dumps(["Bread", "in Paris", "Paris"])})
    assert value(opinion("context_precision", sample)) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_relevancy_is_the_cosine_of_question_and_what_the_answer_answers(service: RagasEmulator) -> None:
    """The emulator's generated question is the answer itself: 4 words shared of 4 and 9, bucketed word counts."""
    found = opinion("answer_relevancy", reply=replace(REPLY, text="Where is the tower"))
    assert value(found) == pytest.approx(1.0)
    assert (len(service.called("chat")), len(service.called("embeddings"))) == (3, 2)
    assert value(opinion("answer_relevancy", reply=replace(REPLY, text="I do not know where the tower is"))) == 0.0
    seeds = {call.body["seed"] for call in service.called("chat")[:3]}
    assert len(seeds) == 3


def test_correctness_weighs_facts_and_similarity() -> None:
    found = opinion("answer_correctness", reply=replace(REPLY, text=SAMPLE.targets[0]))
    assert value(found) == pytest.approx(1.0)
    facts = opinion("answer_correctness", settings={"weights": [1.0, 0.0]})
    assert value(facts) == pytest.approx(0.5)


def test_settings_reach_ragas() -> None:
    text = "The tower is in Paris. Bread is cheap. It was built of gold."
    for mode, expected in (("precision", 0.67), ("recall", 1.0)):
        found = opinion("factual_correctness", reply=replace(REPLY, text=text), settings={"mode": mode})
        assert value(found) == pytest.approx(expected)


def test_many_side_by_side(service: RagasEmulator) -> None:
    questions = [Question(f"k{i}", SAMPLE, replace(REPLY, text="The tower is in Paris." + " It is golden." * (i % 2))) for i in range(30)]
    found = ask(Ragas(options("faithfulness", concurrency=8)), *questions)
    assert [each.stats for each in found] == [(1.0,), (0.5,)] * 15


def test_nan_is_an_error_and_not_zero(service: RagasEmulator) -> None:
    """Trap: faithfulness of an answer without statements is NaN, which many averages turn into 0 or drop."""
    service.spoil = lambda form, text: '{"statements": []}'
    found = opinion("faithfulness")
    assert found.stats == ()
    assert found.error == "ragas gave no number: it found nothing to score"
    assert found.cost_usd is not None
    assert found.cost_usd > 0


def test_garbage_is_asked_again_once_and_then_an_error_with_its_text(service: RagasEmulator) -> None:
    service.spoil = lambda form, text: "I would say yes"
    found = opinion("faithfulness")
    assert found.stats == ()
    assert "not of the form asked for" in str(found.error)
    assert found.raw == "I would say yes"
    assert len(service.called("chat")) == 2
    assert "could not be used" in service.called("chat")[1].body["messages"][0]["content"]


def test_one_bad_answer_is_mended_by_the_second_try(service: RagasEmulator) -> None:
    spoiled = iter(["{", ""])
    service.spoil = lambda form, text: next(spoiled, "") or f"```json\n{text}\n```"
    assert value(opinion("faithfulness")) == 0.5
    assert len(service.called("chat")) == 3


def test_half_a_jury_is_no_score(service: RagasEmulator) -> None:
    """Trap: where one of its two judges fails, ragas silently takes the other one's word."""
    count = iter(range(99))
    service.spoil = lambda form, text: text if next(count) == 0 else "no"
    found = opinion("answer_accuracy")
    assert found.stats == ()
    assert "not of the form asked for" in str(found.error)


def test_a_cut_answer_is_told(service: RagasEmulator) -> None:
    service.finish = "length"
    assert "raise max_tokens" in str(opinion("faithfulness").error)


def test_a_service_that_fails_is_an_error_of_its_question(service: RagasEmulator) -> None:
    service.fail("chat", Fault.http(400, "the prompt is filtered"))
    found = opinion("faithfulness")
    assert found.stats == ()
    assert "the prompt is filtered" in str(found.error)
    service.fail("embeddings", *[Fault.http(500, "down")] * 2)
    assert "HTTP 500" in str(opinion("answer_relevancy").error)


def test_a_service_without_structured_output_is_asked_without(service: RagasEmulator) -> None:
    service.without_schema = True
    found = ask(Ragas(options("faithfulness", concurrency=1)), Question("a", SAMPLE, REPLY), Question("b", SAMPLE, REPLY))
    assert [each.stats for each in found] == [(0.5,), (0.5,)]
    assert sum("response_format" in call.body for call in service.called("chat")) == 1


def test_a_missing_key_is_raised_and_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    for metric in ("faithfulness", "answer_accuracy"):
        with pytest.raises(ConfigError, match="needs a key"):
            opinion(metric)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, r"rag.jsonl:1: there is no column 'contexts' \(columns: none\)"),
        ({"contexts": ""}, "needs a retrieved_contexts"),
        ({"contexts": "[]"}, "needs a retrieved_contexts"),
        ({"contexts": "[1]"}, "holds int, expected texts"),
        ({"contexts": json.dumps(["x"] * 21)}, "21 contexts, at most 20"),
    ],
)
def test_what_an_item_lacks_is_told(fields: dict[str, str], why: str) -> None:
    import re

    found = opinion("faithfulness", replace(SAMPLE, fields=fields))
    assert found.stats == ()
    assert re.search(why, str(found.error))
    assert found.cost_usd == 0.0


def test_contexts_may_be_one_text_or_objects() -> None:
    for contexts in ("The tower is in Paris", json.dumps([{"text": "The tower is in Paris"}]), "[1] The tower is in Paris"):
        sample = replace(SAMPLE, fields={"found": contexts})
        assert value(opinion("faithfulness", sample, contexts="found")) == 0.5


def test_the_identity_holds_versions_models_and_settings_and_makes_it_again() -> None:
    metric = Ragas(options("answer_relevancy", settings={"strictness": 2}, concurrency=3))
    identity: Any = metric.identity()
    assert identity["ragas"] == "0.4.3"
    assert identity["judge"]["model"] == "gpt-x-mini"
    assert identity["embedding"]["model"] == "text-embedding-x"
    again = Ragas(RagasOptions.model_validate(identity["options"]))
    assert digest(again.identity()) == digest(identity)
    assert "prices" not in json.dumps(identity)
    assert digest(Ragas(options("answer_relevancy")).identity()) != digest(identity)


def test_estimates_and_calls_are_upper_bounds(service: RagasEmulator) -> None:
    question = Question("k", SAMPLE, REPLY)
    for name in ("faithfulness", "answer_relevancy", "answer_correctness", "context_precision"):
        metric, before = Ragas(options(name)), len(service.calls)
        estimate = metric.estimate([question])
        assert len(service.calls) == before
        (found,) = ask(metric, question)
        assert estimate is not None
        assert found.cost_usd is not None
        assert 0 < found.cost_usd <= estimate
        assert len(service.calls) - before <= metric.calls(1)
    unpriced = RagasOptions(metric="faithfulness", model={"openai": {"name": "gpt-x-mini"}})
    assert Ragas(unpriced).estimate([question]) is None


def test_nothing_is_told_to_anybody_else(tmp_path: Path) -> None:
    opinion("faithfulness")
    from ragas._analytics import do_not_track

    assert do_not_track()
    assert not (tmp_path / "data").exists()


def test_only_some_need_targets() -> None:
    assert not Ragas(options("faithfulness")).needs_targets
    assert Ragas(options("context_recall")).needs_targets


def test_kin_are_told() -> None:
    assert Ragas(options("faithfulness")).kin({"plugin": "openai", "model": "gpt-x-mini"}) is not None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"metric": "niceness"}, "ragas has no metric 'niceness' here; known: answer_accuracy"),
        ({"metric": "answer_relevancy"}, "needs 'embedding'"),
        ({"metric": "faithfulness", "settings": {"mode": "f1"}}, "faithfulness has no setting 'mode'; it has none"),
    ],
)
def test_what_does_not_fit_is_refused_when_read(given: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        registry.options(Ragas, {"model": "openai/gpt-x-mini", **given})


def test_settings_that_ragas_refuses_are_told() -> None:
    with pytest.raises(ConfigError, match="ragas refuses them"):
        opinion("answer_correctness", settings={"weights": [0, 0]})


def test_without_ragas_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from evalharness.metrics import ragas_metric

    def gone(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ragas_metric, "version", gone)
    with pytest.raises(MissingExtra, match=r"evalh\[ragas\]"):
        Ragas(options("faithfulness"))


def test_a_ragas_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ragas.llms.base", None)
    ragas_calls._ragas.cache_clear()
    with pytest.raises(ConfigError, match=r"ragas cannot be imported.*Install 'evalh\[ragas\]' anew"):
        opinion("faithfulness")


def test_scores_by_itself_never() -> None:
    with pytest.raises(TypeError, match="has to be asked"):
        Ragas(options("faithfulness")).score(SAMPLE, REPLY)
    assert math.isclose(Ragas(options("faithfulness")).failed(SAMPLE)[0], 0.0)
