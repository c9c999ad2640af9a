"""`evalh score SUITE`: train-and-score without training.

>>> score(Path("suites/wmt22.yaml"))                                                                  # doctest: +SKIP
"""

from __future__ import annotations

from evalharness.cli.options import AllowLeaks, AsJson, DataRoot, Quiet, Rehearse, StoreFile, SuiteFile


def score(
    suite: SuiteFile,
    data: DataRoot = None,
    store: StoreFile = None,
    rehearse: Rehearse = False,
    allow_leaks: AllowLeaks = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score every arm that needs no training; candidates count if they were trained before."""
    from evalharness.cli.train_and_score import run

    run(suite, data, store, rehearse=rehearse, allow_leaks=allow_leaks, quiet=quiet, as_json=as_json, may_train=False)
