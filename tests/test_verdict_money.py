"""Money in the verdict: each arm's cost with its interval, idle hosting, when a training has paid for itself; unknown stays unknown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalharness.ids import digest
from evalharness.records import Reply
from evalharness.report import build, markdown
from evalharness.stats import Interval, t_interval
from evalharness.store import Resource, Store
from evalharness.verdict import decide, load, note
from evalharness.verdict.costs import EXACT, HOURS, Hosting, Serving, serving
from evalharness.verdict.money import Money
from tests.report.made import RUN, Made, MadeArm, trained

DAY = date(2026, 1, 1)
OPENED = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = Hosting(2.0, 3600.0)


def exact(usd: float) -> Serving:
    return Serving(Interval(usd, usd, usd, EXACT, 0.95))


def money(training: float | None, mine: Serving, other: Serving, volume: int | None = None, ends: date | None = None) -> Money:
    return Money(training, mine, other, volume, DAY, ends, ("tuned", "few-shot"))


def made(costs: Sequence[float | None], **options: Any) -> Made:
    """A tune whose i-th answer cost costs[i], against a prompt at a tenth of a cent each."""
    n = len(costs)
    found = Made(n=n, **options).arm("few-shot", right=0.4, cost=0.001)
    found.arm("tuned", "candidate", right=0.95, training=trained("t", cost_usd=3.10))
    found.arms[-1].replies = [replace(reply, cost_usd=usd) for reply, usd in zip(_there(found.arms[-1]), costs, strict=True)]
    return found


def _there(arm: MadeArm) -> list[Reply]:
    return [reply for reply in arm.replies if reply is not None]


def deployed(store: Store, *, price: float | None = 2.0, minutes: int = 6, run_id: str = RUN, count: int = 0, **more: Any) -> None:
    """A deployment of the training `t`, as a run leaves it."""
    key = digest(["serving", digest(["training", "t"]), count])
    closed = OPENED + timedelta(minutes=minutes)
    row = Resource(digest(key), "deployment", "together", key, "closed", "d", price, OPENED, closed, run_id, cost_usd=0.2)
    store.put_resource(replace(row, **more))


def test_the_interval_of_a_cost_is_the_t_interval_over_items(tmp_path: Path) -> None:
    usd = np.random.default_rng(1).gamma(2.0, 0.0002, 80)
    view = load(*made(list(usd)).store(tmp_path))
    found, expected = serving(view, "tuned", 0.95).answers, t_interval(1000 * usd)
    assert found is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    fixed = serving(view, "few-shot", 0.95).answers
    assert fixed is not None
    assert (fixed.estimate, fixed.low, fixed.high, fixed.method) == pytest.approx((1.0, 1.0, 1.0, EXACT))


def test_clusters_widen_the_interval_of_a_cost(tmp_path: Path) -> None:
    usd = np.repeat(np.random.default_rng(1).gamma(2.0, 0.0002, 20), 4)  # four equal answers a cluster
    alone, together = (serving(load(*made(list(usd), cluster=size).store(tmp_path / str(size))), "tuned", 0.95).answers for size in (0, 4))
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 1.7 * (alone.high - alone.low)


@pytest.mark.parametrize("unknown", [[3], list(range(60))])
def test_one_unknown_price_makes_the_arm_s_cost_unknown_never_zero(tmp_path: Path, unknown: list[int]) -> None:
    usd: list[float | None] = [None if i in unknown else 0.0004 for i in range(60)]
    store, run_id = made(usd).store(tmp_path)
    found = decide(load(store, run_id))
    costs = found.evidence["costs"]["tuned"]
    assert (costs["serving_usd_per_1000"], costs["pays_back_after_requests"], costs["serving"]["usd_per_1000"]) == (None, None, None)
    assert "Training 3.10 USD; serving: cost unknown." in found.sentences
    report = build(store, run_id)
    assert "| unknown | unknown |" in markdown.text(report)
    assert {row.arm: row.usage.cost_per_1000 for row in report.rows}["tuned"] is None


def test_a_failed_call_without_a_price_does_not_hide_the_price_of_the_answers(tmp_path: Path) -> None:
    found = made([0.0004] * 60)
    found.arms[-1].replies[7] = Reply("", None, "error", error="timed out after 60 s")
    spent = serving(load(*found.store(tmp_path)), "tuned", 0.95).answers
    assert spent is not None
    assert spent.estimate == pytest.approx(0.4)


def test_a_free_model_is_free_and_not_unknown(tmp_path: Path) -> None:
    spent = serving(load(*made([0.0] * 60).store(tmp_path)), "tuned", 0.95).answers
    assert spent is not None
    assert (spent.estimate, spent.low, spent.high) == (0.0, 0.0, 0.0)


def test_the_verdict_says_each_price_with_its_interval_and_when_it_pays_back(tmp_path: Path) -> None:
    usd = [0.0003 if i % 2 else 0.0005 for i in range(100)]
    view = load(*made(usd).store(tmp_path))
    found = decide(view, volume=10_000)
    assert found.outcome == "ADOPT"
    day = view.run.started.date() + timedelta(days=16)  # 3.10 USD at 6 USD saved a month: 15.7 days
    assert f"Training 3.10 USD; serving −60% per 1,000 requests; pays back after 5,200 requests, on {day}." in found.sentences
    assert "Per 1,000 requests: tuned 0.40 USD (95% 0.38 to 0.42); few-shot 1.00 USD." in found.sentences
    costs = found.evidence["costs"]["tuned"]
    assert (costs["usd_per_month"], costs["reference_usd_per_month"], costs["pays_back_on"]) == (4.0, 10.0, day.isoformat())
    assert json.loads(json.dumps(dict(found.evidence), allow_nan=False))


@pytest.mark.parametrize(("volume", "machines"), [(1, 1), (3600 * HOURS, 1), (3600 * HOURS + 1, 2), (3 * 3600 * HOURS, 3)])
def test_hosting_is_paid_for_whole_months_and_whole_machines(volume: int, machines: int) -> None:
    assert HOUR.month(volume) == machines * 2.0 * HOURS
    assert Serving(None, HOUR).per_1000(volume) == pytest.approx(1000 * machines * 2.0 * HOURS / volume)


def test_idle_hours_are_what_makes_a_deployment_dear() -> None:
    little, much = (money(3.10, Serving(None, HOUR), exact(1.0), volume) for volume in (10_000, 2_000_000))
    assert little.sentence() == "Training 3.10 USD; serving +14,500% per 1,000 requests at 10,000 a month; never pays back at this volume."
    assert much.sentence() == (
        "Training 3.10 USD; serving −27% per 1,000 requests at 2,000,000 a month; pays back after 12,000 requests, on 2026-01-02."
    )
    assert little.cheaper_from == much.cheaper_from == 1_500_000
    assert "cheaper from 1,500,000 requests a month on" in money(3.10, Serving(None, HOUR), exact(1.0)).sentence()


def test_a_deployment_that_can_never_be_cheaper_is_not_said_to_be() -> None:
    found = money(3.10, Serving(None, Hosting(2.0, 100.0)), exact(1.0))  # 20 USD per 1,000 even when it is never idle
    assert found.cheaper_from is None
    assert "cheaper from" not in found.sentence()
    for volume in (10**4, 10**6, 10**8):
        assert replace(found, volume=volume).pays_back_after is None


@pytest.mark.parametrize("hosting", [Hosting(None, 3600.0), Hosting(2.0, None)])
def test_hosting_of_an_unknown_price_or_pace_is_unknown(hosting: Hosting) -> None:
    found = money(3.10, Serving(Interval(0.0, 0.0, 0.0, EXACT, 0.95), hosting), exact(1.0), 10_000)
    assert found.as_json()["serving_usd_per_1000"] is None
    assert found.as_json()["usd_per_month"] is None
    assert found.months is None
    assert "serving: cost unknown" in found.sentence()


def test_the_pay_back_date_is_capped_by_the_end_of_the_base_model() -> None:
    late = money(120.0, exact(0.0), exact(1.0), 10_000)  # 10 USD saved a month: a year of 365.25 days
    assert late.pays_back_on == date(2027, 1, 2)
    assert replace(late, ends=date(2027, 1, 2)).pays_back_on == date(2027, 1, 2)
    gone = replace(late, ends=date(2027, 1, 1))
    assert gone.pays_back_on is None
    assert gone.as_json()["base_model_ends"] == "2027-01-01"
    assert "does not pay back before its base model is switched off on 2027-01-01" in gone.sentence()


def test_what_never_pays_back_is_said_so_and_a_date_needs_a_volume() -> None:
    assert "never pays back at this volume" in money(3.0, exact(2.0), exact(1.0), 10_000).sentence()
    assert money(3.0, exact(0.5), exact(1.0)).pays_back_on is None
    assert money(None, exact(0.5), exact(1.0), 10_000).months is None


def test_the_end_of_the_base_model_comes_from_the_training(tmp_path: Path) -> None:
    found = made([0.0009] * 60)
    found.arms[-1].training = trained("t", cost_usd=3.10, shutdown_date="2020-01-01")
    verdict = decide(load(*found.store(tmp_path)), volume=10_000)
    assert "does not pay back before its base model is switched off on 2020-01-01" in verdict.sentence


def test_hosting_is_read_from_the_ledger(tmp_path: Path) -> None:
    store, run_id = made([None] * 60).store(tmp_path)
    deployed(store, price=99.0, state="intent", closed=None)
    assert serving(load(store, run_id), "tuned", 0.95).hosting is None, "an intent was never open"
    deployed(store)  # 60 answers in six minutes
    deployed(store, count=1, run_id="another run")
    deployed(store, count=2, price=50.0, cost_usd=0.0)  # it never opened
    view = load(store, run_id)
    assert serving(view, "tuned", 0.95).hosting == Hosting(2.0, 600.0)
    found = decide(view)
    assert "tuned 2.00 USD an hour, idle or not (600 answers an hour were seen); few-shot 1.00 USD." in found.sentence
    assert found.evidence["costs"]["tuned"]["serving_usd_per_1000"] == pytest.approx(3.333, abs=1e-3)
    rows = {row.arm: row.usage for row in build(store, run_id).rows}
    assert rows["tuned"].usd_per_hour == 2.0
    assert rows["tuned"].cost_per_1000 is not None
    assert "start-up included" in rows["tuned"].cost_per_1000.method


def test_the_suite_may_say_the_volume(tmp_path: Path) -> None:
    suite = {"gate": Made().suite["gate"], "decide": {"metric": "exact_match", "min_gain": 0.03, "volume": 100_000}}
    store, run_id = made([None] * 60, suite=suite).store(tmp_path)
    deployed(store)
    found = decide(load(store, run_id)).evidence["costs"]["tuned"]
    assert (found["requests_per_month"], found["usd_per_month"], found["reference_usd_per_month"]) == (100_000, 1460.0, 100.0)
    usage = next(row.usage for row in build(store, run_id).rows if row.arm == "tuned")
    assert usage.cost_usd_per_1000 == pytest.approx(14.6)


def test_asking_at_another_volume_is_not_another_look_at_the_test_set(tmp_path: Path) -> None:
    store, run_id = made([0.0004] * 60).store(tmp_path)
    view = load(store, run_id)
    numbers = [note(store, decide(view, volume=volume)).number for volume in (None, 10, 1000)]
    assert numbers == [1, 1, 1]
