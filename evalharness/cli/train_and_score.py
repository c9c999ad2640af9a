"""`evalh train-and-score SUITE`: train, answer, score, and show the leaderboard; goes on where it was interrupted.

>>> train_and_score(Path("suites/tickets.yaml"))                                                      # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from evalharness.cli.options import AllowLeaks, AsJson, DataRoot, Quiet, Rehearse, StoreFile, SuiteFile, results_of, store_of

if TYPE_CHECKING:
    from evalharness.pipeline import Plan, Result
    from evalharness.store import Store


def train_and_score(
    suite: SuiteFile,
    data: DataRoot = None,
    store: StoreFile = None,
    rehearse: Rehearse = False,
    allow_leaks: AllowLeaks = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train every candidate, score it and the baselines on the same held-out rows, and show the leaderboard.

    What is stored already is not done again. Exit code 4 if an arm failed; the others are scored all the same.
    """
    run(suite, data, store, rehearse=rehearse, allow_leaks=allow_leaks, quiet=quiet, as_json=as_json, may_train=True)


def run(
    suite: Path, data: Path | None, file: Path | None, *, rehearse: bool, allow_leaks: bool, quiet: bool, as_json: bool, may_train: bool
) -> None:
    """Carry out a suite and print what came of it; `evalh score` is the same without training."""
    from evalharness.cli.progress import watch
    from evalharness.pipeline import execute, make_plan
    from evalharness.reading import load_suite

    loaded = load_suite(suite, data_root=data, allow_leaks=allow_leaks)
    store = store_of(loaded.root, file, rehearse=rehearse)
    plan = make_plan(loaded, store, results_of(loaded.root), rehearse=rehearse)
    with watch(quiet=quiet or as_json) as emit:
        result = _until_signalled(execute(plan, store, emit, may_train=may_train))
    _show(plan, result, store, quiet=quiet, as_json=as_json)
    if result.failures:
        raise typer.Exit(4)


def _until_signalled(work: object) -> Result:
    """Run the coroutine; SIGINT and SIGTERM cancel it, so that local jobs are stopped and resources released."""
    import asyncio
    import signal
    from collections.abc import Coroutine
    from typing import Any, cast

    async def main() -> Result:
        task = asyncio.ensure_future(cast("Coroutine[Any, Any, Result]", work))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _show(plan: Plan, result: Result, store: Store, *, quiet: bool, as_json: bool) -> None:
    from evalharness.cli.report import show

    show(store, result.run_id, "json" if as_json else "terminal", root=plan.loaded.root)
    if not (quiet or as_json):
        typer.echo(_done(result))
    for label, reason in result.failures.items():
        typer.echo(f"{label}: {reason}", err=True)


def _done(result: Result) -> str:
    tally = result.tally
    if not tally.asked and not tally.scored and result.failures:
        return f"Nothing was made, as is said below; {tally.kept:,} outputs kept from before. Run {result.run_id}"
    if not tally.asked and not tally.scored:
        return f"Nothing was missing: all {tally.kept:,} outputs and their scores were stored before. Run {result.run_id}"
    failed = f", {tally.failed:,} of them failed and are tried again by the next run" if tally.failed else ""
    return f"{tally.asked:,} outputs made{failed}; {tally.kept:,} kept from before; {tally.scored:,} scores made. Run {result.run_id}"
