"""The LoRA runner keeps the runners' contract, and the local model wears what it trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evalharness.models.local import LocalModel, LocalOptions
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Status
from evalharness.runners.lora import LoraOptions, LoraRunner
from tests.contracts import RunnerContract

pytestmark = pytest.mark.slow


class TestLora(RunnerContract):
    patience_s = 300.0

    def make(self) -> Runner:
        return LoraRunner(LoraOptions(rank=4, epochs=4, batch_size=8, learning_rate=1e-2, device="cpu"))

    def test_the_local_model_answers_with_it(self, done: tuple[Job, Handle, Status]) -> None:
        from evalharness import embedded
        from tests.models.small import one_by_one, question, texts

        assert done[2].model is not None
        endpoint = self.make().serve(done[2].model, "k")
        assert endpoint.model == "local/embedded"
        assert endpoint.adapter is not None
        model = LocalModel(LocalOptions(name="embedded"))
        assert model.check_adapter(endpoint.adapter) is None
        plain = [question(i, head="Reply with one line.") for i in range(4)]
        worn = [replace(request, adapter=endpoint.adapter) for request in plain]
        assert texts(model, worn) == one_by_one(embedded.path(), worn) != texts(model, plain)

    def test_its_adapter_is_refused_on_another_base(self, done: tuple[Job, Handle, Status], tmp_path: Path) -> None:
        from tests import tiny

        assert done[2].model is not None
        assert done[2].model.adapter is not None
        other = LocalModel(LocalOptions(name=str(tiny.make(tmp_path / "other"))))
        assert other.check_adapter(done[2].model.adapter) == "it was trained with another chat template than the base model has now"
