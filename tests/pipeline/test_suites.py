"""What a suite may say: checkpoints as candidates, one metric twice, rows without targets, bases in the workspace."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from evalharness.errors import ConfigError, DataError
from evalharness.models.local import LocalModel
from tests.pipeline.conftest import SUITE, Workspace
from tests.pipeline.test_money import HOSTED

LENGTH = """
from evalharness.metrics import PerSample

class Length(PerSample):
    name, range, needs_targets = "length", (0.0, 1.0), False

    def score(self, sample, reply):
        return (min(len(reply.text) / 10, 1.0),)
"""


def test_a_checkpoint_is_a_candidate_of_the_same_training(workspace: Workspace) -> None:
    settings = "train: files, params: {local: false}"
    both = f"{{{settings}}}\n  early: {{{settings}, checkpoint: 1}}\n  last: {{{settings}, checkpoint: -1}}"
    workspace.suite(SUITE, (HOSTED[0], both))
    assert workspace.run().failures == {}
    assert sum(line.startswith("submit") for line in workspace.log()) == 1
    arms = {entry.label: entry.training for entry in workspace.plan().entries if entry.training}
    model = workspace.store.training(arms["tuned"].job.training_id).model  # type: ignore[union-attr]
    assert model is not None
    assert arms["early"].meant(model).model == "doubles.py:Echo/first"
    assert arms["last"].meant(model).model == "doubles.py:Echo/upper"
    assert workspace.store.sql("SELECT count(DISTINCT arm_id) FROM arms WHERE role = 'candidate' AND model <> '{}'")[1] == [(3,)]


def test_a_checkpoint_that_is_not_there_is_told(workspace: Workspace) -> None:
    workspace.suite(SUITE, ("{train: files}", "{train: files, checkpoint: 3}"))
    assert workspace.run().failures == {"tuned": "there is no checkpoint 3: the service kept 2"}


def test_one_metric_twice_under_labels(workspace: Workspace) -> None:
    workspace.suite(SUITE, ("[exact_match, bleu]", "[exact_match, {exact_match: {label: loose, ignore_case: true}}]"))
    assert list(workspace.plan().loaded.metrics) == ["exact_match", "loose"]
    workspace.run()
    run = workspace.store.latest_run()
    assert run is not None
    assert [row.label for row in workspace.store.run_metrics(run.run_id)] == ["exact_match", "loose"]
    workspace.suite(SUITE, ("[exact_match, bleu]", "[exact_match, exact_match]"))
    with pytest.raises(ConfigError, match=r"metrics\[1\]: a second metric is called 'exact_match'"):
        workspace.plan()


def test_rows_without_targets_are_fine_where_no_metric_wants_one(workspace: Workspace) -> None:
    workspace.write("length.py", LENGTH)
    questions = [{"input": "a"}, {"input": "b", "target": ""}, {"input": "c", "target": "C"}]
    workspace.write("data/test.jsonl", "".join(json.dumps(row) + "\n" for row in questions))
    with pytest.raises(DataError, match="there is no 'target'"):
        workspace.run()
    workspace.suite(SUITE.split("gate:")[0].replace("[exact_match, bleu]", '["length.py:Length"]'))
    assert workspace.run().failures == {}
    assert [sample.targets for sample in workspace.plan().splits.test.samples] == [(), (), ("C",)]


@pytest.mark.parametrize("base", ["bases/mine", "mine"])
def test_a_base_may_be_a_folder_of_the_workspace(base: str, workspace: Workspace) -> None:
    workspace.write(f"{base}/config.json", "{}")
    workspace.write("trainers/files.yaml", f"runner: doubles.py:FileRunner\nbase: {base}\n")
    workspace.suite(SUITE.replace("doubles.py:Echo/echo", f"local/{base}"))
    plain, _, tuned = workspace.plan().entries
    assert isinstance(plain.model, LocalModel)
    assert plain.model.options.name == str(workspace.root / base)
    training = tuned.training
    assert training is not None
    assert training.job.base == str(workspace.root / base)
    other = replace(training.job, base=base)
    assert other.key == training.job.key
