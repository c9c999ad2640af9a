"""The toy workspace, and evalh as a person runs it: words in, text and exit code out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from evalharness.cli import main
from tests.pipeline.conftest import Workspace, workspace

__all__ = ["Said", "evalh", "workspace"]


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    out: str
    err: str
    code: int


@pytest.fixture
def evalh(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run evalh in the toy workspace's folder."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("COLUMNS", "110")

    def run(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        text = capsys.readouterr()
        return Said(text.out, text.err, int(ended.value.code or 0))

    return run
