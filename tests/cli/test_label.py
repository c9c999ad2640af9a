"""`evalh label` as a person uses it: at a terminal key by key, through a pipe line by line, and with files."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from evalharness.cli import main
from evalharness.store import Store
from evalharness.verdict import load
from tests.cli.conftest import Said
from tests.judged import RUN, PairJudge, Trial, label_all, stored

SUITE = "suites/judged.yaml"
ROOT = Path(__file__).parents[2]
PAIRS_OPTIONS = ("--metric", "pairs", "--annotator", "ada")

Label = Callable[..., Said]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return stored(Trial(seed=1, n=80), tmp_path)


@pytest.fixture
def label(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Label:
    """Run `evalh label` in the workspace, with lines on its standard input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str, lines: str = "") -> Said:
        reader, writer = os.pipe()
        os.write(writer, lines.encode())
        os.close(writer)
        capsys.readouterr()
        with os.fdopen(reader) as stream, pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "stdin", stream)
            with pytest.raises(SystemExit) as ended:
                main(["label", SUITE, "--metric", "style", *words])
        text = capsys.readouterr()
        return Said(text.out, text.err, int(ended.value.code or 0))

    return run


def labels(store: Store, folder: Path, metric: str = "style") -> dict[tuple[str, str], float]:
    view = load(store, RUN, folder)
    arm_ids = [each.arm.arm_id for each in view.contenders]
    found = store.labels_on(view.measure(metric).question, arm_ids, view.dataset.dataset_id)
    return {(each.label.annotator, each.label.output_id): each.label.value for each in found}


def test_lines_label_undo_note_and_quit(label: Label, store: Store, tmp_path: Path) -> None:
    said = label("--annotator", "ada", "--n", "6", lines="pass\nfail\nundo\nmaybe\nnote not sure\nfail\nskip\nquit\n")
    assert said.code == 0
    assert "Judge by this" in said.out
    assert "ticket" in said.out
    assert "say fail or pass" in said.out
    assert "2 of 6 labels by ada." in said.out
    assert "The same command goes on from here." in said.out
    found = labels(store, tmp_path)
    assert sorted(found.values()) == [0.0, 1.0]
    view = load(store, RUN, tmp_path)
    rows = store.labels_on(view.measure("style").question, [each.arm.arm_id for each in view.contenders], view.dataset.dataset_id)
    assert sorted(each.label.note for each in rows) == ["", "not sure"]


def test_going_on_asks_only_what_is_left(label: Label, store: Store, tmp_path: Path) -> None:
    label("--annotator", "ada", "--n", "6", lines="pass\npass\n")
    said = label("--annotator", "ada", "--n", "6", lines="pass\n" * 10)
    assert "2 of 6 labelled" in said.out
    assert "6 of 6 labels by ada." in said.out
    assert "More: --n 12." in said.out
    again = label("--annotator", "ada", "--n", "6")
    assert "Question" not in again.out
    assert len({key for _, key in labels(store, tmp_path)}) >= 6


def test_nothing_shown_tells_the_arm_and_nothing_in_a_text_acts(label: Label, store: Store, tmp_path: Path) -> None:
    from evalharness.ids import digest
    from evalharness.records import Output, Reply

    view = load(store, RUN, tmp_path)
    with store.writer() as writer:
        for each in view.contenders:
            for output in store.outputs(each.arm.arm_id, view.dataset.dataset_id):
                text = f"[bold]{output.reply.text}\x1b[2J\x1b]0;pwned\x07\u202e"
                writer.put(
                    Output(
                        output.output_id, output.arm_id, output.dataset_id, output.sample_id, 0, Reply(output.output_id, text, "stop"), RUN
                    )
                )
    said = label("--annotator", "ada", "--n", "20", lines="pass\n" * 20)
    assert "few-shot" not in said.out
    assert "tuned" not in said.out
    assert "\x1b]0" not in said.out
    assert "\x1b[2J" not in said.out
    assert "\u202e" not in said.out
    assert r"[bold]reply" in said.out
    assert digest(["few-shot"]) not in said.out


