"""The Vertex AI runner through the official SDKs, against the emulator: what is bought, once, whatever breaks."""

from __future__ import annotations

import datetime
import json
import logging
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalharness import buying, google
from evalharness.errors import ConfigError, ProviderError, Refused
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Message, Point, Status
from evalharness.runners.vertex import VertexOptions, VertexRunner, jobs, rows
from tests.emulators.core import KEY, SPECS, Fault
from tests.emulators.vertex import VertexEmulator, fault, retry_info

DONE = ("succeeded", "failed", "cancelled")
PLACE = "projects/p1/locations/us-central1"
VARIABLES = (
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_API_KEY",
    "GOOGLE_CLOUD_STORAGE_BUCKET",
    "GOOGLE_GENAI_API_VERSION",
)


class HastyRunner(VertexRunner):
    """No waiting between looks, little between reads."""

    looks_s = (0.0, 0.05)
    pause_s = 0.01


def point_at(service: VertexEmulator, patch: pytest.MonkeyPatch) -> None:
    """Lead the SDKs to the emulator, by the environment alone."""
    # The SDK reads all certificate authorities for each client, thrice: most of the time that these tests would take.
    patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *where, **also: None)
    for name in VARIABLES:
        patch.delenv(name, raising=False)
    patch.setenv("GOOGLE_VERTEX_BASE_URL", service.url)
    patch.setenv("STORAGE_EMULATOR_HOST", service.storage.url)
    patch.setenv("GOOGLE_CLOUD_PROJECT", "p1")
    patch.setenv(google.TOKEN_ENV, KEY)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexEmulator]:
    with VertexEmulator() as emulator:
        point_at(emulator, monkeypatch)
        monkeypatch.setattr(buying, "_READS_S", (0.0, 0.0))
        yield emulator


