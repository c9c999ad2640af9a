"""The `evalh` command: one file per verb, parsing and printing only.

Exit codes: 0 pass · 1 fail · 2 usage or config · 3 inconclusive · 4 invalid or run error · 130 interrupted.

>>> main(["--help"])                                                                                  # doctest: +SKIP
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from evalharness.cli import (
    check,
    cleanup,
    compare,
    decide,
    gate,
    init,
    label,
    listing,
    pin,
    plan,
    report,
    score,
    split,
    sql,
    train_and_score,
)
from evalharness.cli.in_github import inert
from evalharness.errors import EvalhError

app = typer.Typer(
    name="evalh",
    help="Fine-tune, keep the prompt, or retrain? Train candidates, score them beside your prompts, decide with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("init")(init.init)
app.command("check")(check.check)
app.command("split")(split.split)
app.command("plan")(plan.plan)
app.command("train-and-score")(train_and_score.train_and_score)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("gate")(gate.gate)
app.command("compare")(compare.compare)
app.command("decide")(decide.decide)
app.command("pin")(pin.pin)
app.command("cleanup")(cleanup.cleanup)
app.command("label")(label.label)
app.command("list")(listing.listing)
app.command("sql")(sql.sql)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        from evalharness import __version__

        typer.echo(f"evalh {__version__}")
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line; evalh's own errors become a message on stderr and their exit code, never a traceback."""
    words = list(argv) if argv is not None else sys.argv[1:]
    with inert(words):
        try:
            app(args=words)
        except EvalhError as error:
            from evalharness.report.text import lines_of  # a service's words may be among them

            print(lines_of(str(error)), file=sys.stderr)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            print("interrupted; what was done is stored, the same command goes on from there", file=sys.stderr)
            sys.exit(130)
