"""Scores -> verdicts: compare describes, gate says whether a candidate may pass, decide whether it is worth the change.

    store -> load -> View -> compare | gate | decide -> Verdict -> note (the ledger of test-set use)

>>> view = load(Store("results/evalh.duckdb"), run_id)                                                # doctest: +SKIP
>>> gate(view).outcome, decide(view).outcome                                                          # doctest: +SKIP
('PASS', 'ADOPT')

Every verdict is read off the interval that the user sees. evidence.py chooses the interval, checks.py and deciding.py
hold the rules, wording.py the words.
"""

from evalharness.verdict.comparing import compare
from evalharness.verdict.deciding import decide
from evalharness.verdict.deployed import decide_deployed
from evalharness.verdict.gating import gate
from evalharness.verdict.history import compare_past, decide_past, find, gate_past, is_past
from evalharness.verdict.ledger import Ledger, note
from evalharness.verdict.records import Verdict
from evalharness.verdict.view import View, confidence_of, level_of, load, reference_of

__all__ = [
    "Ledger",
    "Verdict",
    "View",
    "compare",
    "compare_past",
    "confidence_of",
    "decide",
    "decide_deployed",
    "decide_past",
    "find",
    "gate",
    "gate_past",
    "is_past",
    "level_of",
    "load",
    "note",
    "reference_of",
]
