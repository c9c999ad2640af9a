"""The README's output block: written from a real run, and checked against one.

python -m tests.readme --write     after `evalh train-and-score suites/tickets.yaml`: puts the newest run's report into the README
python -m tests.readme             checks that the newest run says the same: arms, verdicts and item counts exactly, scores within five
                                   points (another processor adds up in another order, and a tune on it ends a little elsewhere)
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from rich.console import Console

from evalharness.report import build, terminal
from evalharness.store import Store

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"<!-- output -->\n(.*?)<!-- /output -->", re.DOTALL)
WIDTH = 108
TOLERANCE = 5.0


def rendered() -> str:
    """The newest run's report as plain text, without the run's own id and commit."""
    console = Console(width=WIDTH, force_terminal=False, no_color=True, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal.render(build(Store(ROOT / "results" / "evalh.duckdb"), suite="tickets", root=ROOT)))
    text = console.export_text()
    lines = [line.rstrip() for line in text.partition("\nDecision")[0].splitlines()]
    return "\n".join(lines).strip() + "\n"


def scores(text: str) -> dict[tuple[str, str], float]:
    """(metric, arm) -> score, from the leaderboards in a rendered report."""
    found: dict[tuple[str, str], float] = {}
    metric = ""
    for line in text.splitlines():
        if head := re.match(r"(\w+)\s+score\b", line):
            metric = head[1]
        elif not line.strip():
            metric = ""
        elif metric and (row := re.match(r"(\S[^…]*?)\s{2,}\D*?(\d+\.\d)", line)):
            found[metric, row[1].strip()] = float(row[2])
    return found


def facts(text: str) -> list[str]:
    """What must be the same everywhere: how many items, and each candidate's gate answer."""
    return re.findall(r"[\d,]+ held-out items|(?:PASS|FAIL|INCONCLUSIVE|INVALID) [\w-]+|^Adopt \w+", text, re.MULTILINE)


def problems(wanted: str, found: str) -> list[str]:
    """How the README's block differs from a run's report; empty if it holds."""
    old, new = scores(wanted), scores(found)
    said = [f"no score in the README for {key}" for key in new.keys() - old.keys()]
    said += [f"no score now for {key}" for key in old.keys() - new.keys()]
    said += [f"{key}: {old[key]} in the README, {new[key]} now" for key in old.keys() & new.keys() if abs(old[key] - new[key]) > TOLERANCE]
    if facts(wanted) != facts(found):
        said.append(f"{facts(wanted)} in the README, {facts(found)} now")
    return said if old else ["the README has no scores"]


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the newest run's report into the README")
    text, now = README.read_text(), rendered()
    if parser.parse_args().write:
        README.write_text(BLOCK.sub(lambda _: f"<!-- output -->\n```text\n{now}```\n<!-- /output -->", text))
        return
    block = BLOCK.search(text)
    said = problems(block[1] if block else "", now)
    print("\n".join(said) or "the README's output holds")
    sys.exit(bool(said))


if __name__ == "__main__":
    main()
