"""The doctor's findings as Markdown, for a pull request's comment: the answer first, places folded away.

>>> text(examination).splitlines()[0]                                                                  # doctest: +SKIP
'**1 error, 2 warnings, 0 notes: mend the errors before you train**'
"""

from __future__ import annotations

from collections.abc import Iterator

import evalharness.report.doctor.words as words
from evalharness.doctor.examine import Examination
from evalharness.doctor.findings import Finding
from evalharness.report.text import for_markdown

_MARKS = {"error": "❌", "warning": "⚠️", "note": "ℹ️", "allowed": "☑️"}


def text(seen: Examination) -> str:
    """The whole examination, ending in a line break."""
    head = [f"**{for_markdown(words.headline(seen))}**", f"{for_markdown(seen.suite)}: {for_markdown(words.rows(seen))}"]
    blocks = [*head, *(block for finding in seen.findings for block in _finding(finding))]
    blocks += [f"Not looked for: {for_markdown(each)}" for each in seen.skipped]
    return "\n\n".join(blocks) + "\n"


def _finding(finding: Finding) -> Iterator[str]:
    level = words.level(finding)
    yield f"{_MARKS[level]} **{for_markdown(finding.rule)}** ({level}): {for_markdown(finding.found)}."
    if finding.allowed is not None:
        yield f"*Allowed:* {for_markdown(finding.allowed)}"
    elif finding.fix:
        yield f"*To do:* {for_markdown(finding.fix)}."
    if finding.worst:
        lines = [
            f"- {for_markdown(where)}{': ' if excerpt else ''}{for_markdown(excerpt)}" for where, excerpt in map(words.place, finding.worst)
        ]
        more = finding.count - len(finding.worst)
        lines += [f"- … and {more:,} more"] if more > 0 else []
        yield f"<details><summary>{len(finding.worst):,} of {finding.count:,} rows</summary>\n\n" + "\n".join(lines) + "\n\n</details>"
