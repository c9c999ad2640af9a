"""`evalh check SUITE`: what is wrong with the data, before it costs a training or a verdict.

>>> check(Path("suites/tickets.yaml"))                                                                 # doctest: +SKIP
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.options import DataRoot, SuiteFile

if TYPE_CHECKING:
    from evalharness.doctor.copies import Copies
    from evalharness.doctor.examine import Examination


class Format(StrEnum):
    """How the findings are printed."""

    text = "text"
    md = "md"
    json = "json"
    html = "html"


def check(
    suite: SuiteFile,
    data: DataRoot = None,
    candidate: Annotated[
        list[str] | None, typer.Option("--candidate", "-c", help="Check for this candidate only; may be repeated.", show_default=False)
    ] = None,
    logs: Annotated[
        list[Path] | None,
        typer.Option("--logs", help="Rows of production inputs, to compare with the training rows; may be repeated.", show_default=False),
    ] = None,
    fix: Annotated[
        Path | None, typer.Option("--fix", help="Write mended copies of the data files into this new folder.", show_default=False)
    ] = None,
    redact: Annotated[
        Path | None,
        typer.Option("--redact", help="Write copies without keys and personal data into this new folder.", show_default=False),
    ] = None,
    as_format: Annotated[Format, typer.Option("--format", help="How to print what was found.")] = Format.text,
    out: Annotated[Path | None, typer.Option("--out", help="Write it into this file instead.", show_default=False)] = None,
) -> None:
    """Look for leaks, duplicates, broken rows, conflicting labels and more. Exit 0 clean or warnings, 1 errors."""
    from evalharness.doctor.copies import fixed, redacted
    from evalharness.doctor.examine import examine, only
    from evalharness.reading import load_suite

    loaded = only(load_suite(suite, data_root=data), candidate or ())
    seen = examine(loaded, logs=logs or ())
    _show(seen, as_format, out)
    if fix is not None:
        _told(fix, fixed(loaded, seen, fix))
    if redact is not None:
        _told(redact, redacted(loaded, redact))
    raise typer.Exit(1 if seen.refuses else 0)


def _told(folder: Path, made: Copies) -> None:
    """On stderr: stdout may be JSON."""
    rows = f"{made.removed:,} rows taken out, {made.changed:,} changed"
    print(f"{folder}: {len(made.files) - 1} files, {rows}; each of them is a line of {made.files[-1]}", file=sys.stderr)


def _show(seen: Examination, as_format: Format, out: Path | None) -> None:
    from io import StringIO

    from rich.console import Console

    from evalharness.report.doctor import FILES, terminal

    if as_format is not Format.text:
        text = FILES[as_format.value](seen)
    elif out is None:
        Console().print(terminal.render(seen))
        return
    else:
        console = Console(file=StringIO(), width=120, color_system=None)
        with console.capture() as captured:
            console.print(terminal.render(seen))
        text = "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)


def _write(path: Path, text: str) -> None:
    from evalharness.errors import ConfigError, Problem

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), "--out", f"cannot be written: {error.strerror}", "Name another file")]) from None
    print(path, file=sys.stderr)
