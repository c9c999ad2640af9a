"""All rules of the doctor, in the order in which equal findings are told.

>>> "leak.exact" in IDS
True
"""

from __future__ import annotations

from evalharness.doctor.contained import Contained
from evalharness.doctor.drift import Drift
from evalharness.doctor.findings import Rule
from evalharness.doctor.format import Format
from evalharness.doctor.inputs import Inputs
from evalharness.doctor.mislabelled import Mislabelled
from evalharness.doctor.outliers import Outliers
from evalharness.doctor.secrets import Private
from evalharness.doctor.sizes import Sizes
from evalharness.doctor.targets import Targets
from evalharness.doctor.truncated import Truncated

RULES: tuple[type[Rule], ...] = (Format, Inputs, Private, Targets, Contained, Sizes, Mislabelled, Drift, Truncated, Outliers)
IDS: tuple[str, ...] = tuple(rule_id for rule in RULES for rule_id in rule.ids)
