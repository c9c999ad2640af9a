"""How many processes run the tests, and at the end what simulations and benches measured: a test that passes tells nobody its figure.

Figures show for several processes, too, whose own output is lost.
"""

from __future__ import annotations

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes side by side share the cores: threads that wait for each other in a tight loop would only take them from one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: half as many again as there are cores, since a test often waits for a service on loopback."""
    return -(-3 * (os.cpu_count() or 1) // 2)


@pytest.hookimpl(trylast=True)  # once -m has chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests begin with the longest, `slow(seconds=...)`, dealt to the processes, so that none of them runs on alone in the end.

    For `--dist worksteal`, where every process begins with an unbroken part of the list and takes of the others' ends.
    """
    longest = sorted(range(len(items)), key=lambda i: -_seconds(items[i]))
    if items and _seconds(items[longest[0]]) and (workers := getattr(config, "workerinput", {}).get("workercount")):
        items[:] = [items[i] for k in range(workers) for i in longest[k::workers]]


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("slow")
    return float(mark.kwargs.get("seconds", 0)) if mark else 0.0


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
