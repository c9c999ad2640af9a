"""`evalh split SUITE`: divide the suite's rows into train, dev and test files, once and for all to see.

>>> split(Path("suites/tickets.yaml"))                                                                # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evalharness.cli.options import DataRoot, SuiteFile

if TYPE_CHECKING:
    from evalharness.data.written import Written

_MOST = 30
"""Strata that are listed; the smallest shares of the test side first, which are the ones to look at."""


def split(
    suite: SuiteFile,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files; left out: SUITE-split beside the data.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files of an earlier split.")] = False,
    data: DataRoot = None,
) -> None:
    """Write what data.split says as files: train, dev and test rows, and those left out because they are near held-out ones."""
    from evalharness.data.written import write_split
    from evalharness.reading import load_suite

    loaded = load_suite(suite, data_root=data)
    folder = out or loaded.data_root / f"{loaded.suite.name}-split"
    for line in _lines(write_split(loaded.suite.data, loaded.root, folder, force=force)):
        typer.echo(line)


def _lines(written: Written) -> Iterator[str]:
    from evalharness.data.paths import display

    rows = dict(written.made.sizes) | {"left_out": len(written.made.left_out)}
    for name, path in written.files.items():
        yield f"{name.replace('_', ' '):<9}{rows[name]:>9,} rows  {_plain(display(path))}"
    yield ""
    for note in written.notes:
        yield _plain(note)
    yield from _strata(written)
    yield "\nIn the suite, instead of data.file and data.split (or beside them: files that are named win):\n"
    yield _yaml({"data": written.data})


def _strata(written: Written) -> Iterator[str]:
    counts = {value: each for value, each in written.made.strata.items() if each.total()}
    if not counts:
        return
    shown = sorted(counts, key=lambda value: (counts[value]["test"] / counts[value].total(), value))[:_MOST]
    width = max(len(_plain(value)[:40]) for value in shown)
    yield f"\n{'':<{width}}    train      dev     test  test share"
    for value in shown:
        each = counts[value]
        sides = "".join(f"{each[side]:>9,}" for side in ("train", "dev", "test"))
        yield f"{_plain(value)[:40]:<{width}}{sides}{each['test'] / each.total():>11.0%}"
    if len(counts) > len(shown):
        yield f"... and {len(counts) - len(shown):,} more with a larger test share"


def _plain(text: str) -> str:
    from evalharness.report import plain

    return str(plain(text))


def _yaml(value: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
