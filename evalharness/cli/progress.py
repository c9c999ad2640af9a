"""Progress as a person watches it: bars on a terminal, plain lines elsewhere, nothing with --quiet.

>>> with watch(quiet=False) as emit:                                                                  # doctest: +SKIP
...     emit(Event("generate", "few-shot", done=3, total=400))
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from evalharness.pipeline.events import Emit, Event, silent
from evalharness.report.text import visible

LINE_EVERY_S = 5.0


@contextmanager
def watch(*, quiet: bool) -> Iterator[Emit]:
    """Something to give to the pipeline: shows its events on stderr until the block ends."""
    if quiet:
        yield silent
        return
    console = Console(stderr=True)
    if console.is_terminal:
        with _bars(console) as progress:
            yield _Bars(progress).show
    else:
        yield _Lines().show


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.fields[stage]:<8}"), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=console)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def show(self, event: Event) -> None:
        key = (event.stage, event.label)
        if event.kind in {"note", "warning"}:
            self._progress.console.print(f"[yellow]{escape(_said(event))}[/]" if event.kind == "warning" else escape(_said(event)))
            return
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(escape(event.label), stage=event.stage, text="", total=event.total)
        total = event.total if event.kind == "progress" else event.total or event.done or 1
        done = event.done if event.kind == "progress" else total
        self._progress.update(self._tasks[key], completed=done, total=total, text=escape(visible(_tail(event))))


class _Lines:
    """A line when a step begins, every few seconds, and when it ends."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}
        self._first: dict[tuple[str, str], tuple[float, int]] = {}

    def show(self, event: Event) -> None:
        key, now = (event.stage, event.label), time.monotonic()
        if key not in self._first or self._first[key][1] == 0:  # loading a model is no speed: the clock starts with the first item
            self._first[key] = (now, event.done)
        complete = event.total is not None and event.done >= event.total
        due = now - self._last.get(key, -LINE_EVERY_S) >= LINE_EVERY_S
        if event.kind != "progress" or complete or due:
            self._last[key] = now
            print(_said(event) + self._eta(key, event, now), file=sys.stderr, flush=True)

    def _eta(self, key: tuple[str, str], event: Event, now: float) -> str:
        """How long it will still take at the speed so far, from a few seconds and a hundredth of the work on."""
        began, done = self._first[key]
        if event.kind != "progress" or event.total is None or not done + event.total / 100 < event.done < event.total:
            return ""
        if now - began < LINE_EVERY_S:
            return ""
        left = (now - began) * (event.total - event.done) / (event.done - done)
        return f"  {left / 60:.0f} min left" if left >= 90 else f"  {left:.0f} s left"


def _said(event: Event) -> str:
    count = "" if event.total is None else f" {event.done}/{event.total}"
    tail = _tail(event)
    return visible(f"{event.stage} {event.label}:{count}{' ' + tail if tail else ''}")


def _tail(event: Event) -> str:
    loss = "" if event.loss is None else f"loss {event.loss:.3f}"
    cost = "" if event.cost_usd is None else f"{event.cost_usd:.2f} USD"
    return "  ".join(part for part in (loss, cost, event.text) if part)
