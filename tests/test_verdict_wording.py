"""Numbers in words: points, signs, intervals, money."""

from __future__ import annotations

import math

import pytest

from evalharness.stats import Interval
from evalharness.verdict.money import Money
from evalharness.verdict.records import Verdict, interval_json, plain
from evalharness.verdict.wording import Unit, about, listed, percent, several

POINTS, BLEU, STARS = Unit.of((0.0, 1.0)), Unit.of((0.0, 100.0)), Unit.of((1.0, 5.0))


def test_scores_and_differences() -> None:
    assert (POINTS.value(0.6123), BLEU.value(48.53), STARS.value(3.456)) == ("61.2", "48.5", "3.46")
    assert (POINTS.gain(0.042), POINTS.gain(-0.003), POINTS.gain(-0.0001)) == ("+4.2", "−0.3", "0.0")
    assert (POINTS.value(None), POINTS.value(math.nan), POINTS.value(-math.inf)) == ("unknown", "unknown", "−∞")
    assert Unit.of((-math.inf, math.inf)).value(1234.5) == "1234.50"
    assert Unit.of((0.0, 2000.0)).size(31.4) == "31"


def test_what_an_interval_shows() -> None:
    assert POINTS.better(0.019, 0.063) == "better by 1.9 to 6.3 points"
    assert POINTS.better(-0.063, -0.019) == "worse by 1.9 to 6.3 points"
    assert POINTS.better(0.0001, 0.05) == "better by <0.1 to 5.0 points"
    assert POINTS.shown(-0.012, 0.034) == "no difference shown (−1.2 to +3.4 points)"
    assert STARS.shown(-0.1, 0.2) == "no difference shown (−0.10 to +0.20)"
    assert BLEU.measured(Interval(4.2, 1.1, 7.2, "bootstrap", 0.95)) == "+4.2 points (95% 1.1 to 7.2)"


def test_small_words() -> None:
    assert (percent(0.95), percent(1 - 0.05 / 3)) == ("95%", "98.3%")
    assert (several(1, "item"), several(1200, "item")) == ("1 item", "1,200 items")
    assert (about(7), about(99), about(1234), about(75_491)) == ("about 7", "about 99", "about 1,300", "about 76,000")
    assert (listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("", "a", "a and b", "a, b and c")


@pytest.mark.parametrize(
    ("money", "sentence"),
    [
        (Money.simple(3.10, 0.076, 0.2), "Training 3.10 USD; serving −62% per 1,000 requests; pays back after 25,000 requests."),
        (Money.simple(3.10, 0.3, 0.2), "Training 3.10 USD; serving +50% per 1,000 requests."),
        (Money.simple(3.10, 0.2, 0.2), "Training 3.10 USD; serving +0% per 1,000 requests."),
        (Money.simple(None, None, None), "What training and serving cost is unknown."),
        (Money.simple(1.0, None, 0.2), "Training 1.00 USD; serving: cost unknown."),
        (Money.simple(None, 0.1, None), "Training: cost unknown; serving 0.10 USD per 1,000 requests, the reference's cost unknown."),
        (Money.simple(0.0, 0.1, 0.0), "Training 0.00 USD; serving 0.10 USD per 1,000 requests against 0.00."),
        (Money.simple(0.0, 0.1, 0.2), "Training 0.00 USD; serving −50% per 1,000 requests."),
    ],
)
def test_money_is_unknown_and_never_zero_where_nobody_knows(money: Money, sentence: str) -> None:
    assert money.sentence() == sentence


def test_what_serves_dearer_never_pays_back() -> None:
    assert Money.simple(3.10, 0.3, 0.2).as_json()["pays_back_after_requests"] is None
    assert Money.simple(3.10, 0.1, 0.2).as_json()["pays_back_after_requests"] == 31_000


def test_json_holds_no_infinity() -> None:
    assert plain(math.inf) is None
    assert plain(1 / 3) == 0.333333333
    assert interval_json(Interval(1.0, -math.inf, 2.0, "t", 0.95), -1) == {
        "value": -1.0,
        "low": -2.0,
        "high": None,
        "level": 0.95,
        "method": "t",
    }


@pytest.mark.parametrize(
    ("outcome", "code"), [("PASS", 0), ("FAIL", 1), ("INCONCLUSIVE", 3), ("INVALID", 4), ("ADOPT", 0), ("KEEP", 0), ("UNDECIDED", 0)]
)
def test_exit_codes(outcome: str, code: int) -> None:
    verdict = Verdict("gate", outcome, (), {}, "d", "r", "s")  # type: ignore[arg-type]
    assert verdict.exit_code() == code
    assert verdict.exit_code(inconclusive="pass") == (0 if outcome == "INCONCLUSIVE" else code)
