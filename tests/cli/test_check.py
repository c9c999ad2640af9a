from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evalharness.cli import main
from tests.cli.conftest import Said
from tests.doctor.workspace import pairs, suite


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run evalh check on the suite in the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")

    def run(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["check", "suite.yaml", *words])
        text = capsys.readouterr()
        return Said(text.out, text.err, int(ended.value.code or 0))

    return run


def workspace(folder: Path, leak: bool = True, data: str = "") -> None:
    train = pairs(*((f"question {k} of mine", f"label {k % 3}") for k in range(60)))
    test = pairs(*((f"{'question' if leak and not k else 'asked'} {k} of mine", f"label {k % 3}") for k in range(120)))
    suite(folder, {"train.jsonl": train, "test.jsonl": test}, more="baselines: {a: {model: local/embedded}}\n", data=data)


def test_errors_end_with_1_warnings_with_0(tmp_path: Path, check: Callable[..., Said]) -> None:
    workspace(tmp_path)
    said = check()
    assert said.code == 1
    assert "ERROR  leak.exact" in said.out
    assert "train.jsonl:1 ↔ test.jsonl:1" in said.out
    workspace(tmp_path, leak=False)
    assert check().code == 0


def test_usage_errors_end_with_2(tmp_path: Path, check: Callable[..., Said]) -> None:
    workspace(tmp_path, data="allow: {leak.exct: why}")
    said = check()
    assert said.code == 2
    assert "Did you mean 'leak.exact'?" in said.err
    workspace(tmp_path)
    assert check("--logs", "none.jsonl").code == 2
    assert check("--candidate", "none").code == 2
    assert check("--format", "none").code == 2


def test_formats_and_files(tmp_path: Path, check: Callable[..., Said]) -> None:
    workspace(tmp_path)
    whole = json.loads(check("--format", "json").out)
    assert whole["findings"][0]["rule"] == "leak.exact"
    assert check("--format", "md").out.startswith("**1 error")
    said = check("--format", "html", "--out", "reports/check.html")
    assert (said.out, said.code) == ("", 1)
    assert (tmp_path / "reports" / "check.html").read_text().startswith("<!doctype html>")
    check("--out", "check.txt")
    assert "ERROR  leak.exact" in (tmp_path / "check.txt").read_text()
    assert check("--out", "suite.yaml/below").code == 2


def test_mended_copies_are_clean(tmp_path: Path, check: Callable[..., Said]) -> None:
    workspace(tmp_path)
    said = check("--fix", "clean", "--redact", "masked", "--format", "json")
    assert said.code == 1
    assert json.loads(said.out)["errors"] == 1
    assert "clean: 2 files, 1 rows taken out, 0 changed" in said.err
    assert "masked: 2 files, 0 rows taken out, 0 changed" in said.err
    assert check("--data", "clean").code == 0
    assert check("--fix", "clean").code == 2
