"""Too few rows: what the test set can see, rows a slice, and what runners and experience ask for.

>>> Sizes().ids
('size.test', 'size.slice', 'size.train', 'size.runner')
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from evalharness.data.split import SIDES
from evalharness.doctor.findings import BrokenRow, Case, Finding, SeenRow, Side
from evalharness.reading import LoadedSuite
from evalharness.spec import DataSpec, Suite

if TYPE_CHECKING:
    from evalharness.runners.hosted import Limits

FEWEST_TRAIN = 50
"""OpenAI's guide sees clear gains from 50 to 100 rows on (platform.openai.com/docs/guides/supervised-fine-tuning)."""
FEWEST_IN_SLICE = 50
"""Right/wrong answers of 50 items have a 95% interval of about 14 points to each side: less tells next to nothing."""
FEWEST_TEST = 100
_TURN_BYTES, _ROW_BYTES = 36, 18
"""JSON around a turn's text and around a row, as chats are uploaded."""


class Sizes:
    """Counts rows, bytes and slices."""

    ids: tuple[str, ...] = ("size.test", "size.slice", "size.train", "size.runner")
    cheap = True

    def __init__(self) -> None:
        self._rows: Counter[Side] = Counter()
        self._bytes: Counter[Side] = Counter()
        self._slices: Counter[tuple[str, str]] = Counter()

    def see(self, row: SeenRow) -> None:
        self._rows[row.side] += 1
        turns = [*(message.content for message in row.sample.messages), *row.sample.targets[:1]]
        self._bytes[row.side] += _ROW_BYTES + sum(_TURN_BYTES + _size(text) for text in turns)
        if row.side == "test":
            for name, value in row.sample.slices.items():
                self._slices[name, value] += 1

    def broken(self, row: BrokenRow) -> None:
        """What is no sample is not counted."""

    def findings(self, case: Case) -> Iterator[Finding]:
        loaded = case.loaded
        rows = {side: self._used(side, loaded.suite) for side in self._rows}
        yield from self._empty(loaded.suite.data)
        yield from _test(rows.get("test", 0), loaded)
        yield from self._slice(loaded.suite)
        yield from _train(rows.get("train", 0), loaded)
        yield from self._runners(rows, loaded)

    def _empty(self, spec: DataSpec) -> Iterator[Finding]:
        """One error a side that a run cannot do without."""
        for side in SIDES:
            wanted = side == "test" or (not spec.divides and getattr(spec, side) is not None)
            if wanted and not self._rows[side]:
                rule = "size.test" if side == "test" else "size.train"
                yield Finding(
                    rule, "error", 0, f"{side} has no rows that can be read: a run refuses that", "Add rows, or mend those that are there"
                )

    def _used(self, side: Side, suite: Suite) -> int:
        limit = getattr(suite.data.limit, side, None)
        return self._rows[side] if limit is None else min(limit, self._rows[side])

    def _slice(self, suite: Suite) -> Iterator[Finding]:
        """Slices with few rows: a warning where the gate asks them, else a note."""
        few = sorted((count, name, value) for (name, value), count in self._slices.items() if count < FEWEST_IN_SLICE)
        if not few:
            return
        asked = suite.gate is not None and any(rule.every_slice or rule.slice for rule in suite.gate.rules)
        shown = ", ".join(f"{name}={value or '(empty)'} ({count:,})" for count, name, value in few[:10])
        have = "slice has" if len(few) == 1 else "slices have"
        found = f"{len(few):,} {have} fewer than {FEWEST_IN_SLICE} of the test rows: {shown}"
        fix = "Gather more rows of them; until then their scores and gate rules say little"
        yield Finding("size.slice", "warning" if asked else "note", len(few), found + (", ..." if len(few) > 10 else ""), fix)

    def _runners(self, rows: Mapping[Side, int], loaded: LoadedSuite) -> Iterator[Finding]:
        """One error an arm and side that its service would refuse."""
        for label, trainer in loaded.trainers.items():
            limits = limits_of(trainer.runner)
            for side in ("train", "dev"):
                if limits is None or not (side == "train" or rows.get(side)):
                    continue
                beside = _prompt_bytes(loaded, label) * rows.get(side, 0)
                share = rows.get(side, 0) / max(1, self._rows[side])
                for found, fix in _refused(side, rows.get(side, 0), int(self._bytes[side] * share) + beside, limits[side]):
                    words = f"{label}: {trainer.runner} would refuse this data: {found}"
                    yield Finding("size.runner", "error", rows.get(side, 0), words, fix)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _test(n: int, loaded: LoadedSuite) -> Iterator[Finding]:
    """What the test set can see, against what the suite wants to know; right/wrong metrics, where it can be planned."""
    from evalharness.stats.plan import POWER, visible_difference

    suite = loaded.suite
    binary = {name for name, metric in loaded.metrics.items() if metric.kind == "binary"}
    if not n or not binary:
        return
    points = 100 * visible_difference(n, level=suite.level)
    short = [
        f"{name} passes the gate with a chance of {chance:.0%} if nothing changed"
        for name, chance in _chances(n, suite, binary)
        if chance < POWER
    ]
    if suite.decide is not None and suite.decide.metric in binary and 0 < 100 * suite.decide.min_gain < points:
        short.append(f"the decision asks for {100 * suite.decide.min_gain:g} points")
    if not short and n >= FEWEST_TEST:
        return
    sees = f"can see a difference of {points:.1f} points" if math.isfinite(points) else "are too few to see any difference"
    found = f"{n:,} test rows {sees} (80% power, one in five answers differing)"
    fix = "Gather more test rows, or ask for less: evalh plan SUITE says how many are enough"
    figures = {"points": round(points, 2)} if math.isfinite(points) else {}
    yield Finding("size.test", "warning", n, "; ".join([found, *short]), fix, figures=figures)


