"""The Fireworks runner through the official SDK, against the emulator: tuned once, deployed once, deleted always, whatever breaks."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evalharness import buying
from evalharness.errors import ConfigError, ProviderError, Refused
from evalharness.models.openai_chat import ChatOptions, FireworksChat
from evalharness.records import Endpoint, Handle, Job, Message, Point, Status, TrainedModel
from evalharness.runners import hosted
from evalharness.runners.fireworks import FireworksOptions, FireworksRunner, datasets, jobs, serving
from evalharness.runners.fireworks.service import Service
from tests.emulators.core import KEY, SPECS, Fault, Incoming, Refuse
from tests.emulators.fireworks import ACCOUNT, BASE, FireworksEmulator, known

DONE = ("succeeded", "failed", "cancelled")
INTENT = "a1b2c3d4e5f6a7b8c9d0e1f2"
JOB = f"accounts/{ACCOUNT}/supervisedFineTuningJobs/evalh-{INTENT}"
TUNED = f"accounts/{ACCOUNT}/models/evalh-{INTENT}"
OPEN = f"accounts/{ACCOUNT}/deployments/evalh-{INTENT}"


class LenientRunner(FireworksRunner):
    """As in real runs: the SDK hands on web pages and half answers as they are. No waiting between looks."""

    looks_s = (0.0, 0.05)
    pause_s = 0.01


class StrictRunner(LenientRunner):
    """The SDK checks every answer against its own types."""

    strict = True


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FireworksEmulator]:
    with FireworksEmulator() as emulator:
        point_at(emulator, monkeypatch)
        yield emulator


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> Iterator[FireworksEmulator]:
    """One whose answers nobody checks, so that a test may bend them."""
    with FireworksEmulator(checked=False) as emulator:
        point_at(emulator, monkeypatch)
        yield emulator


def point_at(emulator: FireworksEmulator, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("FIREWORKS_API_KEY", KEY)
    patch.setenv("FIREWORKS_BASE_URL", emulator.url)
    patch.setenv("FIREWORKS_ACCOUNT_ID", ACCOUNT)
    # Loopback needs no certificates, and every client of the SDK reads them anew: half of the time that these tests took.
    patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *args, **kwargs: None)
    patch.setattr(datasets, "FIRST_PAUSE_S", 0.01)
    patch.setattr(buying, "_READS_S", (0.0, 0.0))


def chat(number: int) -> tuple[Message, ...]:
    return (Message("system", "Route the ticket."), Message("user", f"Ticket {number}"), Message("assistant", f"queue-{number % 3}"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    rows = tuple(chat(number) for number in range(12))
    return Job("t1", INTENT, BASE, {}, 7, rows, rows[:3], str(tmp_path / "job"), "Tuned, small")


def runner(**options: Any) -> StrictRunner:
    return StrictRunner(FireworksOptions.model_validate(options))


def easy(**options: Any) -> LenientRunner:
    return LenientRunner(FireworksOptions.model_validate(options))


def follow(at: FireworksRunner, handle: Handle) -> Status:
    for _ in range(20):
        status = at.poll(handle)
        if status.state in DONE:
            return status
    raise AssertionError("the job does not end")


def tuned(service: FireworksEmulator) -> TrainedModel:
    """What the job has left on the service."""
    service.add_adapter(TUNED, {"baseModel": BASE, "name": JOB})
    return TrainedModel(f"fireworks/{TUNED}", None, {"provider": "fireworks", "model": TUNED}, {"base": BASE, "job": JOB})


def trained(at: FireworksRunner, job: Job) -> TrainedModel:
    model = follow(at, at.submit(job)).model
    assert model is not None
    return model


def test_from_rows_to_a_tuned_model(service: FireworksEmulator, job: Job) -> None:
    ours = runner(epochs=3, lora_rank=16)
    assert ours.check(job) == []
    assert ours.find(job) is None
    handle = ours.submit(job)
    assert handle == Handle("t1", JOB)
    states = [ours.poll(handle) for _ in range(5)]
    assert [status.state for status in states] == ["queued", "running", "running", "succeeded", "succeeded"]
    assert [status.detail for status in states[:3]] == ["pending", "running, 40%", "writing results, 40%"]
    assert states[1].points == (Point(1, 2.5, None, 0.0001),)
    last = states[-1]
    assert last.points == (Point(1, 2.5, None, 0.0001), Point(2, 1.5, 1.6, 0.0002), Point(3, 0.9, 1.0))
    assert (last.step, last.tokens, last.seconds, last.cost_usd, last.error) == (3, 12_000, 420.0, 1.25, None)
    assert last.model == TrainedModel(
        f"fireworks/{TUNED}",
        None,
        {"provider": "fireworks", "model": TUNED},
        {"epochs": 3, "learningRate": 0.0001, "loraRank": 16, "base": BASE, "job": JOB},
    )


def test_what_is_sent(service: FireworksEmulator, job: Job) -> None:
    ours = runner(
        epochs=2, learning_rate=0.0003, lr_scheduler="cosine", min_lr_ratio=0.1, batch_size_samples=8, optimizer_weight_decay=0.01
    )
    ours.submit(job)
    (created,) = service.called("create_job")
    train, dev = sorted(service.datasets, key=lambda name: -len(service.contents[name]))
    assert created.path.endswith(f"/supervisedFineTuningJobs?supervisedFineTuningJobId=evalh-{INTENT}")
    assert created.body == {
        "baseModel": BASE,
        "dataset": train,
        "evaluationDataset": dev,
        "displayName": "tuned-small-a1b2c3d4e5f6",
        "epochs": 2,
        "learningRate": 0.0003,
        "batchSizeSamples": 8,
        "optimizerWeightDecay": 0.01,
        "lrScheduler": {"cosine": {"minLrRatio": 0.1}},
    }
    body = service.called("create_dataset")[0].body
    assert train == f"accounts/{ACCOUNT}/datasets/{body['datasetId']}"
    assert body["dataset"] == {"exampleCount": "12", "format": "CHAT", "userUploaded": {}}
    lines = service.contents[train].decode().splitlines()
    assert len(lines) == 12
    assert lines[1] == '{"messages": [{"role": "system", "content": "Route the ticket."}, {"role": "user", "content": "Ticket 1"}, ' + (
        '{"role": "assistant", "content": "queue-1"}]}'
    )


def test_identity_is_what_decides_the_tuned_model(service: FireworksEmulator) -> None:
    ours = runner(epochs=3, prices={"usd_per_hour": 1.0}, serve={"mode": "addon"}, timeout_s=5, account_id="x")
    assert ours.identity("base-8b") == {"provider": "fireworks", "base": BASE, "settings": {"epochs": 3}}
    assert runner(base_url=service.url).identity("b")["base_url"] == service.url


def test_equal_rows_are_uploaded_once(service: FireworksEmulator, job: Job) -> None:
    runner().submit(job)
    runner().submit(replace(job, key="b" * 24, seed=8))
    assert len(service.called("upload")) == len(service.datasets) == 2  # train and dev
    assert len(service.jobs) == 2


def test_candidates_side_by_side_with_equal_rows_upload_once(service: FireworksEmulator, job: Job, tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def submit(number: int) -> None:
        try:
            runner().submit(replace(job, key=str(number) * 24, workdir=str(tmp_path / str(number))))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(service.called("upload")) == len(service.called("create_dataset")) == 2
    assert len(service.jobs) == 4


LOST = {
    "reset after": Fault.reset_after(),
    "500 after": replace(Fault.http(500), after=True),
    "web page after": Fault.html(after=True),
    "web page 502 after": Fault.html(502, after=True),
    "half an answer": Fault(cut=True),
    "empty answer": Fault(200, {}, after=True),
    "hang after": Fault.hang(1.5, after=True),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
@pytest.mark.parametrize("route", ["create_dataset", "upload", "create_job"])
def test_a_lost_answer_buys_once(service: FireworksEmulator, job: Job, route: str, fault: Fault) -> None:
    service.fail(route, fault)
    assert easy(timeout_s=1.0 if route != "upload" else 0.1).submit(replace(job, dev=())).provider_id == JOB
    assert [len(service.called(name)) for name in ("create_dataset", "upload", "create_job")] == [1, 1, 1]
    assert len(service.jobs) == len(service.datasets) == len(service.contents) == 1


NOT_MADE = {"reset before": Fault.reset_before(), "429": Fault.http(429, "slow down"), "500": Fault.http(500), "409": Fault.http(409)}


@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE.keys())
def test_in_doubt_nothing_is_created_twice_and_the_next_run_buys(service: FireworksEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    with pytest.raises(ProviderError, match=r"no clear answer .* Run again"):
        runner().submit(job)
    assert len(service.called("create_job")) == 1
    assert service.jobs == {}
    again = runner()
    assert again.find(job) is None
    assert again.submit(job).provider_id == JOB
    assert len(service.jobs) == 1
    assert len(service.datasets) == len(service.contents) == 2


@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE.keys())
@pytest.mark.parametrize("route", ["create_dataset", "upload"])
def test_rows_that_did_not_come_are_sent_again(service: FireworksEmulator, job: Job, route: str, fault: Fault) -> None:
    """They cost nothing."""
    service.fail(route, fault)
    assert runner().submit(replace(job, dev=())).provider_id == JOB
    assert [len(service.called(name)) for name in (route, "create_job")] == [2, 1]
    assert len(service.datasets) == len(service.contents) == 1


def test_a_dataset_that_is_shown_late_is_waited_for(service: FireworksEmulator, job: Job) -> None:
    def watch(route: str, when: str) -> None:
        if (route, when) == ("create_dataset", "after"):
            service.fail("dataset", *[Fault(404, {"code": 5, "message": "not found"})] * 3)

    service.watch = watch
    assert runner().submit(replace(job, dev=())).provider_id == JOB
    assert len(service.called("create_dataset")) == len(service.called("upload")) == 1


def test_a_key_that_is_refused_is_no_fault_of_the_rows(service: FireworksEmulator, job: Job) -> None:
    service.fail("validate", Fault.http(403, "your key is read-only"))
    with pytest.raises(ProviderError, match=r"^HTTP 403: your key is read-only$"):
        runner().submit(job)
    assert service.jobs == {}


def test_a_job_that_is_there_already_is_adopted(service: FireworksEmulator, job: Job) -> None:
    runner().submit(job)
    assert runner().submit(job).provider_id == JOB  # 409 ALREADY_EXISTS
    assert runner().find(job) == Handle("t1", JOB)
    assert len(service.jobs) == 1


def test_a_job_that_cannot_be_read_is_no_missing_job(service: FireworksEmulator, job: Job) -> None:
    runner().submit(job)
    service.fail("job", *[Fault.html()] * 3)
    with pytest.raises(ProviderError, match="cannot be read"):
        easy().find(job)
    assert easy().find(job) is not None


REFUSED = {
    "400": Fault(400, {"code": 3, "message": "baseModel cannot be tuned"}),
    "401": Fault.http(401),
    "404": Fault.http(404),
    "quota": Fault(429, {"code": 8, "message": "Quota exceeded for fine-tuning jobs"}),
    "openai's quota": Fault.quota(),
    "no credit": Fault(412, {"error": {"object": "error", "message": "Account acme is suspended: its spending limit is reached"}}),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED.keys())
def test_a_clear_no_is_said_at_once(service: FireworksEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    with pytest.raises(Refused, match=r"^the service refused: ") as caught:
        runner().submit(job)
    assert "Error code" not in str(caught.value)
    assert len(service.called("create_job")) == 1
    assert service.called("job") == []


def test_rows_that_the_service_refuses_are_said(service: FireworksEmulator, job: Job) -> None:
    rows = (*job.train, (Message("user", "poison"), Message("assistant", "x")))
    with pytest.raises(Refused, match="cannot be used: HTTP 400: line 13 of the dataset is not valid"):
        runner().submit(replace(job, train=rows))
    assert service.jobs == {}


def test_a_dataset_whose_rows_turn_out_bad_is_said(lenient: FireworksEmulator, job: Job) -> None:
    lenient.dataset_states = ["UPLOADING"]
    status = {"code": "INVALID_ARGUMENT", "message": "row 2 has no messages"}
    for said, why in (({"state": "UPLOADING", "status": status}, "row 2 has no messages"), ({"state": "FAILED"}, "failed")):
        lenient.fail("dataset", Fault(404, {"code": 5}), *[Fault(200, said)] * 3)
        with pytest.raises(Refused, match=f"cannot be used: {why}"):
            easy().submit(job)
        lenient.datasets.clear()
    assert lenient.jobs == {}


def test_an_upload_that_is_refused_buys_nothing_unless_somebody_else_was_quicker(service: FireworksEmulator, job: Job) -> None:
    service.fail("upload", Fault.http(413, "too large"))
    with pytest.raises(Refused, match="too large"):
        runner().submit(job)
    assert service.jobs == {}

    def watch(route: str, when: str) -> None:
        if (route, when) == ("upload", "after"):
            for found in service.datasets.values():
                found["state"] = "READY"

    service.watch = watch
    service.fail("upload", replace(Fault.http(400, "it is not awaiting an upload"), after=True))
    assert runner().submit(job).provider_id == JOB


class Wordless(FireworksEmulator):
    """Its datasets have no states, and need no validation."""

    def dataset(self, call: Incoming) -> dict[str, Any]:
        return {"name": known(self.datasets, self.named("datasets", call))["name"]}

    def validate(self, call: Incoming) -> dict[str, Any]:
        raise Refuse(404, "Not Found")

    def create_job(self, call: Incoming) -> dict[str, Any]:
        return {"name": JOB}


def test_a_service_whose_datasets_have_no_states_is_enough(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    with Wordless(checked=False) as service:
        point_at(service, monkeypatch)
        assert easy(timeout_s=1.0).submit(job).provider_id == JOB
        assert len(service.contents) == 2


def test_an_upload_that_was_cut_off_is_gone_on_with(service: FireworksEmulator, job: Job) -> None:
    """The process died after the dataset was made, or after its rows had come."""
    runner().submit(replace(job, dev=()))
    (name,) = service.datasets
    for has_rows, uploads in ((True, 1), (False, 2)):
        service.datasets[name] = {**service.datasets[name], "state": "UPLOADING", "_checked": False}
        service.steps.pop(name)
        if not has_rows:
            service.contents.clear()
        runner().submit(replace(job, dev=(), key=str(uploads) * 24))
        assert len(service.called("upload")) == uploads
        assert service.datasets[name]["state"] == "READY"
    assert len(service.called("create_dataset")) == 1


@pytest.mark.parametrize("why", ["large", "older service"])
def test_rows_go_to_a_signed_address(monkeypatch: pytest.MonkeyPatch, job: Job, why: str) -> None:
    with FireworksEmulator(uploads=why == "large") as emulator:
        point_at(emulator, monkeypatch)
        if why == "large":
            monkeypatch.setattr(datasets, "MOST_AT_ONCE", 10)
        runner().submit(replace(job, dev=()))
        (content,) = emulator.contents.values()
        assert len(content.splitlines()) == 12
        assert len(emulator.called("put")) == 1
        assert emulator.called("upload") == []
        emulator.fail("put", Fault.reset_after())
        runner().submit(replace(job, dev=(), train=job.train[:5], key="c" * 24))
        assert len(emulator.called("put")) == 2


def test_a_signed_address_that_is_not_encrypted_gets_nothing(lenient: FireworksEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MOST_AT_ONCE", 10)
    name = hosted.write_rows(job.train, Path(job.workdir) / "rows.jsonl")
    for urls, said in (({}, "signed no address"), ({name: URL}, r"not encrypted came: http://storage\.example\.com")):
        lenient.fail("upload_endpoint", *[Fault(200, {"filenameToSignedUrls": urls})] * 3)
        with pytest.raises(ProviderError, match=said):
            easy().submit(job)
    ours = Service(FireworksOptions())
    assert ours.signed("/signed/x") == f"{lenient.url}/signed/x"
    assert ours.signed("https://storage.example.com/x") == "https://storage.example.com/x"


URL = "http://storage.example.com/rows"


def test_all_states_have_a_meaning() -> None:
    assert len(jobs.STATES) == 20
    if SPECS.is_dir():
        import json

        described = json.loads((SPECS / "fireworks-gateway.openapi.json").read_text())["components"]["schemas"]["gatewayJobState"]["enum"]
        assert set(described) == set(jobs.STATES)
    assert jobs.state({"state": "JOB_STATE_NEW"}) == "running"
    assert jobs.state({}) == "running"
    assert jobs.detail({"state": "JOB_STATE_NEW"}) == "new (a state evalh does not know)"
    assert jobs.detail({}) == "no state yet"
    assert (
        jobs.detail({"state": "JOB_STATE_PAUSED", "status": {"message": "the account is suspended"}}) == "paused: the account is suspended"
    )


def test_unknown_states_and_fields_are_not_fatal(lenient: FireworksEmulator, job: Job) -> None:
    lenient.states = ["JOB_STATE_PENDING", "JOB_STATE_DREAMING", "JOB_STATE_COMPLETED"]
    ours = easy()
    handle = ours.submit(job)
    lenient.jobs[JOB]["brandNew"] = {"a": [1]}
    first = ours.poll(handle)
    assert (first.state, first.detail) == ("running", "dreaming (a state evalh does not know)")
    assert follow(ours, handle).state == "succeeded"


def test_a_service_that_says_little_is_enough(lenient: FireworksEmulator, job: Job) -> None:
    """No output model, times, costs or progress; no models route; relative names."""
    ours = easy()
    handle = ours.submit(job)
    for fields in ({"state": "JOB_STATE_COMPLETED"}, {"state": "JOB_STATE_COMPLETED", "outputModel": f"evalh-{INTENT}"}):
        lenient.fail("job", Fault(200, fields))
        lenient.fail("model", Fault(404, "404: Not Found", content_type="text/plain"))
        status = ours.poll(handle)
        assert (status.state, status.cost_usd, status.tokens, status.seconds, status.points) == ("succeeded", None, None, None, ())
        assert status.model is not None
        assert status.model.model == f"fireworks/{TUNED}"
    assert ours.poll(Handle("t1", JOB.rpartition("/")[2])).state == "queued"


def test_a_failed_job_says_why(service: FireworksEmulator, job: Job) -> None:
    service.states = ["JOB_STATE_CREATING", "JOB_STATE_FAILED"]
    status = follow(runner(), runner().submit(job))
    assert (status.state, status.error, status.model, status.again) == ("failed", "Row 3 has no assistant turn", None, False)
    assert status.cost_usd is None


def test_an_expired_job_has_failed(service: FireworksEmulator, job: Job) -> None:
    service.states = ["JOB_STATE_EXPIRED"]
    status = follow(runner(), runner().submit(job))
    assert (status.state, status.error, status.again) == ("failed", "the job was expired", True)


def test_a_model_that_is_still_written_is_not_done_yet(service: FireworksEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    service.models[TUNED]["state"] = "UPLOADING"
    assert ours.poll(handle).state == "running"
    service.models[TUNED]["state"] = "READY"
    assert ours.poll(handle).state == "succeeded"
    service.jobs[JOB]["state"] = "JOB_STATE_ARCHIVED"  # the SDK's types know no such state
    assert easy().poll(handle).state == "succeeded"
    del service.models[TUNED]
    gone = easy().poll(handle)
    assert (gone.state, gone.error) == ("cancelled", "the job was archived")


def test_a_model_that_is_shown_late_is_looked_for_again(service: FireworksEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    service.models[TUNED]["state"] = "UPLOADING"
    service.fail("model", Fault(404, {"code": 5, "message": "model not found"}))
    assert ours.poll(handle).state == "running"


def test_polling_survives_what_passes(service: FireworksEmulator, job: Job) -> None:
    ours = easy()
    handle = ours.submit(job)
    service.fail("job", Fault.http(500, retry_after="0.01"), Fault.http(429, retry_after="0.01"), Fault.reset_before(), Fault.html())
    assert ours.poll(handle).state == "queued"
    with pytest.raises(ProviderError, match="has no job"):
        ours.poll(Handle("t1", f"{JOB}-other"))


def test_metrics_that_cannot_be_read_are_only_missing(service: FireworksEmulator, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    ours = runner()
    handle = ours.submit(job)
    status = follow(ours, handle)
    service.fail("metrics", Fault.http(403))
    with caplog.at_level(logging.INFO, "evalh"):
        again = ours.poll(handle)
    assert "its metrics cannot be read" in caplog.text
    assert again == replace(status, points=(), step=None)
    service.fail("metrics", Fault.http(404))
    assert ours.poll(handle).points == ()
    service.fail("metrics", Fault.html())
    assert ours.poll(handle).points == ()


def test_points_out_of_whatever_a_metrics_file_holds() -> None:
    expected = (Point(1, 2.0, None, 0.1), Point(2, None, 1.5))
    lines = b'{"step": 1, "train/loss": 2.0, "lr": 0.1}\nnot json\n{"global_step": 2, "eval_loss": "1.5"}\n{"step": 3}\n[1]\n'
    assert jobs.points(lines) == expected
    assert jobs.points(b'[{"step": 1, "loss": 2.0, "lr": 0.1}, {"step": 2, "val_loss": 1.5}]') == expected
    assert jobs.points(b'{"metrics": [{"step": 1, "train_loss": 2.0, "lr": 0.1}, {"data": {"step": 2, "valid_loss": 1.5}}]}') == expected
    assert jobs.points(b"step,train_loss,valid_loss,learning_rate\n1,2.0,,0.1\n2,,1.5,\n") == expected
    assert jobs.points(b'{"step": 1, "data": {"train/loss": 2.0, "train/lr": 0.1}}') == expected[:1]
    assert jobs.points(b"") == jobs.points(b"\xff\xfe nothing") == ()


def test_money_is_dollars_or_unknown() -> None:
    assert jobs.dollars({"units": "3"}) == 3.0
    assert jobs.dollars({"currencyCode": "USD", "nanos": 500_000_000}) == 0.5
    assert jobs.dollars({"currencyCode": "USD"}) == 0.0
    assert [jobs.dollars(said) for said in (None, {}, {"currencyCode": "EUR", "units": "3"}, {"units": "x"}, "3")] == [None] * 5


def test_ids_hold_the_key() -> None:
    assert jobs.named(INTENT) == f"evalh-{INTENT}"
    assert {len(jobs.named(key)) for key in ("k1", "X" * 24, "ü" * 24, "a" * 99)} == {30}


def test_cancel(service: FireworksEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    ours.cancel(handle)
    status = ours.poll(handle)
    assert (status.state, status.error, status.again) == ("cancelled", "the job was cancelled", True)
    ours.cancel(handle)  # over already: no error
    service.jobs[JOB]["state"] = "JOB_STATE_RUNNING"
    service.fail("cancel", Fault.http(400, "not now"))
    with pytest.raises(ProviderError, match="could not be cancelled: HTTP 400: not now"):
        ours.cancel(handle)


def test_check_names_the_rows_and_settings(service: FireworksEmulator, job: Job) -> None:
    rows = (job.train[0], (Message("user", "Hi"),), (Message("user", "Hi"), Message("system", "?"), Message("assistant", "x")))
    assert runner(lora_rank=128, eval_auto_carveout=True, max_context_length=9000).check(replace(job, train=rows[:2], dev=rows)) == [
        "train row 2: its last turn is from 'user'. Training needs an assistant turn to learn",
        "train: 2 rows, and the service wants at least 3",
        "dev row 2: its last turn is from 'user'. Training needs an assistant turn to learn",
        "dev row 3: its system turn is not the first",
        "lora_rank is 128, and the service takes 4 to 64, or 0 to train all parameters",
        "eval_auto_carveout is for trainings without dev rows. Leave it out",
        "max_context_length is 9000, and the service trains this base on at most 8192 tokens a row",
    ]


def test_check_asks_about_the_base(service: FireworksEmulator, job: Job) -> None:
    assert runner().check(replace(job, base="no-such"))[0].endswith("models/no-such was not found")
    service.add_model("accounts/acme/models/mine", tunable=False, supervisedLoraTunable=False)
    assert runner().check(replace(job, base="accounts/acme/models/mine"))[0].endswith("cannot be tuned here. Choose another base")
    service.models[BASE]["supervisedFullParameterTunable"] = False
    assert "with all its parameters. Set lora_rank: 8" in runner(lora_rank=0).check(job)[0]
    service.fail("model", Fault(404, {"detail": "Not Found"}))  # no such route: nobody knows
    assert runner().check(job) == []
    assert service.jobs == service.datasets == {}


def test_check_finds_a_wrong_key_or_account(service: FireworksEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw-wrong-0123456789")
    (problem,) = runner().check(job)
    assert problem == "HTTP 401: invalid API key Bearer ***"
    monkeypatch.delenv("FIREWORKS_API_KEY")
    assert runner().check(job) == ["the runner 'fireworks' needs a key. Set FIREWORKS_API_KEY"]
    monkeypatch.setenv("OTHER_KEY", KEY)
    assert runner(api_key_env="OTHER_KEY").check(job) == []


def test_an_outage_is_no_fault_of_the_trainers(service: FireworksEmulator, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    service.fail("model", Fault.http(500, "it is down", x_should_retry="false"))
    with caplog.at_level(logging.WARNING, "evalh"):
        assert runner().check(job) == []
    assert "could not be checked: HTTP 500: it is down" in caplog.text


@pytest.mark.parametrize("body", [{"error": "Too Many", "message": "no: slow down"}, {"error": {"message": "no: slow down"}},
                                  {"code": 7, "message": "no: slow down", "details": []}, {"error": "no: slow down"}])  # fmt: skip
def test_the_services_sentence_is_told_whatever_its_form(service: FireworksEmulator, job: Job, body: object) -> None:
    service.fail("model", Fault(403, body))
    assert runner().check(job) == ["HTTP 403: no: slow down"]


def test_a_web_server_without_a_models_route_may_still_tune(lenient: FireworksEmulator, job: Job) -> None:
    lenient.fail("model", Fault.html(404))
    assert easy().check(job) == []


def test_what_somebody_else_made_by_our_ids_is_not_taken_for_ours(lenient: FireworksEmulator, job: Job) -> None:
    other = replace(job, train=job.train[1:])
    easy().submit(other)
    with pytest.raises(Refused, match=r"is there already, and was trained on other rows \(evalh-"):
        easy().find(job)
    with pytest.raises(Refused, match="was trained on other rows"):
        easy().submit(job)
    lenient.jobs.clear()
    name = f"accounts/{ACCOUNT}/datasets/{datasets.named(job, 'train')}"
    lenient.datasets[name]["exampleCount"] = "5"
    with pytest.raises(Refused, match="somebody made it for 5 rows, not 12"):
        easy().submit(job)
    assert lenient.jobs == {}


def test_the_account_is_found_if_there_is_one(service: FireworksEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIREWORKS_ACCOUNT_ID")
    assert runner().submit(job).provider_id == JOB
    service.accounts = ["zeta", "acme", "beta"]  # two pages
    assert runner().check(job) == ["account_id: the key is for 3 accounts: acme, beta, zeta. Set account_id, or FIREWORKS_ACCOUNT_ID"]
    assert runner(account_id="accounts/acme").find(job) == Handle("t1", JOB)
    service.fail("accounts", Fault.http(404))
    with pytest.raises(ConfigError, match="does not say whose the key is"):
        runner().find(job)


def test_the_key_is_in_no_message(service: FireworksEmulator, job: Job) -> None:
    service.fail("create_job", Fault.http(400, f"bad header Bearer {KEY}"))
    ours = runner()
    with pytest.raises(ProviderError) as caught:
        ours.submit(job)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in repr(ours) + repr(vars(ours))


def test_what_signs_an_address_is_in_no_message(service: FireworksEmulator, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    service.jobs[JOB]["metricsFileSignedUrl"] += "?X-Goog-Expires=3600&X-Goog-Signature=abcdef0123456789&x=1"
    service.fail("metrics", Fault.http(403))
    with caplog.at_level(logging.INFO, "evalh"):
        ours.poll(handle)
    assert "?***" in caplog.text
    assert "abcdef0123456789" not in caplog.text.partition("HTTP Request")[0]


def test_the_service_estimates(service: FireworksEmulator, job: Job) -> None:
    assert runner(epochs=2, estimate_by="service").estimate(job) == 1.25
    (asked,) = service.called("estimate")
    assert asked.body == {"dataset": next(iter(service.datasets)), "baseModel": BASE, "epochs": 2}
    assert service.jobs == {}


def test_without_the_services_word_tokens_are_counted(service: FireworksEmulator, job: Job) -> None:
    counted = 12 * (17 // 3 + 9 // 3 + 7 // 3 + 24) * 2 / 1e6
    by_tokens = runner(epochs=2, estimate_by="tokens")
    assert by_tokens.estimate(job) == pytest.approx(0.5 * counted, rel=0.1)
    assert service.datasets == {}
    assert runner(epochs=2, estimate_by="service", prices={"usd_per_million_training_tokens": 5.0}).estimate(job) == pytest.approx(
        5.0 * counted, rel=0.1
    )
    assert service.called("estimate") == []
    service.fail("estimate", Fault.http(404))
    assert runner(epochs=2, estimate_by="service").estimate(job) == pytest.approx(0.5 * counted, rel=0.1)
    service.fail("estimate", Fault.http(400, "not now"))
    service.models[BASE]["baseModelDetails"] = {}
    assert runner(epochs=2, estimate_by="service").estimate(job) is None
    assert by_tokens.estimate(replace(job, base="no-such")) is None
    service.models[BASE]["baseModelDetails"] = {"parameterCount": "70000000000"}
    assert by_tokens.estimate(job) == pytest.approx(3.0 * counted, rel=0.1)
    assert runner(estimate_by="tokens", lora_rank=0).estimate(job) is None  # nobody has said what that costs


def test_your_own_price_of_what_was_trained(service: FireworksEmulator, job: Job) -> None:
    ours = runner(prices={"usd_per_million_training_tokens": 5.0})
    assert follow(ours, ours.submit(job)).cost_usd == pytest.approx(0.06)
    with pytest.raises(ConfigError, match="usd_per_million_training_tokens"):
        runner(prices={"usd_per_token": 1.0})


def test_hours_are_priced_by_the_accelerator(service: FireworksEmulator) -> None:
    model = tuned(service)
    assert runner().hourly(model) is None
    assert runner(serve={"accelerator_type": "NVIDIA_B200_180GB", "accelerator_count": 2, "max_replicas": 3}).hourly(model) == 78.0
    assert runner(serve={"accelerator_type": "NVIDIA_A100_80GB"}).hourly(model) is None
    assert runner(serve={"max_replicas": 2}, prices={"usd_per_hour": 4.5}).hourly(model) == 9.0
    assert service.deployments == {}


def test_live_merge_deploys_the_tuned_model(service: FireworksEmulator) -> None:
    ours = runner(serve={"accelerator_type": "NVIDIA_H100_80GB", "accelerator_count": 2, "max_replicas": 2, "precision": "FP8"})
    endpoint = ours.serve(tuned(service), INTENT)
    (created,) = service.called("create_deployment")
    assert created.path.endswith(f"/deployments?deploymentId=evalh-{INTENT}")
    assert created.body == {
        "baseModel": TUNED,
        "displayName": "evalh: scoring a tuned model",
        "minReplicaCount": 0,
        "maxReplicaCount": 2,
        "autoscalingPolicy": {"scaleToZeroWindow": "900s"},
        "acceleratorType": "NVIDIA_H100_80GB",
        "acceleratorCount": 2,
        "precision": "FP8",
    }
    assert endpoint == Endpoint(f"fireworks/{TUNED}#{OPEN}", resource_id=OPEN, usd_per_hour=32.0)
    assert runner().served(INTENT) == replace(endpoint, usd_per_hour=16.0)
    assert service.called("load") == []
    ours.release(endpoint)
    assert service.deployments == {}
    assert runner().served(INTENT) is None


def test_an_addon_is_loaded_and_unloaded(service: FireworksEmulator) -> None:
    ours = runner(serve={"mode": "addon"})
    endpoint = ours.serve(tuned(service), INTENT)
    assert endpoint.model == f"fireworks/{TUNED}#{OPEN}"
    body = service.called("create_deployment")[0].body
    assert (body["baseModel"], body["enableAddons"], body["deploymentShape"]) == (BASE, True, "default")
    assert "precision" not in body
    assert service.called("load")[0].body == {"model": TUNED, "deployment": OPEN}
    runner(serve={"mode": "live-merge"}).release(Endpoint("", resource_id=OPEN))  # whatever the trainer says by now
    assert (service.adapters, service.deployments) == ({}, {})
    assert len(service.called("unload")) == 1


def test_the_base_of_an_adapter_is_asked_for_if_it_is_not_known(service: FireworksEmulator) -> None:
    ours = runner(serve={"mode": "addon"})
    model = tuned(service)
    ours.serve(replace(model, facts={}), INTENT)
    assert service.deployments[OPEN]["baseModel"] == BASE
    del service.models[TUNED]["peftDetails"]
    with pytest.raises(ProviderError, match=r"the base of .* is not known"):
        ours.serve(replace(model, facts={}), "d" * 24)
    assert len(service.deployments) == 1


@pytest.mark.parametrize(("mode", "route"), [("live-merge", "create_deployment"), ("addon", "create_deployment"), ("addon", "load")])
@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_deploys_once(service: FireworksEmulator, fault: Fault, route: str, mode: str) -> None:
    service.fail(route, fault)
    ours = easy(serve={"mode": mode}, timeout_s=1.0)
    endpoint = ours.serve(tuned(service), INTENT)
    assert len(service.called("create_deployment")) == len(service.deployments) == 1
    assert len(service.called("load")) == len(service.adapters) == (1 if mode == "addon" else 0)
    ours.release(endpoint)
    assert (service.deployments, service.adapters) == ({}, {})


@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE.keys())
def test_in_doubt_nothing_is_deployed_twice(service: FireworksEmulator, fault: Fault) -> None:
    ours = runner()
    model = tuned(service)
    service.fail("create_deployment", fault)
    with pytest.raises(ProviderError, match=r"no clear answer .* Run again"):
        ours.serve(model, INTENT)
    assert len(service.called("create_deployment")) == 1
    assert ours.served(INTENT) is None
    assert ours.serve(model, INTENT).resource_id == OPEN
    assert len(service.deployments) == 1


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED.keys())
def test_a_deployment_that_is_refused_leaves_nothing(service: FireworksEmulator, fault: Fault) -> None:
    ours = runner()
    model = tuned(service)
    service.fail("create_deployment", fault)
    with pytest.raises(Refused):
        ours.serve(model, INTENT)
    assert service.deployments == {}
    assert len(service.called("create_deployment")) == 1


def test_what_is_open_is_adopted(service: FireworksEmulator) -> None:
    model = tuned(service)
    service.deployment_states = ["CREATING", "CREATING", "UPDATING", "READY"]
    endpoint = runner().serve(model, INTENT)
    assert runner().serve(model, INTENT) == endpoint
    assert len(service.called("create_deployment")) == 1
    assert service.called("scale") == []


def test_what_has_fallen_asleep_is_woken(service: FireworksEmulator) -> None:
    model = tuned(service)
    runner().serve(model, INTENT)
    service.deployments[OPEN]["replicaCount"] = 0
    runner().serve(model, INTENT)
    assert service.called("scale")[0].body == {"replicaCount": 1}
    assert service.deployments[OPEN]["replicaCount"] == 1
    service.deployments[OPEN].update(replicaCount=0, desiredReplicaCount=0)
    service.fail("scale", Fault.http(404))  # the first request wakes it, too
    runner().serve(model, INTENT)
    assert len(service.called("create_deployment")) == 1


def test_a_failed_deployment_is_released_and_says_why(service: FireworksEmulator) -> None:
    service.deployment_states = ["CREATING", "CREATING", "FAILED"]
    model = tuned(service)
    with pytest.raises(ProviderError, match="did not start, and is released: no capacity for NVIDIA_H100_80GB"):
        runner().serve(model, INTENT)
    assert service.deployments == {}
    assert runner().served(INTENT) is None


def test_a_deployment_that_takes_too_long_is_released(service: FireworksEmulator) -> None:
    service.deployment_states = ["CREATING"]
    ours = runner(serve={"ready_timeout_s": 0.05})
    with pytest.raises(ProviderError, match="is released: it is still creating"):
        ours.serve(tuned(service), INTENT)
    assert service.deployments == {}


def test_an_adapter_that_cannot_be_loaded_ends_its_deployment(service: FireworksEmulator) -> None:
    ours = runner(serve={"mode": "addon"})
    model = tuned(service)
    service.fail("load", Fault(400, {"code": 3, "message": "rank 8 does not fit"}))
    with pytest.raises(ProviderError, match="rank 8 does not fit"):
        ours.serve(model, INTENT)
    assert service.deployments == {}
    service.adapter_states = ["DEPLOYING", "UNDEPLOYING"]
    with pytest.raises(ProviderError, match="did not start, and is released: its adapter"):
        ours.serve(model, INTENT)
    assert (service.deployments, service.adapters) == ({}, {})


def test_an_adapter_that_no_list_shows_yet_is_waited_for(service: FireworksEmulator) -> None:
    service.lists_late = True
    ours = runner(serve={"mode": "addon"})
    endpoint = ours.serve(tuned(service), INTENT)
    assert [one["state"] for one in service.adapters.values()] == ["DEPLOYED"]
    assert len(service.called("load")) == 1
    ours.release(endpoint)
    assert service.deployments == {}


def test_a_deployment_that_is_shown_late_is_waited_for(service: FireworksEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tuned(service)

    def watch(route: str, when: str) -> None:
        if (route, when) == ("create_deployment", "after"):
            service.fail("deployment", *[Fault(404, {"code": 5, "message": "not found"})] * 5)

    service.watch = watch
    assert runner().serve(model, INTENT).resource_id == OPEN
    monkeypatch.setattr(serving, "UNSEEN_S", 0.0)
    service.deployments.clear()
    with pytest.raises(ProviderError, match="was deleted while it started"):
        runner().serve(model, INTENT)


def test_a_name_that_a_deleted_deployment_keeps_in_secret_is_passed_over(service: FireworksEmulator) -> None:
    service.fail("create_deployment", Fault(409, {"code": 6, "message": "the deployment already exists", "details": []}))
    assert runner().serve(tuned(service), INTENT).resource_id == f"{OPEN}-2"
    assert list(service.deployments) == [f"{OPEN}-2"]


def test_an_adapter_whose_load_came_to_nothing_is_loaded_again(service: FireworksEmulator) -> None:
    service.fail("load", Fault.http(500))
    easy(serve={"mode": "addon"}).serve(tuned(service), INTENT)
    assert (len(service.called("load")), len(service.called("create_deployment"))) == (2, 1)


def test_an_unknown_deployment_state_is_waited_for(lenient: FireworksEmulator) -> None:
    lenient.deployment_states = ["WARMING", "", "READY"]
    ours = easy()
    assert ours.serve(tuned(lenient), INTENT).resource_id == OPEN


def test_a_deployment_deleted_while_it_starts_is_not_waited_for(service: FireworksEmulator) -> None:
    ours, other = runner(), runner()
    model = tuned(service)
    service.deployment_states = ["CREATING"]

    def watch(route: str, when: str) -> None:
        if (route, when) == ("deployment", "after") and service.deployments:
            service.deployments.clear()

    service.watch = watch
    with pytest.raises(ProviderError, match="was deleted while it started"):
        ours.serve(model, INTENT)
    assert other.served(INTENT) is None


def test_a_name_that_is_still_being_deleted_is_not_used_again(service: FireworksEmulator) -> None:
    model = tuned(service)
    for state in ("DELETED", "DELETING"):
        service.gone[OPEN] = {"name": OPEN, "baseModel": TUNED, "state": state}
        assert runner().served(INTENT) is None
        endpoint = runner().serve(model, INTENT)
        assert endpoint.resource_id == f"{OPEN}-2"
        assert runner().serve(model, INTENT) == endpoint == runner().served(INTENT)
        runner().release(endpoint)
        runner().release(Endpoint("", resource_id=OPEN))
    for name in (f"{OPEN}-2", f"{OPEN}-3"):
        service.gone[name] = {**service.gone[OPEN], "name": name}
    with pytest.raises(ProviderError, match="still being deleted"):
        runner().serve(model, INTENT)


def test_releasing_survives_what_passes(service: FireworksEmulator) -> None:
    ours = easy()
    endpoint = ours.serve(tuned(service), INTENT)
    service.fail("delete_deployment", Fault.reset_after())
    ours.release(endpoint)
    assert service.deployments == {}
    ours.serve(tuned(service), INTENT)
    service.fail("delete_deployment", Fault(400, {"code": 3, "message": "hard deletion is not for you"}), Fault.html(), Fault.http(409))
    ours.release(endpoint)
    assert service.deployments == {}
    ours.release(endpoint)


def test_what_may_still_run_is_said(service: FireworksEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RELEASE_S", 0.0)
    ours = runner()
    endpoint = ours.serve(tuned(service), INTENT)
    service.fail("delete_deployment", Fault.http(400, "it is in use"))
    with pytest.raises(ProviderError, match="may still run and cost money: HTTP 400: it is in use"):
        ours.release(endpoint)
    service.fail("deployment", Fault.http(403, "not yours"))
    with pytest.raises(ProviderError, match="not yours"):
        ours.release(endpoint)
    assert list(service.deployments) == [OPEN]


def test_an_adapter_that_stays_does_not_keep_the_deployment(service: FireworksEmulator) -> None:
    ours = runner(serve={"mode": "addon"})
    endpoint = ours.serve(tuned(service), INTENT)
    service.fail("unload", Fault.http(400, "not now"))
    ours.release(endpoint)
    assert service.deployments == {}


def test_a_checkpoint_is_promoted_once_and_deployed(service: FireworksEmulator, job: Job) -> None:
    ours = runner(sampler_checkpoint_save_interval_steps=10)
    model = trained(ours, job)
    assert model.checkpoints == (f"fireworks/{JOB}/checkpoints/step-1", f"fireworks/{JOB}/checkpoints/step-2")
    meant = replace(model, model=model.checkpoints[0], checkpoints=())
    service.fail("promote", Fault.reset_after())
    endpoint = ours.serve(meant, INTENT)
    (asked,) = service.called("promote")
    assert asked.path.endswith(f"/{JOB}/checkpoints/step-1:promote")
    promoted = asked.body["output_model"]
    assert asked.body == {"output_model": promoted, "base_model": BASE, "async_promotion": True}
    assert endpoint.model == f"fireworks/{promoted}#{OPEN}"
    assert service.deployments[OPEN]["baseModel"] == promoted != TUNED
    assert ours.serve(meant, INTENT) == endpoint
    assert len(service.called("promote")) == 1
    service.models[promoted]["state"] = "UPLOADING"
    with pytest.raises(ProviderError, match="is not a model yet"):
        runner(serve={"ready_timeout_s": 0.05}).serve(meant, INTENT)


def test_a_service_without_checkpoints_has_none(service: FireworksEmulator, job: Job) -> None:
    assert trained(runner(), job).checkpoints == ()
    assert service.called("checkpoints") == []
    ours = runner(sampler_checkpoint_save_interval_steps=10)
    service.fail("checkpoints", Fault.http(404))
    assert follow(ours, Handle("t", JOB)).model == trained(ours, job)


def test_serving_goes_where_training_went(service: FireworksEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIREWORKS_BASE_URL")
    for given in (service.url, f"{service.url}/inference/", f"{service.url}/inference/v1"):
        ours = runner(base_url=given, api_key_env="FIREWORKS_API_KEY")
        endpoint = ours.serve(tuned(service), INTENT)
        assert endpoint.options == {"base_url": f"{service.url}/inference/v1", "api_key_env": "FIREWORKS_API_KEY"}
        name = endpoint.model.removeprefix("fireworks/")
        assert FireworksChat(ChatOptions.model_validate({"name": name, **endpoint.options})).base_url == FireworksChat.address(given)


def test_options_that_do_not_fit_together_are_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {"min_lr_ratio": 0.1},
        {"lora_rank": 0, "serve": {"mode": "addon"}},
        {"serve": {"min_replicas": 2}},
        {"serve": {"accelerator_count": 2}},
        {"serve": {"accelerator_type": "NVIDIA_H100_80GB", "deployment_shape": "default"}},
        {"serve": {"scale_to_zero_window_s": 60}},
        {"serve": {"mode": "addon", "precision": "FP8"}},
    ]
    for options in wrong:
        with pytest.raises(ValidationError):
            FireworksOptions.model_validate(options)


def test_the_emulator_notices_what_the_description_forbids(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    if not SPECS.is_dir():
        pytest.skip("the published descriptions are not beside the repository")
    with FireworksEmulator() as emulator:
        point_at(emulator, monkeypatch)
        odd = FireworksOptions().model_copy(update={"epochs": "many"})
        LenientRunner(odd).submit(job)
        emulator.chat = lambda call: {"choices": []}  # type: ignore[method-assign]
        asked, answered = emulator.violations[:2]
        emulator.violations.clear()
    assert asked.startswith(f"POST /v1/accounts/{ACCOUNT}/supervisedFineTuningJobs")
    assert "many" in asked
    assert "many" in answered
