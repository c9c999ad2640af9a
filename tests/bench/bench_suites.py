"""How long suites of recorded outputs take through evalh's verbs, one process each. Prints its figures.

python -m tests.bench.bench_suites
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]
SUITES = {"wmt22": ("CUNI-Transformer", "Online-B", "EVALH_WMT22", "wmt22-cs-en"), "wmt17": ("uedin", "LIUM", "EVALH_WMT17", "wmt17-en-de")}
VERDICTS_S = 10.0


def there(name: str) -> bool:
    """Whether the suite's data is on this machine."""
    return _data(name).is_dir()


def _data(name: str) -> Path:
    variable, folder = SUITES[name][2:]
    return Path(os.environ.get(variable, ROOT.parent / "shared" / "data" / folder))


def timed(words: list[str], workspace: Path) -> tuple[float, float]:
    """Wall and CPU seconds of `evalh WORDS`; gate may end with any verdict."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "evalharness", *words], cwd=workspace, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode in ({0, 1, 3} if words[0] == "gate" else {0}), done.stderr
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = time.perf_counter() - wall, cpu
    print(f"  evalh {' '.join(words):<48} {found[0]:6.2f} s   {found[1]:6.2f} s CPU", flush=True)
    return found


def through(name: str) -> tuple[float, float]:
    """Seconds of scoring the suite, and of compare, gate, decide and report together: the lesser of wall and CPU time.

    Other work on the machine only adds to the wall clock, a second thread only to CPU time.
    """
    arm, other = SUITES[name][:2]
    with TemporaryDirectory() as folder:
        workspace = Path(folder)
        (workspace / "suites").mkdir()
        shutil.copy(ROOT / "suites" / f"{name}.yaml", workspace / "suites")
        print(f"{name}:")
        scored = timed(["score", f"suites/{name}.yaml", "--data", str(_data(name)), "--quiet"], workspace)
        rest = [timed(words, workspace) for words in (["compare", arm, other], ["gate"], ["decide"], ["report"])]
    walls, cpus = (sum(part) for part in zip(*rest, strict=True))
    print(f"  compare, gate, decide and report: {walls:.2f} s, {cpus:.2f} s CPU")
    print(f"  with score: {walls + scored[0]:.2f} s, {cpus + scored[1]:.2f} s CPU")
    return min(scored), min(walls, cpus)


@pytest.mark.bench
@pytest.mark.parametrize("name", [name for name in SUITES if there(name)])
def test_recorded_systems_go_through_every_verdict(name: str) -> None:
    scored, verdicts = through(name)
    assert scored < VERDICTS_S
    assert verdicts < VERDICTS_S


if __name__ == "__main__":
    for each in filter(there, SUITES):
        through(each)
