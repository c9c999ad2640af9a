"""Human labels: which answers to put before people, in which order, and how their words become labels.

    View -> choosing -> Asks -> Session (a person at a terminal) | exchange (files for people who label elsewhere) -> labels

>>> asks = choosing.plan(view, "judge", n=100)                                                        # doctest: +SKIP
>>> session = Session(view.store, asks, Scale.of(view.measure("judge")), annotator="ada")             # doctest: +SKIP

choosing.py holds the design and says why labels so drawn leave the corrected difference unbiased.
"""

from evalharness.labelling.choosing import Ask, Plan, everything, plan
from evalharness.labelling.scale import Scale
from evalharness.labelling.session import Session

__all__ = ["Ask", "Plan", "Scale", "Session", "everything", "plan"]
