"""The Vertex AI runner keeps the contract of all runners."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evalharness.errors import MissingExtra
from evalharness.ids import digest
from evalharness.models.gemini import GeminiOptions, VertexChat
from evalharness.prices import price
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Message, Request, Sampling, Status
from evalharness.runners.vertex import VertexOptions, VertexRunner
from evalharness.spec import Trainer, model_use
from tests.contracts import RunnerContract, ask
from tests.emulators.vertex import VertexEmulator
from tests.runners.test_vertex import HastyRunner, point_at


class TestVertexRunner(RunnerContract):
    base = "gemini-2.5-flash"
    patience_s = 60.0
    service: VertexEmulator

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with VertexEmulator() as cls.service, pytest.MonkeyPatch.context() as patch:
            point_at(cls.service, patch)
            yield

    def make(self) -> Runner:
        return HastyRunner(VertexOptions(bucket="evalh-bucket", epoch_count=2))

    def job(self, workdir: Path, *, key: str = "k1") -> Job:
        return replace(super().job(workdir, key=key), key=digest([str(workdir), key]))

    def test_what_was_tuned_answers(self, done: tuple[Job, Handle, Status]) -> None:
        model = done[2].model
        assert model is not None
        for name in (self.make().serve(model, "s1").model, *model.checkpoints):
            plugin, where = model_use(name)
            assert plugin == "vertex"
            asked = VertexChat(GeminiOptions(name=str(where), tuned_from=str(model.facts["base_model"])))
            (reply,) = ask(asked, [Request("o", "s", (Message("user", "Hi"),), Sampling())])
            assert reply.text == f"{name.rpartition('/')[2]} heard: Hi"
            assert reply.cost_usd == pytest.approx((1 * 0.3 + 3 * 2.5) / 1e6)


def test_the_shipped_trainer_is_one() -> None:
    trainer = Trainer.model_validate(yaml.safe_load((Path(__file__).parents[2] / "trainers" / "vertex-gemini.yaml").read_text()))
    assert trainer.runner == "vertex"
    options = VertexOptions.model_validate(trainer.options)
    assert (options.epoch_count, options.adapter_size) == (3, 4)
    assert price("vertex", trainer.base).of_training(1) is not None


@pytest.mark.parametrize("package", ["google.genai", "google.cloud.storage", "google.auth"])
def test_a_missing_package_is_said(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with VertexEmulator() as service:
        point_at(service, monkeypatch)
        monkeypatch.setitem(sys.modules, package, None)
        if "." in package:  # what `from google import genai` finds, if it was imported before
            parent, _, name = package.rpartition(".")
            monkeypatch.delattr(sys.modules[parent], name, raising=False)
        runner = VertexRunner(VertexOptions(bucket="evalh-bucket"))
        row = (Message("user", "a"), Message("assistant", "b"))
        with pytest.raises(MissingExtra, match=r"evalh\[vertex\]"):
            runner.submit(Job("t", "a" * 24, "gemini-2.5-flash", {}, 0, (row,), (), str(tmp_path)))
