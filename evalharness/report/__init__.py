"""Reports: one model built from the store, several renderers of it.

    store -> build -> Report -> terminal | markdown | html | as_json | junit

>>> report = build(Store("results/evalh.duckdb"))                                                     # doctest: +SKIP
>>> Console().print(terminal.render(report))                                                          # doctest: +SKIP
>>> write(report, Path("results/reports"))                                                            # doctest: +SKIP
[PosixPath('results/reports/01JD….md'), PosixPath('results/reports/01JD….html'), …]

A renderer is a module that takes a Report and knows nothing else; one that makes a file is an entry of `FILES`. The page
takes the Items, too: every question and answer of the run, for its search.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import evalharness.report.as_json as as_json
import evalharness.report.github as github
import evalharness.report.html as html
import evalharness.report.junit as junit
import evalharness.report.markdown as markdown
import evalharness.report.terminal as terminal
from evalharness.errors import ConfigError, Problem
from evalharness.report.assemble import build, of_view
from evalharness.report.items import Items
from evalharness.report.model import Report
from evalharness.report.text import plain, visible

FILES: Mapping[str, Callable[[Report, Items | None], str]] = {
    "md": lambda report, items: markdown.text(report),
    "html": html.text,
    "json": lambda report, items: as_json.text(report),
    "junit.xml": lambda report, items: junit.text(report),
}
"""File ending -> what renders it."""


def write(report: Report, folder: Path, items: Items | None = None) -> list[Path]:
    """Write the report into the folder, one file a renderer, named after the run; an older one is replaced whole.

    Without `items` the page has no search over them. Raises ConfigError if the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, render in FILES.items():
            path = folder / f"{report.run.run_id}.{ending}"
            fresh = path.with_name(f"{path.name}.{os.getpid()}")
            fresh.write_text(render(report, items), encoding="utf-8")
            written.append(fresh.replace(path))
    except OSError as error:
        raise ConfigError(
            [Problem(str(folder), "", f"the report cannot be written: {error.strerror}", "Make the folder writable")]
        ) from None
    return written


__all__ = [
    "FILES",
    "Items",
    "Report",
    "as_json",
    "build",
    "github",
    "html",
    "junit",
    "markdown",
    "of_view",
    "plain",
    "terminal",
    "visible",
    "write",
]
