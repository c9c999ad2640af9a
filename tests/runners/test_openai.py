"""The OpenAI runner through the official SDK, against the emulator: what is bought, once, whatever breaks."""

from __future__ import annotations

import base64
import datetime
import email.utils
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalharness import buying
from evalharness.errors import ConfigError, ProviderError
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Message, Point, Status
from evalharness.runners.openai import OpenAIOptions, OpenAIRunner
from tests.emulators.core import KEY, SPECS, Fault
from tests.emulators.openai import OpenAIEmulator

DONE = ("succeeded", "failed", "cancelled")


class StrictRunner(OpenAIRunner):
    """The SDK checks every answer against its own types; no waiting between looks."""

    strict = True
    looks_s = (0.0, 0.05)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as emulator:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.url)
        yield emulator


def chat(number: int) -> tuple[Message, ...]:
    return (Message("system", "Route the ticket."), Message("user", f"Ticket {number}"), Message("assistant", f"queue-{number % 3}"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    rows = tuple(chat(number) for number in range(12))
    return Job("t1", "a1b2c3d4e5f6a7b8c9d0e1f2", "gpt-4.1-mini", {}, 7, rows, rows[:3], str(tmp_path / "job"), "Tuned, small")


def runner(**options: Any) -> StrictRunner:
    return StrictRunner(OpenAIOptions(**options))


def follow(at: OpenAIRunner, handle: Handle) -> Status:
    for _ in range(20):
        status = at.poll(handle)
        if status.state in DONE:
            return status
    raise AssertionError("the job does not end")


def test_it_is_a_runner() -> None:
    assert isinstance(runner(), Runner)
    assert OpenAIRunner.local is False


def test_identity_is_what_decides_the_tuned_model(service: OpenAIEmulator) -> None:
    assert runner(n_epochs=3, prices={"usd_per_hour": 1.0}, suffix="x").identity("gpt-4.1-mini") == {
        "provider": "openai",
        "base": "gpt-4.1-mini",
        "hyperparameters": {"n_epochs": 3},
    }
    assert runner(base_url=service.url).identity("b")["base_url"] == service.url


def test_from_rows_to_a_tuned_model(service: OpenAIEmulator, job: Job) -> None:
    ours = runner(n_epochs=3, learning_rate_multiplier=1.8, prices={"usd_per_million_training_tokens": 5.0})
    assert ours.check(job) == []
    assert ours.find(job) is None
    handle = ours.submit(job)
    states = [ours.poll(handle) for _ in range(4)]
    assert [status.state for status in states] == ["queued", "running", "succeeded", "succeeded"]
    last = states[-1]
    assert last.points == (Point(1, 2.5), Point(2, 1.5, 1.6), Point(3, 0.9, 1.0))
    assert states[1].points == (Point(1, 2.5),)
    assert (last.step, last.total_steps, last.tokens, last.seconds) == (3, 3, 12_000, 90.0)
    assert last.cost_usd == pytest.approx(0.06)
    assert "done about" in states[1].detail
    assert last.model is not None
    tuned = service.jobs[handle.provider_id]["fine_tuned_model"]
    assert last.model.model == f"openai/{tuned}"
    assert last.model.checkpoints == (f"openai/{tuned}:ckpt-step-2",)
    assert last.model.facts["n_epochs"] == 3
    endpoint = ours.serve(last.model, "k")
    assert endpoint.model == last.model.model
    assert endpoint.resource_id is None
    ours.release(endpoint)


def test_what_is_sent(service: OpenAIEmulator, job: Job) -> None:
    handle = runner(n_epochs="auto", batch_size=4).submit(job)
    sent = service.called("create_job")[0].body
    assert sent == {
        "model": "gpt-4.1-mini",
        "training_file": "file-0001",
        "validation_file": "file-0002",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": 4}}},
        "seed": 7,
        "suffix": "tuned-small-a1b2c3d4e5f6",
        "metadata": {"evalh_key": job.key},
    }
    assert handle == Handle("t1", "ftjob-0001")
    lines = service.contents["file-0001"].decode().splitlines()
    assert len(lines) == 12
    assert lines[1] == '{"messages": [{"role": "system", "content": "Route the ticket."}, {"role": "user", "content": "Ticket 1"}, ' + (
        '{"role": "assistant", "content": "queue-1"}]}'
    )


def test_equal_rows_are_uploaded_once(service: OpenAIEmulator, job: Job) -> None:
    runner().submit(job)
    runner().submit(replace(job, key="another-intent-0123456789", seed=8))
    assert len(service.called("upload")) == 2  # train and dev
    assert len(service.jobs) == 2


def test_a_half_uploaded_file_is_not_used(service: OpenAIEmulator, job: Job) -> None:
    runner().submit(job)
    service.files["file-0001"]["bytes"] = 3
    runner().submit(replace(job, key="another-intent-0123456789"))
    assert service.called("create_job")[1].body["training_file"] == "file-0003"


LOST = {
    "reset after": Fault.reset_after(),
    "500 after": replace(Fault.http(500), after=True),
    "web page after": Fault.html(after=True),
    "web page 502 after": Fault.html(502, after=True),
    "half an answer": Fault(cut=True),
    "hang after": Fault.hang(2.5, after=True),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_buys_once(service: OpenAIEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    handle = OpenAIRunnerInHaste(OpenAIOptions(timeout_s=2.0)).submit(job)
    assert handle.provider_id == "ftjob-0001"
    assert len(service.called("create_job")) == len(service.jobs) == 1


class OpenAIRunnerInHaste(OpenAIRunner):
    """The lenient SDK, as in real runs: it hands on web pages and half answers as they are."""

    looks_s = (0.0, 0.05)


NOT_MADE = {"reset before": Fault.reset_before(), "429": Fault.http(429, "slow down"), "500": Fault.http(500), "409": Fault.http(409)}


@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE.keys())
def test_in_doubt_nothing_is_created_twice_and_the_next_run_buys(service: OpenAIEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    with pytest.raises(ProviderError, match=r"no clear answer .* Run again"):
        runner().submit(job)
    assert len(service.called("create_job")) == 1
    again = runner()
    assert again.find(job) is None
    assert again.submit(job).provider_id == "ftjob-0001"
    assert len(service.jobs) == 1


def test_a_job_that_appears_late_is_found_by_the_next_run(service: OpenAIEmulator, job: Job) -> None:
    service.fail("create_job", Fault.reset_after())
    empty = Fault(200, {"object": "list", "data": [], "has_more": False})
    service.fail("list_jobs", empty, empty)
    with pytest.raises(ProviderError, match="Run again"):
        runner().submit(job)
    assert runner().find(job) == Handle("t1", "ftjob-0001")
    assert len(service.jobs) == 1


def test_a_list_that_cannot_be_read_is_no_empty_list(service: OpenAIEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buying, "_READS_S", (0.0, 0.0))
    runner().submit(job)
    for broken in (Fault.html(), Fault(200, {}), Fault(200, {"object": "list"})):
        service.fail("list_jobs", broken, broken, broken)
        with pytest.raises(ProviderError, match="cannot be read"):
            OpenAIRunner(OpenAIOptions()).find(job)
        service.fail("list_jobs", broken)
        assert OpenAIRunner(OpenAIOptions()).find(job) is not None


REFUSED = {"400": Fault.http(400, "bad file"), "401": Fault.http(401), "404": Fault.http(404), "out of quota": Fault.quota()}


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED.keys())
def test_a_clear_no_is_said_at_once(service: OpenAIEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    with pytest.raises(ProviderError, match="the service refused"):
        runner().submit(job)
    assert len(service.called("create_job")) == 1
    assert service.called("list_jobs") == []


def test_find_adopts_the_job_of_an_earlier_run_among_many(service: OpenAIEmulator, job: Job) -> None:
    for number in range(40):
        service.create_job(call(service, {"metadata": {"evalh_key": f"other-{number}"}}))
    made = runner().submit(job)
    for number in range(101):  # ours is on the second page
        service.create_job(call(service, {"metadata": {"evalh_key": f"more-{number}"}}))
    assert runner().find(job) == made
    service.ignores_metadata = True
    assert runner().find(job) == made


def test_find_prefers_a_job_that_has_not_failed(service: OpenAIEmulator, job: Job) -> None:
    made = runner().submit(job)
    service.create_job(call(service, {"metadata": {"evalh_key": job.key}}))
    service.jobs["ftjob-0002"]["status"] = "failed"
    assert runner().find(job) == made
    service.jobs["ftjob-0001"]["status"] = "cancelled"
    assert runner().find(job) is not None


def test_without_metadata_the_name_tells(service: OpenAIEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    service.jobs[handle.provider_id]["metadata"] = None
    service.ignores_metadata = True
    assert ours.find(job) == handle
    assert ours.find(replace(job, key="000000000000-and-more")) is None


def call(service: OpenAIEmulator, body: dict[str, Any]) -> Any:
    from tests.emulators.core import Incoming

    service.files.setdefault("file-x", {"id": "file-x", "purpose": "batch"})
    return Incoming({}, {}, {"model": "gpt-4.1-mini", "training_file": "file-x", **body})


def test_an_upload_whose_answer_is_lost_is_found(service: OpenAIEmulator, job: Job) -> None:
    service.fail("upload", Fault.reset_after())
    runner().submit(replace(job, dev=()))
    assert len(service.called("upload")) == 1
    assert service.called("create_job")[0].body["training_file"] == "file-0001"


def test_an_upload_that_came_to_nothing_is_sent_again(service: OpenAIEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buying, "_READS_S", (0.0, 0.0))
    service.fail("upload", Fault.http(500), Fault.reset_before())
    runner().submit(replace(job, dev=()))
    assert len(service.files) == len(service.jobs) == 1
    service.fail("upload", *[Fault.http(500)] * 3)
    with pytest.raises(ProviderError, match="no clear answer"):
        runner().submit(job)
    assert len(service.jobs) == 1


def test_an_upload_that_is_refused_buys_nothing(service: OpenAIEmulator, job: Job) -> None:
    service.fail("upload", Fault.http(413, "too large"))
    with pytest.raises(ProviderError, match="too large"):
        runner().submit(job)
    assert service.jobs == {}


def test_a_file_that_is_still_read_is_waited_for(service: OpenAIEmulator, job: Job) -> None:
    service.file_states = ["uploaded", "processed"]
    assert runner().submit(job).provider_id == "ftjob-0001"
    assert len(service.called("create_job")) == 1


def test_a_service_that_says_uploaded_for_good_is_not_waited_for_longer_than_a_while(
    service: OpenAIEmulator, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buying, "_READING_S", {"uploaded": 0.1})
    service.file_states = ["uploaded"]
    assert runner().submit(job).provider_id == "ftjob-0001"


def test_a_failed_job_says_why(service: OpenAIEmulator, job: Job) -> None:
    service.states = ["validating_files", "failed"]
    ours = runner()
    status = follow(ours, ours.submit(job))
    assert status.state == "failed"
    assert status.error == "The file is broken. Line 3 has no assistant turn"
    assert status.model is None
    assert status.again is False


def test_unknown_states_and_fields_are_not_fatal(service: OpenAIEmulator, job: Job) -> None:
    with OpenAIEmulator(checked=False) as strange:  # the description knows no such state, so it cannot check this one
        strange.states = ["queued", "paused", "running", "succeeded"]
        ours = OpenAIRunner(OpenAIOptions(base_url=strange.url))
        handle = ours.submit(job)
        strange.jobs[handle.provider_id]["brand_new"] = {"a": [1]}
        first = ours.poll(handle)
        assert (first.state, first.detail) == ("running", "paused (a state evalh does not know)")
        assert follow(ours, handle).state == "succeeded"


def test_polling_survives_what_passes(service: OpenAIEmulator, job: Job) -> None:
    ours = OpenAIRunner(OpenAIOptions())
    handle = ours.submit(job)
    service.fail("job", Fault.http(500, retry_after="0.01"), Fault.http(429, retry_after="0.01"), Fault.reset_before(), Fault.html())
    assert ours.poll(handle).state == "queued"


def test_a_poll_that_cannot_be_read_raises(service: OpenAIEmulator, job: Job) -> None:
    ours = OpenAIRunner(OpenAIOptions())
    with pytest.raises(ProviderError, match="No such object"):
        ours.poll(Handle("t1", "ftjob-9999"))


def test_succeeded_without_a_name_is_not_done_yet(service: OpenAIEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    name = service.jobs[handle.provider_id]["fine_tuned_model"]
    service.jobs[handle.provider_id]["fine_tuned_model"] = None
    assert ours.poll(handle).state == "running"
    service.jobs[handle.provider_id]["fine_tuned_model"] = name
    assert ours.poll(handle).state == "succeeded"


def test_a_service_with_jobs_alone_is_enough(service: OpenAIEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    service.states = ["queued", "succeeded"]
    service.fail("events", *[Fault.http(404)] * 2)
    service.fail("checkpoints", Fault.http(404))
    service.fail("content", Fault.http(404))
    status = follow(ours, handle)
    assert status.state == "succeeded"
    assert status.model is not None
    assert status.model.checkpoints == ()


def test_result_files_in_base64_and_sentences_in_events_are_read(service: OpenAIEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    for event in service.events[handle.provider_id]:
        event["data"] = {}
    for file, content in list(service.contents.items()):
        if b"train_loss" in content:
            service.contents[file] = base64.b64encode(content.replace(b"2.5", b"2.25"))
    points = runner().poll(handle).points
    assert points == (Point(1, 2.5), Point(2, 1.5, 1.6), Point(3, 0.9, 1.0))  # an event wins over the file's 2.25


def test_only_new_events_are_read(service: OpenAIEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    service.states = ["running"]
    for step in range(1, 251):
        service.log(handle.provider_id, step, 1.0 / step)
    assert len(ours.poll(handle).points) == 250
    before = len(service.called("events"))
    service.log(handle.provider_id, 251, 0.001)
    assert len(ours.poll(handle).points) == 251
    assert before >= 3
    assert len(service.called("events")) == before + 1


def test_cancel(service: OpenAIEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    ours.cancel(handle)
    assert ours.poll(handle).state == "cancelled"
    assert ours.poll(handle).error == "the job was cancelled"
    assert ours.poll(handle).again is True
    ours.cancel(handle)  # over already: no error
    service.jobs[handle.provider_id]["status"] = "queued"
    service.fail("cancel", Fault.http(400, "not now"))
    with pytest.raises(ProviderError, match="not now"):
        ours.cancel(handle)


def test_an_unpriced_model_costs_nobody_knows_what(service: OpenAIEmulator, job: Job) -> None:
    service.add_model("gpt-x-mini")
    ours = runner()
    status = follow(ours, ours.submit(replace(job, base="gpt-x-mini")))
    assert status.tokens == 12_000
    assert status.cost_usd is None


def test_prices_that_are_none_are_refused_before_anything_is_bought() -> None:
    with pytest.raises(ConfigError, match="usd_per_million_training_tokens"):
        runner(prices={"usd_per_token": 1.0})


def test_check_names_the_rows(service: OpenAIEmulator, job: Job) -> None:
    rows = [*job.train]
    rows[1] = (Message("user", "Hi"),)
    rows[3] = (Message("user", "Hi"), Message("robot", "beep"), Message("assistant", "x"))
    rows[4] = ()
    problems = runner().check(replace(job, train=tuple(rows[:6])))
    assert problems == [
        "train row 2: its last turn is from 'user'. Training needs an assistant turn to learn",
        "train row 4: it has a turn of role 'robot'; the service knows assistant, developer, system, tool, user",
        "train row 5: it is empty",
        "train: 6 rows, and the service wants at least 10",
    ]
    many = runner().check(replace(job, train=(rows[1],) * 12))
    assert len(many) == 6
    assert many[-1] == "train: and 7 more such rows"


def test_check_reads_when_the_base_ends(service: OpenAIEmulator, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    soon = (datetime.date.today() + datetime.timedelta(days=40)).isoformat()
    service.add_model("gpt-4.1-mini", soon)
    with caplog.at_level(logging.WARNING, "evalh"):
        assert runner().check(job) == []
    assert f"will be shut down on {soon}" in caplog.text
    assert runner(shutdown="refuse").check(job) == [
        f"base 'gpt-4.1-mini': will be shut down on {soon}, and models tuned from it with it. Choose another base, or set shutdown: warn"
    ]
    service.add_model("gpt-4.1-mini", "2024-01-01")
    assert "was shut down on 2024-01-01" in runner().check(job)[0]
    assert len(service.jobs) == 0


def test_an_outage_is_no_fault_of_the_trainers(
    service: OpenAIEmulator, job: Job, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buying, "_READS_S", (0.0, 0.0))
    service.fail("model", *[Fault.html(200)] * 3)
    with caplog.at_level(logging.WARNING, "evalh"):
        assert runner().check(job) == []
    assert "base 'gpt-4.1-mini' could not be checked" in caplog.text


def test_check_finds_a_wrong_key_model_or_address(service: OpenAIEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'no-such' does not exist" in runner().check(replace(job, base="no-such"))[0]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
    (problem,) = runner().check(job)
    assert "Incorrect API key" in problem
    assert "sk-wrong" not in problem
    monkeypatch.delenv("OPENAI_API_KEY")
    assert runner().check(job) == ["the runner 'openai' needs a key. Set OPENAI_API_KEY"]
    monkeypatch.setenv("AZURE_KEY", KEY)
    assert runner(api_key_env="AZURE_KEY").check(job) == []


def test_the_key_is_in_no_message(service: OpenAIEmulator, job: Job) -> None:
    service.fail("create_job", Fault.http(400, f"bad header Bearer {KEY}"))
    ours = runner()
    with pytest.raises(ProviderError) as caught:
        ours.submit(job)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in repr(ours) + repr(vars(ours))
    service.fail(
        "create_job", Fault.http(400, "no Basic dGVhbTpoaWRkZW4gd29yZA== at https://team:hidden@example.com/v1; Basic authentication")
    )
    with pytest.raises(ProviderError, match=r"no Basic \*\*\* at https://\*\*\*@example.com/v1; Basic authentication$"):
        ours.submit(job)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "BadRequest", "message": "line 3 has no assistant turn"},
        {"error": {"message": "line 3 has no assistant turn"}},
        {"detail": "line 3 has no assistant turn"},
        {"error": "line 3 has no assistant turn"},
    ],
)
def test_a_refusal_is_told_by_its_sentence(service: OpenAIEmulator, job: Job, body: object) -> None:
    service.fail("create_job", Fault(400, body))
    with pytest.raises(ProviderError, match=r"^the service refused: HTTP 400: line 3 has no assistant turn$"):
        runner().submit(job)


def test_who_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ours = runner(base_url="http://127.0.0.1:9/v1")
    monkeypatch.setattr(ours, "_sdk", ours._sdk.with_options(max_retries=0))
    with pytest.raises(ProviderError, match=r"^no connection to 127\.0\.0\.1:9$"):
        ours.find(job)


def test_serving_goes_where_training_went(service: OpenAIEmulator, job: Job) -> None:
    ours = runner(base_url=service.url, api_key_env="OPENAI_API_KEY")
    status = follow(ours, ours.submit(job))
    assert status.model is not None
    assert ours.serve(status.model, "k").options == {"base_url": service.url, "api_key_env": "OPENAI_API_KEY"}


def test_the_emulator_notices_what_the_description_forbids(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    if not SPECS.is_dir():
        pytest.skip("the published descriptions are not beside the repository")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIEmulator() as emulator:
        StrictRunner(OpenAIOptions(base_url=emulator.url).model_copy(update={"batch_size": 1000})).submit(job)
        asked, answered = emulator.violations  # the job shows what was asked for, so that its answer breaks the description too
        emulator.violations.clear()
    assert asked.startswith("POST /v1/fine_tuning/jobs")
    assert "1000" in asked
    assert "1000" in answered


def test_azure_wants_a_version_and_the_key_in_a_header_of_its_own(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    from tests.models.test_openai_chat import AzureEmulator

    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    with AzureEmulator(checked=False) as azure:
        ours = runner(base_url=azure.url, api_key_env="AZURE_OPENAI_API_KEY", api_version="2025-04-01-preview")
        assert ours.check(job) == []
        status = follow(ours, ours.submit(job))
        assert status.model is not None
        served = ours.serve(status.model, "k")
        assert served.options["api_version"] == "2025-04-01-preview"
        assert all("api-version=2025-04-01-preview" in call.path for call in azure.calls)
        assert len(azure.jobs) == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_rate_limit_that_says_when_is_waited_for_and_looked_behind(service: OpenAIEmulator, job: Job, after: bool) -> None:
    service.fail("create_job", replace(Fault.http(429, "slow down", retry_after="0.01"), after=after))
    assert runner().submit(job).provider_id == "ftjob-0001"
    assert len(service.jobs) == 1
    assert len(service.called("create_job")) == (1 if after else 2)  # what was made all the same is found before anything is sent


def test_a_rate_limit_may_name_an_hour_and_not_seconds(service: OpenAIEmulator, job: Job) -> None:
    began = time.time()
    service.fail("create_job", Fault.http(429, "slow down", retry_after=email.utils.formatdate(began + 3, usegmt=True)))
    assert runner().submit(job).provider_id == "ftjob-0001"
    assert 1.9 <= time.time() - began < 10, "dates have whole seconds"
    assert len(service.jobs) == 1


def test_rate_limits_without_end_are_given_up(service: OpenAIEmulator, job: Job) -> None:
    service.fail("create_job", *[Fault.http(429, "slow down", retry_after="0.01")] * 9)
    with pytest.raises(ProviderError, match=r"no clear answer \(HTTP 429: slow down\)"):
        runner().submit(job)
    assert len(service.called("create_job")) == 4
    assert service.jobs == {}
