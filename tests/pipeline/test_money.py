"""Money: reserved before it is spent, ledgered before it is bought, released whatever happens."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.errors import BudgetExceeded
from evalharness.pipeline import Result, execute
from evalharness.pipeline.budget import Budget
from evalharness.pipeline.locks import only_one
from evalharness.pipeline.serving import close
from evalharness.protocols import Runner
from evalharness.records import Endpoint
from evalharness.store import Resource
from evalharness.verdict import load
from evalharness.verdict.costs import serving
from tests.pipeline.conftest import SUITE, Workspace, rows

HOSTED = ("{train: files}", "{train: files, params: {local: false}}")


def deployed(workspace: Workspace) -> list[Resource]:
    found = workspace.store.sql("SELECT DISTINCT intent_key FROM resources WHERE kind = 'deployment' ORDER BY 1")[1]
    return [row for (key,) in found for row in workspace.store.resources(key)]


def test_reserving_is_bounded_by_the_cap() -> None:
    budget = Budget(10.0, spent=4.0)
    with budget.reserve("one", 5.0) as one:
        assert budget.left == 1.0
        with (
            pytest.raises(BudgetExceeded, match=r"two may cost 2.00 USD, and of 10.00 USD 4.00 are spent and 5.00 reserved"),
            budget.reserve("two", 2.0),
        ):
            pass
        one.spend(3.0)
        assert (budget.spent, budget.reserved, budget.left) == (7.0, 2.0, 1.0)
    assert (budget.reserved, budget.left) == (0.0, 3.0)
    with pytest.raises(BudgetExceeded, match="nobody knows what three costs"), budget.reserve("three", None):
        pass


def test_without_a_cap_nothing_is_refused() -> None:
    with Budget(None).reserve("one", None) as one, Budget(None).reserve("two", 1e9):
        one.more(None)
        one.spend(3.0)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(costs=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), max_size=12), cap=st.floats(0.1, 10))
def test_what_is_spent_never_passes_the_cap(costs: list[tuple[float, float]], cap: float) -> None:
    budget = Budget(cap)

    async def step(worst: float, share: float) -> None:
        try:
            async with budget.when_free("step", worst) as mine:
                await asyncio.sleep(0)
                mine.spend(worst * share)
        except BudgetExceeded:
            return

    async def all_of_them() -> None:
        await asyncio.gather(*(step(worst, share) for worst, share in costs))

    asyncio.run(all_of_them())
    assert budget.spent <= cap + 1e-6
    assert abs(budget.reserved) < 1e-9


def test_a_deployment_is_opened_once_ledgered_and_released(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    assert workspace.run().failures == {}
    (row,) = deployed(workspace)
    assert (row.state, row.provider_id, row.price_usd_per_hour, row.estimate_usd) == ("closed", "r1", 2.0, 2.0)
    assert row.closed is not None
    assert row.cost_usd is not None
    assert 0 < row.cost_usd < 0.1
    assert [line for line in workspace.log() if line in ("serve", "release")] == ["serve", "release"]
    (ended,) = (event for event in workspace.events if event.stage == "train" and event.kind == "end")
    assert (ended.cost_usd, ended.text) == (0.5, "0.50 USD expected")
    workspace.run()
    assert workspace.log().count("serve") == 1  # nothing is missing: nothing is opened


def test_another_deployment_has_another_key(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    workspace.run()
    workspace.write("data/test.jsonl", rows([f"test {i}" for i in range(11)], str.upper))
    workspace.run()
    assert len({row.intent_key for row in deployed(workspace)}) == 2
    assert workspace.log().count("serve") == workspace.log().count("release") == 2


def test_a_deployment_that_cannot_be_released_stays_in_the_ledger_until_cleanup_does(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    workspace.write("stuck", "")
    result = workspace.run()
    assert "cannot be released" in result.failures["tuned"]
    assert len(workspace.outputs("tuned")) == 10  # what was answered is kept
    (row,) = deployed(workspace)
    assert (row.state, row.closed) == ("open", None)
    (workspace.root / "stuck").unlink()
    assert workspace.run().failures == {}  # the next run has nothing to ask, and releases it
    assert deployed(workspace)[0].closed is not None


def test_nothing_is_trained_whose_deployment_the_budget_never_allows(workspace: Workspace) -> None:
    workspace.suite(SUITE + "budget: {usd: 1.9}\n", HOSTED)  # the training costs 0.5, an hour of asking it 2
    assert "an hour of serving tuned may cost 2.00 USD" in workspace.run().failures["tuned"]
    assert "submit tuned" not in workspace.log()
    workspace.suite(SUITE + "budget: {usd: 3}\n", HOSTED)
    assert workspace.run().failures == {}


def test_a_release_that_fails_for_a_moment_is_tried_again(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    workspace.write("stuck", "2")
    assert workspace.run().failures == {}
    assert workspace.log().count("release") == 1
    assert deployed(workspace)[0].closed is not None


def test_a_release_is_not_tried_for_ever(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{close.__module__}._PATIENCE_S", -1.0)
    workspace.suite(SUITE, HOSTED)
    workspace.write("stuck", "1")
    assert "cannot be released" in workspace.run().failures["tuned"]
    assert deployed(workspace)[0].closed is None


def test_a_deployment_that_does_not_open_is_told_and_closed(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    workspace.write("broken", "")
    result = workspace.run()
    assert "did not start" in result.failures["tuned"]
    (row,) = deployed(workspace)
    assert (row.closed is not None, row.cost_usd) == (True, 0.0)


def test_the_cap_stops_before_a_training_is_bought(workspace: Workspace) -> None:
    workspace.suite(SUITE + "budget: {usd: 0.4}\n", HOSTED)
    result = workspace.run()
    assert "training tuned may cost 0.50 USD" in result.failures["tuned"]
    assert not any(line.startswith("submit") for line in workspace.log())
    assert len(workspace.outputs("plain")) == 10
    workspace.suite(SUITE + "budget: {usd: 9}\n", HOSTED)
    assert workspace.run().failures == {}


def test_answers_stop_before_the_cap_and_what_was_done_is_kept(workspace: Workspace) -> None:
    only_baselines = SUITE.replace("candidates:\n  tuned: {train: files}\n", "").replace(
        "doubles.py:Echo/echo", "{doubles.py:Echo: {hosted: true}}"
    )
    workspace.suite(
        only_baselines.replace("doubles.py:Echo/upper", "{doubles.py:Echo: {name: upper, usd: 0.0}}") + "budget: {usd: 0.0045}\n"
    )
    result = workspace.run()
    assert "the next answer may cost 0.001 USD" in result.failures["plain"]
    assert "loud" not in result.failures
    assert len(workspace.outputs("plain")) == 4
    assert workspace.store.spending("toy").usd == pytest.approx(0.004)
    workspace.suite(only_baselines.replace("doubles.py:Echo/upper", "{doubles.py:Echo: {name: upper, usd: 0.0}}") + "budget: {usd: 0.02}\n")
    second = workspace.run()
    assert (second.failures, second.tally.asked) == ({}, 6)


def test_what_failures_have_cost_is_not_forgotten_when_they_are_tried_again(workspace: Workspace) -> None:
    workspace.write(
        "doubles.py", (workspace.root / "doubles.py").read_text().replace('error="no luck")', 'error="no luck", cost_usd=0.001)')
    )
    failing = '{doubles.py:Echo: {hosted: true, fail: ["test 1", "test 2"]}}'
    workspace.suite(
        SUITE.replace("doubles.py:Echo/echo", failing).replace("candidates:\n  tuned: {train: files}\n", "") + "budget: {usd: 1}\n"
    )
    costs = []
    for _ in range(3):
        workspace.run()
        costs.append(workspace.store.spending("toy").usd)
    assert costs == pytest.approx([0.02, 0.022, 0.024])
    workspace.write("mended", "")
    assert workspace.run().tally.asked == 2
    assert workspace.store.spending("toy").usd == pytest.approx(0.026)


def test_unknown_prices_and_a_cap_do_not_go_together(workspace: Workspace) -> None:
    workspace.suite(SUITE.replace("doubles.py:Echo/echo", "{doubles.py:Echo: {hosted: true, usd: null}}") + "budget: {usd: 5}\n")
    result = workspace.run()
    assert "nobody knows what the next answer costs" in result.failures["plain"]
    assert workspace.outputs("plain") == {}


def test_two_runs_at_once_buy_once(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    workspace.plan()
    runs = [threading.Thread(target=workspace.run) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [line.split()[0] for line in workspace.log()].count("submit") == 1
    assert workspace.log().count("serve") == workspace.log().count("release") <= 2
    assert all(row.closed is not None for row in deployed(workspace))


def test_two_runs_at_once_ask_once_and_keep_one_cap(workspace: Workspace) -> None:
    asking = "{doubles.py:Echo: {hosted: true, usd: 0.001}}"
    workspace.suite(
        SUITE.replace("doubles.py:Echo/echo", asking).replace("candidates:\n  tuned: {train: files}\n", "") + "budget: {usd: 1}\n"
    )
    plans = [workspace.plan(), workspace.plan()]

    async def both() -> list[Result]:
        return await asyncio.gather(*(execute(plan, workspace.store, workspace.events.append) for plan in plans))

    first, second = asyncio.run(both())
    assert sorted(result.tally.asked for result in (first, second)) == [0, 20]
    assert sorted(line for line in workspace.log() if line.startswith("generate")) == ["generate 10", "generate 10"]  # an arm each
    assert [event.text for event in workspace.events if "another evalh" in event.text] == [
        "another evalh is running this suite; waiting for its end"
    ]


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    told: list[str] = []

    async def second() -> None:
        async with only_one(str(tmp_path), "training", lambda: told.append("waiting")):
            told.append("in")

    async def first() -> None:
        async with only_one(str(tmp_path), "training", lambda: None):
            task = asyncio.ensure_future(second())
            await asyncio.sleep(0.05)
            told.append("out")
        await task

    asyncio.run(first())
    assert told == ["waiting", "out", "in"]


class Doubtful:
    """Only the end of a runner."""

    def __init__(self) -> None:
        self.released: list[str | None] = []

    def release(self, endpoint: Endpoint) -> None:
        self.released.append(endpoint.resource_id)


def test_what_opened_and_is_not_listed_yet_is_released_too(workspace: Workspace) -> None:
    workspace.write("trainers/files.yaml", "runner: doubles.py:FileRunner\nbase: small\nparams: {local: false}\n")
    workspace.write("half", "")
    workspace.write("unserved", "2")
    assert workspace.run().failures == {"tuned": "it broke when it was open"}
    (row,) = deployed(workspace)
    assert row.state == "closed"
    assert row.cost_usd  # nobody was told its address, and it ran all the same
    assert list(workspace.root.glob("open-*")) == []
    (workspace.root / "half").unlink()
    workspace.write("broken", "")
    workspace.run()
    assert sorted(row.cost_usd == 0.0 for row in deployed(workspace)) == [False, True]  # this one never opened


def test_two_that_are_open_for_one_intent_are_both_released(workspace: Workspace) -> None:
    class Two(Doubtful):
        def served(self, key: str) -> Endpoint:
            return Endpoint("", resource_id="older")

    runner = Two()
    row = Resource("x", "deployment", "toy", "k", "open", provider_id="newer", price_usd_per_hour=1.0)
    assert close(cast(Runner, runner), row, workspace.store).state == "closed"
    assert runner.released == ["older", "newer"]


def test_spending_counts_what_is_open_as_expected(workspace: Workspace) -> None:
    workspace.run()
    run = workspace.store.latest_run()
    assert run is not None
    before = workspace.store.spending("toy")
    assert (before.jobs, before.unknown) == (0.5, 0)
    assert before.answers == pytest.approx(0.03)
    row = Resource("x", "training", "openai", "k", "intent", run_id=run.run_id, estimate_usd=3.0)
    workspace.store.put_resource(row)
    assert workspace.store.spending("toy").jobs == 3.5
    workspace.store.put_resource(replace(row, state="refused"))
    assert workspace.store.spending("toy").jobs == 0.5
    workspace.store.put_resource(replace(row, state="closed", cost_usd=1.0))
    assert workspace.store.spending("toy").jobs == 1.5
    workspace.store.put_resource(replace(row, estimate_usd=None))
    assert workspace.store.spending("toy").unknown == 1
    assert workspace.store.spending("other").usd == 0.0


def test_what_an_hour_costs_is_shared_among_its_answers_and_counted_once(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    workspace.write("doubles.py", (workspace.root / "doubles.py").read_text().replace("0.01, self.options.usd)", "0.01, None)"))
    workspace.run()
    (row,) = deployed(workspace)
    run = workspace.store.latest_run()
    assert run is not None
    assert row.cost_usd is not None
    tuned = next(part.arm for part in workspace.store.run_arms(run.run_id) if part.arm.label == "tuned")
    usage = workspace.store.usage([tuned.arm_id], part_of(workspace))[tuned.arm_id]
    assert usage.cost_usd is not None
    assert 0 < usage.cost_usd <= row.cost_usd  # asking is a part of what it was open
    spent = workspace.store.spending("toy")
    baselines = pytest.approx(0.0)  # here nobody's answers have a price
    assert spent.answers == baselines
    assert spent.jobs == pytest.approx(0.5 + row.cost_usd)


def part_of(workspace: Workspace) -> str:
    run = workspace.store.latest_run()
    assert run is not None
    return workspace.store.run_arms(run.run_id)[0].dataset_id


def test_a_verdict_finds_what_was_deployed_and_how_fast_it_was(workspace: Workspace) -> None:
    workspace.suite(SUITE, HOSTED)
    assert workspace.run().failures == {}
    run = workspace.store.latest_run()
    assert run is not None
    found = serving(load(workspace.store, run.run_id, workspace.root), "tuned", 0.95).hosting
    assert found is not None
    assert found.usd_per_hour == 2.0
    assert found.answers_per_hour is not None
    assert found.answers_per_hour > 100
