"""What models and users write is shown as text, in every renderer."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from evalharness.report import as_json, build, markdown, plain, terminal, visible
from evalharness.report.model import Report
from evalharness.report.text import for_markdown, shortened
from tests.report.made import Made, trained

HOSTILE = (
    "[bold red]x[/] \x1b[31mred\x1b]8;;http://evil\x07 a|b `code` <script>alert(1)</script>\r\n"
    "\u202eevil\u2066 @everyone #1 \ud83d \x00 \x9b31m"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    made = Made(n=30, notes=(HOSTILE,)).arm("few-shot")
    made.arm("tuned", "candidate", right=0.9).arm("broken", "candidate", missing=range(30), training=trained("t", "failed", error=HOSTILE))
    found = build(made.store(tmp_path_factory.mktemp("store"))[0])
    rows = tuple(replace(row, arm=HOSTILE) if row.arm == "tuned" else row for row in found.rows)
    return replace(found, rows=rows, headline=HOSTILE, run=replace(found.run, suite=HOSTILE))


def test_the_terminal_shows_it_and_obeys_none_of_it(report: Report) -> None:
    console = Console(width=110, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(report))
    text = capture.get()
    acting = {*range(32), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)} - {ord("\n")}
    assert not acting & set(map(ord, text))
    assert "[bold red]x[/] \\x1b[31mred" in text
    assert "\\u202eevil" in text
    text.encode()


def test_markdown_shows_it_and_obeys_none_of_it(report: Report) -> None:
    text = markdown.text(report)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "@everyone" not in text
    assert "http://evil" not in text
    assert "a\\|b" in text
    for table in (block for block in text.split("\n\n") if block.startswith("| ")):
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1
    text.encode()


def test_json_keeps_it_whole_in_ascii(report: Report) -> None:
    text = as_json.text(report)
    assert text.isascii()
    assert json.loads(text)["headline"] == HOSTILE


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text())
def test_visible_text_holds_nothing_that_acts(text: str) -> None:
    shown = visible(text)
    assert "\n" not in shown
    assert all(c.isprintable() or c in "\u200c\u200d" or c.isspace() for c in shown)
    assert not set(shown) & set("\x1b\x07\x85\u2028\u2029\u202a\u202e\u2066\ufeff")
    shown.encode()
    assert plain(text).plain == shown


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=st.sampled_from("ab |`*_[]()<>&#@!~$\\\n-=1.)+:/htpsw\x1b\u202e")))
def test_markdown_text_is_one_line_without_markup(text: str) -> None:
    line = for_markdown(text)
    assert "\n" not in line
    assert "<" not in line
    plain_again = html.unescape(line.replace("\u200b", ""))
    for special in "`*_{}[]|~$":
        bare = plain_again.replace("\\\\", "")
        assert bare.count(special) == bare.count("\\" + special), special


def test_ordinary_text_stays_as_it_is(tmp_path: Path) -> None:
    ordinary = "Žluťoučký kůň 日本語 👩‍👩‍👧 naïve"
    assert visible(ordinary) == ordinary
    assert for_markdown(ordinary) == ordinary
    assert visible("a\tb\r\nc") == "a b⏎c"
    assert (shortened("abcdef", 4), shortened("abc", 4)) == ("abc…", "abc")