def test_files_go_out_and_come_back(label: Label, store: Store, tmp_path: Path) -> None:
    out = label("--annotator", "bob", "--n", "10", "--export", "labels/todo.csv")
    assert "10 of 10 labels are open; written to labels/todo.csv" in out.out
    with open(tmp_path / "labels/todo.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["value"] = "pass"
    with open(tmp_path / "done.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = label("--annotator", "bob", "--import", "done.csv")
    assert said.code == 0
    assert "of 1 annotator stored from done.csv" in said.out
    assert set(labels(store, tmp_path).values()) == {1.0}
    assert {who for who, _ in labels(store, tmp_path)} == {"bob"}
    rows[1]["value"] = "perhaps"
    (tmp_path / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = label("--annotator", "eve", "--import", "wrong.jsonl")
    assert refused.code == 2
    assert "wrong.jsonl:2: 'perhaps' is no label. Write fail or pass" in refused.err
    assert {who for who, _ in labels(store, tmp_path)} == {"bob"}, "a file with a mistake leaves nothing behind"


def test_mistakes_end_with_2(label: Label) -> None:
    assert "Do one after the other" in label("--export", "a.csv", "--import", "b.csv").err
    assert "has no arm 'nobody'" in label("--arm", "nobody").err
    assert label("--annotator", " ").code == 2
    assert label("--n", "0").code == 2
    assert "is no format for labels" in label("--export", "a.xlsx", "--annotator", "ada").err


def test_a_plan_below_fifty_items_says_what_correction_needs(label: Label) -> None:
    said = label("--annotator", "ada", "--n", "20", lines="q\n")
    assert "style is corrected from 50 labelled items on; this plan has" in said.out


def test_labels_reach_the_gate(label: Label, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = {"gate": {"rules": [{"metric": "style", "margin": 0.5, "require_labels": 50}]}}
    stored(Trial(seed=1, n=80), tmp_path / "again", suite=rule)
    os.chdir(tmp_path / "again")
    with pytest.raises(SystemExit) as ended:
        main(["gate", SUITE])
    assert (ended.value.code, "0 of the 50 labelled items it requires" in capsys.readouterr().out) == (4, True)
    label_all(Store(tmp_path / "again" / "results" / "evalh.duckdb"), tmp_path / "again", n=110)
    with pytest.raises(SystemExit) as passed:
        main(["gate", SUITE])
    assert passed.value.code in (0, None), capsys.readouterr().out


@dataclass
class Terminal:
    """A program at a pseudo terminal: what it showed, and keys to press."""

    place: int
    process: subprocess.Popen[bytes]
    shown: str = ""

    def until(self, words: str, seconds: float = 60.0) -> str:
        """What was shown since the last look, up to these words. Fails if they do not come."""
        deadline = time.monotonic() + seconds
        while words not in self.shown:
            ready, _, _ = select.select([self.place], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {words!r} in {self.shown!r}"
            try:
                found = os.read(self.place, 65536)
            except OSError:
                found = b""
            assert found, f"it ended before {words!r}: {self.shown!r}"
            self.shown += found.decode(errors="replace")
        before, _, self.shown = self.shown.partition(words)
        return before + words

    def press(self, keys: str) -> None:
        os.write(self.place, keys.encode())


@contextmanager
def at_terminal(folder: Path, *words: str) -> Iterator[Terminal]:
    controller, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "evalharness", "label", SUITE, *words]
    process = subprocess.Popen(
        command, cwd=folder, stdin=follower, stdout=follower, stderr=follower, env=environment, start_new_session=True
    )
    os.close(follower)
    try:
        yield Terminal(controller, process)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def test_single_keys_at_a_terminal(store: Store, tmp_path: Path) -> None:
    with at_terminal(tmp_path, "--metric", "style", "--annotator", "ada", "--n", "6") as terminal:
        terminal.until("[q] quit")
        terminal.press("p")
        terminal.until("✓ pass")
        terminal.until("1 of 6 labelled")
        terminal.until("[q] quit")
        terminal.press("\x1b[A")  # an arrow key is no answer
        terminal.press("f")
        terminal.until("✓ fail")
        terminal.until("[q] quit")
        terminal.press("\x7f")
        terminal.until("taken back")
        terminal.until("1 of 6 labelled")
        terminal.until("[q] quit")
        terminal.press("n")
        terminal.until("note: ")
        terminal.press("two answers in one\n")
        terminal.until("noted; now the label")
        terminal.press("x")
        terminal.until("say fail or pass")
        terminal.press("p")
        terminal.until("✓ pass")
        terminal.until("[q] quit")
        terminal.press("?")
        terminal.until("Judge by this")
        terminal.press("s")
        terminal.until("skipped")
        terminal.until("1 skipped")
        terminal.press("\x03")
        terminal.until("2 of 6 labels by ada.")
    assert set(labels(store, tmp_path).values()) == {1.0}
    with at_terminal(tmp_path, "--metric", "style", "--annotator", "ada", "--n", "6") as terminal:
        terminal.until("2 of 6 labelled")
        terminal.press("q")
        terminal.until("2 of 6 labels by ada.")


def test_pairs_at_a_terminal(tmp_path: Path) -> None:
    store = stored(Trial(seed=2, n=40), tmp_path, PairJudge())
    with at_terminal(tmp_path, *PAIRS_OPTIONS, "--n", "3") as terminal:
        shown = terminal.until("[3] tie")
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.splitlines()]
        assert {"Question", "First answer", "Second answer"} <= set(lines), "each title begins a line of its own"
        assert "First answer" in shown
        assert "Second answer" in shown
        for _ in range(3):
            terminal.press("3")
            terminal.until("✓ tie")
        terminal.until("3 of 3 labels by ada.")
    assert list(labels(store, tmp_path, "pairs").values()) == [0.5, 0.5, 0.5]
