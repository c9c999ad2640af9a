from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from evalharness.records import Sampling
from evalharness.spec import Suite, Trainer, model_use

SMALL: dict[str, Any] = {"data": {"test": "t.jsonl"}, "baselines": {"a": {"model": "local"}}, "metrics": ["bleu"]}
README_EXAMPLE: dict[str, Any] = {
    "data": {"train": "data/train.jsonl", "dev": "data/dev.jsonl", "test": "data/test.jsonl", "cluster": "ticket", "slices": ["lang"]},
    "prompt": "prompts/reply.md",
    "baselines": {
        "zero-shot": {"model": "openai/gpt-x-mini"},
        "few-shot": {"model": "openai/gpt-x-mini", "prompt": "prompts/reply_few_shot.md"},
    },
    "candidates": {
        "tuned": {"train": "openai"},
        "llama": {"train": "together-llama", "params": {"rank": 32}},
        "local": {"train": "lora", "seeds": 3},
        "recorded": {"outputs": "data/yesterday.jsonl"},
    },
    "metrics": ["exact_match", "bleu", {"judge": {"model": "openai/gpt-x", "rubric": "prompts/rubric.md"}}],
    "gate": {"against": "few-shot", "rules": [{"metric": "exact_match", "margin": 0.02}, {"metric": "judge", "at_least": 0.5}]},
    "decide": {"metric": "exact_match", "min_gain": 0.03},
    "confidence": 0.95,
    "budget": {"usd": 50},
}


def suite(**changes: Any) -> Suite:
    return Suite.model_validate(SMALL | changes)


def errors(**changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        suite(**changes)
    return [(".".join(map(str, e["loc"])), e["msg"]) for e in caught.value.errors()]


def test_the_designs_example_is_read() -> None:
    read = Suite.model_validate(README_EXAMPLE)
    assert list(read.arms) == ["zero-shot", "few-shot", "tuned", "llama", "local", "recorded"]
    assert read.candidates["local"].seeds == (0, 1, 2)
    assert read.data.test is not None
    assert read.data.test.files == ("data/test.jsonl",)
    assert read.reference == "few-shot"


def test_values_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        suite().seed = 3


@pytest.mark.parametrize(("given", "seeds"), [(1, (0,)), (3, (0, 1, 2)), ([7, 0], (7, 0))])
def test_seeds_by_number_or_list(given: object, seeds: tuple[int, ...]) -> None:
    assert suite(candidates={"c": {"train": "lora", "seeds": given}}).candidates["c"].seeds == seeds


@pytest.mark.parametrize("given", [0, 101, [], [1, 1], "three", True])
def test_seeds_that_are_none(given: object) -> None:
    assert errors(candidates={"c": {"train": "lora", "seeds": given}})[0][0] == "candidates.c.seeds"


def test_shots_by_number_or_mapping() -> None:
    read = suite(baselines={"a": {"model": "m", "shots": 4}, "b": {"model": "m", "shots": {"n": 2, "seed": 7}}, "c": {"model": "m"}})
    assert [(arm.shots.n, arm.shots.seed) for arm in read.baselines.values()] == [(4, 0), (2, 7), (0, 0)]


def test_rows_by_file_list_or_lines() -> None:
    read = suite(data={"train": ["a.jsonl", "b.jsonl"], "test": {"lines": {"input": "src", "target": ["r1", "r2"]}}}).data
    assert read.train is not None
    assert read.train.files == ("a.jsonl", "b.jsonl")
    assert read.test is not None
    assert read.test.lines == {"input": ("src",), "target": ("r1", "r2")}


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"data": {}}, "data", "no held-out rows"),
        ({"data": {"file": "a.jsonl"}}, "data", "need each other"),
        ({"data": {"test": "a.jsonl", "split": {"test": 0.2}}}, "data", "need each other"),
        ({"data": {"file": "a", "split": {"test": 0.2}, "train": "b"}}, "data", "beside"),
        ({"data": {"file": "a", "split": {"test": 0.6, "dev": 0.4}}}, "data.split", "no training rows"),
        ({"data": {"test": {"lines": {"target": "a"}}}}, "data.test", "no 'input'"),
        ({"data": {"test": {"lines": {"input": "a"}, "files": "b"}}}, "data.test", "either"),
        ({"data": {"test": 3}}, "data.test", "expected a file"),
        ({"baselines": {}}, "", "nothing to compare"),
        ({"candidates": {"a": {"train": "lora"}}}, "", "'a' is a baseline and a candidate"),
        ({"baselines": {"a": {}}}, "baselines.a", "exactly one of 'model' and 'outputs'"),
        ({"baselines": {"a": {"model": "m", "outputs": "f"}}}, "baselines.a", "exactly one of 'model' and 'outputs'"),
        ({"candidates": {"c": {}}}, "candidates.c", "exactly one of 'train' and 'outputs'"),
        ({"baselines": {"a|b": {"model": "m"}}}, "baselines.a|b.[key]", "cannot be a label"),
        ({"baselines": {"x" * 81: {"model": "m"}}}, f"baselines.{'x' * 81}.[key]", "cannot be a label"),
        ({"gate": {"rules": [{"metric": "bleu"}]}}, "gate.rules.0", "exactly one of 'margin' and 'at_least'"),
        ({"gate": {"rules": [{"metric": "bleu", "margin": 1, "slice": "a=b", "every_slice": True}]}}, "gate.rules.0", "both"),
        ({"gate": {"rules": [{"metric": "bleu", "margin": 1, "slice": "de"}]}}, "gate.rules.0", "field=value"),
        ({"baselines": {"a": {"model": "m", "shots": "many"}}}, "baselines.a.shots", "how many examples"),
    ],
)
def test_one_clear_error(changes: dict[str, Any], where: str, says: str) -> None:
    found = errors(**changes)
    assert found[0][0] == where
    assert says in found[0][1]


