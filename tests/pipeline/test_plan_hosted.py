"""What a hosted candidate will cost and how long its base lasts, told by `plan` and before anything is bought."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evalharness.cli import main
from evalharness.runners import openai as runner
from tests.emulators.openai import OpenAIEmulator
from tests.pipeline.hosted import CASES, openai_env
from tests.pipeline.test_kill_hosted import SUITE, make

BASE = "gpt-4o-mini-2024-07-18"
Said = tuple[int, str, str]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIEmulator]:
    monkeypatch.chdir(make(tmp_path, CASES[0]))
    Path("trainers/hosted.yaml").write_text(f"runner: openai\nbase: {BASE}\nparams: {{n_epochs: 2}}\n")
    with OpenAIEmulator() as emulator:
        emulator.add_model(BASE)
        for key, value in openai_env(emulator).items():
            monkeypatch.setenv(key, value)
        yield emulator
        assert [call.route for call in emulator.calls if call.route in ("upload", "create_job")] == []


@pytest.fixture
def evalh(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*words: str) -> Said:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


def test_what_is_not_trained_yet_is_priced_as_its_bases_tuned_models_are(service: OpenAIEmulator, evalh: Callable[..., Said]) -> None:
    code, out, _ = evalh("plan", "suites/kill.yaml", "--json")
    told = json.loads(out)
    (tuned,) = (arm for arm in told["arms"] if arm["label"] == "tuned")
    assert (code, tuned["missing"], tuned["total"]) == (0, None, 12)
    most = 12 * 256 * 1.20 / 1e6  # answers as long as they may get; the prompts come on top, at 0.30
    assert most < tuned["usd"] < 1.1 * most
    assert told["usd"] == pytest.approx(tuned["usd"] + told["trainings"][0]["usd"])
    Path("trainers/hosted.yaml").write_text(f"runner: openai\nbase: {BASE}\nparams: {{prices: {{usd_per_million_output_tokens: 12.0}}}}\n")
    (dearer,) = (arm for arm in json.loads(evalh("plan", "suites/kill.yaml", "--json")[1])["arms"] if arm["label"] == "tuned")
    assert dearer["usd"] == pytest.approx(tuned["usd"] + 9 * most)


def test_a_price_that_nobody_knows_stays_unknown(service: OpenAIEmulator, evalh: Callable[..., Said]) -> None:
    Path("trainers/hosted.yaml").write_text("runner: openai\nbase: gpt-x-mini\n")
    code, out, _ = evalh("plan", "suites/kill.yaml")
    assert code == 0
    assert "tuned: 12 of 12 answers missing" in out
    assert "cost unknown" in next(line for line in out.splitlines() if "ask    tuned" in line)


def test_plan_says_when_the_base_ends_and_may_refuse(
    service: OpenAIEmulator, evalh: Callable[..., Said], caplog: pytest.LogCaptureFixture
) -> None:
    soon = (datetime.date.today() + datetime.timedelta(days=40)).isoformat()
    service.add_model(BASE, soon)
    assert evalh("plan", "suites/kill.yaml")[0] == 0
    assert f"will be shut down on {soon}" in caplog.text  # which Python shows on stderr
    Path("trainers/hosted.yaml").write_text(f"runner: openai\nbase: {BASE}\nparams: {{shutdown: refuse}}\n")
    for verb in ("plan", "train-and-score"):
        code, _, err = evalh(verb, "suites/kill.yaml")
        assert (code, f"will be shut down on {soon}" in err) == (2, True)


def test_what_cannot_be_bought_is_one_clear_line(
    service: OpenAIEmulator, evalh: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("suites/kill.yaml").write_text(SUITE + "budget: {usd: 0.0001}\n")
    code, _, err = evalh("train-and-score", "suites/kill.yaml", "-q")
    assert code == 4
    assert "training tuned may cost" in err
    Path("suites/kill.yaml").write_text(SUITE)
    for base, key, said in (("gpt-none", service.key, "does not exist"), (BASE, "sk-wrong-0123456789", "Incorrect API key")):
        Path("trainers/hosted.yaml").write_text(f"runner: openai\nbase: {base}\n")
        monkeypatch.setenv("OPENAI_API_KEY", key)
        code, _, err = evalh("train-and-score", "suites/kill.yaml", "-q")
        assert (code, len(err.strip().splitlines()), said in err, "sk-wrong" in err) == (2, 1, True, False)
    Path("data/train.jsonl").write_text('{"input": "a", "target": "b"}\n' * 3)
    monkeypatch.setenv("OPENAI_API_KEY", service.key)
    Path("trainers/hosted.yaml").write_text(f"runner: openai\nbase: {BASE}\n")
    code, _, err = evalh("train-and-score", "suites/kill.yaml", "-q")
    assert code == 2
    assert "at least 10" in err


def test_a_file_over_the_services_limit_is_not_sent(
    service: OpenAIEmulator, evalh: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runner.LIMITS.max_bytes == 512_000_000
    row = json.dumps({"input": "long " * 2_000, "target": "b"})
    Path("data/train.jsonl").write_text("\n".join(row.replace("long", f"long{i}", 1) for i in range(60)))
    assert evalh("plan", "suites/kill.yaml")[0] == 0
    monkeypatch.setattr(runner, "LIMITS", dataclasses.replace(runner.LIMITS, max_bytes=512_000))  # a thousandth, for speed
    for verb in ("plan", "train-and-score"):
        code, _, err = evalh(verb, "suites/kill.yaml")
        found = re.search(r"train: ([\d,]+) bytes, and the service takes at most 512,000$", err.strip())
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert found is not None
        assert 600_000 < int(found[1].replace(",", "")) < 620_000
