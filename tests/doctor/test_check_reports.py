"""The doctor's findings in four formats: what rows hold is shown, and nothing of it acts."""

from __future__ import annotations

import html
import json

import pytest
from rich.console import Console

from evalharness.doctor.examine import Examination
from evalharness.doctor.findings import Finding, Place
from evalharness.report.doctor import FILES, terminal
from evalharness.report.doctor.words import headline, place

HOSTILE = "[bold red]x[/] \x1b[31mred a|b `code` <script>alert(1)</script>\r\n\u202eevil @everyone \ud83d \x00"


def seen(*findings: Finding) -> Examination:
    return Examination("demo", findings, {"train": 10, "test": 3}, {"train": 2}, ("what needs an extra",))


def found(severity: str = "error", allowed: str | None = None, text: str = "2 rows leak", places: int = 6) -> Finding:
    worst = tuple(Place(f"train.jsonl:{k}", f"{text} {k}", f"test.jsonl:{k + 1}") for k in range(places))
    return Finding("leak.exact", severity, 12, text, "Take them out", worst, allowed=allowed)  # type: ignore[arg-type]


def shown(each: Examination) -> str:
    console = Console(width=100, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(each))
    return capture.get()


def test_the_answer_comes_first() -> None:
    both = seen(found(), found("warning"), found("note"), found(allowed="the classic split"))
    assert headline(both) == "1 error, 1 warning, 1 note: mend the errors before you train"
    assert headline(seen(found("warning"))) == "No errors, 1 warning, 0 notes"
    assert headline(seen()) == "Clean: no errors, no warnings, 0 notes"
    for text in (shown(both), FILES["md"](both), FILES["html"](both)):
        assert "10 train, 3 test rows, 2 that cannot be read" in text
        assert "the classic split" in text
        assert "what needs an extra" in text
    assert "… and 8 more" in shown(both)
    assert "train.jsonl:0 ↔ test.jsonl:1" in shown(both)


def test_a_place_in_the_same_file_is_a_line() -> None:
    assert place(Place("a/b.csv:7", "x", "a/b.csv:3")) == ("a/b.csv:7 ↔ :3", "x")
    assert place(Place("a/b.csv:7", "x", "a/c.csv:3")) == ("a/b.csv:7 ↔ a/c.csv:3", "x")
    assert place(Place("prompt", "x")) == ("prompt", "x")


def test_json_has_everything() -> None:
    text = FILES["json"](seen(found(text=HOSTILE)))
    assert text.isascii()
    whole = json.loads(text)
    assert (whole["refuses"], whole["errors"], whole["rows"]) == (True, 1, {"train": 10, "test": 3})
    assert whole["findings"][0]["found"] == HOSTILE
    assert len(whole["findings"][0]["worst"]) == 6


@pytest.fixture
def hostile() -> Examination:
    return Examination(HOSTILE, (found(text=HOSTILE), found(allowed=HOSTILE)), {"train": 1}, {}, (HOSTILE,))


def test_the_terminal_obeys_nothing(hostile: Examination) -> None:
    text = shown(hostile)
    acting = {*range(32), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)} - {ord("\n")}
    assert not acting & set(map(ord, text))
    assert "[bold red]x[/] \\x1b[31mred" in text
    text.encode()


def test_markdown_obeys_nothing(hostile: Examination) -> None:
    text = FILES["md"](hostile)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "@everyone" not in text
    text.encode()


def test_the_page_runs_and_fetches_nothing(hostile: Examination) -> None:
    text = FILES["html"](hostile)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "default-src 'none'; style-src 'sha256-" in html.unescape(text)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "http" not in text.replace("http-equiv", "")
    text.encode()