def chat(number: int) -> tuple[Message, ...]:
    return (Message("system", "Route the ticket."), Message("user", f"Ticket {number}"), Message("assistant", f"queue-{number % 3}"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    chats = tuple(chat(number) for number in range(12))
    return Job("t1", "a1b2c3d4e5f6a7b8c9d0e1f2", "gemini-2.5-flash", {}, 7, chats, chats[:3], str(tmp_path / "job"), "Tuned, small")


def runner(**options: Any) -> HastyRunner:
    return HastyRunner(VertexOptions(**{"bucket": "evalh-bucket", **options}))


def follow(at: VertexRunner, handle: Handle) -> Status:
    for _ in range(20):
        status = at.poll(handle)
        if status.state in DONE:
            return status
    raise AssertionError("the job does not end")


def only(service: VertexEmulator) -> dict[str, Any]:
    (found,) = service.jobs.values()
    return found


def test_it_is_a_runner() -> None:
    assert isinstance(runner(), Runner)
    assert VertexRunner.local is False


def test_identity_is_what_decides_the_tuned_model(service: VertexEmulator) -> None:
    asked = runner(epoch_count=3, adapter_size=8, prices={"usd_per_hour": 1.0}, display_name="x", export_last_checkpoint_only=True)
    assert asked.identity("gemini-2.5-flash") == {
        "provider": "vertex",
        "base": "gemini-2.5-flash",
        "hyperparameters": {"epoch_count": 3, "adapter_size": "ADAPTER_SIZE_EIGHT"},
    }
    assert runner(base_url=service.url).identity("b")["base_url"] == service.url


def test_from_rows_to_a_tuned_model(service: VertexEmulator, job: Job) -> None:
    ours = runner(epoch_count=3, learning_rate_multiplier=1.5)
    assert ours.check(job) == []
    assert ours.find(job) is None
    handle = ours.submit(job)
    states = [ours.poll(handle) for _ in range(4)]
    assert [status.state for status in states] == ["queued", "running", "succeeded", "succeeded"]
    assert states[1].detail == "running, tuning"
    assert states[1].step == 2
    last = states[-1]
    assert last.points == (Point(2), Point(4), Point(6))
    assert (last.step, last.total_steps, last.tokens, last.seconds) == (6, 6, 12_000, 90.0)
    assert last.cost_usd == pytest.approx(0.06)
    assert last.model is not None
    assert last.model.model == f"vertex/{PLACE}/endpoints/70003"
    assert last.model.checkpoints == (f"vertex/{PLACE}/endpoints/70001", f"vertex/{PLACE}/endpoints/70002")
    assert last.model.identity == {"provider": "vertex", "model": f"{PLACE}/endpoints/70003"}
    assert last.model.facts["epoch_count"] == 3
    assert last.model.facts["rows"] == 12
    endpoint = ours.serve(last.model, "k")
    assert endpoint.model == last.model.model
    assert endpoint.resource_id is None
    assert endpoint.options == {"tuned_from": "gemini-2.5-flash"}
    assert ours.hourly(last.model) == 0.0
    ours.release(endpoint)
    assert ours.served("k") is None
    assert service.deployments == {}


def test_what_is_sent(service: VertexEmulator, job: Job) -> None:
    handle = runner(bucket="gs://evalh-bucket/", epoch_count=2, adapter_size=4, export_last_checkpoint_only=True).submit(job)
    train, dev = sorted(service.storage.contents.items(), key=lambda item: -len(item[1]))
    sent = service.called("create_job")[0].body
    assert sent == {
        "baseModel": "gemini-2.5-flash",
        "supervisedTuningSpec": {
            "trainingDatasetUri": f"gs://evalh-bucket/{train[0][1]}",
            "validationDatasetUri": f"gs://evalh-bucket/{dev[0][1]}",
            "hyperParameters": {"epochCount": 2, "adapterSize": "ADAPTER_SIZE_FOUR"},
            "exportLastCheckpointOnly": True,
        },
        "tunedModelDisplayName": "tuned-small-a1b2c3d4e5f6",
        "labels": {"evalh_key": job.key},
    }
    assert handle == Handle("t1", f"{PLACE}/tuningJobs/7000")
    lines = [json.loads(line) for line in train[1].splitlines()]
    assert len(lines) == 12
    assert lines[1] == {
        "systemInstruction": {"parts": [{"text": "Route the ticket."}]},
        "contents": [{"role": "user", "parts": [{"text": "Ticket 1"}]}, {"role": "model", "parts": [{"text": "queue-1"}]}],
    }
    assert all("ifGenerationMatch=0" in call.path for call in service.storage.called("upload"))
    assert (status := follow(runner(), handle)).model is not None
    assert status.model.checkpoints == ()


def test_options_win_over_the_environment(service: VertexEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_VERTEX_BASE_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OTHER_TOKEN", KEY)
    monkeypatch.setenv(google.TOKEN_ENV, "wrong-0123456789")
    asked = {"base_url": f"{service.url}/v1beta1/", "storage_url": service.storage.url, "api_key_env": "OTHER_TOKEN"}
    handle = runner(**asked, project="p2", location="europe-west4").submit(job)
    assert handle.provider_id.startswith("projects/p2/locations/europe-west4/")


def test_without_credentials_a_server_on_this_machine_is_asked_anonymously(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with VertexEmulator(anonymous=True) as strange:
        point_at(strange, monkeypatch)
        monkeypatch.delenv(google.TOKEN_ENV)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", strange.storage.url.removeprefix("http://"))
        assert runner().check(job) == []
        assert runner().submit(job).provider_id == f"{PLACE}/tuningJobs/7000"


def test_equal_rows_are_uploaded_once(service: VertexEmulator, job: Job) -> None:
    runner().submit(job)
    runner().submit(replace(job, key="another-intent-0123456789", seed=8))
    assert len(service.storage.called("upload")) == 2  # train and dev
    assert len(service.jobs) == 2


def test_an_object_that_is_not_whole_is_replaced(service: VertexEmulator, job: Job) -> None:
    runner().submit(replace(job, dev=()))
    ((where, found),) = service.storage.objects.items()
    service.storage.objects[where] = {**found, "size": "3"}
    runner().submit(replace(job, dev=(), key="another-intent-0123456789"))
    assert f"ifGenerationMatch={found['generation']}" in service.storage.called("upload")[1].path
    assert service.storage.objects[where]["size"] == found["size"]


def test_large_files_are_uploaded_in_one_session(service: VertexEmulator, job: Job) -> None:
    large = (Message("user", "x" * 9 * 2**20), Message("assistant", "y"))  # beyond what one multipart request takes
    uri = runner()._upload(replace(job, train=(large,)), "train")
    ((where, content),) = service.storage.contents.items()
    assert uri == f"gs://{where[0]}/{where[1]}"
    assert len(content) > 9 * 2**20
    assert len(service.storage.called("upload")) == len(service.storage.called("resume")) == 1


def test_a_bucket_may_have_a_folder(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with VertexEmulator(checked=False) as service:  # the checker takes a slash in an object's name for one in the path
        point_at(service, monkeypatch)
        monkeypatch.setenv("GOOGLE_CLOUD_STORAGE_BUCKET", "gs://evalh-bucket/teams/a/")
        runner(bucket="").submit(job)
        assert all(name.startswith("teams/a/evalh-") for _, name in service.storage.contents)
        assert len(service.storage.contents) == 2


LOST = {
    "reset after": Fault.reset_after(),
    "500 after": fault(500, after=True),
    "web page after": Fault.html(after=True),
    "web page 502 after": Fault.html(502, after=True),
    "half an answer": Fault(cut=True),
    "hang after": Fault.hang(2.5, after=True),
}


@pytest.mark.parametrize("broken", LOST.values(), ids=LOST.keys())
@pytest.mark.parametrize("route", ["create_job", "upload"])
def test_a_lost_answer_makes_one_thing(service: VertexEmulator, job: Job, broken: Fault, route: str) -> None:
    (service if route == "create_job" else service.storage).fail(route, broken)
    handle = runner(timeout_s=0.2 if route == "upload" and broken.hang_s else 2.0).submit(replace(job, dev=()))
    assert handle.provider_id == f"{PLACE}/tuningJobs/7000"
    assert len(service.called("create_job")) == len(service.jobs) == 1
    assert len(service.storage.called("upload")) == len(service.storage.objects) == 1


NOT_MADE = {"reset before": Fault.reset_before(), "429": fault(429, "slow down"), "500": fault(500), "409": fault(409)}


@pytest.mark.parametrize("broken", NOT_MADE.values(), ids=NOT_MADE.keys())
def test_in_doubt_nothing_is_made_twice_and_the_next_run_goes_on(service: VertexEmulator, job: Job, broken: Fault) -> None:
    service.fail("create_job", broken)
    with pytest.raises(ProviderError, match=r"no clear answer .* Run again"):
        runner().submit(replace(job, dev=()))
    assert len(service.called("create_job")) == 1
    again = runner()
    assert again.find(job) is None
    assert again.submit(replace(job, dev=())).provider_id == f"{PLACE}/tuningJobs/7000"
    assert len(service.jobs) == len(service.storage.objects) == 1


@pytest.mark.parametrize("broken", NOT_MADE.values(), ids=NOT_MADE.keys())
def test_an_upload_that_came_to_nothing_is_sent_again(service: VertexEmulator, job: Job, broken: Fault) -> None:
    service.storage.fail("upload", broken)
    runner().submit(replace(job, dev=()))
    assert len(service.storage.called("upload")) == 2
    assert len(service.jobs) == len(service.storage.objects) == 1


def test_an_upload_that_never_works_is_told_in_the_services_words(service: VertexEmulator, job: Job) -> None:
    service.storage.fail("upload", *[fault(503, "The bucket sleeps")] * 3)
    with pytest.raises(ProviderError, match=r"no clear answer \(HTTP 503: The bucket sleeps\)"):
        runner().submit(job)
    assert service.called("create_job") == []


TOLD = {
    "a page": (Fault.html(502), "HTTP 502: a web page"),
    "a page for an answer": (Fault.html(), "an answer that is no JSON"),
    "plain text": (Fault(404, "Not Found", content_type="text/plain"), "HTTP 404: Not Found"),
    "a terminal's commands": (fault(400, "Bad\x1b[2J row\x07\nhere"), "HTTP 400: Bad [2J row here"),
}


@pytest.mark.parametrize(("broken", "told"), TOLD.values(), ids=TOLD.keys())
@pytest.mark.parametrize("route", ["create_job", "upload"])
def test_whatever_a_service_sends_is_told_in_one_line(service: VertexEmulator, job: Job, broken: Fault, told: str, route: str) -> None:
    where = service if route == "create_job" else service.storage
    where.fail(route, *[broken] * 3)
    with pytest.raises(ProviderError) as caught:
        runner().submit(job)
    assert f"{told})" in f"{caught.value})".replace("), and", ")")


def test_a_create_that_is_asked_to_wait_is_asked_again_after_a_look(service: VertexEmulator, job: Job) -> None:
    service.fail("create_job", fault(429, "Quota exceeded", retry_info("0.2s")))
    started = time.monotonic()
    assert runner().submit(replace(job, dev=())).provider_id == f"{PLACE}/tuningJobs/7000"
    assert time.monotonic() - started >= 0.2
    assert len(service.called("create_job")) == 2
    assert len(service.called("list_jobs")) == 2  # by the filter, and without


REFUSED = {"400": fault(400, "bad rows"), "401": fault(401), "403": fault(403), "404": fault(404)}


@pytest.mark.parametrize("broken", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("route", ["create_job", "upload"])
def test_a_clear_no_is_said_at_once(service: VertexEmulator, job: Job, broken: Fault, route: str) -> None:
    where = service if route == "create_job" else service.storage
    where.fail(route, broken)
    with pytest.raises(Refused, match="the service refused"):
        runner().submit(job)
    assert len(where.called(route)) == 1
    assert service.called("list_jobs") == []
    assert service.jobs == {}


def test_somebody_elses_upload_of_the_same_rows_is_used(service: VertexEmulator, job: Job) -> None:
    service.storage.fail("upload", fault(412, "preconditions", after=True))
    runner().submit(replace(job, dev=()))
    assert len(service.storage.called("upload")) == 1


def test_rows_that_came_while_we_looked_are_not_overwritten(service: VertexEmulator, job: Job) -> None:
    runner().submit(replace(job, dev=()))
    service.storage.fail("object", fault(404, "No such object"))
    runner().submit(replace(job, dev=(), key="another-intent-0123456789"))
    assert len(service.storage.called("upload")) == 1


def test_a_job_that_appears_late_is_found_by_the_next_run(service: VertexEmulator, job: Job) -> None:
    service.fail("create_job", Fault.reset_after())
    service.fail("list_jobs", *[Fault(200, {})] * 4)
    with pytest.raises(ProviderError, match="Run again"):
        runner().submit(job)
    assert runner().find(job) == Handle("t1", f"{PLACE}/tuningJobs/7000")
    assert len(service.jobs) == 1


def test_a_list_that_cannot_be_read_is_no_empty_list(service: VertexEmulator, job: Job) -> None:
    runner().submit(job)
    for broken in (Fault.html(), Fault(200, None), Fault(200, "{"), fault(403), fault(401)):
        service.fail("list_jobs", *[broken] * 6)
        with pytest.raises(ProviderError):
            runner().find(job)
        service.faults.clear()
        service.fail("list_jobs", broken)
        assert runner().find(job) is not None


def test_find_adopts_the_job_of_an_earlier_run_among_many(service: VertexEmulator, job: Job) -> None:
    made = runner().submit(job)
    for number in range(12):
        runner().submit(replace(job, key=f"{number:024x}"))
    service.page = 5
    assert runner().find(job) == made
    service.filters = False
    assert runner().find(job) == made  # on the last page
    service.fail("list_jobs", fault(400, "filter is not supported"))
    assert runner().find(job) == made
    assert runner().find(replace(job, key="f" * 24)) is None


def test_a_filter_that_finds_nothing_is_not_believed(service: VertexEmulator, job: Job) -> None:
    made = runner().submit(job)
    service.fail("list_jobs", Fault(200, {}))
    assert runner().find(job) == made


def test_without_labels_the_name_tells(service: VertexEmulator, job: Job) -> None:
    service.keeps_labels = False
    made = runner().submit(job)
    assert runner().find(job) == made
    assert runner().find(replace(job, key="0" * 24)) is None


def test_find_prefers_a_job_that_has_not_failed(service: VertexEmulator, job: Job) -> None:
    runner().submit(job)
    only(service)["state"] = "JOB_STATE_FAILED"
    runner().submit(job)
    assert runner().find(job) == Handle("t1", f"{PLACE}/tuningJobs/7001")
    service.jobs["7001"]["state"] = "JOB_STATE_CANCELLED"
    assert runner().find(job) is not None


def test_names_may_be_absolute_relative_or_ids(service: VertexEmulator, job: Job) -> None:
    handle = runner().submit(job)
    for name in (handle.provider_id, "tuningJobs/7000", "7000", handle.provider_id.removeprefix("projects/p1/")):
        assert runner().poll(replace(handle, provider_id=name)).state in ("queued", "running", "succeeded")


def test_a_key_that_is_no_label_is_hashed() -> None:
    assert jobs.label("0a-b_c") == "0a-b_c"
    assert len(jobs.label("Upper case! " * 10)) == 24


def test_a_failed_job_says_why(service: VertexEmulator, job: Job) -> None:
    service.states = ["JOB_STATE_PENDING", "JOB_STATE_FAILED"]
    ours = runner()
    status = follow(ours, ours.submit(job))
    assert (status.state, status.error, status.model, status.again) == ("failed", "Line 3 has no model turn", None, False)
    service.error = {"code": 8, "message": "no capacity"}
    assert follow(ours, ours.submit(replace(job, key="b" * 24))).again is True


def test_an_expired_job_has_failed(service: VertexEmulator, job: Job) -> None:
    service.states = ["JOB_STATE_PENDING", "JOB_STATE_EXPIRED"]
    ours = runner()
    status = follow(ours, ours.submit(job))
    assert (status.state, status.error) == ("failed", "the job was expired")


def test_unknown_states_and_fields_are_not_fatal(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with VertexEmulator(checked=False) as strange:  # the description knows no such state, so it cannot check this one
        point_at(strange, monkeypatch)
        strange.states = ["JOB_STATE_PENDING", "JOB_STATE_DREAMING", "JOB_STATE_SUCCEEDED"]
        ours = runner()
        handle = ours.submit(job)
        only(strange).update(brandNew={"a": [1]}, tuningJobState="TUNING_JOB_STATE_NEW")
        only(strange)["supervisedTuningSpec"].update(tuningMode="TUNING_MODE_NEW", alsoNew=1)
        first = ours.poll(handle)
        assert (first.state, first.detail) == ("running", "dreaming (a state evalh does not know)")
        assert ours.find(job) == handle
        assert follow(ours, handle).state == "succeeded"


def test_a_service_that_says_the_least_is_enough(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with VertexEmulator(checked=False) as plain:
        point_at(plain, monkeypatch)
        ours = runner()
        handle = ours.submit(job)
        endpoint = f"{PLACE}/endpoints/5"
        plain.jobs["7000"] = {"name": handle.provider_id, "state": "JOB_STATE_SUCCEEDED", "tunedModel": {"endpoint": endpoint}}
        status = ours.poll(handle)
        assert (status.state, status.points, status.tokens, status.cost_usd, status.seconds) == ("succeeded", (), None, None, None)
        assert status.model is not None
        assert status.model.model == f"vertex/{endpoint}"
        assert ours.serve(status.model, "k").options == {}
        plain.jobs["7000"] = {"name": handle.provider_id}
        assert ours.poll(handle).state == "running"


def test_succeeded_without_an_endpoint_is_not_done_yet(service: VertexEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    endpoint = only(service)["tunedModel"].pop("endpoint")
    assert ours.poll(handle).model is not None  # the last checkpoint's
    checkpoints = only(service)["tunedModel"].pop("checkpoints")
    long_ago, only(service)["endTime"] = only(service)["endTime"], datetime.datetime.now(datetime.UTC).isoformat()
    assert ours.poll(handle).state == "running"
    only(service)["endTime"] = long_ago
    stranded = ours.poll(handle)
    assert (stranded.state, stranded.model, stranded.again) == ("failed", None, False)  # it is paid for: not bought again
    assert str(stranded.error).startswith(f"it is trained, but the service gave its model ({PLACE}/models/7000@1) no endpoint")
    only(service)["tunedModel"].update(endpoint=endpoint, checkpoints=checkpoints[::-1])
    again = ours.poll(handle)
    assert again.model is not None
    assert again.model.checkpoints == (f"vertex/{PLACE}/endpoints/70001", f"vertex/{PLACE}/endpoints/70002")


def test_rows_that_the_service_dropped_are_told_once(service: VertexEmulator, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    stats = only(service)["tuningDataStats"]["supervisedTuningDataStats"]
    stats.update(totalTruncatedExampleCount="2", truncatedExampleIndices=["3", "7"], droppedExampleReasons=["too many tokens"])
    with caplog.at_level(logging.WARNING, "evalh"):
        status = ours.poll(handle)
        ours.poll(handle)
    assert status.model is not None
    assert status.model.facts["truncated_rows"] == 2
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "the service dropped or cut 2 training rows (row 3: too many tokens; row 7)"
    ]


def test_polling_survives_what_passes(service: VertexEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    service.fail("job", fault(500), fault(429, retry_after="0"), Fault.reset_before(), Fault.html())
    assert ours.poll(handle).state == "queued"


def test_the_service_says_how_long_to_wait(service: VertexEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    service.fail("job", fault(429, "slow down", retry_after="0.3"), fault(429, "slow down", retry_info("0.3s")))
    started = time.monotonic()
    ours.poll(handle)
    assert time.monotonic() - started >= 0.6
    service.fail("job", *[fault(503)] * 5)
    with pytest.raises(ProviderError, match="it failed"):
        ours.poll(handle)
    assert len(service.called("job")) == 8


def test_a_poll_that_cannot_be_read_raises(service: VertexEmulator, job: Job) -> None:
    with pytest.raises(ProviderError, match="is not found"):
        runner().poll(Handle("t1", "9999"))
    service.fail("job", *[Fault.html()] * 3)
    with pytest.raises(ProviderError, match="cannot be read"):
        runner().poll(Handle("t1", "9999"))


def test_cancel(service: VertexEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    ours.cancel(handle)
    status = ours.poll(handle)
    assert (status.state, status.error, status.again) == ("cancelled", "the job was cancelled", True)
    ours.cancel(handle)  # over already: no error
    only(service)["state"] = "JOB_STATE_PENDING"
    service.fail("cancel", fault(400, "not now"))
    with pytest.raises(ProviderError, match="not now"):
        ours.cancel(handle)


def test_prices(service: VertexEmulator, job: Job) -> None:
    tokens = sum(len(m.content) // 3 + 8 for row in job.train for m in row)
    assert runner(epoch_count=2).estimate(job) == pytest.approx(2 * tokens * 5.0 / 1e6)
    assert runner().estimate(job) == pytest.approx(20 * tokens * 5.0 / 1e6)
    service.models.add("gemini-y")
    strange = replace(job, base="gemini-y")
    assert runner().estimate(strange) is None
    status = follow(runner(), runner().submit(strange))
    assert (status.tokens, status.cost_usd) == (12_000, None)
    own = runner(prices={"usd_per_million_training_tokens": 1.0, "usd_per_million_input_tokens": 2.0})
    assert own.poll(Handle("t1", "7000")).cost_usd == pytest.approx(0.012)
    assert status.model is not None
    assert own.serve(status.model, "k").options["prices"] == {"usd_per_million_training_tokens": 1.0, "usd_per_million_input_tokens": 2.0}
    with pytest.raises(ConfigError, match="usd_per_million_training_tokens"):
        runner(prices={"usd_per_token": 1.0})


def test_dev_rows_are_not_needed(service: VertexEmulator, job: Job) -> None:
    assert runner().check(replace(job, dev=())) == []
    runner().submit(replace(job, dev=()))
    assert "validationDatasetUri" not in only(service)["supervisedTuningSpec"]


def test_check_names_the_rows(service: VertexEmulator, job: Job) -> None:
    found = [*job.train]
    found[1] = (Message("user", "Hi"),)
    found[3] = (Message("user", "Hi"), Message("tool", "beep"), Message("assistant", "x"))
    found[4] = (Message("user", "Hi"), Message("system", "late"), Message("assistant", "x"))
    assert runner().check(replace(job, train=tuple(found))) == [
        "train row 2: its last turn is from 'user'. Training needs an assistant turn to learn",
        "train row 4: it has a turn of role 'tool'; the service knows assistant, system, user",
        "train row 5: its system turn is not the first",
    ]
    found = [*job.train]
    found[0] = (Message("system", "Hi"), Message("assistant", "x"))
    found[1] = (Message("user", ""), Message("assistant", "x"))
    found[2] = (Message("user", "x" * 800_000), Message("assistant", "x"))
    assert runner().check(replace(job, dev=tuple(found))) == [
        "dev row 1: it has no user turn",
        "dev row 2: a turn from 'user' is empty, and the service takes no empty text",
        "dev row 3: it has 800,001 bytes, and the service drops rows of more than 131,072 tokens",
    ]
    assert rows.broken("dev", (job.train[0],) * 5001) == ["dev: 5001 rows, and the service takes at most 5000"]
    assert len(rows.broken("train", (found[1],) * 9)) == 6


def test_check_finds_a_wrong_base_bucket_or_place(service: VertexEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`no-such` was not found" in runner().check(replace(job, base="no-such"))[0]
    assert runner().check(replace(job, base="projects/p1/locations/us-central1/models/1@1")) == []
    assert "bucket does not exist" in runner(bucket="no-such-bucket").check(job)[0]
    assert runner(bucket="").check(job) == [
        "bucket: training files need a Cloud Storage bucket. Set bucket, or GOOGLE_CLOUD_STORAGE_BUCKET"
    ]
    with pytest.raises(ConfigError, match="need a Cloud Storage bucket"):
        runner(bucket="").submit(job)
    assert runner(location="global").check(job) == ["location: tuning happens in a region. Set location, e.g. us-central1"]
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    assert "needs a Google Cloud project. Set GOOGLE_CLOUD_PROJECT" in runner().check(job)[0]
    assert not service.jobs
    assert not service.storage.objects


UNKNOWN = {
    "bare": Fault(404, "404: Not Found", content_type="text/plain"),
    "with its path": fault(404, "no route /v1beta1/publishers/google/models/gemini-2.5-flash:countTokens"),
    "method": fault(405, "Method Not Allowed"),
    "not implemented": fault(501, "not here"),
}


@pytest.mark.parametrize("broken", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_a_service_that_counts_no_tokens_may_have_the_base(service: VertexEmulator, job: Job, broken: Fault) -> None:
    service.fail("count", broken)
    assert runner().check(job) == []


def test_an_outage_while_bucket_and_base_are_checked_is_no_fault_of_the_trainer(
    service: VertexEmulator, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    service.storage.fail("object", fault(409, "not now"))
    assert runner(base_url="http://127.0.0.1:9").check(job) == []
    bucket, base = [record.getMessage() for record in caplog.records]
    assert bucket == "bucket 'evalh-bucket' could not be checked: HTTP 409: not now"
    assert base.startswith("base 'gemini-2.5-flash' could not be checked: ")
    assert "refused" in base


def test_storage_that_stays_away_is_told_by_its_last_answer(service: VertexEmulator, job: Job) -> None:
    service.storage.fail("object", *[fault(503, "asleep")] * 50)
    with pytest.raises(ProviderError, match=r"^HTTP 503: asleep$"):
        runner(timeout_s=0.2).submit(job)


def test_a_wrong_token_is_said_without_it(service: VertexEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(google.TOKEN_ENV, "wrong-0123456789")
    problems = runner().check(job)
    assert len(problems) == 2  # the bucket, and the base
    assert "nvalid" in problems[0]
    assert "wrong-0123456789" not in str(problems)
    monkeypatch.setenv(google.TOKEN_ENV, "a token\nof two lines")
    assert "holds characters that no token has" in str(runner().check(job))


def test_no_credentials_at_all_are_said(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*VARIABLES, google.TOKEN_ENV, "GOOGLE_VERTEX_BASE_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "no-such.json"))
    (problem,) = runner().check(job)
    assert "has no Google credentials" in problem
    assert "gcloud auth application-default login" in problem


def test_the_token_is_in_no_message(service: VertexEmulator, job: Job) -> None:
    service.fail("create_job", fault(400, f"bad header Bearer {KEY}"))
    ours = runner()
    with pytest.raises(ProviderError) as caught:
        ours.submit(job)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in repr(ours) + repr(vars(ours))


def test_serving_goes_where_training_went(service: VertexEmulator, job: Job) -> None:
    ours = runner(base_url=service.url, api_key_env=google.TOKEN_ENV)
    status = follow(ours, ours.submit(job))
    assert status.model is not None
    asked = {"base_url": service.url, "api_key_env": google.TOKEN_ENV, "tuned_from": "gemini-2.5-flash"}
    assert ours.serve(status.model, "k").options == asked


def test_the_emulator_notices_what_the_description_forbids(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    if not SPECS.is_dir():
        pytest.skip("the published descriptions are not beside the repository")
    with VertexEmulator() as emulator:
        point_at(emulator, monkeypatch)
        emulator.jobs["1"] = {"name": "x", "state": "DREAMING"}
        HastyRunner(VertexOptions()).find(job)
        assert any("DREAMING" in violation for violation in emulator.violations)
        emulator.violations.clear()
