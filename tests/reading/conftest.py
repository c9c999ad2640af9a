from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.reading.suites import PLUGINS, SUITE, TRAINER


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose only suite is in order, with plug-ins of its own; the tests run in it, so that paths are short."""
    row = {"input": "a", "target": "b", "lang": "de"}
    for folder in ("suites", "trainers", "prompts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row | {"input": f"q{k}"}) + "\n" for k in range(3)))
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "old.jsonl").write_text('{"input": "a", "output": "b"}\n')
    (tmp_path / "plug.py").write_text(PLUGINS)
    (tmp_path / "prompts/few.md").write_text("Be short.\n")
    (tmp_path / "trainers/quick.yaml").write_text(TRAINER)
    (tmp_path / "suites/demo.yaml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path
