"""The doctor's findings as one HTML page: no file beside it, no script, no network.

>>> Path("check.html").write_text(text(examination))                                                   # doctest: +SKIP
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import evalharness.report.doctor.words as words
from evalharness.doctor.examine import Examination
from evalharness.report.text import visible

if TYPE_CHECKING:
    from jinja2 import Template


def text(seen: Examination) -> str:
    """The whole page; everything that stood in a row is escaped, and a content security policy allows the page's style alone."""
    from markupsafe import Markup

    style = files("evalharness.report.html").joinpath("page.css").read_text("utf-8") + _read("page.css")
    sha = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{sha}'; img-src data:; base-uri 'none'; form-action 'none'"
    return _template().render(seen=seen, words=words, style=Markup(style), policy=policy)


def _read(name: str) -> str:
    return files("evalharness.report.doctor").joinpath(name).read_text("utf-8")


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["visible"] = visible
    return made.from_string(_read("page.html.j2"))
