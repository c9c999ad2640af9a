"""How many processes run the tests, and at the end what simulations and benches measured: a test that passes tells nobody its figure.

Figures show for several processes, too, whose own output is lost.
"""

from __future__ import annotations

import os

import pytest


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: half as many again as there are cores, since a test often waits for a service on loopback."""
    return -(-3 * (os.cpu_count() or 1) // 2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What slow tests, benches and tests of a numbered property printed, by test."""
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.stats.get(outcome, []) if each.when == "call"]
    told = sorted((each.nodeid, each.capstdout.strip()) for each in reports if _measures(each) and each.capstdout.strip())
    if told:
        terminalreporter.section("figures")
    for name, text in told:
        terminalreporter.write_line(name)
        for line in text.splitlines():
            terminalreporter.write_line(f"    {line}")


def _measures(report: pytest.TestReport) -> bool:
    return bool({"slow", "bench"} & report.keywords.keys()) or "test_property" in report.nodeid
