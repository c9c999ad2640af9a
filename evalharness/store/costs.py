"""What single answers cost, and what was deployed to give them.

>>> store.costs([arm.arm_id], dataset.id)[arm.arm_id].shape
(1200, 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evalharness.ids import digest
from evalharness.store.answers import among, find_blocks
from evalharness.store.rows import Resource
from evalharness.store.trainings import Trainings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Costs(Trainings):
    """Reads for the money side of verdicts."""

    def costs(self, arm_ids: Sequence[str], dataset_id: str) -> dict[str, npt.NDArray[np.float64]]:
        """arm id -> (n, repeats) US dollars of each output, samples in file order; NaN where there is none.

        Arms with an answer whose price is unknown are left out; failed outputs count with what is known of them.
        """
        import numpy as np

        with self.reading() as con:
            blocks = find_blocks(con, arm_ids)
            priced = {row[0] for row in con.execute(_PRICED.format(where=among(blocks)), [dataset_id]).fetchall()}
            blocks = {arm_id: block for arm_id, block in blocks.items() if block in priced}
            (n,) = con.execute("SELECT count(*) FROM samples WHERE dataset_id = ?", [dataset_id]).fetchone() or (0,)
            rows = con.execute(_COSTS.format(where=among(blocks, "o.block")), [dataset_id]).fetchnumpy()
        repeats = int(rows["repeat"].max(initial=0)) + 1
        found = {}
        for arm_id, block in blocks.items():
            mine = rows["block"] == block
            found[arm_id] = np.full((n, repeats), np.nan)
            found[arm_id][rows["position"][mine], rows["repeat"][mine]] = rows["cost_usd"][mine]
        return found

    def deployments(self, training_id: str) -> list[Resource]:
        """What was opened so that this training's model could answer, in turn."""
        found: list[Resource] = []
        job = digest(["training", training_id])
        while rows := self.resources(digest(["serving", job, len(found)])):
            found.append(rows[-1])
        return found

    def answered_in(self, run_id: str, arm_id: str) -> int:
        """How many of the arm's stored outputs were made in the run."""
        with self.reading() as con:
            where = among(find_blocks(con, [arm_id]))
            (count,) = con.execute(f"SELECT count(*) FROM outputs WHERE {where} AND run_id = ?", [run_id]).fetchone() or (0,)
        return int(count)


_PRICED = """
SELECT block FROM outputs WHERE {where} AND sample_id IN (SELECT sample_id FROM samples WHERE dataset_id = ?) GROUP BY block
HAVING count(*) FILTER (cost_usd IS NULL AND finish <> 'error') = 0
"""
_COSTS = """
SELECT o.block, s.position, o.repeat, o.cost_usd FROM outputs o JOIN samples s ON s.sample_id = o.sample_id
WHERE s.dataset_id = ? AND o.cost_usd IS NOT NULL AND {where}
"""
