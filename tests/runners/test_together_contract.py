"""The Together runner keeps the contract of all runners, by both endpoint APIs, and what it serves answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from evalharness.errors import MissingExtra
from evalharness.ids import digest
from evalharness.models.openai_chat import ChatOptions, TogetherChat
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Message, Request, Sampling, Status
from evalharness.runners.together import TogetherOptions, TogetherRunner
from evalharness.spec import Trainer, model_use
from tests.contracts import RunnerContract, ask
from tests.emulators.core import KEY
from tests.emulators.together import BASE, TogetherEmulator
from tests.runners.test_together import HastyRunner


class TestTogetherRunner(RunnerContract):
    base = BASE
    patience_s = 60.0
    service: TogetherEmulator
    has: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with TogetherEmulator(**cls.has) as cls.service, pytest.MonkeyPatch.context() as patch:
            patch.setenv("TOGETHER_API_KEY", KEY)
            patch.setenv("TOGETHER_BASE_URL", cls.service.url)
            yield
            assert cls.service.deployments == {}
            assert cls.service.endpoints == {}

    def make(self) -> Runner:
        return HastyRunner(TogetherOptions(n_epochs=2, lora_r=8))

    def job(self, workdir: Path, *, key: str = "k1") -> Job:
        return replace(super().job(workdir, key=key), key=digest([str(workdir), key]))

    def test_what_is_served_answers(self, done: tuple[Job, Handle, Status]) -> None:
        runner, model = self.make(), done[2].model
        assert model is not None
        for served in (model, *(replace(model, model=name) for name in model.checkpoints)):
            endpoint = runner.serve(served, "s2")
            plugin, name = model_use(endpoint.model)
            assert plugin == "together"
            chat = TogetherChat(ChatOptions.model_validate({"name": name, **endpoint.options}))
            (reply,) = ask(chat, [Request("o", "s", (Message("user", "Hi"),), Sampling())])
            assert reply.text == f"{name} heard: Hi"
            runner.release(endpoint)


class TestTogetherRunnerWithoutV2(TestTogetherRunner):
    """The same by v1 endpoints, where the service has no v2."""

    has: ClassVar[dict[str, Any]] = {"v2": False}


def test_the_shipped_trainer_is_one() -> None:
    trainer = Trainer.model_validate(yaml.safe_load((Path(__file__).parents[2] / "trainers" / "together-llama.yaml").read_text()))
    assert trainer.runner == "together"
    options = TogetherOptions.model_validate(trainer.options)
    assert (options.n_epochs, options.lora_r, options.serve.where) == (3, 16, "local")


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_chat_takes_both_forms_of_the_address(ending: str) -> None:
    assert TogetherChat(ChatOptions(name="m", base_url=f"http://h:1{ending}")).base_url == "http://h:1/v1"


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    monkeypatch.setitem(sys.modules, "together", None)
    with pytest.raises(MissingExtra, match=r"evalh\[together\]"):
        TogetherRunner(TogetherOptions()).poll(Handle("t", "ft-1"))
