"""The Fireworks runner keeps the contract of all runners, in both ways of serving."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import yaml

from evalharness.errors import MissingExtra
from evalharness.ids import digest
from evalharness.models.openai_chat import ChatOptions, FireworksChat
from evalharness.prices import price
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Message, Request, Sampling, Status
from evalharness.runners.fireworks import FireworksOptions, FireworksRunner, ServeOptions
from evalharness.spec import Trainer, model_use
from tests.contracts import RunnerContract, ask
from tests.emulators.core import KEY
from tests.emulators.fireworks import BASE, FireworksEmulator
from tests.runners.test_fireworks import point_at


class TestFireworksRunner(RunnerContract):
    base = BASE
    patience_s = 60.0
    mode: Literal["live-merge", "addon"] = "live-merge"
    service: FireworksEmulator

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with FireworksEmulator() as cls.service, pytest.MonkeyPatch.context() as patch:
            point_at(cls.service, patch)
            patch.delenv("FIREWORKS_ACCOUNT_ID")  # found by asking
            yield

    def make(self) -> Runner:
        return FireworksRunner(FireworksOptions(epochs=2, serve=ServeOptions(mode=self.mode)))

    def job(self, workdir: Path, *, key: str = "k1") -> Job:
        return replace(super().job(workdir, key=key), key=digest([str(workdir), key]))

    def test_what_is_served_answers_and_nothing_is_left(self, done: tuple[Job, Handle, Status]) -> None:
        model, runner = done[2].model, self.make()
        assert model is not None
        endpoint = runner.serve(model, "s2")
        plugin, name = model_use(endpoint.model)
        assert plugin == "fireworks"
        chat = FireworksChat(ChatOptions(name=str(name)))
        (reply,) = ask(chat, [Request("o", "s", (Message("user", "Hi"),), Sampling())])
        assert (reply.text, reply.error) == (f"{model.identity['model']} heard: Hi", None)
        assert endpoint.usd_per_hour == price("fireworks", "NVIDIA_H100_80GB").usd_per_hour
        runner.release(endpoint)
        assert (self.service.deployments, self.service.adapters, self.service.gone) == ({}, {}, {})


class TestFireworksAddon(TestFireworksRunner):
    mode = "addon"


def test_the_shipped_trainer_is_one() -> None:
    trainer = Trainer.model_validate(yaml.safe_load((Path(__file__).parents[2] / "trainers" / "fireworks.yaml").read_text()))
    assert trainer.runner == "fireworks"
    options = FireworksOptions.model_validate(trainer.options)
    assert (options.epochs, options.serve.mode) == (3, "live-merge")
    assert price("fireworks", str(options.serve.accelerator_type)).usd_per_hour is not None


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    monkeypatch.setitem(sys.modules, "fireworks", None)
    with pytest.raises(MissingExtra, match=r"evalh\[fireworks\]"):
        FireworksRunner(FireworksOptions(account_id="acme")).poll(Handle("t", "j"))
