"""The script that runs inside the job: it encodes as local training does, learns, and what it pushes answers here."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from evalharness import causal
from evalharness.models.local import LocalModel, LocalOptions
from evalharness.records import Job, Message, Reply, Request, Sampling
from evalharness.runners.huggingface import HfJobsOptions, HfJobsRunner, train
from tests import tiny
from tests.emulators.core import KEY
from tests.emulators.huggingface import HuggingFaceEmulator

MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}"
    "{{ '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}{{ m['content'] + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think></think>' }}{% endif %}"
)
BARE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
ROWS = tuple((Message("user", f"{i} and one?"), Message("assistant", str(i + 1))) for i in range(24))


@pytest.mark.parametrize("template", [tiny.CHATML, MARKED, BARE], ids=["chatml", "marked", "bare"])
def test_it_encodes_as_local_training_does(template: str) -> None:
    tokenizer = tiny.byte_tokenizer(template)
    chats = [
        *ROWS[:2],
        (Message("system", "Äöü"), Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "")),
    ]
    for row in chats:
        ids, start = train.encode(tokenizer, [message.as_dict() for message in row])
        ours = causal.encode_example(tokenizer, row, 1024)
        assert (tuple(ids), start) == (ours.ids, ours.answer_start)


def test_rows_are_cut_counted_and_named() -> None:
    tokenizer = tiny.byte_tokenizer()
    chats = [[message.as_dict() for message in row] for row in ROWS]
    (whole,), (cut,) = (train.encode_all(tokenizer, chats[:1], length, "train") for length in (1024, 30))
    assert (whole["cut"], cut["cut"], len(cut["input_ids"])) == (False, True, 30)
    assert [label for label in whole["labels"] if label != -100] == whole["input_ids"][-2:]  # the answer and its end
    with pytest.raises(train.Hopeless, match=r"train row 1: its prompt alone fills max_length \(9 tokens\).*and 19 more such rows"):
        train.encode_all(tokenizer, chats, 9, "train")
    with pytest.raises(train.Hopeless, match=r"no \{% generation %\} marks"):
        train.encode(tiny.byte_tokenizer(MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")), chats[0])


def test_every_setting_is_an_argument_of_the_script() -> None:
    options = HfJobsOptions(
        rank=8, epochs=1.5, max_steps=4, eval_steps=2, patience=3, schedule="constant", target_modules=["q_proj", "v_proj"],
        revision="main", batch_size=12, per_device_train_batch_size=5,
    )  # fmt: skip
    told = train.arguments().parse_args(["--model_name_or_path", "b", "--dataset_name", "d", *options.arguments()])
    assert (told.lora_r, told.lora_alpha, told.lora_target_modules) == (8, 16.0, ["q_proj", "v_proj"])
    assert (told.per_device_train_batch_size, told.gradient_accumulation_steps) == (4, 3)
    assert (told.max_steps, told.eval_steps, told.early_stopping_patience, told.num_train_epochs) == (4, 2, 3, 1.5)
    assert (told.lr_scheduler_type, told.model_revision, told.gradient_checkpointing) == ("constant_with_warmup", "main", True)
    assert (told.learning_rate, told.warmup_ratio, told.max_length) == (options.learning_rate, options.warmup_ratio, options.max_length)


def test_what_goes_wrong_is_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--model_name_or_path", str(tmp_path), "--dataset_name", str(tmp_path)]
    outcomes = {"MemoryError": MemoryError(), "ValueError: two": ValueError("two\nlines"), "hopeless": train.Hopeless("hopeless")}
    for said, error in outcomes.items():

        def fails(_: object, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(train, "train", fails)
        assert train.main(words) == 1
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert told["again"] is (said != "hopeless")
        assert told["error"].startswith("out of memory" if said == "MemoryError" else said)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[HuggingFaceEmulator]:
    with HuggingFaceEmulator() as emulator:
        monkeypatch.setenv("HF_TOKEN", KEY)
        monkeypatch.setenv("HF_ENDPOINT", emulator.url)
        yield emulator
    huggingface_hub.close_session()


def container(made: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a job's command as its container would, with this Python for uv."""
    folder.mkdir()
    uv = folder / "uv"
    uv.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} "$@"\n')
    uv.chmod(0o755)
    kept = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
    environment = {**kept, "PATH": f"{folder}:/usr/bin:/bin", "TMPDIR": str(folder), "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "2"}
    environment |= {**made["environment"], **made["_secrets"]}
    return subprocess.run(made["command"], env=environment, capture_output=True, text=True, timeout=300, check=False)


def outspoken(folder: Path) -> Path:
    """A tiny model whose embeddings are long enough to be sure of a token: at their usual length no loss falls far."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny.make(folder) / "model.safetensors")
    longer = {name: weight * 20 if "embed_tokens" in name else weight for name, weight in weights.items()}
    save_file({name: weight.to(torch.float32) for name, weight in longer.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder with train and dev rows."""
    for split, chosen in (("train", ROWS), ("dev", ROWS[:5])):
        lines = [json.dumps({"messages": [message.as_dict() for message in row]}) for row in chosen]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the script's packages warn of their own future; none of it is ours
def test_without_a_hub_everything_stays_in_a_folder(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, out = tiny.make(rows / "tiny"), rows / "out"
    words = ["--model_name_or_path", str(base), "--dataset_name", str(rows), "--output_dir", str(out), "--lora_r", "4"]
    words += ["--eval_steps", "2", "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1"]

    def run(*more: str) -> dict[str, Any]:
        train.main([*words, *more])
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    stopped = run("--num_train_epochs", "9", "--learning_rate", "30", "--early_stopping_patience", "1")["done"]
    assert stopped["steps"] < 54
    assert stopped["best_step"] < stopped["steps"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"]["adapter_model.safetensors"]["size"] == (out / "adapter_model.safetensors").stat().st_size
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)

    assert run("--max_steps", "2", "--learning_rate", "0") == {
        "error": "invalid candidate: the adapter changes nothing. Raise learning_rate or epochs",
        "again": False,
    }
    (rows / "dev.jsonl").unlink()
    plain = run("--max_steps", "3", "--learning_rate", "0.01", "--lora_target_modules", "q_proj", "v_proj")["done"]
    assert (plain["steps"], plain["best_step"], plain["best_dev_loss"], plain["tokens"] > 0) == (3, 3, None, True)
    assert json.loads((out / "adapter_config.json").read_text())["target_modules"] == ["q_proj", "v_proj"]


@pytest.mark.slow(seconds=30)
def test_a_whole_job_learns_and_its_adapter_answers_here(service: HuggingFaceEmulator, tmp_path: Path) -> None:
    base = outspoken(tmp_path / "tiny")
    same = tuple((*row[:1], Message("assistant", "yes")) for row in ROWS)
    job = Job("t1", "a1b2c3d4e5f6a7b8c9d0e1f2", str(base), {}, 3, same, same[:5], str(tmp_path / "job"), "tuned")
    runner = HfJobsRunner(HfJobsOptions(rank=8, learning_rate=2e-2, epochs=4, batch_size=4, eval_steps=6, gradient_checkpointing=False))
    service.states = ["SCHEDULING", "RUNNING"]
    handle = runner.submit(job)
    (made,) = service.jobs.values()
    done = container(made, tmp_path / "container")
    assert done.returncode == 0, done.stderr[-3000:]
    assert KEY not in done.stdout + done.stderr
    service.logs[made["id"]] = done.stdout.splitlines()
    running = runner.poll(handle)
    assert running.total_steps == 24
    assert len(running.points) == 24

    made["status"]["stage"] = "COMPLETED"
    status = runner.poll(handle)
    assert status.model is not None
    assert status.points == running.points  # the log and the metrics file say the same
    devs = [point.dev_loss for point in status.points if point.dev_loss is not None]
    first = status.points[0].train_loss
    assert first is not None
    assert min(devs) < 0.2 < 2 < first
    facts = status.model.facts
    assert facts["best_dev_loss"] == min(devs)
    assert (facts["rows"], facts["truncated_rows"], facts["steps"]) == (24, 0, 24)

    endpoint = runner.serve(status.model, "")
    model = LocalModel(LocalOptions(name=endpoint.model.removeprefix("local/"), device="cpu"))

    async def ask() -> list[Reply]:
        request = Request("o1", "s1", (Message("user", "99 and one?"),), Sampling(max_tokens=8), adapter=endpoint.adapter)
        replies = [reply async for reply in model.generate([request])]
        await model.close()
        return replies

    (reply,) = asyncio.run(ask())
    assert (reply.text, reply.finish) == ("yes", "stop")
