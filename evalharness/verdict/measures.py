"""A run's metrics as verdicts need them: the stored row, and the plug-in that finishes sums, made again from that row.

>>> from pathlib import Path
>>> from evalharness.store import MetricRow
>>> row = MetricRow("m", "exact_match", "1", {}, True, (0.0, 1.0), "binary", "exact_match")
>>> measure = Measure.of(row, Path("."))
>>> measure.problem is None, float(measure.finish(np.array([30.0]), np.array(40.0)))
(True, 0.75)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evalharness import registry
from evalharness.ids import digest
from evalharness.metrics.recomputed import Recomputed
from evalharness.protocols import AskingMetric, Floats, Metric, opines
from evalharness.records import Sample
from evalharness.store import MetricRow

OPINIONS = frozenset({"judge", "ragas"})
"""Metrics that ask a model, also where they cannot be loaded."""


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """A metric of a run. `plugin` is None where it cannot be made again; `problem` then says why."""

    row: MetricRow
    plugin: Metric | None
    problem: str | None = None

    @staticmethod
    def of(row: MetricRow, root: Path, uses: Sequence[object] = ()) -> Measure:
        """The metric of a stored row; `uses` is how the suite names its metrics, for plug-ins in files below `root`.

        A plug-in that is gone, or that would compute another number today, is told in `problem`, not raised.
        """
        try:
            plugin = _plugin(row, root, uses)
        except Exception as error:  # a plug-in is anybody's code: whatever its import or options raise is told in the report
            return Measure(row, None, f"{row.name} cannot be loaded: {error}")
        if row.options and digest(plugin.identity()) != row.metric_id:
            stored, now = row.version, plugin.version
            change = f"version {stored}, now {now}" if stored != now else "other settings or another library version"
            return Measure(row, plugin, f"scored by {change}: score again to compare with new runs")
        return Measure(row, plugin)

    @property
    def label(self) -> str:
        """The metric's name in the suite."""
        return self.row.label or self.row.name

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.row.higher_is_better else -1

    @property
    def width(self) -> float:
        """Width of the range, in the metric's unit; may be infinite."""
        return self.row.range[1] - self.row.range[0]

    @property
    def ready(self) -> bool:
        """Whether values can be computed: sums of a corpus metric need the plug-in, means do not."""
        return self.plugin is not None or self.row.kind != "corpus"

    @property
    def draws(self) -> int | None:
        """How often it is worked out anew for an interval, where that is dear; None for as often as any other metric."""
        return self.plugin.draws if isinstance(self.plugin, Recomputed) else None

    @property
    def asks(self) -> bool:
        """Whether its values are a model's opinions, which human labels can correct."""
        return opines(self.plugin) if self.plugin is not None else self.row.name in OPINIONS

    @property
    def against(self) -> str | None:
        """The arm that it compares every other one's answers with; None if it looks at one answer alone."""
        return self.plugin.against if isinstance(self.plugin, AskingMetric) else None

    @property
    def question(self) -> str:
        """What people are asked where they label for this metric: rubric and scale, whoever judges; else the metric itself."""
        question_id = getattr(self.plugin, "question_id", None)
        return str(question_id()) if question_id is not None else self.row.metric_id

    @property
    def choices(self) -> Mapping[str, float]:
        """Label -> value of what can be answered, lowest value first; empty where any number of the range can."""
        found: Mapping[str, float] = getattr(self.plugin, "choices", {})
        if not found and self.row.kind == "binary":
            found = {"fail": self.row.range[0], "pass": self.row.range[1]}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    @property
    def signature(self) -> str:
        """What decides the number, for people: the library's own signature, else version and options that were set."""
        signature = self.row.options.get("signature")
        if isinstance(signature, str):
            return signature
        options = self.row.options.get("options", {})
        settings = options if isinstance(options, Mapping) else {}
        return "|".join([f"version:{self.row.version}", *(f"{key}:{_plain(value)}" for key, value in sorted(settings.items()))])

    def finish(self, sums: Floats, n: Floats) -> Floats:
        """(..., k) summed statistics and (...) counts -> (...) values, in the metric's own unit."""
        if self.row.kind == "corpus":
            assert self.plugin is not None  # callers ask `ready` first
            return self.plugin.finish(sums, n)
        return np.asarray(sums[..., 0] / n)

    def oriented(self, sums: Floats, n: Floats) -> Floats:
        """`finish`, negated where lower is better: higher is better of every value."""
        return self.sign * self.finish(sums, n)

    def extremes(self, sample: Sample) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The worst and the best statistics that the sample can have; the ends of the range without a plug-in."""
        if self.plugin is not None:
            return tuple(map(float, self.plugin.failed(sample))), tuple(map(float, self.plugin.perfect(sample)))
        low, high = self.row.range[:: self.sign]
        return (low,), (high,)


def _plugin(row: MetricRow, root: Path, uses: Sequence[object]) -> Metric:
    """The plug-in that was stored: registered under the name in its identity, or one of the suite's own files that says so."""
    wanted = str(row.options.get("name", row.name))
    files = [name for name, _ in map(registry.split_use, uses) if ".py:" in name]
    for name in files if files and wanted not in registry.names("metrics") else []:
        plugin: Any = registry.find("metrics", name, root)
        if _usual_name(plugin) == wanted:
            break
    else:
        plugin = registry.find("metrics", wanted, root)
    made: Metric = plugin(registry.options(plugin, row.options.get("options"), root))
    return made


def _usual_name(plugin: Any) -> str:
    """What an instance of the class is called; the short way to a metric takes the class's name."""
    name = getattr(plugin, "name", None)
    return name if isinstance(name, str) else str(plugin.__name__).lower()


def _plain(value: object) -> str:
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))
