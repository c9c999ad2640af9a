"""Retrain or not, from what real runs leave in the store."""

from __future__ import annotations

from evalharness.verdict import decide_deployed, load
from tests.pipeline.conftest import SUITE, Workspace, rows

DECIDE = "decide: {metric: exact_match}\n"


def test_rows_that_were_labelled_since_a_training_are_told(workspace: Workspace) -> None:
    workspace.suite(SUITE + DECIDE)
    assert workspace.run().failures == {}
    before = workspace.plan().splits.train
    workspace.write("data/train.jsonl", rows([*(sample.input for sample in before.samples), "one more", "and another"], str.upper))
    workspace.run()
    run = workspace.store.latest_run()
    assert run is not None
    view = load(workspace.store, run.run_id, workspace.root)
    found = [decide_deployed(view, arm).evidence["reasons"] for arm in ("tuned", "tuned@last")]
    new, old = ({each["code"]: each for each in reasons}["new_rows"] for reasons in found)
    assert (new["holds"], new["evidence"]["rows_new"], new["evidence"]["rows_now"]) == (False, 0, len(before) + 2)
    assert (old["evidence"]["rows_new"], old["evidence"]["rows_then"]) == (2, len(before))
