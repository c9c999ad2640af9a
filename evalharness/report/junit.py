"""The gate as JUnit XML, which every CI service shows: one test case for each check of each candidate.

>>> verdict = {"suite": "tickets", "evidence": {"candidates": [{"candidate": "tuned", "reason": "no outputs", "checks": []}]}}
>>> print(of_gate(verdict).splitlines()[1])
<testsuites name="evalh" tests="1" failures="0" errors="1">

A check that fails is a failure, a check or candidate that cannot be judged an error, an inconclusive check is skipped. Valid
by the strictest schema in use, Jenkins' junit-10.xsd, which knows no skipped="" of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import evalharness.report.figures as figures
from evalharness.report.model import Report
from evalharness.report.text import visible


def text(report: Report) -> str:
    """The report's gate; without one a suite of no test cases."""
    return of_gate(report.gate or {"suite": report.run.suite, "evidence": {"candidates": []}})


def of_gate(verdict: Mapping[str, Any]) -> str:
    """A gate's verdict as plain JSON -> the XML, ending in a line break."""
    cases = list(_cases(verdict))
    count = {name: str(sum(case.find(name) is not None for case in cases)) for name in ("failure", "error", "skipped")}
    tally = {"tests": str(len(cases)), "failures": count["failure"], "errors": count["error"]}
    root = ElementTree.Element("testsuites", {"name": "evalh", **tally})
    named = {"name": f"{visible(str(verdict['suite']))}: gate", **tally, "skipped": count["skipped"]}
    suite = ElementTree.SubElement(root, "testsuite", named)
    suite.extend(cases)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _cases(verdict: Mapping[str, Any]) -> Iterator[ElementTree.Element]:
    for each in verdict["evidence"]["candidates"]:
        where = f"{visible(str(verdict['suite']))}.{visible(each['candidate'])}"
        for check in each["checks"]:
            yield _case(where, check)
        if not each["checks"]:
            case = ElementTree.Element("testcase", {"classname": where, "name": "can be judged", "time": "0"})
            ElementTree.SubElement(case, "error", {"message": visible(each["reason"] or "no checks"), "type": "INVALID"})
            yield case


def _case(where: str, check: Mapping[str, Any]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"classname": where, "name": name_of(check), "time": "0"})
    said = visible(check["sentence"] + figures.needed(check["items_needed"]))
    tag = {"FAIL": "failure", "INVALID": "error", "INCONCLUSIVE": "skipped"}.get(check["result"])
    if tag is not None:
        ElementTree.SubElement(case, tag, {"message": said, "type": check["result"]})
    ElementTree.SubElement(case, "system-out").text = said
    return case


def name_of(check: Mapping[str, Any]) -> str:
    """A check as people call it: "exact_match, margin 0.02, lang=de"."""
    rule = f"margin {check['margin']:g}" if check["margin"] is not None else f"at least {check['at_least']:g}"
    return visible(", ".join([check["metric"], rule, *([check["slice"]] if check["slice"] else [])]))
