from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from evalharness.protocols import Options
from evalharness.reading.problems import explain, fields_at, join, nearest, shown
from evalharness.spec import Suite

SMALL: dict[str, Any] = {"data": {"test": "t.jsonl"}, "baselines": {"a": {"model": "local"}}, "metrics": ["bleu"]}


def told(**changes: Any) -> list[str]:
    raw = SMALL | changes
    with pytest.raises(ValidationError) as caught:
        Suite.model_validate(raw)
    return [str(problem) for problem in explain(caught.value, raw, Suite, "s.yaml")]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"repeats": [1]}, ["repeats: expected a whole number, found a list"]),
        ({"confidence": None}, ["confidence: expected a number, found nothing"]),
        ({"repeats": 1.5}, ["repeats: expected a whole number, found 1.5"]),
        ({"confidence": 0.3}, ["confidence: expected more than 0.5, found 0.3"]),
        ({"confidence": 95}, ["confidence: expected less than 1, found 95"]),
        ({"repeats": 1001}, ["repeats: expected at most 1000, found 1001"]),
        ({"prompt": {"file": "a.md"}}, ["prompt: expected text, found keys with values"]),
        ({"prompt": False}, ["prompt: expected text, found false. YAML reads yes, no, on and off as true or false: put a word in quotes"]),
        ({"budget": 50}, ["budget: expected keys with values, found 50"]),
        ({"budget": {}}, ["budget.usd: missing. Add usd"]),
        ({"candidates": None}, ["candidates: expected keys with values, found nothing"]),
        ({"metrics": []}, ["metrics: is empty. Add at least 1"]),
        ({"metrics": "bleu"}, ["metrics: expected a list, found 'bleu'"]),
        ({"metrics": [3, None]}, [f"metrics[{i}]: expected text or keys with values, found {x}" for i, x in ((0, "3"), (1, "nothing"))]),
        ({"data": {"test": "t", "leaks": "drop"}}, ["data.leaks: expected 'error', 'drop_train' or 'allow', found 'drop'"]),
        ({"data": {"test": "t", "fields": {"input": 3}}}, ["data.fields.input: expected a list, found 3"]),
        ({"data": {"test": ["a", 3]}}, ["data.test[1]: expected text, found 3"]),
        ({"data": {"test": {"lines": {"inputs": "a"}, "filse": 1}}}, ["data.test.filse: unknown key. Did you mean 'files'?"]),
        ({"gate": {"rules": [{"margin": 1}]}}, ["gate.rules[0].metric: missing. Add metric"]),
        ({"gate": {"rules": [{"metric": "a", "margin": 1, "slcie": "a=b"}]}}, ["gate.rules[0].slcie: unknown key. Did you mean 'slice'?"]),
        ({"candidates": {"c": {"train": {"runner": "x", "base": "y", "parms": 1}}}},
         ["candidates.c.train.parms: unknown key. Did you mean 'params'?"]),
        ({"candidates": {"prompt": {"train": "lora", "tain": 1}}}, ["candidates.prompt.tain: unknown key. Did you mean 'train'?"]),
        ({"zzz": 1}, ["zzz: unknown key. Known: " + ", ".join(sorted(Suite.model_fields))]),
    ],
)  # fmt: skip
def test_in_plain_words(changes: dict[str, Any], says: list[str]) -> None:
    assert told(**changes) == [f"s.yaml: {each}" for each in says]


def test_places_in_the_file_not_in_pydantics_tree() -> None:
    assert join(("metrics", 2, "judge", "model")) == "metrics[2].judge.model"
    assert join((0, "a")) == "[0].a"
    assert join(()) == ""


def test_long_values_are_cut_and_secrets_hidden() -> None:
    assert len(shown("x" * 500)) == 60
    assert "sk-1" not in shown("sk-1", ("openai", "api_key")) + shown("sk-1", ("headers", "Authorization"))
    assert shown("NAME", ("openai", "api_key_env")) == "'NAME'"
    assert shown(5, ("sampling", "max_tokens")) == "5"


def test_nearest_says_what_is_known_if_nothing_is_near() -> None:
    assert nearest("x", ["b", "a"]) == "Known: a, b"
    assert nearest("x", []) == ""


def test_the_names_allowed_at_a_place() -> None:
    assert "rules" in fields_at(Suite, ("gate",))
    assert "at_least" in fields_at(Suite, ("gate", "rules", 3))
    assert "max_tokens" in fields_at(Suite, ("baselines", "sampling", "sampling"))
    assert fields_at(Suite, ("metrics", 0, "str")) == fields_at(Suite, ("nonsense", "x")) == set()


class Inner(Options):
    depth: int = 1


class Outer(Options):
    inner: dict[str, Inner] | list[Inner] | None = None


def test_options_of_plugins_in_unions() -> None:
    for value, key in (({"inner": {"x": {"dept": 1}}}, "m.inner.x.dept"), ({"inner": [{"dept": 1}]}, "m.inner[0].dept")):
        with pytest.raises(ValidationError) as caught:
            Outer.model_validate(value)
        problems = {p.key: p.fix for p in explain(caught.value, value, Outer, "s.yaml", ("m",))}
        assert problems[key] == "Did you mean 'depth'?"
