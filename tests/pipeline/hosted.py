"""The hosted runners as cases for tests of whole runs: an emulator, a trainer file, and where in a run evalh can be killed.

>>> [case.name for case in CASES][:1]
['openai']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.emulators.core import Emulator
from tests.emulators.fireworks import ACCOUNT as FIREWORKS_ACCOUNT
from tests.emulators.fireworks import BASE as FIREWORKS_BASE
from tests.emulators.fireworks import FireworksEmulator
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
    """One hosted runner; one that is served in several ways is a case for each, with the steps that differ.

    `steps` maps a step of STEPS to (route of the emulator, "before" or "after", at which call of it).
    """

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


def fireworks_env(service: FireworksEmulator) -> dict[str, str]:
    return {"FIREWORKS_API_KEY": service.key, "FIREWORKS_BASE_URL": service.url, "FIREWORKS_ACCOUNT_ID": FIREWORKS_ACCOUNT}


def ready_fireworks() -> FireworksEmulator:
    made = FireworksEmulator()
    made.deployment_states, made.adapter_states = ["READY"], ["DEPLOYED"]
    return made


def open_deployments(service: FireworksEmulator) -> list[str]:
    return [name for name, each in service.deployments.items() if each["state"] not in ("DELETED", "DELETING")]


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


def fireworks_trainer(mode: str) -> str:
    return f"runner: fireworks\nbase: {FIREWORKS_BASE}\nparams: {{epochs: 2, estimate_by: tokens}}\nserve: {{mode: {mode}}}\n"


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
            "scoring": ("chat", "after", 5),
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
    Case(
        "fireworks",
        ready_fireworks,
        fireworks_trainer("live-merge"),
        fireworks_env,
        {
            "deploying": ("create_deployment", "before", 1),
            "deployment lost": ("create_deployment", "after", 1),
            "scoring": ("chat", "after", 5),
            "releasing": ("delete_deployment", "before", 1),
            "released": ("delete_deployment", "after", 1),
        },
        lambda service: len(service.jobs),
        lambda service: len(open_deployments(service)),
    ),
    Case(
        "fireworks addon",
        ready_fireworks,
        fireworks_trainer("addon"),
        fireworks_env,
        {
            "before intent": ("model", "after", 1),
            "after intent": ("job", "before", 1),
            "uploading": ("upload", "after", 1),
            "before create": ("validate", "after", 2),
            "create sent": ("create_job", "before", 1),
            "answer lost": ("create_job", "after", 1),
            "polling": ("job", "after", 4),
            "deploying": ("create_deployment", "before", 1),
            "deployment lost": ("create_deployment", "after", 1),
            "scoring": ("chat", "after", 5),
            "releasing": ("delete_deployment", "before", 1),
            "released": ("delete_deployment", "after", 1),
        },
        lambda service: len(service.jobs),
        lambda service: len(open_deployments(service)),
    ),
)
