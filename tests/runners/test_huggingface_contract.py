"""The Hugging Face runner keeps the contract of all runners, served here and on an endpoint; its shipped trainer is one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pytest
import yaml

from evalharness import registry
from evalharness.errors import MissingExtra
from evalharness.ids import digest
from evalharness.protocols import Runner
from evalharness.records import Handle, Job
from evalharness.runners.huggingface import AutoTrainRunner, HfJobsOptions, HfJobsRunner
from evalharness.spec import Trainer
from tests.contracts import RunnerContract
from tests.emulators.core import KEY
from tests.emulators.huggingface import BASE, HuggingFaceEmulator


class Quick(HfJobsRunner):
    """No waiting between looks."""

    waits_s = (0.01,)
    gone_s = (0.0, 0.01)


class TestHfJobsRunner(RunnerContract):
    base = BASE
    patience_s = 60.0
    service: HuggingFaceEmulator
    where: ClassVar[str] = "local"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with HuggingFaceEmulator() as cls.service, pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_TOKEN", KEY)
            patch.delenv("HF_INFERENCE_ENDPOINTS_BASE_URL", raising=False)
            yield
        huggingface_hub.close_session()
        assert cls.service.deployments == {}

    def make(self) -> Runner:
        return Quick(HfJobsOptions.model_validate({"base_url": self.service.url, "serve": {"where": self.where}}))

    def job(self, workdir: Path, *, key: str = "k1") -> Job:
        return replace(super().job(workdir), key=digest([str(workdir), key]))


class TestHfEndpoints(TestHfJobsRunner):
    where = "endpoint"


def test_the_shipped_trainer_is_one() -> None:
    trainer = Trainer.model_validate(yaml.safe_load((Path(__file__).parents[2] / "trainers" / "hf-jobs.yaml").read_text()))
    assert registry.find("runners", trainer.runner) is HfJobsRunner
    options = HfJobsOptions.model_validate(trainer.options)
    assert (options.flavor, options.timeout, options.serve.where) == ("a10g-small", "2h", "local")


def test_autotrain_is_registered() -> None:
    assert registry.find("runners", "autotrain") is AutoTrainRunner


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"evalh\[hf\]"):
        HfJobsRunner(HfJobsOptions()).poll(Handle("t", "me/1#/tmp/x"))
