from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Said
from tests.pipeline.conftest import Workspace

Evalh = Callable[..., Said]


@pytest.fixture
def suite(workspace: Workspace) -> Path:
    rows = [{"input": f"question {k}", "target": "yes", "label": f"l\x1b[31m{k % 40}"} for k in range(200)]
    (workspace.root / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = workspace.root / "suites" / "parts.yaml"
    parts = {"file": "all.jsonl", "split": {"test": 0.3, "stratify": "label"}}
    path.write_text(yaml.safe_dump({"data": parts, "baselines": {"a": {"outputs": "all.jsonl"}}, "metrics": ["exact_match"]}))
    return path


def test_split_writes_files_and_prints_what_to_paste(evalh: Evalh, suite: Path, workspace: Workspace) -> None:
    said = evalh("split", "suites/parts.yaml")
    assert (said.code, said.err) == (0, "")
    folder = workspace.root / "parts-split"
    assert sorted(path.name for path in folder.iterdir()) == ["test.jsonl", "train.jsonl"]
    pasted = yaml.safe_load(said.out[said.out.index("\ndata:") :])["data"]
    assert pasted == {"train": "parts-split/train.jsonl", "test": "parts-split/test.jsonl"}
    assert "label has 40 values" in said.out
    assert "\x1b" not in said.out, "what data say is no terminal's command"
    assert "... and 10 more with a larger test share" in said.out


def test_split_overwrites_only_when_told_to(evalh: Evalh, suite: Path) -> None:
    first = evalh("split", "suites/parts.yaml", "--out", "here")
    again = evalh("split", "suites/parts.yaml", "--out", "here")
    assert again.code == 2
    assert "is there already" in again.err
    assert evalh("split", "suites/parts.yaml", "--out", "here", "--force").out == first.out


def test_split_needs_a_split(evalh: Evalh) -> None:
    said = evalh("split", "suites/toy.yaml")
    assert said.code == 2
    assert "there is nothing to split" in said.err