@pytest.mark.parametrize(
    "changes",
    [{"confidence": 0.5}, {"confidence": 1}, {"repeats": 0}, {"budget": {"usd": 0}}, {"metrics": []}, {"sampling": {"top_p": 0}}],
)
def test_ranges(changes: dict[str, Any]) -> None:
    assert len(errors(**changes)) == 1


def test_reference_is_the_gates_then_the_decisions_then_the_first_arm() -> None:
    two = {"a": {"model": "m"}, "b": {"model": "m"}, "c": {"model": "m"}}
    gate, decide = {"rules": [{"metric": "bleu", "margin": 1}]}, {"metric": "bleu"}
    assert suite(baselines=two).reference == "a"
    assert suite(baselines=two, gate=gate, decide=decide | {"against": "b"}).reference == "b"
    assert suite(baselines=two, gate=gate | {"against": "c"}, decide=decide | {"against": "b"}).reference == "c"
    assert suite(baselines={}, candidates={"x": {"outputs": "f"}}).reference == "x"


def test_an_arms_null_prompt_beats_the_suites() -> None:
    read = suite(prompt="all", baselines={"a": {"model": "m"}, "b": {"model": "m", "prompt": None}, "c": {"model": "m", "prompt": "own"}})
    assert [read.prompt_of(arm) for arm in read.arms.values()] == ["all", None, "own"]


def test_sampling_comes_from_arm_then_suite_then_evalh() -> None:
    arms = {"a": {"model": "m", "sampling": {"max_tokens": 3}}, "b": {"model": "m"}}
    read = suite(seed=5, sampling={"max_tokens": 9, "stop": "\n"}, baselines=arms)
    assert read.sampling_of(read.arms["a"]) == Sampling(max_tokens=3, stop=("\n",), seed=5)
    assert read.sampling_of(read.arms["b"]) == Sampling(max_tokens=9, stop=("\n",), seed=5)


def test_an_inline_trainer_is_the_same_as_a_file() -> None:
    read = suite(candidates={"c": {"train": {"runner": "lora", "base": "embedded", "params": {"rank": 4}}}})
    assert read.candidates["c"].train == Trainer(runner="lora", base="embedded", params={"rank": 4})


@pytest.mark.parametrize(
    ("use", "named"),
    [
        ("local", ("local", None)),
        ("local/embedded", ("local", "embedded")),
        ("openai/ft:gpt/x", ("openai", "ft:gpt/x")),
        ({"local": {"base": "b"}}, ("local", {"base": "b"})),
        ("dir/own.py:Name", ("dir/own.py:Name", None)),
        ("dir/own.py:Name/base", ("dir/own.py:Name", "base")),
    ],
)
def test_ways_to_name_a_model(use: Any, named: tuple[str, object]) -> None:
    assert model_use(use) == named
