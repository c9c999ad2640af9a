"""Tuned models on Inference Endpoints: opened once, found from anywhere, gone when they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from evalharness import registry
from evalharness.buying import Calls
from evalharness.errors import ProviderError, Refused
from evalharness.protocols import Model
from evalharness.records import Endpoint, Message, Reply, Request, Sampling, TrainedModel
from evalharness.runners.huggingface import HfJobsOptions, HfJobsRunner, hub
from evalharness.runners.huggingface.serving import name_of
from evalharness.spec import model_use
from tests.emulators.core import KEY, Fault
from tests.emulators.huggingface import BASE, HuggingFaceEmulator

INTENT = "0123456789abcdef01234567"
NAME = f"evalh-{INTENT}"
REPO = "tester/evalh-t1"
TUNED = TrainedModel(
    f"local/{BASE}", "adapter", {"base": BASE, "base revision": "c" * 40, "adapter": "x"}, {"repo": REPO, "revision": "d" * 40, "rank": 12}
)


class Quick(HfJobsRunner):
    """No waiting between looks."""

    looks_s = (0.0, 0.05)
    waits_s = (0.01,)
    gone_s = (0.0, 0.01, 0.01)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[HuggingFaceEmulator]:
    with HuggingFaceEmulator() as emulator:
        monkeypatch.setenv("HF_TOKEN", KEY)
        monkeypatch.setenv("HF_ENDPOINT", emulator.url)
        monkeypatch.delenv("HF_INFERENCE_ENDPOINTS_BASE_URL", raising=False)
        monkeypatch.setattr(hub, "_PAUSES_S", (0.0, 0.0))
        monkeypatch.setattr(f"{Calls.__module__}._READS_S", (0.0, 0.0))
        yield emulator
    huggingface_hub.close_session()


def runner(*, timeout_s: float = 60.0, **serve: Any) -> Quick:
    return Quick(HfJobsOptions.model_validate({"timeout_s": timeout_s, "serve": {"where": "endpoint", **serve}}))


def ask(endpoint: Endpoint, tmp_path: Path) -> Reply:
    """What the endpoint answers to one question, by the model plug-in that it names."""
    plugin, name = model_use(endpoint.model)
    found = registry.find("models", plugin)
    model: Model = found(registry.options(found, {"name": name, **endpoint.options}, tmp_path))

    async def collect() -> list[Reply]:
        return [one async for one in model.generate([Request("o1", "s1", (Message("user", "Ticket 4"),), Sampling(max_tokens=8))])]

    (reply,) = asyncio.run(collect())
    return reply


def test_opened_asked_and_released(service: HuggingFaceEmulator, tmp_path: Path) -> None:
    ours = runner()
    assert ours.hourly(TUNED) == 0.8
    assert ours.served(INTENT) is None
    endpoint = ours.serve(TUNED, INTENT)
    assert endpoint.model == f"hf/{REPO}"
    assert endpoint.resource_id == f"tester/{NAME}"
    assert endpoint.usd_per_hour == 0.8
    assert endpoint.options == {"base_url": f"{service.url}/served/{NAME}/v1"}
    assert ask(endpoint, tmp_path).text == f"{REPO} heard: Ticket 4"
    found = runner().served(INTENT)
    assert found is not None
    assert found.resource_id == endpoint.resource_id
    runner().release(Endpoint("", resource_id=endpoint.resource_id))
    assert service.deployments == {}
    assert runner().served(INTENT) is None
    ours.release(endpoint)  # gone already


def test_what_is_sent(service: HuggingFaceEmulator) -> None:
    runner(max_model_len=4096, vendor="gcp", region="us-east4", instance_type="nvidia-t4").serve(TUNED, INTENT)
    sent = service.called("create_endpoint")[0].body
    assert sent["name"] == NAME
    assert len(NAME) <= 32
    assert sent["provider"] == {"vendor": "gcp", "region": "us-east4"}
    assert sent["compute"]["instanceType"] == "nvidia-t4"
    assert (sent["model"]["repository"], sent["model"]["revision"]) == (BASE, "c" * 40)
    assert sent["model"]["image"] == {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "port": 8000}}
    assert sent["model"]["args"] == [
        *("--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"{REPO}={REPO}"),
        *("--max-model-len", "4096"),
    ]
    assert sent["type"] == "authenticated"
    assert sent["model"]["secrets"] == {"HF_TOKEN": KEY}


def test_names() -> None:
    assert name_of("S_1") == "evalh-s-1"
    assert len(name_of("f" * 64)) == 32


LOST = {
    "reset after": Fault.reset_after(),
    "500 after": replace(Fault.http(500), after=True),
    "web page after": Fault.html(after=True),
    "half an answer": Fault(cut=True),
    "hang after": Fault.hang(2.5, after=True),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_opens_one(service: HuggingFaceEmulator, fault: Fault) -> None:
    service.fail("create_endpoint", fault)
    ours = runner(timeout_s=2.0)
    endpoint = ours.serve(TUNED, INTENT)
    assert len(service.called("create_endpoint")) == len(service.deployments) == 1
    ours.release(endpoint)
    assert service.deployments == {}


NOT_MADE = {"reset before": Fault.reset_before(), "429": Fault.http(429, "slow down"), "500": Fault.http(500)}


@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE.keys())
def test_in_doubt_nothing_is_opened_twice(service: HuggingFaceEmulator, fault: Fault) -> None:
    service.fail("create_endpoint", fault)
    with pytest.raises(ProviderError, match="no clear answer"):
        runner().serve(TUNED, INTENT)
    assert len(service.called("create_endpoint")) == 1
    assert service.deployments == {}
    runner().serve(TUNED, INTENT)
    assert len(service.deployments) == 1


def test_a_clear_no_opens_nothing(service: HuggingFaceEmulator) -> None:
    service.fail("create_endpoint", Fault(402, {"error": "add a payment method"}))
    with pytest.raises(Refused, match="add a payment method"):
        runner().serve(TUNED, INTENT)
    assert service.deployments == {}


def test_what_another_process_opened_is_adopted(service: HuggingFaceEmulator) -> None:
    first = runner().serve(TUNED, INTENT)
    assert runner().serve(TUNED, INTENT) == first
    assert len(service.called("create_endpoint")) == 1


@pytest.mark.parametrize("state", ["scaledToZero", "paused"])
def test_one_that_sleeps_is_woken(service: HuggingFaceEmulator, state: str) -> None:
    first = runner().serve(TUNED, INTENT)
    service.deployments[NAME]["status"].update(state=state, url=None)
    assert runner().serve(TUNED, INTENT) == first
    assert len(service.called("resume")) == 1


@pytest.mark.parametrize("state", ["failed", "updateFailed"])
def test_one_that_fails_is_deleted_and_told(service: HuggingFaceEmulator, state: str) -> None:
    service.endpoint_states = ["pending", state]
    with pytest.raises(ProviderError, match=r"failed to start and was deleted: (no capacity in us-east-1|it gives no reason)"):
        runner().serve(TUNED, INTENT)
    assert service.deployments == {}


def test_one_that_takes_too_long_is_deleted(service: HuggingFaceEmulator) -> None:
    service.endpoint_states = ["pending", "initializing"]
    with pytest.raises(ProviderError, match=r"did not start within 0.05 s \(it was initializing\)"):
        runner(ready_timeout_s=0.05).serve(TUNED, INTENT)
    assert service.deployments == {}


def test_one_that_is_released_while_it_starts_is_told(service: HuggingFaceEmulator) -> None:
    late = Fault(404, {"error": "not yet"})
    service.fail("endpoint", *[late] * 3)
    assert runner().serve(TUNED, "f" * 24).resource_id == f"tester/evalh-{'f' * 24}"
    service.fail("endpoint", *[late] * 4)
    with pytest.raises(ProviderError, match="was deleted while it started"):
        runner().serve(TUNED, INTENT)


def test_unknown_states_are_waited_for(service: HuggingFaceEmulator) -> None:
    service.endpoint_states = ["pending", "warming", "running"]
    assert runner().serve(TUNED, INTENT).resource_id == f"tester/{NAME}"


@pytest.mark.parametrize(
    "fault", [Fault.reset_after(), Fault.reset_before(), Fault.http(503), Fault.html()], ids=["after", "before", "503", "page"]
)
def test_a_release_in_doubt_is_made_certain(service: HuggingFaceEmulator, fault: Fault) -> None:
    endpoint = runner().serve(TUNED, INTENT)
    service.fail("delete_endpoint", fault)
    runner().release(endpoint)
    assert service.deployments == {}


def test_one_that_does_not_go_is_told(service: HuggingFaceEmulator) -> None:
    endpoint = runner().serve(TUNED, INTENT)
    service.fail("delete_endpoint", *[Fault(200, {})] * 3)
    with pytest.raises(ProviderError, match="it may still run"):
        runner().release(endpoint)
    service.fail("delete_endpoint", *[Fault.http(500)] * 3)
    with pytest.raises(ProviderError, match="HTTP 500"):
        runner().release(endpoint)
    assert len(service.deployments) == 1


def test_prices_may_be_your_own_or_unknown(service: HuggingFaceEmulator) -> None:
    assert runner(usd_per_hour=0.5).hourly(TUNED) == 0.5
    assert runner(instance_size="x9").hourly(TUNED) is None
    service.lists_machines = False
    assert runner().hourly(TUNED) is None


def test_where_the_api_is(service: HuggingFaceEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runner()._endpoints.url == f"{service.url}/v2"
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.com")
    assert runner()._endpoints.url is None
    monkeypatch.setenv("HF_INFERENCE_ENDPOINTS_BASE_URL", "https://endpoints.example.com/v2/")
    assert runner()._endpoints.url == "https://endpoints.example.com/v2"
    assert runner(base_url="http://x/v2").options.serve.base_url == runner(base_url="http://x/v2")._endpoints.url


def test_what_only_matters_here_is_served_here(service: HuggingFaceEmulator) -> None:
    here = Quick(HfJobsOptions())
    assert here.serve(TUNED, INTENT).resource_id is None
    assert here.served(INTENT) is None
    assert service.calls == []


@pytest.mark.parametrize("other", [{"repository": "acme/else"}, {"args": ["--port", "80"]}])
def test_an_endpoint_of_somebody_elses_is_neither_asked_nor_deleted(service: HuggingFaceEmulator, other: dict[str, Any]) -> None:
    runner().serve(TUNED, INTENT)
    service.deployments[NAME]["model"] |= other
    ours = runner()
    with pytest.raises(ProviderError, match="not evalh's"):
        ours.serve(TUNED, INTENT)
    assert ours.served(INTENT) is None
    assert list(service.deployments) == [NAME]
