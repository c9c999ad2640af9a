from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evalharness.errors import DataError
from evalharness.metrics import score_all
from evalharness.metrics.exact_match import ExactMatch, ExactMatchOptions
from evalharness.protocols import Metric
from evalharness.records import Reply
from tests.metrics.contract import MetricContract, item


class TestExactMatch(MetricContract):
    def make(self) -> Metric:
        return ExactMatch()


class TestExactMatchWithEveryOption(MetricContract):
    def make(self) -> Metric:
        return ExactMatch(ExactMatchOptions(ignore_case=True, ignore_punctuation=True, unicode="NFC", extract=r"(?:answer: )?(.*)"))


def right(text: str, *targets: str, **options: object) -> bool:
    sample, reply = item(text, *targets)
    (value,) = ExactMatch(ExactMatchOptions.model_validate(options)).score(sample, reply)
    return value == 1.0


@pytest.mark.parametrize(
    ("text", "targets", "options", "expected"),
    [
        ("Paris", ["Paris"], {}, True),
        (" Paris\n", ["Paris"], {}, True),
        (" Paris", ["Paris"], {"strip": False}, False),
        ("Paris", ["Paris "], {}, True),
        ("paris", ["Paris"], {}, False),
        ("STRASSE", ["straße"], {"ignore_case": True}, True),
        ("Paris.", ["Paris"], {}, False),
        ("«Paris»!", ["Paris"], {"ignore_punctuation": True}, True),
        ("a - b", ["a b"], {"ignore_punctuation": True}, True),
        ("10", ["1.0"], {"ignore_punctuation": False}, False),
        ("ﬁne", ["fine"], {}, True),
        ("ﬁne", ["fine"], {"unicode": None}, False),
        ("ﬁne", ["fine"], {"unicode": "NFC"}, False),
        ("e\u0301", ["é"], {"unicode": "NFC"}, True),
        ("e\u0301", ["é"], {"unicode": None}, False),
        ("B", ["A", "B", "C"], {}, True),
        ("D", ["A", "B", "C"], {}, False),
        ("so: 42", ["42"], {"extract": r"\d+"}, True),
        ("so: x42", ["42"], {"extract": r"x(\d+)"}, True),
        ("no number", ["no number"], {"extract": r"\d+"}, False),
        ("b", ["b"], {"extract": r"(a)|(b)"}, True),
        ("", [""], {}, True),
    ],
)
def test_right_and_wrong(text: str, targets: list[str], options: dict[str, object], expected: bool) -> None:
    assert right(text, *targets, **options) is expected


def test_a_bare_value_is_the_regular_expression_and_is_checked() -> None:
    assert ExactMatchOptions.shorthand == "extract"
    with pytest.raises(ValidationError, match="no regular expression"):
        ExactMatchOptions(extract="(")


def test_an_item_without_target_is_the_users_error() -> None:
    sample, reply = item("x")
    with pytest.raises(DataError, match="target: missing"):
        ExactMatch().score(sample, reply)


def test_unequal_lengths_are_refused() -> None:
    sample, reply = item("x", "x")
    with pytest.raises(ValueError, match="2 samples and 1 replies"):
        ExactMatch().score_many([sample, sample], [reply])


def test_options_change_the_identity() -> None:
    plain, folded = ExactMatch().identity(), ExactMatch(ExactMatchOptions(ignore_case=True)).identity()
    assert plain != folded


texts = st.text(alphabet="aAbé e\u0301ﬁ.,\n", max_size=4)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_many_equal_one_by_one_and_options_only_widen(
    rows: list[tuple[str, list[str]]], strip: bool, ignore_case: bool, ignore_punctuation: bool
) -> None:
    metric = ExactMatch(ExactMatchOptions(strip=strip, ignore_case=ignore_case, ignore_punctuation=ignore_punctuation))
    strict = ExactMatch(ExactMatchOptions(strip=False, unicode=None))
    samples, replies = zip(*(item(text, *targets) for text, targets in rows), strict=True)
    many = score_all(metric, samples, replies)
    assert [tuple(row) for row in many] == [metric.score(s, r) for s, r in zip(samples, replies, strict=True)]
    assert (score_all(strict, samples, replies) <= many).all()
    assert (score_all(strict, samples, replies)[:, 0] == [text in targets for text, targets in rows]).all()


def test_a_missing_text_among_many_is_refused() -> None:
    sample, reply = item("x", "x")
    with pytest.raises(ValueError, match="no text"):
        ExactMatch().score_many([sample, sample], [reply, Reply("o2", None, "error", error="down")])
