"""Progress as plain lines: what is done, the loss, the cost, and how long it will still take."""

from __future__ import annotations

import pytest

from evalharness.cli import main, progress
from evalharness.errors import RunError
from evalharness.pipeline.events import Event


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("evalharness.cli.progress.time.monotonic", lambda: now[0])
    return now


def test_lines_say_how_long_is_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    lines = progress._Lines()
    lines.show(Event("train", "tuned", 10, 100, loss=2.0, cost_usd=0.5))
    clock[0] += 6
    lines.show(Event("train", "tuned", 20, 100, loss=1.5))
    clock[0] += 60
    lines.show(Event("train", "tuned", 30, 100))
    lines.show(Event("train", "tuned", 31, 100))  # too soon for another line
    lines.show(Event("train", "tuned", 100, 100, kind="end"))
    assert capsys.readouterr().err.splitlines() == [
        "train tuned: 10/100 loss 2.000  0.50 USD",
        "train tuned: 20/100 loss 1.500  48 s left",
        "train tuned: 30/100  4 min left",
        "train tuned: 100/100",
    ]


def test_what_was_kept_from_before_does_not_count_as_speed(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    lines = progress._Lines()
    lines.show(Event("generate", "few-shot", 300, 400))
    clock[0] += 10
    lines.show(Event("generate", "few-shot", 310, 400))
    assert "2 min left" in capsys.readouterr().err
    clock[0] += 10
    lines.show(Event("generate", "few-shot", 350, 400))
    assert "20 s left" in capsys.readouterr().err


def test_loading_a_model_is_no_speed(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    lines = progress._Lines()
    lines.show(Event("generate", "few-shot", 0, 400))
    clock[0] += 30
    lines.show(Event("generate", "few-shot", 1, 400))
    clock[0] += 10
    lines.show(Event("generate", "few-shot", 3, 400))  # two of 400 say nothing yet
    assert "left" not in capsys.readouterr().err
    clock[0] += 10
    lines.show(Event("generate", "few-shot", 101, 400))
    assert "60 s left" in capsys.readouterr().err


def test_warnings_are_always_told(capsys: pytest.CaptureFixture[str]) -> None:
    lines = progress._Lines()
    lines.show(Event("train", "tuned", 1, 9))
    lines.show(Event("train", "tuned", kind="warning", text="it may still run"))
    assert capsys.readouterr().err.splitlines()[1] == "train tuned: it may still run"


def test_what_a_service_says_commands_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    progress._Lines().show(Event("train", "tuned", text="state \x1b[2J\x07"))

    def fails(args: object) -> None:
        raise RunError("tuned: \x1b[2J refused\nfew-shot: \x07")

    monkeypatch.setattr("evalharness.cli.app", fails)
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 4
    assert capsys.readouterr().err == "train tuned: state \\x1b[2J\\x07\ntuned: \\x1b[2J refused\nfew-shot: \\x07\n"
