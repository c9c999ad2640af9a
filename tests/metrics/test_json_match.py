from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.errors import DataError
from evalharness.metrics.json_match import JsonMatch, JsonMatchOptions, JsonValid, JsonValidOptions
from evalharness.protocols import Metric
from evalharness.records import Reply, Sample
from tests.metrics.contract import MetricContract, item

ORDER = '{"id": 7, "to": {"city": "Paris", "zip": "75001"}, "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}]}'


class TestJsonValid(MetricContract):
    def make(self) -> Metric:
        return JsonValid(JsonValidOptions(type="object"))

    def pairs(self) -> list[tuple[Sample, Reply]]:
        return [item(text, "{}") for text in ("{}", "[1]", "{", "", '```json\n{"a": 1}\n```', "NaN")]


class TestJsonMatch(MetricContract):
    target = ORDER

    def make(self) -> Metric:
        return JsonMatch()

    def pairs(self) -> list[tuple[Sample, Reply]]:
        texts = (ORDER, ORDER.replace("Paris", "Rome"), '{"id": 7}', "no JSON", "", "[]")
        return [item(text, ORDER, '{"id": 8}') for text in texts]


class TestJsonMatchWithEveryOption(TestJsonMatch):
    def make(self) -> Metric:
        return JsonMatch(JsonMatchOptions(fields=("id", "items"), ignore_order=True, strict=True, fence=False))


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        ('{"a": 1}', {}, None),
        ("[1]", {"type": "array"}, None),
        ("[1]", {"type": "object"}, None),
        ("3", {}, None),
        ("```json\n[1]\n```", {}, None),
        ("```\n[1]\n```\n", {}, None),
        ("```json\n[1]\n```", {"fence": False}, "no JSON"),
        ("Here: [1]", {}, "no JSON"),
        ("[1,]", {}, "no JSON"),
        ("{'a': 1}", {}, "no JSON"),
        ("NaN", {}, "NaN is no JSON number"),
        ("-Infinity", {}, "-Infinity is no JSON number"),
        ('{"a": 1, "a": 2}', {}, "the key a comes twice"),
        ("[" * 200 + "]" * 200, {}, "nested more than 100 deep"),
        ("[" * 200_000, {}, "nested too deep"),
        ("1" * 5000, {}, "no JSON"),
    ],
)
def test_valid_or_why_not(text: str, options: dict[str, object], why: str | None) -> None:
    metric = JsonValid(JsonValidOptions.model_validate(options))
    sample, reply = item(text)
    found = metric.why(sample, reply)
    assert (found is None) == (why is None)
    assert why is None or why in str(found)
    right = why is None and not (text == "[1]" and options.get("type") == "object")
    assert metric.score(sample, reply) == (float(right),)


@pytest.mark.parametrize(
    ("answer", "target", "options", "expected", "why"),
    [
        (ORDER, ORDER, {}, 1.0, None),
        (ORDER.replace("Paris", "Rome"), ORDER, {}, 6 / 7, 'to.city: "Rome" for "Paris"'),
        ('{"id": 7}', ORDER, {}, 1 / 7, "to.city: missing"),
        ('{"a": "1"}', '{"a": 1}', {}, 1.0, None),
        ('{"a": 1.0}', '{"a": 1}', {}, 1.0, None),
        ('{"a": " x  y "}', '{"a": "x y"}', {}, 1.0, None),
        ('{"a": "1"}', '{"a": 1}', {"strict": True}, 0.0, 'a: "1" for 1'),
        ('{"a": true}', '{"a": "true"}', {}, 0.0, 'a: true for "true"'),
        ('{"a": null}', '{"a": ""}', {}, 0.0, "a: null for"),
        ('{"a": 1, "b": 2}', '{"a": 1}', {}, 1.0, None),
        ('{"a": 1, "b": 2}', '{"a": 1}', {"strict": True}, 0.5, "b: 2 is not in the target"),
        ("[2, 1]", "[1, 2]", {}, 0.0, "[0]: "),
        ("[2, 1]", "[1, 2]", {"ignore_order": True}, 1.0, None),
        ("[2, 2]", "[1, 2]", {"ignore_order": True}, 0.5, '[]: "2" for "1"'),
        ("[[2, 1]]", "[[1, 2]]", {"ignore_order": True}, 1.0, None),
        ('{"a": 1, "b": 0}', '{"a": 1, "b": 2}', {"fields": ["a"]}, 1.0, None),
        ('{"to": {"city": "X"}, "toll": 1}', '{"to": {"city": "X"}, "toll": 2}', {"fields": ["to"]}, 1.0, None),
        ('{"a": []}', '{"a": []}', {}, 1.0, None),
        ('{"a.b": 1}', '{"a": {"b": 1}}', {}, 0.0, "a.b: missing"),
        ("7", "7", {}, 1.0, None),
        ("8", "7", {}, 0.0, 'the whole: "8" for "7"'),
        ("no", "7", {}, 0.0, "no JSON"),
    ],
)
def test_share_of_fields_and_which_differ(answer: str, target: str, options: dict[str, object], expected: float, why: str | None) -> None:
    metric = JsonMatch(JsonMatchOptions.model_validate(options))
    sample, reply = item(answer, target)
    assert metric.score(sample, reply)[0] == pytest.approx(expected)
    found = metric.why(sample, reply)
    assert (found is None) == (why is None)
    assert why is None or why in str(found)


def test_the_nearest_target_counts() -> None:
    assert JsonMatch().score(*item('{"a": 1, "b": 2}', '{"a": 9, "b": 9}', '{"a": 1, "b": 3}')) == (0.5,)


def test_a_target_that_is_no_json_is_the_users_error() -> None:
    with pytest.raises(DataError, match="is no JSON"):
        JsonMatch().score(*item("{}", "Paris"))
    with pytest.raises(DataError, match="none of the fields to compare"):
        JsonMatch(JsonMatchOptions(fields=("b",))).score(*item("{}", '{"a": 1}'))


def test_many_differences_are_told_in_short() -> None:
    sample, reply = item("{}", json.dumps({f"k{i}": "x" * 500 for i in range(9)}))
    why = JsonMatch().why(sample, reply)
    assert why is not None
    assert why.endswith("; and 4 more")
    assert len(why) < 600


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "1", "a.b", "[0]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a.b", "c[0]"]), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(trees, trees, st.booleans(), st.booleans())
def test_equal_trees_are_right_and_strictness_never_pays(tree: object, other: object, strict: bool, bag: bool) -> None:
    metric = JsonMatch(JsonMatchOptions(strict=strict, ignore_order=bag))
    assert metric.score(*item(json.dumps(tree), json.dumps(tree))) == (1.0,)
    easy, hard = (JsonMatch(JsonMatchOptions(strict=each, ignore_order=bag)) for each in (False, True))
    pair = item(json.dumps(other), json.dumps(tree))
    assert hard.score(*pair) <= easy.score(*pair)
    if hard.score(*pair) == (1.0,) and not bag:
        assert json.dumps(other, sort_keys=True) == json.dumps(tree, sort_keys=True)
