"""The Hugging Face runner through the official SDK, against the emulator: what is bought, once, whatever breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from evalharness.buying import Calls
from evalharness.errors import ProviderError, Refused
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Message, Point, Status
from evalharness.runners.huggingface import AutoTrainOptions, AutoTrainRunner, HfJobsOptions, HfJobsRunner, hub
from tests.emulators.core import KEY, Fault
from tests.emulators.huggingface import BASE, HuggingFaceEmulator, result, safetensors

DONE = ("succeeded", "failed", "cancelled")
INTENT = "a1b2c3d4e5f6a7b8c9d0e1f2"
OUTPUT = f"tester/evalh-{INTENT}"


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


def chat(number: int) -> tuple[Message, ...]:
    return (Message("system", "Route the ticket."), Message("user", f"Ticket {number}"), Message("assistant", f"queue-{number % 3}"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    rows = tuple(chat(number) for number in range(12))
    return Job("t1", INTENT, BASE, {}, 7, rows, rows[:3], str(tmp_path / "job"), "Tuned, small")


def runner(**options: Any) -> Quick:
    return Quick(HfJobsOptions.model_validate(options))


def follow(at: HfJobsRunner, handle: Handle) -> Status:
    for _ in range(20):
        status = at.poll(handle)
        if status.state in DONE:
            return status
    raise AssertionError("the job does not end")


def test_it_is_a_runner() -> None:
    assert isinstance(runner(), Runner)
    assert HfJobsRunner.local is False


def test_from_rows_to_a_tuned_model_here(service: HuggingFaceEmulator, job: Job) -> None:
    ours = runner(timeout="90m")
    assert ours.check(job) == []
    assert ours.find(job) is None
    assert ours.estimate(job) == pytest.approx(1.5)
    handle = ours.submit(job)
    states = [ours.poll(handle) for _ in range(3)]
    assert states[0].state == "running"
    assert states[0].points == (Point(1, 2.5, None, 1e-4, 1.0),)
    assert (states[0].total_steps, states[0].detail) == (3, "running")
    last = states[-1]
    assert last.state == "succeeded"
    assert last.points == (Point(1, 2.5), Point(2, 1.5, 1.6), Point(3, 0.9, 1.0))
    assert (last.step, last.tokens, last.seconds) == (3, 12_000, 630.0)
    assert last.cost_usd == pytest.approx(11 / 60)  # whole minutes
    assert last.model is not None
    assert last.model.model == f"local/{BASE}"
    assert last.model.adapter == str(Path(job.workdir).absolute() / "adapter")
    assert sorted(path.name for path in Path(last.model.adapter).iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "metrics.jsonl",
        "origin.json",
    ]
    assert last.model.identity["base revision"] == "0" * 40
    assert last.model.facts["repo"] == OUTPUT
    assert ours.hourly(last.model) == 0.0
    endpoint = ours.serve(last.model, "")
    assert (endpoint.model, endpoint.adapter, endpoint.resource_id) == (f"local/{BASE}", last.model.adapter, None)
    assert endpoint.options == {"revision": "0" * 40}
    assert ours.served("s") is None
    ours.release(endpoint)


def test_a_hub_that_the_trainer_names_has_the_base_too(
    service: HuggingFaceEmulator, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    service.put("model", BASE, {"pickled.bin": b"x", "onnx/model.safetensors": b"x"})
    ours = runner(base_url=service.url)
    model = follow(ours, ours.submit(job)).model
    assert model is not None
    model = replace(model, identity={**model.identity, "base revision": service.repos["model", BASE]["sha"]})
    endpoint = ours.serve(model, "")
    plugin, _, folder = endpoint.model.partition("/")
    assert (plugin, endpoint.adapter, endpoint.options) == ("local", model.adapter, {})
    assert sorted(path.name for path in Path(folder).iterdir()) == ["config.json", "model.safetensors"]
    del service.repos["model", BASE]["files"]["config.json"], service.repos["model", BASE]["files"]["model.safetensors"]
    with pytest.raises(ProviderError, match="has no weights"):
        ours.serve(model, "")


def test_what_is_sent(service: HuggingFaceEmulator, job: Job) -> None:
    ours = runner(rank=8, flavor="a10g-small", target_modules=["q_proj", "v_proj"])
    ours.submit(job)
    sent = service.called("create_job")[0].body
    (rows,) = [name for kind, name in service.repos if kind == "dataset"]
    assert rows.startswith("tester/evalh-rows-")
    assert len(service.repos["dataset", rows]["files"]["train.jsonl"].splitlines()) == 12
    assert len(service.repos["dataset", rows]["files"]["dev.jsonl"].splitlines()) == 3
    assert service.repos["dataset", rows]["private"]
    assert service.repos["model", OUTPUT]["private"]
    words = sent["command"]
    assert words[:2] == ["sh", "-c"]
    for name, value in (("model_name_or_path", BASE), ("dataset_name", rows), ("hub_model_id", OUTPUT), ("seed", "7"), ("lora_r", "8")):
        assert words[words.index(f"--{name}") + 1] == value
    assert words[words.index("--lora_target_modules") + 1 :] == ["q_proj", "v_proj", "--gradient_checkpointing"]
    assert sent["labels"] == {"evalh_key": INTENT, "name": "evalh-tuned-small-a1b2c3d4e5f6"}
    assert (sent["flavor"], sent["timeoutSeconds"]) == ("a10g-small", 7200)
    assert sent["environment"]["HF_ENDPOINT"] == service.url
    assert sent["secrets"] == {"HF_TOKEN": KEY}
    assert len(sent["environment"]["EVALH_SCRIPT"]) < 16_000


def test_equal_rows_are_sent_once(service: HuggingFaceEmulator, job: Job) -> None:
    runner().submit(job)
    runner().submit(replace(job, key="another-intent-0123456789", seed=8))
    assert len(service.called("commit")) == 1
    assert len(service.jobs) == 2


def test_half_of_the_rows_are_sent_again(service: HuggingFaceEmulator, job: Job) -> None:
    runner().submit(job)
    (rows,) = [name for kind, name in service.repos if kind == "dataset"]
    service.repos["dataset", rows]["files"]["dev.jsonl"] = b"{}"
    runner().submit(replace(job, key="another-intent-0123456789"))
    assert len(service.repos["dataset", rows]["files"]["dev.jsonl"].splitlines()) == 3


LOST = {
    "reset after": Fault.reset_after(),
    "500 after": replace(Fault.http(500), after=True),
    "web page after": Fault.html(after=True),
    "web page 502 after": Fault.html(502, after=True),
    "half an answer": Fault(cut=True),
    "hang after": Fault.hang(2.5, after=True),
}


@pytest.mark.parametrize("route", ["create_job", "create_repo", "commit"])
@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_buys_once(service: HuggingFaceEmulator, job: Job, fault: Fault, route: str) -> None:
    service.fail(route, fault)
    handle = runner(timeout_s=2.0).submit(job)
    assert handle.provider_id.startswith(f"tester/{1:024x}#")
    assert len(service.called("create_job")) == len(service.jobs) == 1
    assert len(service.called("create_repo")) == 2
    assert len(service.called("commit")) == 1


NOT_MADE = {"reset before": Fault.reset_before(), "429": Fault.http(429, "slow down"), "500": Fault.http(500), "409": Fault.http(409)}


@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE.keys())
def test_in_doubt_nothing_is_created_twice_and_the_next_run_buys(service: HuggingFaceEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    with pytest.raises(ProviderError, match=r"no clear answer .* Run again"):
        runner().submit(job)
    assert len(service.called("create_job")) == 1
    again = runner()
    assert again.find(job) is None
    assert again.submit(job).provider_id.startswith(f"tester/{1:024x}#")
    assert len(service.jobs) == 1


def test_a_job_that_appears_late_is_found_by_the_next_run(service: HuggingFaceEmulator, job: Job) -> None:
    service.fail("create_job", Fault.reset_after())
    service.fail("list_jobs", Fault(200, []), Fault(200, []))
    with pytest.raises(ProviderError, match="Run again"):
        runner().submit(job)
    assert runner().find(job) is not None
    assert len(service.jobs) == 1


def test_a_list_that_cannot_be_read_is_no_empty_list(service: HuggingFaceEmulator, job: Job) -> None:
    runner().submit(job)
    for broken in (Fault.html(), Fault(200, [{"id": "1"}])):
        service.fail("list_jobs", broken, broken, broken)
        with pytest.raises(ProviderError, match="cannot be read"):
            runner().find(job)
        service.fail("list_jobs", broken)
        assert runner().find(job) is not None


REFUSED = {"400": Fault.http(400, "bad image"), "401": Fault.http(401), "402": Fault.http(402, "no credit"), "404": Fault.http(404)}


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED.keys())
def test_a_clear_no_is_said_at_once(service: HuggingFaceEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    with pytest.raises(Refused, match="the service refused"):
        runner().submit(job)
    assert len(service.called("create_job")) == 1
    assert service.called("list_jobs") == []


def test_find_adopts_by_label_environment_or_command(service: HuggingFaceEmulator, job: Job) -> None:
    made = runner().submit(job)
    runner().submit(replace(job, key="another-intent-0123456789"))
    service.ignores_labels = True
    only = service.jobs[f"{1:024x}"]
    only["labels"] = None
    assert runner().find(job) == made
    only["environment"] = None
    assert runner().find(job) == made
    assert runner().poll(made).state == "running"
    only["command"] = None
    assert runner().find(job) is None


def test_find_prefers_a_job_that_has_not_failed(service: HuggingFaceEmulator, job: Job) -> None:
    made = runner().submit(job)
    service.jobs["f" * 24] = {**service.jobs[f"{1:024x}"], "id": "f" * 24, "status": {"stage": "ERROR", "message": None}}
    assert runner().find(job) == made


def test_any_process_polls_into_the_jobs_folder(service: HuggingFaceEmulator, job: Job) -> None:
    handle = runner().submit(job)
    status = follow(runner(), handle)
    assert status.model is not None
    assert status.model.adapter == str(Path(job.workdir).absolute() / "adapter")
    before = len(service.called("get_file"))
    assert runner().poll(handle) == status
    assert len(service.called("get_file")) == before  # it is here already


def test_a_failed_job_says_why(service: HuggingFaceEmulator, job: Job) -> None:
    service.states = ["SCHEDULING", "RUNNING", "ERROR"]
    ours = runner()
    handle = ours.submit(job)
    status = follow(ours, handle)
    assert (status.state, status.error, status.again, status.model) == ("failed", "out of memory", True, None)
    assert status.points == (Point(1, 2.5, None, 1e-4, 1.0),)
    service.logs[f"{1:024x}"] = ['{"error": "the loss is no number any more", "again": false}']
    assert runner().poll(handle).again is False
    service.logs[f"{1:024x}"] = []
    service.jobs[f"{1:024x}"]["status"]["message"] = "Job timeout"
    assert runner().poll(handle).error == "Job timeout"


def test_unknown_states_and_fields_are_not_fatal(service: HuggingFaceEmulator, job: Job) -> None:
    service.states = ["SCHEDULING", "PAUSED", "RUNNING", "COMPLETED"]
    ours = runner()
    handle = ours.submit(job)
    service.jobs[f"{1:024x}"]["brandNew"] = {"a": [1]}
    first = ours.poll(handle)
    assert (first.state, first.detail) == ("running", "paused (a state evalh does not know)")
    assert follow(ours, handle).state == "succeeded"


def test_polling_survives_what_passes(service: HuggingFaceEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    service.fail("job", Fault.http(500), Fault.reset_before(), Fault.html())
    service.fail("logs", *[Fault.http(404)] * 3)
    service.fail("machines", *[Fault.http(500)] * 9)
    service.states = ["SCHEDULING", "RUNNING"]
    assert ours.poll(handle).state == "running"
    service.fail("job", Fault.http(429, "slow down", retry_after="0"))
    assert ours.poll(handle).cost_usd is None


def test_a_poll_that_cannot_be_read_raises(service: HuggingFaceEmulator) -> None:
    with pytest.raises(ProviderError, match="Job not found"):
        runner().poll(Handle("t1", "tester/9999#/tmp/x"))


def test_a_result_that_comes_late_is_waited_for(service: HuggingFaceEmulator, job: Job) -> None:
    import datetime

    service.adapter = {}
    ours = runner()
    handle = ours.submit(job)
    status = follow(ours, handle)
    assert (status.state, status.error) == ("failed", f"the job completed, and {OUTPUT} holds no adapter in safetensors")
    service.jobs[f"{1:024x}"]["finishedAt"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert ours.poll(handle).state == "running"


def test_what_trl_itself_pushes_is_enough(service: HuggingFaceEmulator, job: Job) -> None:
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": BASE}
    history = [{"step": 1, "loss": 2.0, "learning_rate": 1e-4}, {"step": 1, "eval_loss": 2.2}, {"step": 2, "train_runtime": 1.0}]
    service.adapter = {
        "adapter_model.safetensors": safetensors(),
        "adapter_config.json": json.dumps(config).encode(),
        "trainer_state.json": json.dumps({"log_history": history}).encode(),
        "training_args.bin": b"pickled",
        "README.md": b"# tuned",
    }
    ours = runner()
    status = follow(ours, ours.submit(job))
    assert status.state == "succeeded"
    assert status.points == (Point(1, 2.0, 2.2, 1e-4),)
    assert status.model is not None
    assert status.model.adapter is not None
    assert not (Path(status.model.adapter) / "training_args.bin").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("adapter_model.safetensors", safetensors(5), "not what the job wrote"),
        ("metrics.jsonl", b"{}", "not what the job wrote"),
    ],
)
def test_a_result_other_than_its_manifest_is_refused(service: HuggingFaceEmulator, job: Job, name: str, content: bytes, said: str) -> None:
    ours = runner()
    handle = ours.submit(job)
    service.states = ["COMPLETED"]
    ours.poll(handle)
    (Path(job.workdir) / "adapter" / "origin.json").unlink()
    service.put("model", OUTPUT, {name: content})
    status = ours.poll(handle)  # fetching it again would change nothing: the job is one that failed
    assert (status.state, status.model) == ("failed", None)
    assert said in str(status.error)


def test_weights_that_are_no_safetensors_are_refused(service: HuggingFaceEmulator, job: Job) -> None:
    ours = runner()
    for weights, config, said in ((b"\x80\x02pickled!", b"{}", "no safetensors"), (safetensors(), b"[]", "no JSON object")):
        service.adapter = {"adapter_model.safetensors": weights, "adapter_config.json": config}
        mine = replace(job, key=f"intent-{said.replace(' ', '-')}")
        handle = ours.submit(mine)
        status = follow(ours, handle)
        assert status.state == "failed"
        assert said in str(status.error)
        assert not (Path(mine.workdir) / "adapter").exists()


@pytest.mark.parametrize("late", [True, False])
def test_a_result_that_shows_late_is_waited_for_though_no_end_is_told(
    service: HuggingFaceEmulator, job: Job, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr("tests.emulators.huggingface.ENDED", None)
    monkeypatch.setattr("evalharness.runners.huggingface.runner._LATE_S", 60.0 if late else 0.0)
    service.states, service.adapter = ["COMPLETED"], {}
    ours = runner()
    handle = ours.submit(job)
    assert ours.poll(handle).state == ("running" if late else "failed")
    if late:
        service.put("model", OUTPUT, result(service.jobs[handle.provider_id.split("#")[0].split("/")[1]]))
        assert ours.poll(handle).state == "succeeded"


@pytest.mark.parametrize("route", ["create_repo", "commit"])
@pytest.mark.parametrize("status", [409, 500])
def test_what_costs_nothing_is_sent_again(service: HuggingFaceEmulator, job: Job, route: str, status: int) -> None:
    service.fail(route, Fault(status, {"error": "Conflict"}))
    runner().submit(job)
    assert len(service.jobs) == 1


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_rows_and_adapters_go_to_no_public_repository(service: HuggingFaceEmulator, job: Job, kind: str) -> None:
    runner().submit(job)
    service.jobs.clear()
    name = next(name for sort, name in service.repos if sort == kind and "/evalh-" in name)
    service.repos[kind, name]["private"] = False
    with pytest.raises(ProviderError, match=f"{name} is public"):
        runner().submit(job)
    assert not service.jobs


def test_rows_are_not_sent_to_a_repository_before_it_is_shown(service: HuggingFaceEmulator, job: Job) -> None:
    service.fail("dataset_info", *[Fault(404, {"error": "Repository not found"})] * 3)
    runner().submit(job)
    routes = [call.route for call in service.calls]
    made, sent = routes.index("create_repo"), routes.index("preupload")
    assert routes[made + 1 : sent] == ["dataset_info"] * 2


def test_a_public_repository_that_was_not_shown_at_first_is_not_used(service: HuggingFaceEmulator, job: Job) -> None:
    service.put("model", OUTPUT, {})
    service.fail("model_info", Fault(404, {"error": "Repository not found"}))
    with pytest.raises(ProviderError, match="is public"):
        runner().submit(job)
    assert not service.jobs


def test_cancel(service: HuggingFaceEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    ours.cancel(handle)
    status = ours.poll(handle)
    assert (status.state, status.error, status.again) == ("cancelled", "the job was canceled", True)
    ours.cancel(handle)  # over already: no error
    ours.cancel(Handle("t1", "tester/9999#/tmp/x"))  # forgotten: no error
    service.jobs[f"{1:024x}"]["status"]["stage"] = "SCHEDULING"
    service.fail("cancel", Fault.http(400, "not now"))
    with pytest.raises(ProviderError, match="not now"):
        ours.cancel(handle)


def test_prices(service: HuggingFaceEmulator, job: Job) -> None:
    assert runner(prices={"usd_per_hour": 3.0}, timeout="30m").estimate(job) == pytest.approx(1.5)
    assert runner(timeout="3600").estimate(job) == pytest.approx(1.0)
    assert runner(flavor="unheard-of").estimate(job) is None
    service.lists_machines = False
    assert runner().estimate(job) is None
    assert runner().check(job) == []
    assert service.jobs == {}


def test_check_names_rows_token_base_and_machine(service: HuggingFaceEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (*job.train[:2], (Message("user", "Hi"),), (Message("assistant", "x"),))
    assert runner().check(replace(job, train=rows)) == [
        "train row 3: its last turn is from 'user'. Training needs an assistant turn to learn",
        "train row 3: has no turn before its answer",
        "train row 4: has no turn before its answer",
    ]
    assert runner().check(replace(job, base="acme/none")) == [
        "base 'acme/none' is not on the Hub, or not for this token. Give owner/name of a chat model there"
    ]
    assert "Repo id" in runner().check(replace(job, base="a/b/c"))[0]
    assert "There are a10g-small, a10g-largex4, cpu-basic" in runner(flavor="a11g").check(job)[0]
    assert runner(flavor="a10g-largex4").check(job) == [
        "flavor 'a10g-largex4' has 4 GPUs, and the training uses one. Choose one with a single GPU"
    ]
    service.put("model", "acme/pickled", {"pytorch_model.bin": b"x"})
    assert "no safetensors weights" in runner().check(replace(job, base="acme/pickled"))[0]
    service.put("model", "acme/gated", {"model.safetensors": b"x"}, gated="manual")
    assert runner().check(replace(job, base="acme/gated")) == []
    service.fail("auth_check", Fault.http(403, "ask for access first"))
    assert "ask for access first" in runner().check(replace(job, base="acme/gated"))[0]
    service.fail("whoami", Fault(200, {"type": "user", "name": "tester", "auth": {"accessToken": {"role": "read"}}}))
    assert runner().check(job) == ["the token in HF_TOKEN may only read. Make one that may write"]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_0123456789")
    (problem,) = runner().check(job)
    assert "hf_wrong" not in problem
    monkeypatch.delenv("HF_TOKEN")
    assert runner().check(job) == ["the runner 'hf_jobs' needs a key. Set HF_TOKEN"]
    assert service.jobs == {}


def test_the_key_is_in_no_message(service: HuggingFaceEmulator, job: Job) -> None:
    service.fail("create_job", Fault(400, {"error": f"bad header Bearer {KEY}"}))
    ours = runner()
    with pytest.raises(ProviderError, match=r"bad header Bearer \*\*\*") as caught:
        ours.submit(job)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in repr(ours) + repr(vars(ours))


def test_an_organisation_pays_if_it_is_named(service: HuggingFaceEmulator, job: Job) -> None:
    ours = runner(namespace="acme-inc")
    handle = ours.submit(job)
    assert handle.provider_id.startswith("acme-inc/")
    assert follow(runner(namespace="acme-inc"), handle).state == "succeeded"
    assert service.called("whoami") == []


def test_identity_is_what_decides_the_adapter() -> None:
    one = runner(rank=4, flavor="l4x1", timeout="1h", prices={"usd_per_hour": 1.0}, serve={"where": "endpoint"}).identity(BASE)
    assert one == runner(rank=4, alpha=8).identity(BASE)
    assert one != runner(rank=4, alpha=9).identity(BASE)
    assert "flavor" not in one["settings"]  # type: ignore[operator]


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="a time is a number"):
        runner(timeout="soon")
    assert runner(batch_size=6, per_device_train_batch_size=4).options.rows_at_once == 3


def test_autotrain_is_the_same_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    options = AutoTrainOptions.model_validate({"lr": 1e-4, "lora_r": 8, "block_size": 256, "epochs": 1})
    assert (options.learning_rate, options.rank, options.max_length) == (1e-4, 8, 256)
    from evalharness.runners.huggingface import runner as module

    module._notice.cache_clear()
    for _ in range(2):
        AutoTrainRunner(options)
    assert caplog.text.count("no commit since January 2025") == 1
    with pytest.raises(ValueError, match="'lr' and 'learning_rate' are the same setting"):
        AutoTrainOptions.model_validate({"lr": 1e-4, "learning_rate": 1e-4})
