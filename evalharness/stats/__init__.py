"""Statistics on arrays: intervals, tests, and the rules of compare, gate, decide and plan. Usable on its own.

All scores are in their own units (proportions, not points), differences are candidate minus baseline and oriented so
that positive is better. Rows are items; draws belong to row positions, so keep the items in one fixed order (sorted by
sample id) or pass `ids`. NaN rows are missing outputs and count as outcomes.

    compare, compare_many, scores   arms' statistics -> Comparison (difference, p, wins, visible) and score intervals
    gate, Check                     evidence -> PASS, FAIL, INCONCLUSIVE, INVALID (Holm over the failures)
    decide, Contender, pick_on_dev  evidence and gates -> ADOPT, KEEP, UNDECIDED
    items_needed, chance_to_pass    planning by exact enumeration; visible_difference, schedule (four looks)
    ppi_evidence, labelled_evidence judge opinions corrected by human labels (PPI++), as evidence for all of the above
    cohen_kappa, krippendorff_alpha agreement of annotators
    length_controlled               win rates of pairs that length does not buy

>>> round(tango(150, 86, 1600).low, 4)
0.0214
"""

from evalharness.stats.agreement import cohen_kappa, krippendorff_alpha
from evalharness.stats.comparison import (
    Comparison,
    Leaderboard,
    compare,
    compare_many,
    difference_evidence,
    leaderboards,
    score_evidence,
    scores,
)
from evalharness.stats.corrected import Normal, ppi, ppi_evidence
from evalharness.stats.decisions import Contender, Decision, decide, pick_on_dev
from evalharness.stats.gates import MOST_MISSING, Check, Checked, Gated, gate, gate_rule
from evalharness.stats.interval import Evidence, Finish, Interval
from evalharness.stats.labelled import Labelled, labelled_evidence, within
from evalharness.stats.length import length_controlled
from evalharness.stats.looks import Look, obrien_fleming, schedule
from evalharness.stats.means import StudentT, mean_evidence, paired_t, sign_flip, t_interval
from evalharness.stats.multiple import benjamini_hochberg, bonferroni, bonferroni_level, holm
from evalharness.stats.outcomes import Measure, Outcomes, outcomes
from evalharness.stats.plan import (
    Chances,
    Rule,
    agreeing_items_needed,
    chance_to_pass,
    chances,
    items_needed,
    items_to_settle,
    mean_chance_to_pass,
    mean_items_needed,
    miller_sample_size,
    rate_items_needed,
    visible_difference,
    visible_mean_difference,
)
from evalharness.stats.rates import Tango, Wilson, mcnemar, mcnemar_midp, tango, tango_limits, tango_score, wilson
from evalharness.stats.resample import (
    Bootstrap,
    Drawn,
    approximate_randomization,
    bootstrap_diff,
    bootstrap_one,
    drawn,
    randomizations,
)

__all__ = [
    "MOST_MISSING",
    "Bootstrap",
    "Chances",
    "Check",
    "Checked",
    "Comparison",
    "Contender",
    "Decision",
    "Drawn",
    "Evidence",
    "Finish",
    "Gated",
    "Interval",
    "Labelled",
    "Leaderboard",
    "Look",
    "Measure",
    "Normal",
    "Outcomes",
    "Rule",
    "StudentT",
    "Tango",
    "Wilson",
    "agreeing_items_needed",
    "approximate_randomization",
    "benjamini_hochberg",
    "bonferroni",
    "bonferroni_level",
    "bootstrap_diff",
    "bootstrap_one",
    "chance_to_pass",
    "chances",
    "cohen_kappa",
    "compare",
    "compare_many",
    "decide",
    "difference_evidence",
    "drawn",
    "gate",
    "gate_rule",
    "holm",
    "items_needed",
    "items_to_settle",
    "krippendorff_alpha",
    "labelled_evidence",
    "leaderboards",
    "length_controlled",
    "mcnemar",
    "mcnemar_midp",
    "mean_chance_to_pass",
    "mean_evidence",
    "mean_items_needed",
    "miller_sample_size",
    "obrien_fleming",
    "outcomes",
    "paired_t",
    "pick_on_dev",
    "ppi",
    "ppi_evidence",
    "randomizations",
    "rate_items_needed",
    "schedule",
    "score_evidence",
    "scores",
    "sign_flip",
    "t_interval",
    "tango",
    "tango_limits",
    "tango_score",
    "visible_difference",
    "visible_mean_difference",
    "wilson",
    "within",
]
