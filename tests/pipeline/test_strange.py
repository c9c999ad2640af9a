"""Services that answer unlike our emulators, and legally: whole runs over them end as calm ones do, bought once, nothing left open.

`pytest -m slow tests/pipeline/test_strange.py -s` prints a line for each service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.emulators.strange import WAYS, estranged
from tests.pipeline.hosted import CASES, Case
from tests.pipeline.test_kill_hosted import evalh, left, make

UNREAD = {"hf_jobs": {"times"}}
"""What the vendor's own SDK cannot read (huggingface_hub 2.4 takes a time stamp for a text)."""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_strange_but_legal_answers_change_nothing(case: Case, tmp_path: Path) -> None:
    ways = [way for way in WAYS if way not in UNREAD.get(case.name, set())]
    with case.emulator() as service:
        expected = ran(make(tmp_path / "calm", case), case, service)
    with estranged(case.emulator(), *ways) as service:
        found = ran(make(tmp_path / "strange", case), case, service, slash="/")
        print(f"\n{case.name:<15} {', '.join(ways)}: {case.jobs(service)} job, {case.deployments(service)} deployments left")
        assert (case.jobs(service), case.deployments(service)) == (1, 0)
    assert found == expected


def ran(root: Path, case: Case, service: Any, slash: str = "") -> dict[str, Any]:
    """What a run leaves; the addresses may end in a slash."""

    def env(one: Any) -> dict[str, str]:
        return {name: value + slash if value.startswith("http") else value for name, value in case.env(one).items()}

    process = evalh(root, Case(case.name, case.emulator, case.trainer, env, case.steps, case.jobs, case.deployments), service)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 0, said.decode()
    return left(root)
