from __future__ import annotations

import pytest
from pydantic import ValidationError

from evalharness import registry
from evalharness.errors import DataError
from evalharness.metrics.contains import Contains, ContainsOptions, Regex, RegexOptions
from evalharness.protocols import Metric
from tests.metrics.contract import MetricContract, item


class TestContains(MetricContract):
    def make(self) -> Metric:
        return Contains()


class TestContainsWithEveryOption(MetricContract):
    def make(self) -> Metric:
        return Contains(ContainsOptions(text=("dog", "man"), all=True, words=True, absent=True, ignore_case=False))


class TestRegex(MetricContract):
    def make(self) -> Metric:
        return Regex(RegexOptions(pattern=r"\bdog\b"))


@pytest.mark.parametrize(
    ("text", "targets", "options", "expected"),
    [
        ("It is Paris.", ["Paris"], {}, True),
        ("it is paris", ["Paris"], {}, True),
        ("it is paris", ["Paris"], {"ignore_case": False}, False),
        ("a party", ["art"], {}, True),
        ("a party", ["art"], {"words": True}, False),
        ("my art, then", ["art"], {"words": True}, True),
        ("C++ it is", ["C++"], {"words": True}, True),
        ("Rome", ["Paris", "Rome"], {}, True),
        ("Rome", ["Paris", "Rome"], {"all": True}, False),
        ("Rome", [], {"text": "rome"}, True),
        ("sorry, we apologize", [], {"text": ["sorry", "apolog"], "all": True}, True),
        ("As an AI model", [], {"text": "as an ai", "absent": True}, False),
        ("Certainly", [], {"text": "as an ai", "absent": True}, True),
        ("STRASSE", ["straße"], {}, True),
        ("Paris", [" Paris\n"], {}, True),
    ],
)
def test_contains(text: str, targets: list[str], options: dict[str, object], expected: bool) -> None:
    metric = Contains(ContainsOptions.model_validate(options))
    assert metric.score(*item(text, *targets)) == (float(expected),)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("order 1234 it is", {"pattern": r"\d{4}"}, True),
        ("order 123", {"pattern": r"\d{4}"}, False),
        (" 1234\n", {"pattern": r"\d{4}", "whole": True}, True),
        ("a 1234", {"pattern": r"\d{4}", "whole": True}, False),
        ("one\nTwo", {"pattern": r"^two$", "ignore_case": True}, True),
        ("one\nTwo", {"pattern": r"^two$"}, False),
        ("a\nb", {"pattern": "a.b"}, True),
        ("hi", {"pattern": "bye", "absent": True}, True),
    ],
)
def test_regex(text: str, options: dict[str, object], expected: bool) -> None:
    metric = Regex(RegexOptions.model_validate(options))
    assert metric.score(*item(text)) == (float(expected),)


def test_a_bare_value_is_the_text_or_the_pattern() -> None:
    assert registry.options(Contains, "sorry") == ContainsOptions(text=("sorry",))
    assert registry.options(Regex, "a+") == RegexOptions(pattern="a+")


def test_a_bad_pattern_and_an_empty_text_are_refused_when_read() -> None:
    with pytest.raises(ValidationError, match="no regular expression"):
        RegexOptions(pattern="(")
    with pytest.raises(ValidationError, match="an empty text is in every answer"):
        ContainsOptions(text=("a", " "))


def test_only_targets_need_targets() -> None:
    assert Contains().needs_targets
    assert not Contains(ContainsOptions(text=("x",))).needs_targets
    assert not Regex(RegexOptions(pattern="x")).needs_targets


def test_without_a_text_there_has_to_be_a_target() -> None:
    with pytest.raises(DataError, match="target: missing"):
        Contains().score(*item("x"))
