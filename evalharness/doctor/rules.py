"""All rules of the doctor, in the order in which equal findings are told.

>>> "leak.exact" in IDS
True
"""

from __future__ import annotations

from evalharness.doctor.findings import Rule
from evalharness.doctor.format import Format
from evalharness.doctor.same import SameInputs
from evalharness.doctor.sizes import Sizes

RULES: tuple[type[Rule], ...] = (Format, SameInputs, Sizes)
IDS: tuple[str, ...] = tuple(rule_id for rule in RULES for rule_id in rule.ids)
