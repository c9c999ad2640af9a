"""Views made from arrays, without a store: for properties that need many of them.

>>> view = made_view({"few-shot": [1, 0, 1], "tuned": [1, 1, None]}, candidates=["tuned"])
>>> view.missing("tuned", "exact_match")
0.3333333333333333
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalharness.ids import digest
from evalharness.records import Arm, Dataset, Message, Sample, Sampling
from evalharness.spec import Suite
from evalharness.store import ERROR, OK, DatasetHead, MetricRow, Run, ScoreTable, Store, Usage
from evalharness.verdict.measures import Measure
from evalharness.verdict.view import Contender, View

GATE = {"against": "few-shot", "rules": [{"metric": "exact_match", "margin": 0.02}]}
DECIDE = {"metric": "exact_match", "min_gain": 0.0}


def made_view(
    arms: Mapping[str, Sequence[float | None]],
    *,
    candidates: Sequence[str] = ("tuned",),
    order: Sequence[int] | None = None,
    kind: Any = "binary",
    higher: bool = True,
    bounds: tuple[float, float] = (0.0, 1.0),
    clusters: Sequence[int] | None = None,
    slices: Mapping[str, Sequence[str]] | None = None,
    gate: Mapping[str, Any] | None = None,
    decide: Mapping[str, Any] | None = None,
    costs: Mapping[str, float | None] | None = None,
    dev: View | None = None,
) -> View:
    """Arms with one value an item (None: missing), items numbered in data order; `order` is the order they lie in the file."""
    n = len(next(iter(arms.values())))
    rows = list(range(n)) if order is None else list(order)
    samples = [Sample.of([Message("user", f"item {i}")], ["x"]) for i in rows]
    data = Dataset("made", "test", tuple(samples))
    values = np.array([[np.nan if arms[label][i] is None else arms[label][i] for i in rows] for label in arms], np.float64)[:, :, None]
    contenders = [
        Contender(Arm(digest(label), label, "candidate" if label in candidates else "baseline", {}, {}, Sampling())) for label in arms
    ]
    by_id = np.array(sorted(range(n), key=lambda i: samples[i].id), np.int64)
    row = MetricRow("m", "exact_match", "1", {}, higher, bounds, kind, "exact_match")
    ids = tuple(sample.id for sample in samples)
    outcomes = np.where(np.isnan(values), ERROR, OK).astype(np.int8)
    named = {name: np.array([each[i] for i in rows], np.object_) for name, each in (slices or {}).items()}
    table = ScoreTable(
        "m", tuple(c.arm.arm_id for c in contenders), ids, values[..., None], values, outcomes, np.isnan(values), None, named
    )
    view = View(
        run=Run("r1", "made", "", None, {}, ()),
        suite=_suite(arms, candidates, gate or GATE, decide or DECIDE),
        dataset=DatasetHead(data.id, "made", "test", "", n),
        contenders=tuple(contenders),
        measures={"exact_match": Measure(row, None)},
        ids=tuple(samples[i].id for i in by_id),
        clusters=None if clusters is None else _numbered([clusters[rows[i]] for i in by_id]),
        slices={name: each[by_id] for name, each in named.items()},
        tables={"exact_match": table},
        repeats=1,
        usage={
            c.arm.arm_id: Usage(n, {"stop": n}, None, None, (costs or {}).get(c.label), None, None) for c in contenders
        },
        store=Store(Path("/nonexistent/evalh.duckdb")),
        dev=dev,
        _order=by_id,
    )  # fmt: skip
    vars(view)["costs"] = {c.arm.arm_id: np.full((n, 1), usd / n) for c in contenders if (usd := (costs or {}).get(c.label)) is not None}
    vars(view)["samples"] = tuple(samples[i] for i in by_id)  # there is no store to read them from
    return view


def _numbered(names: Sequence[int]) -> Any:
    seen: dict[int, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], np.int64)


def _suite(arms: Mapping[str, Any], candidates: Sequence[str], gate: Mapping[str, Any], decide: Mapping[str, Any]) -> Suite:
    parts = {
        "name": "made",
        "data": {"test": "made.jsonl"},
        "baselines": {label: {"outputs": "x"} for label in arms if label not in candidates},
        "candidates": {label: {"outputs": "x"} for label in arms if label in candidates},
        "metrics": ["exact_match"],
        "gate": gate,
        "decide": decide,
    }
    return Suite.model_validate(parts)
