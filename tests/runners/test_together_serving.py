"""What the Together runner serves: opened once by v2 or v1 endpoints, found from any process, released always; or answered here."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalharness import registry
from evalharness.buying import Calls
from evalharness.errors import ProviderError, Refused
from evalharness.models.local import LocalModel, LocalOptions
from evalharness.pipeline.entries import endpoint_model
from evalharness.records import Endpoint, Handle, Message, Request, Sampling, TrainedModel
from evalharness.runners.together import TogetherOptions, adapter, serving
from tests.contracts import ask
from tests.emulators.core import KEY, Fault
from tests.emulators.together import BASE, PROJECT, TogetherEmulator, packed, refusal, safetensors
from tests.runners.test_together import CERTIFICATES, LOST, NOT_MADE, REFUSED, HastyRunner, StrictRunner

NAME = "team/base-8b-tuned-a1b2c3d4e5f6-0001"
KEY_1 = "0123456789abcdef01234567"
MODEL = TrainedModel(
    f"together/{NAME}", None, {"provider": "together", "model": NAME},
    {"job": "ft-0001", "base": BASE, "model_object": "ml_0001", "model_revision": "rv_1"},
)  # fmt: skip


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpx._transports.default.create_ssl_context", lambda *args, **options: CERTIFICATES, raising=False)
    monkeypatch.setitem(Calls.read.__globals__, "_READS_S", (0.0, 0.0))
    monkeypatch.delenv("TOGETHER_PROJECT_ID", raising=False)


@pytest.fixture(params=["v2", "v1"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[TogetherEmulator]:
    """A service with v2 endpoints, and one with v1 endpoints alone."""
    with TogetherEmulator(v2=request.param == "v2") as emulator:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", emulator.url)
        yield emulator


@pytest.fixture
def v2(monkeypatch: pytest.MonkeyPatch) -> Iterator[TogetherEmulator]:
    with TogetherEmulator() as emulator:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", emulator.url)
        yield emulator


def runner(**serve: Any) -> StrictRunner:
    return StrictRunner(TogetherOptions.model_validate({"serve": serve}))


def hasty_runner(timeout_s: float = 60.0, **serve: Any) -> HastyRunner:
    return HastyRunner(TogetherOptions.model_validate({"serve": serve, "timeout_s": timeout_s}))


def creates(service: TogetherEmulator) -> list[str]:
    """The routes that buy hardware, of this service."""
    return ["create_endpoint", "create_deployment"] if service.v2 else ["create_v1"]


def test_opened_once_found_anywhere_released_always(service: TogetherEmulator) -> None:
    endpoint = runner().serve(MODEL, KEY_1)
    assert endpoint.model == ("together/team/evalh-" + KEY_1 if service.v2 else f"together/team/{NAME}-0001")
    assert endpoint.usd_per_hour == 3.99
    assert endpoint.model.removeprefix("together/") in service.ready()
    assert runner().serve(MODEL, KEY_1) == endpoint
    assert runner().served(KEY_1) == endpoint
    assert runner().served("f" * 24) is None
    assert [len(service.called(route)) for route in creates(service)] == [1] * len(creates(service))
    runner().release(Endpoint("", resource_id=endpoint.resource_id))
    assert (service.endpoints, service.deployments) == ({}, {})
    assert runner().served(KEY_1) is None
    runner().release(endpoint)  # gone already: no error


def test_what_is_asked_for_by_v2(v2: TogetherEmulator) -> None:
    runner(hardware="1xh200-141gb", max_replicas=2, inactive_timeout=45).serve(MODEL, KEY_1)
    assert v2.called("create_endpoint")[0].body == {"name": f"evalh-{KEY_1}"}
    assert v2.called("create_deployment")[0].body == {
        "name": f"evalh-{KEY_1}",
        "model": f"projects/{PROJECT}/models/ml_0001/revisions/rv_1",
        "config": "projects/proj_public/configs/cr_1xnvidia-h200-141gb",
        "autoscaling": {"minReplicas": 1, "maxReplicas": 2},
        "inactiveTimeout": 45,
    }
    (split,) = [call for call in v2.called("update_endpoint") if call.body["trafficSplit"]]
    assert split.body["trafficSplit"] == [{"deploymentId": "dep_0001", "weight": 1.0}]
    assert runner(hardware="1xh200-141gb", max_replicas=2).served(KEY_1).usd_per_hour == 10.98  # type: ignore[union-attr]


def test_what_is_asked_for_by_v1(v2: TogetherEmulator) -> None:
    endpoint = runner(api="v1", max_replicas=2).serve(MODEL, KEY_1)  # a service may have both
    assert v2.called("create_v1")[0].body == {
        "display_name": f"evalh-{KEY_1}",
        "model": NAME,
        "hardware": "1x_nvidia_h100_80gb_sxm",  # the cheapest that is free
        "autoscaling": {"min_replicas": 1, "max_replicas": 2},
        "inactive_timeout": 30,
    }
    assert endpoint.usd_per_hour == pytest.approx(7.98)
    assert runner().served(KEY_1) is not None
    assert runner().serve(MODEL, KEY_1).resource_id == endpoint.resource_id  # adopted, whichever API it is of
    assert v2.endpoints == {}
    with pytest.raises(ProviderError, match="may still run"):
        runner(api="v2").release(endpoint)
    runner().release(endpoint)
    assert v2.deployments == {}


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_opens_once(service: TogetherEmulator, fault: Fault, which: int) -> None:
    route = creates(service)[min(which, len(creates(service)) - 1)]
    service.fail(route, fault)
    endpoint = hasty_runner(timeout_s=1.0).serve(MODEL, KEY_1)
    assert [len(service.called(each)) for each in creates(service)] == [1] * len(creates(service))
    assert len(service.deployments) == 1
    runner().release(endpoint)
    assert (service.endpoints, service.deployments) == ({}, {})


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("fault", [*NOT_MADE.values(), *REFUSED.values()], ids=[*NOT_MADE, *REFUSED])
def test_what_was_not_opened_is_not_opened_twice(service: TogetherEmulator, fault: Fault, which: int) -> None:
    route = creates(service)[min(which, len(creates(service)) - 1)]
    service.fail(route, fault)
    with pytest.raises(ProviderError) as caught:
        runner().serve(MODEL, KEY_1)
    assert isinstance(caught.value, Refused) is (fault in REFUSED.values())
    assert len(service.called(route)) == 1
    assert service.deployments == {}
    if left := runner().served(KEY_1):  # the endpoint above the deployment that was not made; it costs nothing
        runner().release(left)
    assert service.endpoints == {}
    runner().serve(MODEL, KEY_1)
    assert len(service.deployments) == 1


def test_half_of_it_is_completed(v2: TogetherEmulator) -> None:
    v2.fail("create_deployment", Fault.http(500))
    with pytest.raises(ProviderError, match="no clear answer"):
        runner().serve(MODEL, KEY_1)
    v2.fail("update_endpoint", *[Fault.http(400, "not now")])
    with pytest.raises(ProviderError, match="not now"):
        runner().serve(MODEL, KEY_1)
    assert runner().serve(MODEL, KEY_1).model == f"together/team/evalh-{KEY_1}"
    assert (len(v2.endpoints), len(v2.deployments)) == (1, 1)


def test_without_a_traffic_split_the_deployment_is_asked_by_name(v2: TogetherEmulator) -> None:
    v2.fail("update_endpoint", Fault.http(404))
    endpoint = runner().serve(MODEL, KEY_1)
    assert endpoint.model == f"together/team/evalh-{KEY_1}/evalh-{KEY_1}"
    assert endpoint.model.removeprefix("together/") in v2.ready()


def test_a_service_without_a_list_of_deployments_says_them_with_the_endpoint(v2: TogetherEmulator) -> None:
    v2.fail("list_deployments", Fault.http(404))
    endpoint = hasty_runner().serve(MODEL, KEY_1)
    assert len(v2.deployments) == 1
    v2.endpoints["ep_0001"]["deployments"] = [{"id": "dep_0001"}]
    v2.fail("list_deployments", *[Fault.http(404)] * 3)
    hasty_runner().release(endpoint)
    assert (v2.endpoints, v2.deployments) == ({}, {})


@pytest.mark.parametrize("routed", [True, False])
def test_lists_that_follow_with_a_delay_lose_no_deployment(v2: TogetherEmulator, routed: bool) -> None:
    v2.late_lists = 20
    if not routed:  # nothing at all names the deployment but the answer that made it, and even it is not known at once
        v2.fail("update_endpoint", *[Fault.http(404)] * 9)
        v2.fail("deployment", Fault.http(404, "not yet"))
    endpoint = runner().serve(MODEL, KEY_1)
    assert len(v2.called("create_deployment")) == 1
    assert endpoint.model.removeprefix("together/") in v2.ready()
    v2.late_lists = 0
    assert runner().served(KEY_1) is not None
    v2.late_lists = 3  # now they still name what is gone
    runner().release(endpoint)
    assert (v2.endpoints, v2.deployments) == ({}, {})


def test_what_was_opened_here_is_found_before_it_is_listed(service: TogetherEmulator) -> None:
    service.late_lists = 100
    one = runner()
    endpoint = one.serve(MODEL, KEY_1)
    assert one.served(KEY_1) == endpoint
    service.late_lists = 0
    one.release(endpoint)
    assert one.served(KEY_1) is None
    assert (service.endpoints, service.deployments) == ({}, {})


def test_an_endpoint_above_a_refused_deployment_is_found_before_it_is_listed(v2: TogetherEmulator) -> None:
    v2.late_lists = 100
    v2.fail("create_deployment", Fault.http(402, "pay first"))
    one = runner()
    with pytest.raises(Refused, match="pay first"):
        one.serve(MODEL, KEY_1)
    left = one.served(KEY_1)
    assert left is not None
    one.release(left)
    assert v2.endpoints == {}


def test_a_deployment_that_somebody_deletes_is_told(v2: TogetherEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalharness.runners.together.v2.LATE_S", 0.0)

    def watch(route: str, when: str) -> None:
        if route == "deployment" and when == "before":
            v2.deployments.clear()

    v2.watch = watch
    with pytest.raises(ProviderError, match="its deployment is gone"):
        runner().serve(MODEL, KEY_1)
    assert v2.endpoints == {}


@pytest.mark.parametrize("status", [403, 410, 501])
def test_an_older_api_that_is_closed_is_in_nobodys_way(v2: TogetherEmulator, status: int) -> None:
    closed = Fault.http(status, "v1 has ended", x_should_retry="false")
    v2.fail("list_v1", *[closed] * 9)
    endpoint = runner().serve(MODEL, KEY_1)
    assert str(endpoint.resource_id).startswith("projects/")
    runner().release(endpoint)
    assert runner().served(KEY_1) is None
    assert (v2.endpoints, v2.deployments) == ({}, {})


def test_a_project_that_is_not_for_this_key_is_told(v2: TogetherEmulator) -> None:
    v2.fail("list_endpoints", Fault.http(403, "not your project"))
    with pytest.raises(ProviderError, match="not your project"):
        runner().serve(MODEL, KEY_1)
    assert v2.deployments == {}


def test_v1_is_not_tried_beside_an_open_v2_endpoint(v2: TogetherEmulator) -> None:
    v2.fail("list_deployments", Fault.http(404))
    v2.fail("endpoint", Fault.http(404))
    with pytest.raises(ProviderError):
        runner().serve(MODEL, KEY_1)
    assert v2.called("create_v1") == []


def test_found_on_a_later_page(v2: TogetherEmulator) -> None:
    made = [runner().serve(MODEL, f"{number:024d}") for number in range(4)]
    assert runner().served(f"{3:024d}") == made[3]
    for endpoint in made:
        runner().release(endpoint)
    assert v2.deployments == {}


def test_one_that_fails_is_released_and_told(service: TogetherEmulator) -> None:
    service.deployment_states = ["PROVISIONING", "FAILED"]
    with pytest.raises(ProviderError, match=r"did not start, and is released: (failed: no hardware is free|error)"):
        runner().serve(MODEL, KEY_1)
    assert (service.endpoints, service.deployments) == ({}, {})


def test_one_that_takes_too_long_is_released(service: TogetherEmulator) -> None:
    service.deployment_states = ["PROVISIONING"]
    with pytest.raises(ProviderError, match=r"released: it is still (provisioning|pending)"):
        runner(ready_timeout_s=0.1).serve(MODEL, KEY_1)
    assert (service.endpoints, service.deployments) == ({}, {})


def test_one_that_stopped_by_itself_is_started_again_once(service: TogetherEmulator) -> None:
    runner().serve(MODEL, KEY_1)
    (mine,) = service.deployments.values()
    mine["_going"] = False
    service.set_state(mine, "STOPPED")
    assert runner().serve(MODEL, KEY_1).model.removeprefix("together/") in service.ready()
    service.deployment_states = ["STOPPED"]
    with pytest.raises(ProviderError, match="released: it is still stopped"):
        runner().serve(MODEL, KEY_1)
    assert service.deployments == {}


def test_states_that_nobody_knows_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    for v2 in (True, False):
        with TogetherEmulator(v2=v2, checked=False) as strange:  # the description knows no such state, so it cannot check this one
            strange.deployment_states = ["PROVISIONING", "DREAMING", "READY"]
            monkeypatch.setenv("TOGETHER_BASE_URL", strange.url)
            endpoint = hasty_runner().serve(MODEL, KEY_1)
            hasty_runner().release(endpoint)
            assert strange.deployments == {}


def test_some_replicas_are_enough(v2: TogetherEmulator) -> None:
    runner().serve(MODEL, KEY_1)
    (mine,) = v2.deployments.values()
    mine["_going"] = False
    mine["status"] = {"state": "DEPLOYMENT_STATE_DEGRADED", "message": "1 of 2", "readyReplicas": 1}
    assert runner().serve(MODEL, KEY_1).resource_id is not None


def test_release_survives_what_passes(service: TogetherEmulator) -> None:
    endpoint = hasty_runner().serve(MODEL, KEY_1)
    for route in ("delete_endpoint", "delete_deployment", "update_deployment") if service.v2 else ("delete_v1",):
        service.fail(route, Fault.http(409, "it is busy", retry_after="0.01"), Fault.http(500, retry_after="0.01"), Fault.html())
    hasty_runner().release(endpoint)
    assert (service.endpoints, service.deployments) == ({}, {})


def test_a_release_whose_answers_are_lost_is_done(service: TogetherEmulator) -> None:
    endpoint = hasty_runner().serve(MODEL, KEY_1)
    service.fail("delete_deployment" if service.v2 else "delete_v1", Fault.reset_after())
    service.fail("delete_endpoint", Fault.reset_after())
    hasty_runner().release(endpoint)
    assert (service.endpoints, service.deployments) == ({}, {})


def test_a_release_that_is_not_certain_is_told(service: TogetherEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RELEASE_S", 0.1)
    endpoint = runner().serve(MODEL, KEY_1)

    for route in ("delete_deployment", "delete_v1"):
        service.fail(route, *[Fault.http(409, "it cannot be deleted now", retry_after="0.01")] * 99)
    with pytest.raises(ProviderError, match=r"may still run and cost money: .*cannot be deleted now"):
        runner().release(endpoint)
    assert len(service.deployments) == 1
    assert runner().served(KEY_1) is not None


@pytest.mark.parametrize("route", ["endpoint", "delete_endpoint", "delete_v1", "v1"])
def test_one_404_is_no_proof_that_it_is_gone(service: TogetherEmulator, route: str) -> None:
    endpoint = runner().serve(MODEL, KEY_1)
    service.fail(route, Fault.http(404, "not found, this time"))
    runner().release(endpoint)
    assert (service.endpoints, service.deployments) == ({}, {})


def test_waiting_ends_when_another_releases_it(service: TogetherEmulator) -> None:
    service.deployment_states = ["PROVISIONING"]
    looks = itertools.count()

    def watch(route: str, when: str) -> None:
        if route in ("deployment", "v1") and when == "before" and next(looks) == 3:
            service.deployments.clear()
            service.endpoints.clear()
            raise refusal(404, "it is gone")

    service.watch = watch
    with pytest.raises(ProviderError, match=r"it is gone|There is no"):
        runner().serve(MODEL, KEY_1)


def test_a_list_that_cannot_be_read_is_no_empty_list(service: TogetherEmulator) -> None:
    runner().serve(MODEL, KEY_1)
    route = "list_endpoints" if service.v2 else "list_v1"
    service.fail(route, *[Fault.html()] * 3)
    with pytest.raises(ProviderError, match="cannot be read"):
        hasty_runner().served(KEY_1)
    service.fail(route, *[Fault.html()] * 3)
    with pytest.raises(ProviderError, match="cannot be read"):
        hasty_runner().serve(MODEL, KEY_1)
    assert len(service.deployments) == 1


def test_what_an_hour_costs_is_known_before(service: TogetherEmulator) -> None:
    assert runner().hourly(MODEL) == 3.99
    assert runner(max_replicas=3).hourly(MODEL) == pytest.approx(11.97)
    dear = "1xnvidia-h200-141gb" if service.v2 else "2x_nvidia_h100_80gb_sxm"
    assert runner(hardware=dear).hourly(MODEL) == pytest.approx(5.49 if service.v2 else 7.98)
    own = TogetherOptions.model_validate({"prices": {"usd_per_hour": 2.0}, "serve": {"max_replicas": 2}})
    assert StrictRunner(own).hourly(MODEL) == 4.0
    assert StrictRunner(own).serve(MODEL, KEY_1).usd_per_hour == 4.0
    assert runner(where="serverless").hourly(MODEL) == 0.0
    assert runner(where="local").hourly(MODEL) == 0.0
    assert len(service.deployments) == 1  # asking opened nothing


def test_a_model_that_nobody_trained_yet_has_no_price_and_no_error(service: TogetherEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    untrained = TrainedModel(BASE, None, {})
    assert runner().hourly(untrained) == (None if service.v2 else 3.99)
    service.fail("list_endpoints", Fault.http(403))
    service.fail("list_v1", Fault.http(403))
    assert runner().hourly(MODEL) is None
    monkeypatch.delenv("TOGETHER_API_KEY")
    assert runner().hourly(MODEL) is None


def test_hardware_that_does_not_fit_is_told_before_anything_is_opened(v2: TogetherEmulator) -> None:
    with pytest.raises(ProviderError, match=r"served on serve.hardware '1xtpu'; it can on 1xnvidia-h100-80gb, 1xnvidia-h200"):
        runner(hardware="1xtpu").serve(MODEL, KEY_1)
    assert v2.endpoints == {}
    v2.fail("hardware", *[Fault(200, {"object": "list", "data": []})] * 2)
    with pytest.raises(ProviderError, match="no free hardware"):
        runner(api="v1").serve(MODEL, KEY_1)


def test_a_service_without_configs_or_prices_serves_all_the_same(v2: TogetherEmulator) -> None:
    v2.fail("model_object", Fault.http(404))
    v2.fail("configs", Fault.http(404))
    v2.fail("instance_types", Fault.http(404))
    endpoint = runner().serve(replace(MODEL, facts={}), KEY_1)
    body = v2.called("create_deployment")[0].body
    assert body["model"] == NAME  # the job said no object, and the project lists no models: the name must do
    assert "config" not in body
    assert endpoint.usd_per_hour is None


def test_a_config_may_be_chosen(v2: TogetherEmulator) -> None:
    runner(config="projects/p/configs/cr_1").serve(MODEL, KEY_1)
    assert v2.called("create_deployment")[0].body["config"] == "projects/p/configs/cr_1"
    assert v2.called("configs") == []


def test_a_checkpoint_is_served_by_its_own_object(v2: TogetherEmulator) -> None:
    v2.jobs["ft-0001"] = {"id": "ft-0001", "status": "completed"}
    checkpoint = replace(MODEL, model=f"together/{NAME}:3", identity={**MODEL.identity, "checkpoint": f"together/{NAME}:3"})
    runner().serve(checkpoint, KEY_1)
    assert v2.called("create_deployment")[0].body["model"] == f"projects/{PROJECT}/models/ml_0001s3"


def test_whose_project_it_is(v2: TogetherEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def resource(**serve: Any) -> str:
        endpoint = runner(**serve).serve(MODEL, KEY_1)
        runner().release(endpoint)
        return str(endpoint.resource_id).split("/")[1]

    assert resource() == PROJECT
    assert resource(project_id="proj_mine") == "proj_mine"
    monkeypatch.setenv("TOGETHER_PROJECT_ID", "proj_env")
    assert resource() == "proj_env"


def test_a_key_of_several_projects_must_choose(v2: TogetherEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    projects = [{"id": f"p{n}", "name": "n", "organization_id": "o", "organization_name": "o", "slug": "s"} for n in range(2)]
    v2.fail("whoami", Fault.http(404))
    at = runner(api="v2")
    monkeypatch.setattr(type(at._service.sdk), "projects", property(lambda sdk: _Projects(projects)))
    with pytest.raises(ProviderError, match="for 2 projects"):
        at.served(KEY_1)
    v2.fail("whoami", Fault.http(404))
    projects.pop()
    assert runner(api="v2").served(KEY_1) is None
    v2.fail("whoami", Fault.http(404))
    projects.pop()
    with pytest.raises(ProviderError, match="names no project"):
        runner(api="v2").served(KEY_1)


class _Projects:
    """The projects of a key, as the SDK lists them."""

    def __init__(self, known: list[dict[str, Any]]) -> None:
        self.known = known

    def list(self) -> dict[str, Any]:
        return {"data": self.known}


def test_a_service_without_endpoints_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    with TogetherEmulator(v1=False, v2=False) as bare:
        monkeypatch.setenv("TOGETHER_BASE_URL", bare.url)
        with pytest.raises(ProviderError, match="lists no endpoints"):
            runner().serve(MODEL, KEY_1)
        with pytest.raises(ProviderError, match="lists no endpoints"):
            runner().served(KEY_1)


def test_options_travel_to_the_model(v2: TogetherEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    ours = HastyRunner(TogetherOptions(base_url=v2.url, api_key_env="OTHER_KEY"))
    endpoint = ours.serve(MODEL, KEY_1)
    assert endpoint.options == {"api_key_env": "OTHER_KEY", "base_url": f"{v2.url}/v1"}
    monkeypatch.delenv("TOGETHER_BASE_URL")
    monkeypatch.delenv("TOGETHER_API_KEY")
    _, model = endpoint_model(endpoint, Path())
    (reply,) = ask(model, [Request("o", "s", (Message("user", "Hi"),), Sampling())])
    assert reply.text == f"team/evalh-{KEY_1} heard: Hi"
    ours.release(endpoint)


def test_serverless_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    with TogetherEmulator(serverless=True) as service:
        monkeypatch.setenv("TOGETHER_BASE_URL", service.url)
        service.jobs["ft-0001"] = {"model_output_name": NAME}
        ours = runner(where="serverless")
        endpoint = ours.serve(MODEL, KEY_1)
        assert (endpoint.model, endpoint.resource_id) == (f"together/{NAME}", None)
        assert ours.served(KEY_1) is None
        _, model = endpoint_model(endpoint, Path())
        (reply,) = ask(model, [Request("o", "s", (Message("user", "Hi"),), Sampling())])
        assert reply.text == f"{NAME} heard: Hi"
        ours.release(endpoint)
        assert [call.route for call in service.calls] == ["chat"]


# The adapter on this machine

CONFIG = b'{"peft_type": "LORA", "base_model_name_or_path": "embedded", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"]}'
WEIGHTS = safetensors({"a.lora_A.weight": ([1, 2], bytes(8)), "a.lora_B.weight": ([2, 1], bytes(8))})
FILES = {"out/adapter_config.json": CONFIG, "out/adapter_model.safetensors": WEIGHTS, "out/optimizer.pt": b"no"}


@pytest.mark.parametrize("kind", ["tar.zst", "tar.gz", "tar", "zip"])
def test_the_adapter_is_downloaded_and_answers_here(v2: TogetherEmulator, tmp_path: Path, kind: str) -> None:
    v2.jobs["ft-0001"] = {"id": "ft-0001", "status": "completed"}
    v2.archive = packed(FILES, kind)
    ours = runner(where="local", folder=str(tmp_path / "adapters"))
    endpoint = ours.serve(MODEL, KEY_1)
    folder = tmp_path / "adapters" / "ft-0001"
    assert endpoint == Endpoint("local/embedded", adapter=str(folder), usd_per_hour=0.0)
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (folder / "adapter_model.safetensors").read_bytes() == WEIGHTS
    assert LocalModel(LocalOptions(name="embedded")).check_adapter(str(folder)) is None
    ours.serve(MODEL, KEY_1)
    assert len(v2.called("download")) == 1
    assert v2.called("download")[0].path.endswith("?ft_id=ft-0001&checkpoint=adapter")
    assert runner(where="local", base="other/base", folder=str(tmp_path / "adapters")).serve(MODEL, KEY_1).model == "local/other/base"
    assert ours.served(KEY_1) is None
    ours.release(endpoint)
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["ft-0001"]  # nothing half-done is left


@pytest.mark.slow
def test_a_downloaded_adapter_changes_what_the_base_answers(v2: TogetherEmulator, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    numbers = struct.pack("<192f", *(math.sin(number) for number in range(192)))
    name = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    tensors = {name.format(layer, "A"): ([1, 192], numbers) for layer in range(4)}
    tensors |= {name.format(layer, "B"): ([192, 1], numbers) for layer in range(4)}
    v2.jobs["ft-0001"] = {"id": "ft-0001", "status": "completed"}
    v2.archive = packed({"adapter_config.json": CONFIG, "adapter_model.safetensors": safetensors(tensors)})
    endpoint = runner(where="local", folder=str(tmp_path)).serve(MODEL, KEY_1)
    plugin, model = endpoint_model(endpoint, Path())
    question = Request("o", "s", (Message("user", "What is two and two?"),), Sampling(max_tokens=8))
    worn, bare = ask(model, [replace(question, adapter=endpoint.adapter), replace(question, output_id="p")])
    assert (plugin, worn.error, bare.error) == ("local", None, None)
    assert worn.text != bare.text


def test_a_checkpoints_adapter_has_a_folder_of_its_own(v2: TogetherEmulator, tmp_path: Path) -> None:
    v2.jobs["ft-0001"] = {"id": "ft-0001", "status": "completed"}
    v2.archive = packed(FILES)
    endpoint = runner(where="local", folder=str(tmp_path)).serve(replace(MODEL, model=f"together/{NAME}:3"), KEY_1)
    assert endpoint.adapter == str(tmp_path / "ft-0001-step-3")
    assert "checkpoint_step=3" in v2.called("download")[0].path


BAD = {
    "no archive": (b"hello", "cannot be unpacked"),
    "half an archive": (packed(FILES, "tar.gz")[:150], "cannot be unpacked"),
    "half of zst": (packed(FILES)[:-20], "cannot be unpacked"),
    "no weights": (packed({"adapter_config.json": CONFIG, "adapter_model.bin": b"x"}), "no adapter_model.safetensors; only safetensors"),
    "no config": (packed({"adapter_model.safetensors": WEIGHTS}), "has no adapter_config.json"),
    "cut weights": (packed({"adapter_config.json": CONFIG, "adapter_model.safetensors": WEIGHTS[:-1]}), "its header speaks of"),
    "no header": (packed({"adapter_config.json": CONFIG, "adapter_model.safetensors": bytes(8)}), "not whole"),
    "a pickle": (packed({"adapter_config.json": CONFIG, "adapter_model.safetensors": b"\x80\x04" * 90}), "not whole"),
    "another kind": (packed({"adapter_config.json": b'{"peft_type": "IA3"}', "adapter_model.safetensors": WEIGHTS}), "'IA3'"),
    "no object": (packed({"adapter_config.json": b"[]", "adapter_model.safetensors": WEIGHTS}), "not whole"),
}


@pytest.mark.parametrize(("archive", "said"), BAD.values(), ids=BAD.keys())
def test_an_adapter_that_is_not_whole_is_not_used(v2: TogetherEmulator, tmp_path: Path, archive: bytes, said: str) -> None:
    v2.jobs["ft-0001"] = {"id": "ft-0001", "status": "completed"}
    v2.archive = archive
    with pytest.raises(ProviderError, match=said):
        runner(where="local", folder=str(tmp_path / "adapters")).serve(MODEL, KEY_1)
    assert list((tmp_path / "adapters").iterdir()) == []
    v2.archive = packed(FILES)
    runner(where="local", folder=str(tmp_path / "adapters")).serve(MODEL, KEY_1)


def test_no_path_in_the_archive_is_followed_and_no_bomb_unpacked(
    v2: TogetherEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    v2.jobs["ft-0001"] = {"id": "ft-0001", "status": "completed"}
    v2.archive = packed({"../../adapter_config.json": CONFIG, "/etc/adapter_model.safetensors": WEIGHTS, "../../evil.py": b"x"})
    endpoint = runner(where="local", folder=str(tmp_path / "a" / "b")).serve(MODEL, KEY_1)
    assert endpoint.adapter == str(tmp_path / "a" / "b" / "ft-0001")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"adapter_config.json", "adapter_model.safetensors"}
    monkeypatch.setattr(adapter, "MOST_BYTES", 100)
    with pytest.raises(ProviderError, match="unpacks to more than 100 bytes"):
        runner(where="local", folder=str(tmp_path / "c")).serve(MODEL, KEY_1)


def test_a_download_that_is_cut_is_told(v2: TogetherEmulator, tmp_path: Path) -> None:
    v2.jobs["ft-0001"] = {"id": "ft-0001", "status": "completed"}
    with pytest.raises(ProviderError, match="nothing to download"):
        runner(where="local", folder=str(tmp_path)).serve(MODEL, KEY_1)
    v2.archive = packed(FILES)
    v2.fail("download", Fault.reset_after())
    with pytest.raises(ProviderError):
        runner(where="local", folder=str(tmp_path)).serve(MODEL, KEY_1)
    assert runner(where="local", folder=str(tmp_path)).serve(MODEL, KEY_1).adapter is not None


def test_a_finished_job_brings_its_adapter(v2: TogetherEmulator, tmp_path: Path) -> None:
    v2.archive = packed(FILES)
    v2.jobs["ft-0001"] = {"id": "ft-0001", "status": "completed", "user_id": "u", "model_output_name": NAME}
    v2.events["ft-0001"], v2.metrics["ft-0001"] = [], []
    status = runner(where="local", folder=str(tmp_path)).poll(Handle("t", "ft-0001"))
    assert status.model is not None
    assert status.model.adapter == str(tmp_path / "ft-0001")
    assert set(status.model.identity) == {"provider", "model", "adapter"}
    assert runner().poll(Handle("t", "ft-0001")).model != status.model  # another arm: hosted answers are not mixed with local ones


def test_it_is_registered() -> None:
    assert registry.find("runners", "together").__name__ == "TogetherRunner"
