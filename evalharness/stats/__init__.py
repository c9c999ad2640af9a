"""Statistics on arrays: intervals, tests and the rules of compare, gate, decide and plan. Usable on its own.

>>> from evalharness.stats import tango
>>> round(tango(150, 86, 1600).low, 4)
0.0214
"""

from evalharness.stats.interval import Evidence, Finish, Interval
from evalharness.stats.means import StudentT, mean_evidence, paired_t, sign_flip, t_interval
from evalharness.stats.rates import Tango, Wilson, mcnemar, mcnemar_midp, tango, tango_limits, tango_score, wilson
from evalharness.stats.resample import (
    Bootstrap,
    approximate_randomization,
    bootstrap_diff,
    bootstrap_one,
    evidence_diff,
    evidence_one,
    randomizations,
)

__all__ = [
    "Bootstrap",
    "Evidence",
    "Finish",
    "Interval",
    "StudentT",
    "Tango",
    "Wilson",
    "approximate_randomization",
    "bootstrap_diff",
    "bootstrap_one",
    "evidence_diff",
    "evidence_one",
    "mcnemar",
    "mcnemar_midp",
    "mean_evidence",
    "paired_t",
    "randomizations",
    "sign_flip",
    "t_interval",
    "tango",
    "tango_limits",
    "tango_score",
    "wilson",
]
