"""The hosted runners as cases for tests of whole runs: an emulator, a trainer file, and where in a run evalh can be killed.

>>> [case.name for case in CASES][:1]
['openai']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.emulators.core import Emulator
from tests.emulators.openai import OpenAIEmulator

STEPS = (
    "before intent",
    "after intent",
    "uploading",
    "before create",
    "create sent",
    "answer lost",
    "polling",
    "deploying",
    "deployment lost",
    "scoring",
    "releasing",
    "released",
)


@dataclass(frozen=True)
class Case:
    """One hosted runner. `steps` maps a step of STEPS to (route of the emulator, "before" or "after", at which call of it)."""

    name: str
    emulator: Callable[[], Any]
    trainer: str
    env: Callable[[Any], Mapping[str, str]]
    steps: Mapping[str, tuple[str, str, int]]
    creates: tuple[str, ...]
    """Routes whose every call buys something: one of each in a whole run."""
    jobs: Callable[[Any], int]
    """How many trainings the service has."""
    deployments: Callable[[Any], int] = field(default=lambda service: 0)
    """How many deployments are open there."""


def openai_env(service: Emulator) -> dict[str, str]:
    return {"OPENAI_BASE_URL": service.url, "OPENAI_API_KEY": service.key}


CASES = (
    Case(
        "openai",
        OpenAIEmulator,
        "runner: openai\nbase: gpt-4.1-mini\nparams: {n_epochs: 2}\n",
        openai_env,
        {
            "before intent": ("model", "after", 1),
            "after intent": ("list_jobs", "before", 1),
            "uploading": ("upload", "after", 1),
            "before create": ("upload", "after", 2),
            "create sent": ("create_job", "before", 1),
            "answer lost": ("create_job", "after", 1),
            "polling": ("job", "after", 2),
            "scoring": ("chat", "after", 5),
        },
        ("create_job",),
        lambda service: len(service.jobs),
    ),
)
