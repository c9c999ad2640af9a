"""What `evalh compare` prints beside the difference: scores, wins and losses, the test, what is missing, cost and time."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalharness.report import compared
from evalharness.stats import wilson
from evalharness.verdict import compare, load
from evalharness.verdict.wording import Unit
from tests.report.made import Made
from tests.report.views import made_view

POINTS = Unit.of((0.0, 1.0))


def test_a_metric_and_its_slices_tell_scores_counts_and_test(tmp_path: Path) -> None:
    flags = [i % 2 == 0 for i in range(60)]
    made = Made(n=60, slices=True).arm("few-shot", right=flags).arm("tuned", "candidate", right=[True] * 60, errors=[1])
    found = compare(load(*made.store(tmp_path)), "tuned", "few-shot").evidence["metrics"][0]
    told = compared.facts(found, POINTS)
    for part in ("tuned 98.3 (95% ", "few-shot 50.0 (95% ", "29 items better, 0 worse, 31 alike", "McNemar mid-p p < 0.0001"):
        assert part in told
    assert "missing: tuned 1.7%;" in told
    german = next(each for each in found["slices"] if each["slice"] == "lang=de")
    assert (german["n"], german["wins"] + german["losses"] + german["ties"]) == (40, 40)
    right, expected = sum(flags[i] for i in range(60) if i % 3), german["scores"]["few-shot"]
    assert (expected["low"], expected["high"]) == pytest.approx((wilson(right, 40).low, wilson(right, 40).high))
    assert german["scores"]["tuned"]["value"] > german["scores"]["few-shot"]["value"]


def test_scores_of_errors_are_errors_on_slices_too() -> None:
    """Lower is better: the difference is turned round, the scores are not."""
    prompt = [1.0] * 30 + [0.0] * 10
    langs = ["de", "en"] * 20
    view = made_view({"few-shot": prompt, "tuned": [0.0] * 40}, higher=False, slices={"lang": langs})
    found = compare(view, "tuned", "few-shot", flips=0).evidence["metrics"][0]
    for each in (found, *found["slices"]):
        assert (each["scores"]["tuned"]["value"], each["scores"]["few-shot"]["value"]) == (0.0, 0.75)
        assert each["difference"]["value"] == 0.75


def test_unknown_prices_are_unknown_and_nothing_known_is_said_once(tmp_path: Path) -> None:
    made = Made(n=30).arm("few-shot", cost=0.001).arm("tuned", "candidate")
    usage = compare(load(*made.store(tmp_path)), "tuned", "few-shot").evidence["usage"]
    assert compared.usage(usage) == (
        "Per 1,000 requests: tuned unknown, few-shot $1.00. An answer takes (median): tuned 0.4 s, few-shot 0.4 s."
    )
    for each in usage.values():
        each |= {"latency_p50_s": None, "serving": {**each["serving"], "usd_per_1000": None}}
    assert compared.usage(usage) == "What they cost and how long they take is unknown."
    hosted = {"usd_per_1000": None, "usd_per_hour": 2.0, "answers_per_hour": 600.0, "by_the_hour": True}
    usage["tuned"] |= {"cost_usd_per_1000": 3.33, "serving": hosted}
    assert compared.usage(usage) == "Per 1,000 requests: tuned $3.33 while it is never idle ($2.00 an hour), few-shot unknown."
