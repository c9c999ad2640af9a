"""The doctor's findings for a terminal: worst first, with file and line, and what to do.

>>> Console().print(render(examination))                                                               # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

import evalharness.report.doctor.words as words
from evalharness.doctor.examine import Examination
from evalharness.doctor.findings import Finding
from evalharness.report.text import plain, shortened

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan", "allowed": "dim"}
_SHOWN = 4
"""Places a finding; the other formats have all of them."""


@dataclass(frozen=True, slots=True)
class render:
    """The examination as something rich prints; it fits the console's width."""

    seen: Examination

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        seen = self.seen
        yield plain(seen.suite, "bold").append_text(plain(f"  {words.rows(seen)}", "dim"))
        worst = next((severity for severity in ("error", "warning") if seen.count(severity)), "")
        yield Padding(plain(words.headline(seen), _STYLES.get(worst, "bold green")), (0, 0, 1, 0), expand=False)
        for finding in seen.findings:
            yield from _finding(finding, options.max_width)
        yield from (plain(f"Not looked for: {text}", "dim") for text in seen.skipped)


def _finding(finding: Finding, width: int) -> Iterator[Text | Padding | str]:
    level = words.level(finding)
    yield plain(level.upper(), _STYLES[level]).append_text(plain(f"  {finding.rule}", "bold"))
    yield Padding(plain(finding.found), (0, 0, 0, 2), expand=False)
    if finding.allowed is not None:
        yield Padding(plain(f"allowed: {finding.allowed}", "italic"), (0, 0, 0, 2), expand=False)
    elif finding.severity != "note" or finding.fix:
        yield Padding(plain(f"→ {finding.fix}", "green"), (0, 0, 0, 2), expand=False)
    for each in finding.worst[:_SHOWN]:
        where, text = words.place(each)
        line = plain(where, "cyan")
        if text:
            line.append_text(plain(f"  {shortened(text, max(30, 2 * width - len(where) - 10))}", "dim"))
        yield Padding(line, (0, 0, 0, 4), expand=False)
    left = finding.count - min(len(finding.worst), _SHOWN)
    if finding.worst and left > 0:
        yield Padding(plain(f"… and {left:,} more", "dim"), (0, 0, 0, 4), expand=False)
    yield ""
