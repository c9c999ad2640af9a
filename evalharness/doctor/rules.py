"""All rules of the doctor, in the order in which equal findings are told.

>>> "leak.exact" in IDS
True
"""

from __future__ import annotations

from evalharness.doctor.findings import Rule
from evalharness.doctor.same import SameInputs

RULES: tuple[type[Rule], ...] = (SameInputs,)
IDS: tuple[str, ...] = tuple(rule_id for rule in RULES for rule_id in rule.ids)
