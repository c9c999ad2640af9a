"""Metrics that are worked out anew on every draw get the texts of the run, before anything is computed.

>>> measures, tables = bound(measures, tables, store, dataset_id)                                     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from evalharness.metrics.recomputed import Recomputed, Recomputes, is_recomputed
from evalharness.protocols import Floats, Metric
from evalharness.records import Sample
from evalharness.store import ScoreTable, Store
from evalharness.verdict.measures import Measure


def bound(
    measures: Sequence[Measure], tables: Mapping[str, ScoreTable], store: Store, dataset_id: str
) -> tuple[list[Measure], dict[str, ScoreTable]]:
    """The measures and their tables (by metric id) with such metrics bound to the data set's samples and the arms' answers.

    One that has no value on these answers is told in its `problem`.
    """
    found, tabled = list(measures), dict(tables)
    for place, measure in enumerate(found):
        if is_recomputed(plugin := measure.plugin):
            found[place], tabled[measure.row.metric_id] = _bound(measure, plugin, tables[measure.row.metric_id], store, dataset_id)
    return found, tabled


def _bound(measure: Measure, plugin: Recomputes, table: ScoreTable, store: Store, dataset_id: str) -> tuple[Measure, ScoreTable]:
    samples = {sample.id: sample for sample in store.dataset(dataset_id).samples}
    items = [samples[sample_id] for sample_id in table.sample_ids]
    texts = [_answers(store, arm_id, dataset_id, items, table.values[arm]) for arm, arm_id in enumerate(table.arm_ids)]
    try:
        drawn = Recomputed(plugin, items, texts)
        for arm in range(len(texts)):
            _check(drawn, arm)
    except ValueError as error:
        return replace(measure, plugin=None, problem=f"{measure.label}: {error}"), table
    return replace(measure, plugin=cast("Metric", drawn)), replace(table, stats=np.stack([drawn.rows(arm) for arm in range(len(texts))]))


def _check(drawn: Recomputed, arm: int) -> None:
    """Raises ValueError if the metric has no value on all answers of the arm that there are."""
    sums = np.nansum(drawn.rows(arm), axis=(0, 1))
    if sums.any():
        drawn.on(sums)


def _answers(store: Store, arm_id: str, dataset_id: str, items: Sequence[Sample], values: Floats) -> list[list[str | None]]:
    """[item][repeat] the texts that were scored without an error."""
    known = {(output.sample_id, output.repeat): output.reply.text for output in store.outputs(arm_id, dataset_id)}
    return [
        [known.get((item.id, repeat)) if not np.isnan(values[place, repeat]) else None for repeat in range(values.shape[1])]
        for place, item in enumerate(items)
    ]
