"""The Together runner through the official SDK, against the emulator: what is bought, once, whatever breaks."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evalharness.buying import Calls
from evalharness.errors import ConfigError, ProviderError, Refused
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Message, Point, Status
from evalharness.runners.together import TogetherOptions, TogetherRunner, files, jobs
from tests.emulators.core import KEY, SPECS, Fault
from tests.emulators.together import BASE, TogetherEmulator

TUNED = "team/base-8b-tuned-small-a1b2c3d4e5f6-0001"


class HastyRunner(TogetherRunner):
    """The lenient SDK, as in real runs; no waiting between looks."""

    looks_s = (0.0, 0.05)
    pause_s = 0.01


class StrictRunner(HastyRunner):
    """The SDK checks every answer against its own types."""

    strict = True


CERTIFICATES = ssl.create_default_context()
"""Read once: every client of the SDK would read them anew."""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpx._transports.default.create_ssl_context", lambda *args, **options: CERTIFICATES, raising=False)
    monkeypatch.setattr(files, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setitem(Calls.read.__globals__, "_READS_S", (0.0, 0.0))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[TogetherEmulator]:
    with TogetherEmulator() as emulator:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", emulator.url)
        yield emulator


def chat(number: int) -> tuple[Message, ...]:
    return (Message("system", "Route the ticket."), Message("user", f"Ticket {number}"), Message("assistant", f"queue-{number % 3}"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    rows = tuple(chat(number) for number in range(12))
    return Job("t1", "a1b2c3d4e5f6a7b8c9d0e1f2", BASE, {}, 7, rows, rows[:3], str(tmp_path / "job"), "Tuned, small")


def runner(**options: Any) -> StrictRunner:
    return StrictRunner(TogetherOptions(**options))


def hasty_runner(**options: Any) -> HastyRunner:
    return HastyRunner(TogetherOptions(**options))


def follow(at: TogetherRunner, handle: Handle) -> Status:
    for _ in range(20):
        status = at.poll(handle)
        if status.state in ("succeeded", "failed", "cancelled"):
            return status
    raise AssertionError("the job does not end")


def test_it_is_a_runner() -> None:
    assert isinstance(runner(), Runner)
    assert TogetherRunner.local is False


def test_identity_is_what_decides_the_tuned_model(service: TogetherEmulator) -> None:
    known = {"provider": "together", "base": BASE, "settings": {"n_epochs": 3}}
    assert runner(n_epochs=3, prices={"usd_per_hour": 1.0}, suffix="x", serve={"where": "local"}).identity(BASE) == known
    assert runner(n_epochs=3, base_url=service.url).identity(BASE) == {**known, "base_url": service.url}


def test_settings_are_sent_under_the_services_names() -> None:
    everything = TogetherOptions(
        n_epochs=2, n_checkpoints=2, n_evals=4, batch_size=16, gradient_accumulation_steps=2, learning_rate=2e-5, warmup_ratio=0.05,
        lr_scheduler_type="linear", min_lr_ratio=0.1, max_grad_norm=0.5, weight_decay=0.01, packing=False, max_seq_length=2048,
        train_on_inputs=False, lora_r=8, lora_alpha=8, lora_dropout=0.1, lora_trainable_modules="q_proj",
        early_stopping_enabled=True, early_stopping_patience=2,
    )  # fmt: skip
    assert everything.settings() == {
        "n_epochs": 2, "n_checkpoints": 2, "n_evals": 4, "batch_size": 16, "gradient_accumulation_steps": 2, "learning_rate": 2e-5,
        "lr_scheduler": {"lr_scheduler_type": "linear", "lr_scheduler_args": {"min_lr_ratio": 0.1}}, "warmup_ratio": 0.05,
        "max_grad_norm": 0.5, "weight_decay": 0.01, "packing": False, "max_seq_length": 2048,
        "training_method": {"method": "sft", "train_on_inputs": False},
        "training_type": {"type": "Lora", "lora_r": 8, "lora_alpha": 8, "lora_dropout": 0.1, "lora_trainable_modules": "q_proj"},
        "early_stopping_enabled": True, "early_stopping_patience": 2,
    }  # fmt: skip
    assert TogetherOptions(training_type="Full").settings() == {"training_type": {"type": "Full"}}
    assert TogetherOptions(scheduler_num_cycles=1.0).settings()["lr_scheduler"] == {
        "lr_scheduler_type": "cosine",
        "lr_scheduler_args": {"min_lr_ratio": 0.0, "num_cycles": 1.0},
    }


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lora_dropout": 0.1}, "lora_dropout needs lora_r"),
    ({"training_type": "Full", "lora_r": 8}, "lora_r is for training_type: Lora"),
    ({"training_type": "Full", "serve": {"where": "local"}}, "downloads an adapter"),
    ({"early_stopping_patience": 3}, "needs early_stopping_enabled"),
    ({"early_stopping_enabled": True, "n_evals": 3}, r"patience \+ warmup_evals \+ 1 = 4"),
    ({"serve": {"min_replicas": 2}}, "max_replicas is 1, less than min_replicas, 2"),
    ({"serve": {"inactive_timeout": 0}}, "inactive_timeout"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[said for _, said in WRONG])
def test_settings_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TogetherOptions(**options)


def test_from_rows_to_a_tuned_model(service: TogetherEmulator, job: Job) -> None:
    ours = runner(n_epochs=3, lora_r=16)
    assert ours.check(job) == []
    assert ours.find(job) is None
    handle = ours.submit(job)
    states = [ours.poll(handle) for _ in range(5)]
    assert [status.state for status in states] == ["queued", "running", "running", "succeeded", "succeeded"]
    assert states[1].detail == "running, 10 min to the next state"
    assert states[1].points == (Point(1, 2.5, None, 1e-5),)
    last = states[-1]
    assert last.points == (Point(1, 2.5, None, 1e-5), Point(2, 1.5, None, 1e-5), Point(3, 1.2, 1.25, 1e-5), Point(6, 0.75, 1.0, 1e-5))
    assert (last.step, last.total_steps, last.tokens, last.cost_usd, last.seconds) == (6, 6, 12_000, 2.5, 150.0)
    assert last.model is not None
    assert last.model.model == f"together/{TUNED}"
    assert last.model.checkpoints == (f"together/{TUNED}:3",)
    assert last.model.identity == {"provider": "together", "model": TUNED}
    assert last.model.facts["job"] == "ft-0001"
    assert (last.model.facts["lora_r"], last.model.facts["n_epochs"]) == (16, 3)


def test_what_is_sent(service: TogetherEmulator, job: Job) -> None:
    handle = runner(n_epochs=2, batch_size="max").submit(job)
    assert service.called("create_job")[0].body == {
        "model": BASE,
        "training_file": "file-0001",
        "validation_file": "file-0002",
        "training_method": {"method": "sft", "train_on_inputs": "auto"},
        "n_epochs": 2,
        "n_evals": 5,
        "batch_size": "max",
        "suffix": "tuned-small-a1b2c3d4e5f6",
        "random_seed": 7,
    }
    assert handle == Handle("t1", "ft-0001")
    lines = service.contents["file-0001"].decode().splitlines()
    assert len(lines) == 12
    assert lines[1] == '{"messages": [{"role": "system", "content": "Route the ticket."}, {"role": "user", "content": "Ticket 1"}, ' + (
        '{"role": "assistant", "content": "queue-1"}]}'
    )


def test_without_dev_rows_nothing_is_looked_at(service: TogetherEmulator, job: Job) -> None:
    runner().submit(replace(job, dev=()))
    assert not {"validation_file", "n_evals"} & set(service.called("create_job")[0].body)


# Uploads


def test_equal_rows_are_uploaded_once(service: TogetherEmulator, job: Job) -> None:
    runner().submit(job)
    runner().submit(replace(job, key="0123456789abcdef01234567", seed=8))
    assert len(service.called("upload")) == len(service.called("put")) == 2  # train and dev
    assert len(service.jobs) == 2


def test_a_known_checksum_adopts_the_file_that_is_there(service: TogetherEmulator, job: Job) -> None:
    runner().submit(job)
    service.files["file-0001"]["filename"] = "somebodys-name.jsonl"
    runner().submit(replace(job, key="0123456789abcdef01234567"))
    assert service.called("create_job")[1].body["training_file"] == "file-0001"
    assert len(service.files) == 2


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("lost", ["upload", "put"])
def test_a_half_upload_is_not_used_but_begun_again(service: TogetherEmulator, job: Job, lost: str, times: int) -> None:
    service.fail(lost, *[Fault.reset_before()] * (times - 1), Fault.reset_after() if lost == "upload" else Fault.reset_before())
    if times == 2:  # once in a run
        with pytest.raises(ProviderError, match="no clear answer"):
            runner().submit(replace(job, dev=()))
        assert service.jobs == {}
    runner().submit(replace(job, dev=()))
    assert len(service.called("upload")) == times + 1
    assert service.called("create_job")[0].body["training_file"] == f"file-{len(service.files):04d}"


def test_a_file_that_never_got_its_content_is_replaced(service: TogetherEmulator, job: Job) -> None:
    """A service may know the checksum of an upload that was killed before its content was sent."""
    service.fail("put", Fault.reset_before(), Fault.reset_before())
    with pytest.raises(ProviderError, match="no clear answer"):
        runner().submit(replace(job, dev=()))
    service.files.popitem()
    (left,) = service.files
    service.fail("upload", Fault(409, {"file_id": left}))
    runner(timeout_s=0.1).submit(replace(job, dev=()))
    assert len(service.called("delete_file")) == 1
    assert service.called("delete_file")[0].path.endswith(left)
    assert [len(content.splitlines()) for content in service.contents.values()] == [12]


@pytest.mark.parametrize("fault", [Fault.reset_after(), Fault.reset_before(), Fault.html(after=True), Fault.http(500)])
def test_a_whole_upload_whose_last_step_is_lost_is_found_and_checked(service: TogetherEmulator, job: Job, fault: Fault) -> None:
    service.fail("preprocess", fault)
    hasty_runner().submit(replace(job, dev=()))
    again = hasty_runner().submit(replace(job, dev=(), key="0123456789abcdef01234567"))
    assert again.provider_id == "ft-0002"
    assert len(service.called("upload")) == 1


def test_rows_that_the_service_cannot_use_are_told_with_its_report(service: TogetherEmulator, job: Job) -> None:
    service.file_states = ["RUNNING", "INVALID_FORMAT"]
    with pytest.raises(
        Refused, match="the train file file-0001 cannot be used for training: line 3: the conversation ends with a user turn"
    ):
        runner().submit(job)
    assert service.jobs == {}


def test_a_check_that_failed_is_no_verdict_on_the_rows(service: TogetherEmulator, job: Job) -> None:
    service.file_states = ["RUNNING", "FAILED"]
    with pytest.raises(ProviderError, match="cannot be used for training: failed") as caught:
        runner().submit(job)
    assert not isinstance(caught.value, Refused)
    service.file_states = ["COMPLETED"]
    assert runner().submit(job).provider_id == "ft-0001"
    assert service.called("create_job")[0].body["training_file"] == "file-0001"  # the failed one was deleted, so its number is free again


def test_a_check_that_takes_forever_is_told(service: TogetherEmulator, job: Job) -> None:
    service.file_states = ["QUEUED"]
    with pytest.raises(ProviderError, match=r"the train file file-0001 is still QUEUED. Run again: it is not uploaded twice"):
        runner(timeout_s=0.05).submit(job)


def test_file_states_that_nobody_knows_do_not_stop_it(service: TogetherEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalharness.runners.together.files.UNKNOWN_S", 0.3)
    service.file_states = ["SHINY"]
    with pytest.raises(ProviderError, match="not validated"):  # the service has the last word
        hasty_runner().submit(job)


def test_a_service_that_only_says_processed_is_waited_for(service: TogetherEmulator, job: Job) -> None:
    looks = iter((False, False, True))

    def twist(route: str, answer: Any) -> Any:
        if route != "file":
            return answer
        plain = {name: value for name, value in answer.items() if name != "processing_status"}
        return {**plain, "Processed": next(looks, True)}

    service.twist = twist
    hasty_runner().submit(replace(job, dev=()))
    assert next(looks, None) is None


def test_a_refused_upload_says_no_signed_address(service: TogetherEmulator, job: Job) -> None:
    denied = Fault(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", {"X-Signed": "s3cret"}, content_type="text/html")
    service.fail("put", denied)
    with pytest.raises(Refused) as caught:
        runner().submit(job)
    assert "SignatureDoesNotMatch" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.http(500, "the disks are full"), "Unexpected error raised by endpoint: the disks are full"),
        (Fault(500, {"error": "no disks"}), "endpoint: no disks"),
        (Fault(500, {"detail": 1}), 'endpoint: {"detail": 1}'),
        (Fault.http(409, "try later"), "half an answer"),
    ],
)
def test_an_upload_that_fails_is_told_in_the_services_words(service: TogetherEmulator, job: Job, fault: Fault, said: str) -> None:
    service.fail("upload", fault, fault)
    with pytest.raises(ProviderError, match=re.escape(f"{said}), and the service shows nothing made") if fault.status == 500 else said):
        runner().submit(job)


def test_a_service_without_signed_addresses_takes_whole_files(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    with TogetherEmulator(signed=False) as plain:
        monkeypatch.setenv("TOGETHER_BASE_URL", plain.url)
        plain.fail("upload_whole", Fault.reset_after())
        assert hasty_runner().submit(job).provider_id == "ft-0001"
        hasty_runner().submit(replace(job, key="0123456789abcdef01234567"))
        assert len(plain.called("upload_whole")) == len(plain.files) == 2  # train and dev, once each
        assert len(plain.contents["file-0001"].splitlines()) == 12


def test_a_check_that_cannot_be_asked_for_again_is_waited_for(service: TogetherEmulator, job: Job) -> None:
    service.fail("preprocess", Fault.http(400), Fault.http(400))
    with pytest.raises(Refused):
        hasty_runner().submit(job)
    with pytest.raises(ProviderError, match="still PENDING"):
        hasty_runner(timeout_s=0.05).submit(job)
    hasty_runner().submit(job)
    assert len(service.files) == 2


# Creates


LOST = {
    "reset after": Fault.reset_after(),
    "500 after": replace(Fault.http(500), after=True),
    "web page after": Fault.html(after=True),
    "web page 502 after": Fault.html(502, after=True),
    "half an answer": Fault(cut=True),
    "hang after": Fault.hang(1.5, after=True),
}
NOT_MADE = {"reset before": Fault.reset_before(), "429": Fault.http(429, "slow down"), "500": Fault.http(500), "409": Fault.http(409)}
REFUSED = {"400": Fault.http(400, "bad file"), "401": Fault.http(401), "404": Fault.http(404), "out of quota": Fault.http(402, "no credit")}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_buys_once(service: TogetherEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    handle = hasty_runner(timeout_s=1.0).submit(job)
    assert handle.provider_id == "ft-0001"
    assert len(service.called("create_job")) == len(service.jobs) == 1


@pytest.mark.parametrize("fault", NOT_MADE.values(), ids=NOT_MADE.keys())
def test_in_doubt_nothing_is_created_twice_and_the_next_run_buys(service: TogetherEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    with pytest.raises(ProviderError, match=r"no clear answer .* Run again") as caught:
        runner().submit(job)
    assert not isinstance(caught.value, Refused)
    assert len(service.called("create_job")) == 1
    again = runner()
    assert again.find(job) is None
    assert again.submit(job).provider_id == "ft-0001"
    assert len(service.jobs) == 1


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED.keys())
def test_a_clear_no_is_said_at_once(service: TogetherEmulator, job: Job, fault: Fault) -> None:
    service.fail("create_job", fault)
    with pytest.raises(Refused, match="the service refused"):
        runner().submit(job)
    assert len(service.called("create_job")) == 1
    assert service.called("list_jobs") == []


def test_a_job_that_appears_late_is_found_by_the_next_run(service: TogetherEmulator, job: Job) -> None:
    service.fail("create_job", Fault.reset_after())
    service.fail("list_jobs", Fault(200, {"data": []}), Fault(200, {"data": []}))
    with pytest.raises(ProviderError, match="Run again"):
        runner().submit(job)
    assert runner().find(job) == Handle("t1", "ft-0001")
    assert len(service.jobs) == 1


@pytest.mark.parametrize("broken", [Fault.html(), Fault(200, {}), Fault(200, {"object": "list"}), Fault(200, [])], ids=str)
def test_a_list_that_cannot_be_read_is_no_empty_list(service: TogetherEmulator, job: Job, broken: Fault) -> None:
    runner().submit(job)
    service.fail("list_jobs", broken, broken, broken)
    with pytest.raises(ProviderError, match="cannot be read"):
        hasty_runner().find(job)
    service.fail("list_jobs", broken)
    assert hasty_runner().find(job) is not None


def test_find_adopts_the_job_of_an_earlier_run_among_many(service: TogetherEmulator, job: Job) -> None:
    for number in range(5):
        runner().submit(replace(job, key=f"{number:024d}"))
    made = runner().submit(job)
    assert runner().find(job) == made
    service.shows_suffix = False  # then each job is asked for
    assert runner().find(job) == made
    assert runner().find(replace(job, key="f" * 24)) is None


def test_find_prefers_a_job_that_has_not_failed(service: TogetherEmulator, job: Job) -> None:
    made, second = runner().submit(job), runner().submit(job)
    service.jobs[second.provider_id]["status"] = "error"
    assert runner().find(job) == made
    service.jobs[made.provider_id]["status"] = "cancelled"
    assert runner().find(job) is not None


# Polling


def test_a_failed_job_says_why(service: TogetherEmulator, job: Job) -> None:
    service.states = ["queued", "error"]
    ours = runner()
    status = follow(ours, ours.submit(job))
    assert (status.state, status.error, status.model, status.again) == ("failed", "CUDA error: the node was lost", None, True)


def test_unknown_states_and_fields_are_not_fatal(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    with TogetherEmulator(checked=False) as strange:  # the description knows no such states, so it cannot check these
        strange.states = ["queued", "paused", "running", "completed"]
        ours = hasty_runner(base_url=strange.url)
        handle = ours.submit(job)
        strange.jobs[handle.provider_id]["brand_new"] = {"a": [1]}
        first = ours.poll(handle)
        assert (first.state, first.detail) == ("running", "paused (a state evalh does not know)")
        assert follow(ours, handle).state == "succeeded"
        strange.states = ["user_error"]
        failed = follow(ours, ours.submit(replace(job, key="0123456789abcdef01234567")))
        assert (failed.state, failed.again) == ("failed", False)


def test_polling_survives_what_passes(service: TogetherEmulator, job: Job) -> None:
    ours = hasty_runner()
    handle = ours.submit(job)
    service.fail("job", Fault.reset_before(), Fault.http(500, retry_after="0.01"), Fault.http(429, retry_after="0.01"), Fault.html())
    assert ours.poll(handle).state == "queued"


def test_a_poll_of_what_is_not_there_raises(service: TogetherEmulator) -> None:
    with pytest.raises(ProviderError, match="There is no ft-9999"):
        runner().poll(Handle("t1", "ft-9999"))


def test_succeeded_without_a_name_is_not_done_yet(service: TogetherEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    follow(ours, handle)
    name = service.jobs[handle.provider_id].pop("model_output_name")
    assert ours.poll(handle).state == "running"
    service.jobs[handle.provider_id]["model_output_name"] = name
    assert ours.poll(handle).state == "succeeded"


def test_a_service_with_jobs_alone_is_enough(service: TogetherEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    service.states = ["queued", "completed"]
    for route in ("events", "metrics", "checkpoints"):
        service.fail(route, *[Fault.http(404)] * 2)
    status = follow(ours, handle)
    assert status.state == "succeeded"
    assert status.points == ()
    assert status.model is not None
    assert status.model.checkpoints == ()


def test_losses_in_sentences_and_other_names_are_read(service: TogetherEmulator, job: Job) -> None:
    ours = hasty_runner()
    handle = ours.submit(job)
    service.metrics[handle.provider_id] = [{"step": 2, "loss": 1.0}, {"global_step": 2, "eval_loss": 1.5}, {"loss": 9.0}, {"step": 3}]
    service.tell(handle.provider_id, "epoch_complete", "Step 1/4: training loss=2.0, validation loss=2.5")
    assert ours.poll(handle).points == (Point(1, 2.0, 2.5), Point(2, 1.0, 1.5))


def test_an_unpriced_job_costs_what_the_book_says_or_nobody_knows(service: TogetherEmulator, job: Job) -> None:
    handle = runner().submit(job)
    follow(runner(), handle)
    service.jobs[handle.provider_id]["total_price"] = 0
    assert runner().poll(handle).cost_usd is None
    assert runner(prices={"usd_per_million_training_tokens": 5.0}).poll(handle).cost_usd == pytest.approx(0.06)


@pytest.mark.parametrize("dates", [{}, {"created_at": "yesterday"}, {"created_at": "2026-09-21T14:13:20", "updated_at": "soon"}])
def test_dates_that_cannot_be_read_are_no_duration(dates: dict[str, str]) -> None:
    assert jobs.status({"status": "cancelled", **dates}, [], [], None, None).seconds is None


def test_cancel(service: TogetherEmulator, job: Job) -> None:
    ours = runner()
    handle = ours.submit(job)
    ours.cancel(handle)
    status = ours.poll(handle)
    assert (status.state, status.error, status.again) == ("cancelled", "the job was cancelled", True)
    ours.cancel(handle)  # over already: no error
    service.jobs[handle.provider_id]["status"] = "queued"
    service.fail("cancel", Fault.http(400, "not now"))
    with pytest.raises(ProviderError, match="not now"):
        ours.cancel(handle)


# Estimates and checks


def test_the_service_says_what_the_uploaded_rows_will_cost(service: TogetherEmulator, job: Job) -> None:
    assert runner(estimate_by="service", n_epochs=3, lora_r=16).estimate(job) == 1.25
    assert service.called("estimate")[0].body == {
        "training_file": "file-0001",
        "validation_file": "file-0002",
        "model": BASE,
        "n_epochs": 3,
        "n_evals": 5,
        "training_type": {"type": "Lora", "lora_r": 16, "lora_alpha": 32},
    }
    runner().submit(job)
    assert len(service.called("upload")) == 2  # the same files
    assert len(service.jobs) == 1


def test_where_the_service_says_no_price_tokens_are_counted(service: TogetherEmulator, job: Job) -> None:
    service.estimate = {"estimation_available": False, "unavailable_reason": "train_file_not_validated"}
    assert runner(estimate_by="service").estimate(job) is None
    priced = runner(estimate_by="service", prices={"usd_per_million_training_tokens": 1e6}, n_epochs=2)
    tokens = sum(len(message.content) // 3 + 8 for row in job.train for message in row)
    dev = sum(len(message.content) // 3 + 8 for row in job.dev for message in row)
    assert priced.estimate(job) == pytest.approx(2 * tokens + 5 * dev)
    service.fail("estimate", Fault.http(404))
    assert runner(estimate_by="service").estimate(job) is None
    service.fail("list_files", *[Fault.http(403, "no")] * 2)
    assert runner(estimate_by="service").estimate(job) is None


def test_tokens_counted_here_send_nothing(service: TogetherEmulator, job: Job) -> None:
    assert runner().estimate(job) is None
    assert service.calls == []


def test_a_job_beyond_the_credit_is_warned_of(service: TogetherEmulator, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    service.estimate |= {"allowed_to_proceed": False}
    with caplog.at_level(logging.WARNING, "evalh"):
        assert runner(estimate_by="service").estimate(job) == 1.25
    assert "exceeds the account's credit (limit: 100.0 USD)" in caplog.text


def test_check_names_rows_settings_and_base(service: TogetherEmulator, job: Job) -> None:
    rows = [*job.train]
    rows[1] = (Message("user", "Hi"),)
    rows[3] = (Message("user", "Hi"), Message("robot", "beep"), Message("assistant", "x"))
    ours = runner(n_epochs=50, batch_size=4, learning_rate=1.0, lora_r=128, max_seq_length=10_000, n_checkpoints=11)
    assert ours.check(replace(job, train=tuple(rows))) == [
        "train row 2: its last turn is from 'user'. Training needs an assistant turn to learn",
        "train row 4: it has a turn of role 'robot'; the service knows assistant, system, tool, user",
        "n_epochs is 50, and the service takes at most 20 for this base",
        "n_checkpoints is 11, and the service takes at most 10 for this base",
        "learning_rate is 1, and the service takes from 1e-08 to 0.1 for this base",
        "batch_size is 4, and the service takes from 8 to 32 for this base",
        "lora_r is 128, and the service takes at most 64 for this base",
        "max_seq_length is 10000, and the service takes from 256 to 8192 for this base",
    ]
    assert runner(training_type="Full").check(job) == [f"base {BASE!r} can be trained by LoRA only. Set training_type: Lora"]
    assert runner(early_stopping_enabled=True).check(replace(job, dev=())) == ["early_stopping_enabled needs dev rows to look at"]
    (problem,) = runner().check(replace(job, base="no/such"))
    assert "no/such is not available for fine-tuning" in problem
    assert service.files == {}


def test_a_service_without_limits_may_train_it_all_the_same(service: TogetherEmulator, job: Job) -> None:
    service.fail("limits", Fault.http(404))
    assert runner().check(job) == []
    service.fail("limits", Fault.http(404))
    service.fail("supported", Fault.http(404))
    assert runner().check(replace(job, base="no/such")) == []


def test_a_base_that_cannot_be_served_is_warned_of(service: TogetherEmulator, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "evalh"):
        assert runner().check(replace(job, base=f"{BASE}-Reference")) == []
        assert "offers no hardware to serve it on" in caplog.text
        caplog.clear()
        assert runner(serve={"where": "local"}).check(replace(job, base=f"{BASE}-Reference")) == []
        service.fail("hardware", Fault.http(404), Fault.http(404))  # a service without this list has other ways
        assert runner().check(job) == []
        service.fail("hardware", Fault.http(403))
        assert runner().check(job) == []
    assert caplog.text == ""


def test_a_base_that_cannot_be_checked_now_is_no_fault_of_the_trainer(
    service: TogetherEmulator, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    service.fail("limits", Fault.http(500, "it is down", x_should_retry="false"))
    with caplog.at_level(logging.WARNING, "evalh"):
        assert hasty_runner().check(job) == []
    assert "could not be checked: HTTP 500: it is down" in caplog.text
    service.fail("limits", Fault.http(403, "not yours"))
    assert hasty_runner().check(job) == [f"base {BASE!r}: HTTP 403: not yours"]


def test_check_finds_a_wrong_key_or_address(service: TogetherEmulator, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "tg-wrong-0123456789")
    (problem,) = runner().check(job)
    assert "Incorrect API key" in problem
    assert "tg-wrong" not in problem
    service.fail("list_files", Fault(200, {"data": []}))
    with pytest.raises(Refused) as caught:  # the SDK calls every refused upload a lack of credit
        runner().submit(job)
    assert "Incorrect API key" in str(caught.value)
    assert "tg-wrong" not in str(caught.value)
    monkeypatch.delenv("TOGETHER_API_KEY")
    assert runner().check(job) == ["the runner 'together' needs a key. Set TOGETHER_API_KEY"]
    monkeypatch.setenv("OTHER_KEY", KEY)
    assert runner(api_key_env="OTHER_KEY").check(job) == []


def test_prices_that_are_none_are_refused_before_anything_is_bought() -> None:
    with pytest.raises(ConfigError, match="usd_per_million_training_tokens"):
        runner(prices={"usd_per_token": 1.0})


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_both_forms_of_the_address_are_taken(service: TogetherEmulator, job: Job, ending: str) -> None:
    assert runner(base_url=f"{service.url}{ending}").check(job) == []


def test_the_key_is_in_no_message(service: TogetherEmulator, job: Job) -> None:
    service.fail("create_job", Fault.http(400, f"bad header Bearer {KEY}"))
    ours = runner()
    with pytest.raises(ProviderError) as caught:
        ours.submit(job)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in repr(ours) + repr(vars(ours))


def test_the_emulator_notices_what_the_description_forbids(monkeypatch: pytest.MonkeyPatch, job: Job) -> None:
    if not SPECS.is_dir():
        pytest.skip("the published descriptions are not beside the repository")
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    with TogetherEmulator() as emulator:
        hasty_runner(base_url=emulator.url).submit(replace(job, seed=1, label="x"))
        assert emulator.violations == []
        hasty = HastyRunner(TogetherOptions(base_url=emulator.url).model_copy(update={"batch_size": "huge"}))
        hasty.submit(replace(job, key="0123456789abcdef01234567"))
        (asked,) = emulator.violations
        emulator.violations.clear()
    assert asked.startswith("POST /v1/fine-tunes")
    assert "huge" in asked
