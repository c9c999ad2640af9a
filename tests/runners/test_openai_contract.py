"""The OpenAI runner keeps the contract of all runners; what hosted runners share keeps to its word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evalharness.buying import Calls
from evalharness.errors import MissingExtra, ProviderError
from evalharness.ids import digest
from evalharness.prices import price
from evalharness.protocols import Runner
from evalharness.records import Handle, Job, Message, Point
from evalharness.runners import hosted
from evalharness.runners.openai import OpenAIOptions, OpenAIRunner
from evalharness.spec import Trainer
from tests.contracts import RunnerContract
from tests.emulators.core import KEY
from tests.emulators.openai import OpenAIEmulator

USER, ANSWER, SYSTEM = Message("user", "Hi"), Message("assistant", "Hello"), Message("system", "Be kind")


class TestOpenAIRunner(RunnerContract):
    base = "gpt-4.1-mini"
    patience_s = 60.0
    service: OpenAIEmulator

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with OpenAIEmulator() as cls.service, pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", KEY)
            yield

    def make(self) -> Runner:
        return OpenAIRunner(OpenAIOptions(base_url=self.service.url, n_epochs=2))

    def job(self, workdir: Path, *, key: str = "k1") -> Job:
        small = super().job(workdir, key=digest([str(workdir), key]))
        return replace(small, train=small.train + small.train)  # the service wants ten rows at least


def test_the_shipped_trainer_is_one() -> None:
    trainer = Trainer.model_validate(yaml.safe_load((Path(__file__).parents[2] / "trainers" / "openai.yaml").read_text()))
    assert trainer.runner == "openai"
    options = OpenAIOptions.model_validate(trainer.params)
    assert (options.n_epochs, options.shutdown) == ("auto", "warn")
    assert price("openai", trainer.base).of_tokens(1, 1) is not None


def test_limits_are_checked_row_by_row() -> None:
    first = hosted.Limits(max_rows=1, max_bytes=100, system_first=True)
    assert hosted.broken_rows("dev", [(USER, ANSWER)], first) == []
    assert hosted.broken_rows("dev", [(SYSTEM, USER, ANSWER), (USER, SYSTEM, ANSWER)], first) == [
        "dev row 2: its system turn is not the first",
        "dev: 2 rows, and the service takes at most 1",
        "dev: 270 bytes, and the service takes at most 100",
    ]


def test_equal_rows_have_one_name(tmp_path: Path) -> None:
    rows = [(USER, Message("assistant", "äöü 😀 \ud83d"))]  # half an emoji, too
    name = hosted.write_rows(rows, tmp_path / "new" / "a.jsonl")
    assert name == hosted.write_rows(rows, tmp_path / "b.jsonl")
    assert name != hosted.write_rows([(USER, ANSWER)], tmp_path / "c.jsonl")
    assert "äöü 😀 ?" in (tmp_path / "b.jsonl").read_text(encoding="utf-8")


def test_suffixes() -> None:
    assert hosted.suffix("Über Tickets! v2", "0123456789abcdef", 64) == "ber-tickets-v2-0123456789ab"
    assert hosted.suffix("???", "0123456789abcdef", 64) == "0123456789ab"
    assert len(hosted.suffix("x" * 100, "0123456789abcdef", 40)) == 40


def test_points_out_of_whatever_is_sent() -> None:
    assert hosted.point({"step": "3", "train_loss": "nan", "valid_loss": None, "eval_loss": 2}) == Point(3, None, 2.0)
    assert hosted.point({"train_loss": 1.0}) is None
    assert hosted.point({"step": [1]}) is None
    assert hosted.point_said("Step 12/90: training loss=1.5, validation loss=1e-1") == (
        {"step": 12.0, "train_loss": 1.5, "valid_loss": 0.1},
        90,
    )
    assert hosted.point_said("New fine-tuned model created") == ({}, None)
    assert hosted.csv_points(b"\xff\xfe nothing of the kind") == []
    merged = hosted.merged([Point(2, 1.0), Point(1, 3.0), Point(2, None, 0.5), Point(2, 0.9)])
    assert merged == (Point(1, 3.0), Point(2, 0.9, 0.5))


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtra, match=r"evalh\[hosted\]"):
        OpenAIRunner(OpenAIOptions()).poll(Handle("t", "ftjob-1"))


def test_nothing_but_the_sdks_errors_and_broken_answers_is_caught() -> None:
    class SdkError(Exception):
        status_code = 500

    calls = Calls((SdkError,), "secret-key", looks_s=(0.0,))

    def interrupted() -> str:
        raise MemoryError

    with pytest.raises(MemoryError):
        calls.buy(interrupted, lambda: "never looked for")

    def fails() -> str:
        raise SdkError("secret-key is out")

    with pytest.raises(ProviderError, match=r"no clear answer \(HTTP 500: \*\*\* is out\)"):
        calls.buy(fails, lambda: None)
    assert calls.buy(fails, lambda: "found") == "found"
    with pytest.raises(ProviderError, match=r"^HTTP 500: \*\*\* is out$"):
        calls.read(fails)


@pytest.mark.parametrize(("states", "looks"), [([None], 0), (["processed"], 0), (["error"], 0), (["scanning", "processed"], 1)])
def test_a_file_is_waited_for_unless_its_state_is_an_end_or_missing(states: list[str | None], looks: int) -> None:
    calls, asked = Calls((), "k"), iter(states[1:])
    seen: list[str | None] = []

    def now() -> str | None:
        seen.append(next(asked))
        return seen[-1]

    calls.settle(states[0], now)
    assert len(seen) == looks
