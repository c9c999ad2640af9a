"""Runs: what is missing is done once, failures stay with their arm, and every purchase has its intent in the ledger."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from evalharness.errors import ConfigError, StoreError
from evalharness.ids import digest
from evalharness.pipeline import execute, silent
from evalharness.store import Resource, Store
from tests.pipeline.conftest import SUITE, Workspace, rows


def count(log: list[str], word: str) -> int:
    return sum(line.split()[0] == word for line in log)


def test_a_run_trains_asks_and_scores_everything(workspace: Workspace) -> None:
    result = workspace.run()
    assert (result.state, result.failures) == ("succeeded", {})
    assert (result.tally.asked, result.tally.kept, result.tally.scored) == (30, 0, 60)
    assert set(workspace.outputs("tuned").values()) == {f"TEST {i}" for i in range(10)}
    assert set(workspace.outputs("plain").values()) == {f"test {i}" for i in range(10)}
    training = workspace.store.training(workspace.plan().entries[2].training.job.training_id)  # type: ignore[union-attr]
    assert training is not None
    assert (training.state, training.tokens, training.cost_usd) == ("succeeded", 12, 0.5)
    assert [point.train_loss for point in workspace.store.points(training.training_id)] == [1.0, 1 / 2, 1 / 3]


def test_a_second_run_does_nothing_again(workspace: Workspace) -> None:
    first = workspace.run()
    before = workspace.log()
    second = workspace.run()
    assert (second.tally.asked, second.tally.kept, second.tally.scored) == (0, first.tally.asked, 0)
    assert count(workspace.log(), "submit") == count(before, "submit") == 1
    assert count(workspace.log(), "generate") == count(before, "generate")
    assert workspace.plan().nothing_to_do


def test_another_prompt_runs_that_arm_only(workspace: Workspace) -> None:
    workspace.run()
    workspace.suite(SUITE, ("Say it: {{ input }}", "Now say: {{ input }}"), ("loud", "louder"))
    result = workspace.run()
    assert (result.tally.asked, result.tally.kept) == (10, 20)


def test_another_metric_scores_what_is_stored(workspace: Workspace) -> None:
    workspace.run()
    workspace.suite(SUITE, ("[exact_match, bleu]", "[exact_match, bleu, chrf]"))
    result = workspace.run()
    assert (result.tally.asked, result.tally.scored) == (0, 30)


def test_new_rows_in_the_test_set_leave_the_others_answered(workspace: Workspace) -> None:
    workspace.run()
    workspace.write("data/test.jsonl", rows([f"test {i}" for i in range(13)], str.upper))
    result = workspace.run()
    assert (result.tally.asked, result.tally.kept) == (9, 30)
    assert len(workspace.outputs("plain")) == 13


def test_failed_answers_are_outcomes_and_tried_again(workspace: Workspace) -> None:
    workspace.suite(SUITE, ("{model: doubles.py:Echo/echo}", "{model: {doubles.py:Echo: {name: upper, fail: [test 1], silent: [test 2]}}}"))
    first = workspace.run()
    assert (first.state, first.tally.failed) == ("succeeded", 2)
    assert len(workspace.outputs("plain")) == 10
    run = workspace.store.latest_run()
    assert run is not None
    part = workspace.store.run_arms(run.run_id)[0]
    metric = workspace.store.run_metrics(run.run_id)[0]
    scores = workspace.store.scores(metric.metric_id, part.arm.arm_id, part.dataset_id)
    assert sorted((score.value, score.error) for score in scores if score.error) == [(0.0, "no luck"), (0.0, "the model gave no reply")]
    assert sum(score.value or 0 for score in scores) == 8
    workspace.write("mended", "")
    second = workspace.run()
    assert (second.tally.asked, second.tally.failed) == (2, 1)


def test_a_broken_model_leaves_the_other_arms_alone(workspace: Workspace) -> None:
    broken = "{model: {doubles.py:Echo: {name: broken, crash: true}}}"
    workspace.suite(SUITE, ("{model: doubles.py:Echo/echo}", broken))
    result = workspace.run()
    assert result.state == "failed"
    assert result.failures == {"plain": "RuntimeError: the model is broken"}
    assert len(workspace.outputs("loud")) == len(workspace.outputs("tuned")) == 10
    run = workspace.store.latest_run()
    assert run is not None
    assert [part.error for part in workspace.store.run_arms(run.run_id)] == ["RuntimeError: the model is broken", None, None]


def test_a_failed_training_is_told_kept_and_tried_again_only_if_it_can_succeed(workspace: Workspace) -> None:
    workspace.write("trainers/files.yaml", "runner: doubles.py:FileRunner\nbase: small\nparams: {learn: false}\n")
    first = workspace.run()
    assert first.failures == {"tuned": "the loss is nan"}
    assert len(workspace.outputs("plain")) == 10
    assert workspace.run().failures == {"tuned": "the loss is nan"}
    assert count(workspace.log(), "submit") == 1
    assert [row.state for row in workspace.store.open_resources()] == []


def test_a_training_that_may_succeed_is_bought_again_under_a_new_key(workspace: Workspace) -> None:
    workspace.write("trainers/files.yaml", "runner: doubles.py:FileRunner\nbase: small\nparams: {learn: false}\n")
    workspace.write("mended", "")
    workspace.run()
    workspace.run()
    assert count(workspace.log(), "submit") == 2
    _, rows_ = workspace.store.sql("SELECT state, intent_key FROM resources")
    assert [row[0] for row in rows_] == ["failed", "failed"]
    assert len({row[1] for row in rows_}) == 2


def test_a_job_that_was_submitted_by_a_killed_run_is_adopted(workspace: Workspace) -> None:
    job = workspace.plan().entries[2].training.job  # type: ignore[union-attr]
    workspace.write(str(Path(job.workdir).relative_to(workspace.root) / job.key), "2")
    assert workspace.run().state == "succeeded"
    assert count(workspace.log(), "submit") == 0


def test_a_job_that_is_not_listed_yet_is_not_bought_again_after_a_kill(workspace: Workspace) -> None:
    """The intent of a run that died is in the ledger; what it may have bought shows up in lists with a delay."""
    job = workspace.plan().entries[2].training.job  # type: ignore[union-attr]
    workspace.store.put_resource(Resource(digest(["training", job.key]), "training", "x", job.key, "intent"))
    workspace.write(str(Path(job.workdir).relative_to(workspace.root) / job.key), "2")
    workspace.write("unlisted", "2")
    assert workspace.run().state == "succeeded"
    assert (count(workspace.log(), "find"), count(workspace.log(), "submit")) == (3, 0)


def test_a_job_whose_id_is_known_needs_no_list(workspace: Workspace) -> None:
    workspace.write("trainers/files.yaml", "runner: doubles.py:FileRunner\nbase: small\nparams: {local: false}\n")
    job = workspace.plan().entries[2].training.job  # type: ignore[union-attr]
    path = Path(job.workdir) / job.key
    workspace.store.put_resource(Resource(digest(["training", job.key]), "training", "x", job.key, "open", str(path)))
    workspace.write(str(path.relative_to(workspace.root)), "2")
    workspace.write("unlisted", "9")
    assert workspace.run().state == "succeeded"
    assert (count(workspace.log(), "find"), count(workspace.log(), "submit")) == (1, 0)


def test_without_such_a_doubt_there_is_one_look(workspace: Workspace) -> None:
    assert workspace.run().state == "succeeded"
    assert (count(workspace.log(), "find"), count(workspace.log(), "submit")) == (1, 1)


def test_a_hosted_candidate_is_served_only_while_it_is_asked_and_released(workspace: Workspace) -> None:
    workspace.write("trainers/files.yaml", "runner: doubles.py:FileRunner\nbase: small\nparams: {local: false}\n")
    assert workspace.run().state == "succeeded"
    assert (count(workspace.log(), "serve"), count(workspace.log(), "release")) == (1, 1)
    workspace.run()
    assert count(workspace.log(), "serve") == 1


def test_scoring_without_training_says_what_is_missing(workspace: Workspace) -> None:
    result = workspace.run(may_train=False)
    assert list(result.failures) == ["tuned"]
    assert "not trained yet" in result.failures["tuned"]
    workspace.run()
    assert workspace.run(may_train=False).failures == {}


def test_seeds_become_arms_and_settings_that_change_nothing_do_not_retrain(workspace: Workspace) -> None:
    workspace.suite(SUITE, ("{train: files}", "{train: files, seeds: 3}"))
    result = workspace.run()
    assert count(workspace.log(), "submit") == 3
    assert result.failures == {}
    workspace.suite(SUITE, ("{train: files}", "{train: files, seeds: 3, params: {device: cuda}}"))
    workspace.run()
    assert count(workspace.log(), "submit") == 3


def test_dev_rows_are_answered_where_they_pick_among_candidates(workspace: Workspace) -> None:
    workspace.suite(SUITE + "decide: {metric: exact_match}\n", ("{train: files}", "{train: files, seeds: 2}"))
    workspace.run()
    _, found = workspace.store.sql("SELECT split, count(*) FROM outputs JOIN datasets USING (dataset_id) GROUP BY split ORDER BY split")
    assert found == [("dev", 4), ("test", 30)]  # both seeds end in the same adapter here, so they are one arm


def test_everything_wrong_with_the_jobs_is_told_before_anything_runs(workspace: Workspace) -> None:
    workspace.suite(SUITE, ("{train: files}", "{train: files, params: {problem: too few rows}}"))
    with pytest.raises(ConfigError, match=r"toy\.yaml: candidates\.tuned: too few rows"):
        workspace.plan()
    assert workspace.store.latest_run() is None


def test_a_store_that_cannot_be_written_stops_the_run(workspace: Workspace) -> None:
    plan = workspace.plan()
    workspace.write("results/evalh.duckdb", "this is no store")
    with pytest.raises(StoreError):
        asyncio.run(execute(plan, Store(workspace.root / "results" / "evalh.duckdb"), silent))


def test_ctrl_c_cancels_the_local_job_and_the_run(workspace: Workspace) -> None:
    plan = workspace.plan()

    async def interrupted() -> None:
        training = asyncio.Event()
        task = asyncio.ensure_future(execute(plan, workspace.store, lambda event: training.set() if event.stage == "train" else None))
        await training.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted())
    assert count(workspace.log(), "cancel") == 1
    run = workspace.store.latest_run()
    assert run is not None
    assert run.state == "cancelled"
    assert workspace.run().state == "succeeded"
