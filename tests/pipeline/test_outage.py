"""One service is out: the other arms finish, the failed one says why, exit code 4; the next run asks only for what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalharness.cli import main
from evalharness.models import openai_chat
from evalharness.pipeline import training
from evalharness.store import Store
from tests.emulators.core import Fault
from tests.emulators.openai import OpenAIEmulator, refusal
from tests.emulators.vertex import VertexEmulator
from tests.pipeline.hosted import CASES, openai_env, vertex_env
from tests.pipeline.test_kill_hosted import make

SUITE = """
data: {train: data/train.jsonl, dev: data/dev.jsonl, test: data/test.jsonl}
baselines:
  plain: {model: openai/gpt-x-mini}
candidates:
  gpt: {train: gpt}
  gemini: {train: gemini}
metrics: [exact_match]
gate: {against: plain, rules: [{metric: exact_match, margin: 0.02}]}
"""


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(("train-and-score", "suites/kill.yaml", *words))
    return int(ended.value.code or 0)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("route", ["create_job", "chat"])
def test_the_others_finish_and_the_next_run_asks_for_what_is_missing(
    route: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("FIRST_POLL_S", "HOSTED_POLL_S"):
        monkeypatch.setattr(training, name, 0.02)
    root = make(tmp_path, CASES[0])
    (root / "suites/kill.yaml").write_text(SUITE)
    (root / "trainers/gpt.yaml").write_text("runner: openai\nbase: gpt-4.1-mini\n")
    (root / "trainers/gemini.yaml").write_text("runner: vertex\nbase: gemini-2.5-flash\nparams: {bucket: evalh-bucket, epoch_count: 2}\n")
    monkeypatch.chdir(root)
    with OpenAIEmulator() as openai, VertexEmulator() as vertex:
        for key, value in {**openai_env(openai), **vertex_env(vertex)}.items():
            monkeypatch.setenv(key, value)
        vertex.fail(route, *[Fault.http(401, "the account is closed")] * 40)
        assert run() == 4
        said = capfd.readouterr()
        assert "gemini: " in said.err
        assert "the account is closed" in said.err
        assert "the account is closed" in said.out
        assert "its training is" not in said.out
        answered = Store(root / "results" / "evalh.duckdb").sql(
            "SELECT a.label, count(*) FROM outputs o JOIN arms a USING (arm_id) WHERE o.finish <> 'error' GROUP BY ALL ORDER BY ALL"
        )[1]
        assert [tuple(row) for row in answered] == [("gpt", 12), ("plain", 12)]
        before = len(openai.called("chat"))
        assert before == 24
        vertex.faults.clear()
        assert run("-q") == 0
        assert len(openai.called("chat")) == before  # kept from the first run
        assert (len(openai.jobs), len(vertex.jobs)) == (1, 1)
        assert len({str(call.body) for call in vertex.called("chat") if call.status == 200}) == 12


def test_a_new_model_that_chat_does_not_know_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hours of a deployment are paid for, giving up at the first 404 would buy another one at the next run."""
    for name in ("FIRST_POLL_S", "HOSTED_POLL_S"):
        monkeypatch.setattr(training, name, 0.02)
    monkeypatch.setattr(openai_chat, "_FRESH_PAUSE_S", 0.05)
    monkeypatch.chdir(make(tmp_path, CASES[0]))
    with OpenAIEmulator() as openai:
        for key, value in openai_env(openai).items():
            monkeypatch.setenv(key, value)
        answer, early = openai.answer, [1] * 30

        def later(messages: Any, model: str) -> str:
            if model.startswith("ft:") and early:
                early.pop()
                raise refusal(404, f"The model {model} does not exist", "model_not_found")
            return answer(messages, model)

        monkeypatch.setattr(openai, "answer", later)
        assert run("-q") == 0
        assert not early
    assert Store(Path("results/evalh.duckdb")).sql("SELECT count(*) FROM outputs WHERE finish = 'error'")[1] == [(0,)]
