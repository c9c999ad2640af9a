"""Locks between evalh processes that share a results folder, held as long as the process lives.

>>> async with only_one("results/trainings/ab12", "training", wait):                                  # doctest: +SKIP
...     buy()
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TextIO

from evalharness.store.explain import explain

PAUSE_S = 0.5


@asynccontextmanager
async def only_one(folder: str, what: str, waiting: Callable[[], None]) -> AsyncGenerator[None]:
    """Holds a lock in the job's folder: two evalh processes with one store do not buy the same thing side by side.

    While another process has it, waits for its end (and calls `waiting` once). A killed process holds nothing.
    Raises StoreError if the folder cannot be written.
    """
    path = Path(folder) / f"{what}.lock"
    with _opened(path) as file:
        told = False
        while not _taken(file.fileno()):
            if not told:
                told = True
                waiting()
            await asyncio.sleep(PAUSE_S)
        yield


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w")
    except OSError as error:
        raise explain(path, str(error), 0.0) from None


def held(folder: str, what: str) -> bool:
    """Whether a living evalh process has this lock now."""
    path = Path(folder) / f"{what}.lock"
    if not path.is_file():
        return False
    with path.open("w") as file:
        return not _taken(file.fileno())


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