def _chances(n: int, suite: Suite, binary: set[str]) -> Iterator[tuple[str, float]]:
    from evalharness.stats.plan import Rule, chance_to_pass

    for rule in suite.gate.rules if suite.gate else ():
        if rule.metric in binary and rule.margin and rule.slice is None and not rule.every_slice:
            yield rule.metric, chance_to_pass(n, Rule(rule.margin), level=suite.level)


def _train(n: int, loaded: LoadedSuite) -> Iterator[Finding]:
    if loaded.trainers and 0 < n < FEWEST_TRAIN:
        found = f"{n:,} training rows: from {FEWEST_TRAIN} on a fine-tune usually begins to show"
        yield Finding("size.train", "warning", n, found, "Gather more, or keep to a prompt with examples")


def _prompt_bytes(loaded: LoadedSuite, label: str) -> int:
    prompt = loaded.prompts.get(label)
    return 0 if prompt is None else _TURN_BYTES + _size(prompt.text)


def limits_of(runner: str) -> Mapping[str, Limits] | None:
    """A service's published limits by side, for runners that have some."""
    if runner == "openai":
        from evalharness.runners import openai

        return {"train": openai.LIMITS, "dev": openai.DEV_LIMITS}
    if runner == "together":
        from evalharness.runners.together import options as together

        return {"train": together.LIMITS, "dev": together.LIMITS}
    if runner == "fireworks":
        from evalharness.runners.fireworks import options as fireworks

        return {"train": fireworks.LIMITS, "dev": fireworks.DEV_LIMITS}
    if runner == "vertex":
        from evalharness.runners.vertex import rows as vertex

        return {"train": vertex.LIMITS, "dev": vertex.DEV_LIMITS}
    return None


def _refused(side: str, rows: int, size: int, limits: Limits) -> Iterator[tuple[str, str]]:
    if rows < limits.min_rows:
        yield f"{side} has {rows:,} rows, and it wants {limits.min_rows:,} or more", "Gather more rows"
    if limits.max_rows is not None and rows > limits.max_rows:
        yield f"{side} has {rows:,} rows, and it takes {limits.max_rows:,} at most", f"Set data.limit: {{{side}: {limits.max_rows}}}"
    if limits.max_bytes is not None and size > limits.max_bytes:
        yield f"{side} has about {size:,} bytes, and it takes {limits.max_bytes:,} at most", f"Set data.limit: {{{side}: N}}"
