"""The hosted runners as cases for tests of whole runs: an emulator, a trainer file, and where in a run evalh can be killed.

>>> [case.name for case in CASES][:1]
['openai']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.emulators.core import Emulator
from tests.emulators.huggingface import BASE as HF_BASE
from tests.emulators.huggingface import HuggingFaceEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.together import BASE as TOGETHER_BASE
from tests.emulators.together import TogetherEmulator
from tests.emulators.vertex import VertexEmulator

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
    jobs: Callable[[Any], int]
    """How many trainings the service has."""
    deployments: Callable[[Any], int] = field(default=lambda service: 0)
    """How many deployments are open there."""


def openai_env(service: Emulator) -> dict[str, str]:
    return {"OPENAI_BASE_URL": service.url, "OPENAI_API_KEY": service.key}


def together_env(service: Emulator) -> dict[str, str]:
    return {"TOGETHER_BASE_URL": service.url, "TOGETHER_API_KEY": service.key}


def vertex_env(service: VertexEmulator) -> dict[str, str]:
    keys = {"GOOGLE_CLOUD_PROJECT": "p1", "GOOGLE_OAUTH_ACCESS_TOKEN": service.key}
    return {"GOOGLE_VERTEX_BASE_URL": service.url, "STORAGE_EMULATOR_HOST": service.storage.url, **keys}


def hf_env(service: Emulator) -> dict[str, str]:
    return {"HF_ENDPOINT": service.url, "HF_TOKEN": service.key}


def ready_together(**options: bool) -> TogetherEmulator:
    made = TogetherEmulator(**options)  # type: ignore[arg-type]
    made.deployment_states = ["READY"]
    return made


def ready_hf() -> HuggingFaceEmulator:
    made = HuggingFaceEmulator()
    made.endpoint_states = ["pending", "running"]
    return made


TOGETHER_STEPS = {
    "before intent": ("limits", "after", 1),
    "after intent": ("list_jobs", "before", 1),
    "uploading": ("upload", "after", 1),
    "before create": ("preprocess", "after", 2),
    "create sent": ("create_job", "before", 1),
    "answer lost": ("create_job", "after", 1),
    "polling": ("job", "after", 2),
    "deploying": ("create_endpoint", "before", 1),
    "deployment lost": ("create_endpoint", "after", 1),
    "scoring": ("chat", "after", 5),
    "releasing": ("delete_endpoint", "before", 1),
    "released": ("delete_endpoint", "after", 1),
}
TOGETHER = f"runner: together\nbase: {TOGETHER_BASE}\nparams: {{n_epochs: 2}}\nserve: {{where: endpoint}}\n"

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
        lambda service: len(service.jobs),
    ),
    Case(
        "together",
        lambda: ready_together(v1=False),
        TOGETHER,
        together_env,
        {**TOGETHER_STEPS, "deployment lost": ("create_deployment", "after", 1), "releasing": ("delete_deployment", "before", 1)},
        lambda service: len(service.jobs),
        lambda service: len(service.deployments) + len(service.endpoints),
    ),
    Case(
        "together v1",
        lambda: ready_together(v2=False),
        TOGETHER,
        together_env,
        {
            **TOGETHER_STEPS,
            "deploying": ("create_v1", "before", 1),
            "deployment lost": ("create_v1", "after", 1),
            "releasing": ("delete_v1", "before", 1),
            "released": ("delete_v1", "after", 1),
        },
        lambda service: len(service.jobs),
        lambda service: len(service.deployments) + len(service.endpoints),
    ),
    Case(
        "vertex",
        VertexEmulator,
        "runner: vertex\nbase: gemini-2.5-flash\nparams: {bucket: evalh-bucket, epoch_count: 2}\n",
        vertex_env,
        {
            "before intent": ("count", "after", 1),
            "after intent": ("list_jobs", "before", 1),
            "uploading": ("upload", "after", 1),
            "before create": ("upload", "after", 2),
            "create sent": ("create_job", "before", 1),
            "answer lost": ("create_job", "after", 1),
            "polling": ("job", "after", 2),
            "scoring": ("chat", "after", 5),
        },
        lambda service: len(service.jobs),
        lambda service: len(service.deployments),
    ),
    Case(
        "hf_jobs",
        ready_hf,
        f"runner: hf_jobs\nbase: {HF_BASE}\nserve: {{where: endpoint}}\n",
        hf_env,
        {
            "before intent": ("model_info", "after", 1),
            "after intent": ("list_jobs", "before", 1),
            "uploading": ("commit", "after", 1),
            "before create": ("create_repo", "after", 2),
            "create sent": ("create_job", "before", 1),
            "answer lost": ("create_job", "after", 1),
            "polling": ("job", "after", 2),
            "deploying": ("create_endpoint", "before", 1),
            "deployment lost": ("create_endpoint", "after", 1),
            "scoring": ("chat", "after", 5),
            "releasing": ("delete_endpoint", "before", 1),
            "released": ("delete_endpoint", "after", 1),
        },
        lambda service: len(service.jobs),
        lambda service: len(service.deployments),
    ),
)
