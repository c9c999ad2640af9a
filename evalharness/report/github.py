"""The gate in GitHub Actions: annotations beside the job's log, and the job's summary page.

>>> annotation("error", "tuned", "50% worse,\\nby far")
'::error title=tuned::50%25 worse,%0Aby far'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import evalharness.report.figures as figures
from evalharness.report.junit import name_of
from evalharness.report.markdown import MARKS
from evalharness.report.text import for_markdown, visible

_LEVELS: Mapping[str, Literal["error", "warning"]] = {"FAIL": "error", "INVALID": "error", "INCONCLUSIVE": "warning"}
MOST_ANNOTATIONS = 10
"""GitHub shows so many of each level in a step."""


def annotation(level: Literal["error", "warning", "notice"], title: str, message: str) -> str:
    """A workflow command; nothing in title or message can end it or begin another."""
    return f"::{level} title={_escaped(title, ':,')}::{_escaped(message)}"


def _escaped(text: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def commands(verdict: Mapping[str, Any]) -> list[str]:
    """One for each check that does not pass, worst first; one notice if all do."""
    found = []
    for each in verdict["evidence"]["candidates"]:
        title = f"evalh: {visible(each['candidate'])}"
        if each["outcome"] == "INVALID":
            found.append(("INVALID", title, f"cannot be judged: {visible(each['reason'] or '')}"))
        for check in each["checks"]:
            found.append((check["result"], title, visible(check["sentence"] + figures.needed(check["items_needed"]))))
    open_ones = [each for result in _LEVELS for each in found if each[0] == result]
    if not open_ones:
        return [annotation("notice", "evalh", " ".join(map(visible, verdict["sentences"])))]
    return [annotation(_LEVELS[result], title, f"{result}: {said}") for result, title, said in open_ones[:MOST_ANNOTATIONS]]


def summary(verdict: Mapping[str, Any]) -> str:
    """The gate in Markdown for GITHUB_STEP_SUMMARY, answer first, ending in a line break."""
    outcome, rows = verdict["outcome"], []
    for each in verdict["evidence"]["candidates"]:
        label = for_markdown(each["candidate"])
        for check in each["checks"]:
            said = for_markdown(check["sentence"] + figures.needed(check["items_needed"]))
            rows.append(f"| {label} | {for_markdown(name_of(check))} | {MARKS.get(check['result'], '')} {check['result']} | {said} |")
        if not each["checks"]:
            rows.append(f"| {label} | | {MARKS['INVALID']} INVALID | {for_markdown(each['reason'] or '')} |")
    head = f"## {MARKS.get(outcome, '')} Gate of {for_markdown(verdict['suite'])}: {outcome}"
    said = " ".join(for_markdown(sentence) for sentence in verdict["sentences"])
    return "\n".join([head, "", said, "", "| candidate | check | result | found |", "| --- | --- | --- | --- |", *rows]) + "\n"
