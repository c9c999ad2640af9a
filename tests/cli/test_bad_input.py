"""What a user gets wrong: one clear line for each mistake, exit code 2, and nothing written or lost."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.cli.conftest import Said
from tests.pipeline.conftest import SUITE, Workspace
from tests.store import made

Evalh = Callable[..., Said]
Break = Callable[[Workspace], object]


def changed(old: str, new: str) -> Break:
    return lambda workspace: workspace.suite(SUITE, (old, new))


def file(name: str, text: str) -> Break:
    return lambda workspace: workspace.write(name, text)


TRAINER = "runner: doubles.py:FileRunner\nbase: b\n"
MISTAKES: dict[str, tuple[Break, str, str, str]] = {
    # what is wrong -> (how to break the workspace, file and key, what was found, what to do)
    "unknown key of the suite": (changed("metrics:", "metric: a\nmetrics:"), "toy.yaml: metric:", "unknown key", "Did you mean 'metrics'?"),
    "unknown key deep down": (changed("margin: 0.02", "margn: 0.02"), "gate.rules[0].margn", "unknown key", "Did you mean 'margin'?"),
    "unknown key of the trainer": (file("trainers/files.yaml", TRAINER + "parms: {}"), "files.yaml: parms", "unknown key", "'params'"),
    "unknown setting of the runner": (file("trainers/files.yaml", TRAINER + "params: {lern: 1}"), "params.lern", "unknown key", "'learn'"),
    "not YAML": (file("suites/toy.yaml", "data: {train: [\n"), "suites/toy.yaml", "is not YAML", "Check indentation"),
    "missing data file": (changed("data/dev.jsonl", "data/devs.jsonl"), "data.dev", "there is no file", "Did you mean 'dev.jsonl'?"),
    "missing prompt file": (changed('"Say it: {{ input }}"', "prompts/none.md"), "baselines.loud.prompt", "none.md", ""),
    "bad JSON line": (file("data/test.jsonl", '{"input": "a", "target": "A"}\n{"input": "x", \n'), "data/test.jsonl:2", "is not JSON", ""),
    "empty test set": (file("data/test.jsonl", ""), "data.test", "no rows", "Add rows"),
    "unknown metric": (changed("[exact_match, bleu]", "[exact_mach]"), "metrics[0]", "'exact_mach'", "Did you mean 'exact_match'?"),
    "unknown runner": (file("trainers/files.yaml", "runner: loras\nbase: b\n"), "files.yaml: runner", "'loras'", "Did you mean 'lora'?"),
    "unknown trainer": (changed("train: files", "train: fils"), "candidates.tuned.train", "fils", "Did you mean 'files'?"),
    "unknown model": (changed("doubles.py:Echo/echo", "opnai/gpt"), "baselines.plain.model", "'opnai'", "Did you mean 'openai'?"),
    "unknown field of a template": (changed("{{ input }}", "{{ inputs }}"), "baselines.loud.prompt", "inputs", "input"),
    "more examples than rows": (changed("echo}", "echo, shots: 99}"), "toy.yaml: baselines.plain.shots", "99 examples", "Lower it"),
    "an empty stop text": (changed("echo}", "echo, sampling: {stop: ''}}"), "plain.sampling.stop", "an empty text", "take it out"),
    "unknown reference of the gate": (changed("against: plain", "against: plane"), "gate.against", "'plane'", "Did you mean 'plain'?"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_one_line_and_nothing_is_written(mistake: str, evalh: Evalh, workspace: Workspace) -> None:
    workspace.suite()
    wreck, where, found, fix = MISTAKES[mistake]
    wreck(workspace)
    before = tree(workspace.root)
    for verb in ("plan", "train-and-score"):
        said = evalh(verb, "suites/toy.yaml")
        assert said.code == 2, said.err
        assert len(said.err.strip().splitlines()) == 1, said.err
        for part in (where, found, fix):
            assert part in said.err, said.err
        assert "Traceback" not in said.err
        assert said.out == ""
    assert tree(workspace.root) == before
    assert workspace.log() == []


def tree(root: Path) -> dict[str, str]:
    """Every file and its hash, caches of Python left aside."""
    files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_mistakes_in_both_files_are_told_together(evalh: Evalh, workspace: Workspace) -> None:
    workspace.suite(SUITE, ("[exact_match, bleu]", "[exact_mach, blue]"), ("margin: 0.02", "margn: 0.02"))
    workspace.write("trainers/files.yaml", "runner: loras\nbase: b\n")
    said = evalh("train-and-score", "suites/toy.yaml")
    assert said.code == 2
    assert "gate.rules[0].margn" in said.err


def test_a_missing_extra_says_the_command(evalh: Evalh, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.suite(SUITE, ("doubles.py:Echo/echo", "local/embedded"))
    for package in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    said = evalh("train-and-score", "suites/toy.yaml")
    assert said.code == 2
    assert "pip install -c constraints.txt 'evalh[local]'" in said.err
    assert not (workspace.root / "results").exists()


def test_a_missing_key_is_told_before_anything_is_stored(evalh: Evalh, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    judged = "[exact_match, {judge: {model: openai/gpt-x, rubric: Is it right}}]"
    workspace.suite(SUITE, ("doubles.py:Echo/echo", "openai/gpt-x-mini"), ("[exact_match, bleu]", judged))
    said = evalh("train-and-score", "suites/toy.yaml")
    assert said.code == 2
    assert said.err.splitlines() == [
        "suites/toy.yaml: baselines.plain: openai/gpt-x-mini needs a key. Set OPENAI_API_KEY, or base_url",
        "suites/toy.yaml: metrics[1]: openai/gpt-x needs a key. Set OPENAI_API_KEY, or base_url",
    ]
    assert not (workspace.root / "results").exists()
    assert workspace.log() == []


def test_a_results_folder_that_cannot_be_written(evalh: Evalh, workspace: Workspace) -> None:
    workspace.suite()
    with made.small_disk(workspace.root / "results", "8m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        said = evalh("train-and-score", "suites/toy.yaml")
        assert (said.code, "cannot be written" in said.err) == (2, True), said.err
        assert workspace.log() == []


def test_a_full_disk_loses_nothing_and_a_rerun_goes_on(evalh: Evalh, workspace: Workspace) -> None:
    workspace.suite()
    with made.small_disk(workspace.root / "results", "24m") as disk:
        evalh("score", "suites/toy.yaml", "-q")  # the candidate is not trained yet
        kept = len(workspace.store.sql("SELECT output_id FROM outputs")[1])
        assert kept > 0
        filler = disk / "filler"
        fill(filler)
        said = evalh("train-and-score", "suites/toy.yaml", "-q")
        assert said.code == 2, said.err
        assert "the disk is full" in said.err
        assert "Traceback" not in said.err
        filler.unlink()
        said = evalh("train-and-score", "suites/toy.yaml", "-q")
        assert said.code == 0, said.err
        assert workspace.log().count("submit tuned") == 1


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_a_store_of_a_newer_version_is_left_alone(evalh: Evalh, workspace: Workspace) -> None:
    workspace.suite()
    evalh("score", "suites/toy.yaml", "-q")
    with duckdb.connect(str(workspace.store.path)) as con:
        con.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    before = workspace.store.path.read_bytes()
    said = evalh("train-and-score", "suites/toy.yaml")
    assert said.code == 2
    assert "newer" in said.err
    assert workspace.store.path.read_bytes() == before
