"""What the data doctor found, for a terminal, as Markdown, JSON and one HTML page.

    examine -> Examination -> terminal | markdown | as_json | page

>>> FILES["md"](examine(loaded))                                                                       # doctest: +SKIP
'**3 errors.** ...'

Texts out of rows are shown as text: nothing in them becomes markup or moves a cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import evalharness.report.doctor.as_json as as_json
import evalharness.report.doctor.markdown as markdown
import evalharness.report.doctor.page as page
import evalharness.report.doctor.terminal as terminal
from evalharness.doctor.examine import Examination

FILES: Mapping[str, Callable[[Examination], str]] = {"md": markdown.text, "json": as_json.text, "html": page.text}
"""Format -> what writes it; `terminal.render` gives rich's renderable."""

__all__ = ["FILES", "as_json", "markdown", "page", "terminal"]
