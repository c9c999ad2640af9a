"""Reports: one model built from the store, several renderers of it.

    store -> build -> Report -> terminal | markdown | as_json

>>> report = build(Store("results/evalh.duckdb"))                                                     # doctest: +SKIP
>>> Console().print(terminal.render(report))                                                          # doctest: +SKIP
>>> write(report, Path("results/reports"))                                                            # doctest: +SKIP
[PosixPath('results/reports/01JD….md'), PosixPath('results/reports/01JD….json')]

A renderer is a module that takes a Report and knows nothing else; one that makes a file is an entry of `FILES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from evalharness.errors import ConfigError, Problem
from evalharness.report import as_json, markdown, terminal
from evalharness.report.assemble import build, of_view
from evalharness.report.model import Report
from evalharness.report.text import plain, visible

FILES: Mapping[str, Callable[[Report], str]] = {"md": markdown.text, "json": as_json.text}
"""File ending -> what renders it."""


def write(report: Report, folder: Path) -> list[Path]:
    """Write the report into the folder, one file a renderer, named after the run; an older one is replaced whole.

    Raises ConfigError if the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, render in FILES.items():
            path = folder / f"{report.run.run_id}.{ending}"
            fresh = path.with_suffix(f".{ending}.{os.getpid()}")
            fresh.write_text(render(report), encoding="utf-8")
            written.append(fresh.replace(path))
    except OSError as error:
        raise ConfigError(
            [Problem(str(folder), "", f"the report cannot be written: {error.strerror}", "Make the folder writable")]
        ) from None
    return written


__all__ = ["FILES", "Report", "as_json", "build", "markdown", "of_view", "plain", "terminal", "visible", "write"]
