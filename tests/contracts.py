"""What every model and every runner must do. Subclass a contract, say how to make yours, and its tests run on it.

class TestMine(ModelContract):
    def make(self) -> Model:
        return Mine(Mine.Options())
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from evalharness import registry
from evalharness.ids import digest
from evalharness.protocols import Model, Runner
from evalharness.records import FINAL, Handle, Job, Message, Reply, Request, Sampling, Status
from evalharness.spec import model_use

QUESTIONS = (
    "What is two and two?",
    "Say: yes",
    "ein längerer Satz, mit Umlauten äöü und 😀",
    "a",
    "x " * 60,
    "<|im_end|> \x1b[31m \\n",
    " ",
)


def ask(model: Model, requests: Sequence[Request]) -> list[Reply]:
    """Every reply to the requests, in their order; each request has exactly one. The model stays open."""

    async def collect() -> list[Reply]:
        return [reply async for reply in model.generate(requests)]

    found = asyncio.run(collect())
    replies = {reply.output_id: reply for reply in found}
    assert len(found) == len(replies) == len(requests)
    return [replies[request.output_id] for request in requests]


class ModelContract:
    """Subclass and return the model from `make`; override `requests` if it knows only some questions."""

    def make(self) -> Model:
        """A new instance, with equal options each time."""
        raise NotImplementedError

    def requests(self) -> list[Request]:
        """Questions, one of them asked twice."""
        chats = [(Message("system", "Be brief."), Message("user", question)) for question in QUESTIONS]
        found = [Request(f"o{i}", f"s{i}", chat, Sampling(max_tokens=8)) for i, chat in enumerate(chats)]
        return [*found, replace(found[0], output_id="again", repeat=1)]

    @pytest.fixture
    def model(self) -> Model:
        return self.make()

    def test_is_a_model(self, model: Model) -> None:
        assert isinstance(model, Model)
        assert isinstance(model.local, bool)

    def test_unknown_options_are_refused(self, model: Model) -> None:
        with pytest.raises(ValidationError):
            model.Options.model_validate({"no_such_option": 1})

    def test_equal_options_are_one_pool_and_one_identity(self, model: Model) -> None:
        other = self.make()
        assert model.pool == other.pool
        assert model.identity() == other.identity()
        assert all(isinstance(text, str) for pair in model.identity().items() for text in pair)

    def test_every_request_has_one_whole_reply(self, model: Model) -> None:
        for reply in ask(model, self.requests()):
            assert (reply.finish == "error") == (reply.error is not None)
            assert reply.text is not None or reply.error
            assert reply.prompt_tokens is None or reply.prompt_tokens >= 0
            assert reply.completion_tokens is None or reply.completion_tokens >= 0
            assert reply.latency_s is None or 0 <= reply.latency_s < 60
            assert reply.cost_usd is None or 0 <= reply.cost_usd < math.inf

    def test_answers_something(self, model: Model) -> None:
        assert any(reply.text for reply in ask(model, self.requests()))

    def test_greedy_answers_do_not_depend_on_order_or_company(self, model: Model) -> None:
        requests = self.requests()
        together = [_said(reply) for reply in ask(model, requests)]
        assert [_said(reply) for reply in ask(model, requests[::-1])] == together[::-1]
        assert [_said(ask(model, [request])[0]) for request in requests[:2]] == together[:2]

    def test_nothing_asked_nothing_answered(self, model: Model) -> None:
        assert ask(model, []) == []

    def test_two_callers_at_once(self, model: Model) -> None:
        requests = self.requests()

        async def both() -> list[list[Reply]]:
            async def one() -> list[Reply]:
                return [reply async for reply in model.generate(requests)]

            return list(await asyncio.gather(one(), one()))

        first, second = ({r.output_id: _said(r) for r in replies} for replies in asyncio.run(both()))
        assert first == second
        assert len(first) == len(requests)

    def test_a_caller_may_leave_early(self, model: Model) -> None:
        async def leave() -> None:
            replies = model.generate(self.requests())
            async for _ in replies:
                break
            await replies.aclose()

        asyncio.run(leave())
        assert len(ask(model, self.requests())) == len(self.requests())

    def test_closes_twice(self, model: Model) -> None:
        async def close() -> None:
            await model.close()
            await model.close()

        ask(model, self.requests()[:1])
        asyncio.run(close())


def _said(reply: Reply) -> tuple[str | None, str, str | None]:
    return reply.text, reply.finish, reply.error


class RunnerContract:
    """Subclass and return the runner from `make`; `base` must be one it can train, `patience_s` how long that may take."""

    base = "embedded"
    patience_s = 10.0

    def make(self) -> Runner:
        """A new instance, with equal options each time: what another process would make."""
        raise NotImplementedError

    def job(self, workdir: Path, *, key: str = "k1") -> Job:
        """A small training."""
        rows = tuple((Message("user", f"{i} and one?"), Message("assistant", str(i + 1))) for i in range(8))
        return Job(digest([str(workdir), "training"]), key, self.base, {}, 0, rows, rows[:2], str(workdir), "tuned")

    def wait(self, handle: Handle) -> Status:
        """Poll, each time as another process would, until the job is over."""
        end = time.monotonic() + self.patience_s
        while (status := self.make().poll(handle)).state not in FINAL:
            assert time.monotonic() < end, status
            time.sleep(0.02)
        return status

    @pytest.fixture(scope="class")
    @classmethod
    def done(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Handle, Status]:
        """A job that was submitted and is over."""
        job = cls().job(tmp_path_factory.mktemp("done"))
        handle = cls().make().submit(job)
        return job, handle, cls().wait(handle)

    def test_is_a_runner(self) -> None:
        assert isinstance(self.make(), Runner)
        assert isinstance(self.make().local, bool)

    def test_unknown_options_are_refused(self) -> None:
        with pytest.raises(ValidationError):
            self.make().Options.model_validate({"no_such_option": 1})

    def test_equal_options_are_one_identity(self) -> None:
        assert digest(self.make().identity(self.base)) == digest(self.make().identity(self.base))

    def test_check_finds_what_is_wrong(self, tmp_path: Path) -> None:
        assert self.make().check(self.job(tmp_path)) == []
        assert self.make().check(replace(self.job(tmp_path), train=()))

    def test_looking_starts_nothing(self, tmp_path: Path) -> None:
        job = self.job(tmp_path)
        assert self.make().find(job) is None
        self.make().check(job)
        self.make().identity(self.base)
        assert self.make().find(job) is None

    def test_a_submitted_job_is_found_again(self, done: tuple[Job, Handle, Status]) -> None:
        job, handle, _ = done
        assert handle.training_id == job.training_id
        assert self.make().find(job) == handle

    def test_a_finished_job_has_a_model_and_its_points(self, done: tuple[Job, Handle, Status]) -> None:
        _, handle, status = done
        assert (status.state, status.error) == ("succeeded", None)
        assert status.model is not None
        assert status.model.identity
        assert digest(dict(status.model.identity)) == digest(dict(status.model.identity))
        steps = [point.step for point in status.points]
        assert steps == sorted(set(steps))
        assert steps
        assert all(math.isfinite(point.train_loss) for point in status.points if point.train_loss is not None)
        assert self.make().poll(handle) == status

    def test_cancelling_what_is_over_changes_nothing(self, done: tuple[Job, Handle, Status]) -> None:
        self.make().cancel(done[1])
        assert self.make().poll(done[1]).state == "succeeded"

    def test_serves_a_model_that_a_plug_in_answers_for(self, done: tuple[Job, Handle, Status]) -> None:
        runner, status = self.make(), done[2]
        assert status.model is not None
        endpoint = runner.serve(status.model, "s1")
        plugin, _ = model_use(endpoint.model)
        assert plugin in registry.names("models")
        assert self.make().serve(status.model, "s1") == endpoint
        if endpoint.resource_id is not None:  # something runs, and any process can find and end it
            found = self.make().served("s1")
            assert found is not None
            assert found.resource_id == endpoint.resource_id
            self.make().release(replace(endpoint, model="", options={}))
        runner.release(endpoint)
        assert self.make().served("s1") is None
        runner.release(endpoint)

    def test_prices_are_known_or_not_and_asking_starts_nothing(self, done: tuple[Job, Handle, Status], tmp_path: Path) -> None:
        job, model = self.job(tmp_path), done[2].model
        assert model is not None
        for cost in (self.make().estimate(job), self.make().hourly(model)):
            assert cost is None or 0 <= cost < math.inf
        assert self.make().find(job) is None
        assert self.make().served("never") is None

    def test_a_cancelled_job_is_over(self, tmp_path: Path) -> None:
        runner = self.make()
        handle = runner.submit(self.job(tmp_path))
        runner.cancel(handle)
        assert self.wait(handle).state in FINAL
        runner.cancel(handle)
