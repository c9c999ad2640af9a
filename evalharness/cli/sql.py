"""`evalh sql QUERY`: ask the results store anything; nothing can be changed.

>>> sql("SELECT label, count(*) FROM arms GROUP BY ALL")                                              # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalharness.cli.options import AsJson, StoreFile, store_of


def sql(
    query: Annotated[str, typer.Argument(help="A query in DuckDB's SQL; DESCRIBE or SHOW TABLES lists what is there.", show_default=False)],
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Query the results store (read-only)."""
    import json

    columns, rows = store_of(Path.cwd(), store).sql(query)
    if as_json:
        typer.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], default=str, ensure_ascii=True))
        return
    from rich.console import Console
    from rich.table import Table

    from evalharness.report import plain

    table = Table()
    for column in columns:
        table.add_column(plain(column))
    for row in rows:
        table.add_row(*("" if value is None else plain(str(value)) for value in row))
    Console().print(table)
