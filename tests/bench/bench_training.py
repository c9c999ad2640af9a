"""Training speed: the same LoRA work through our loop, TRL's SFTTrainer at its defaults, and a plain transformers Trainer.

    python -m tests.bench.bench_training            # ten steps, both models
    python -m tests.bench.bench_training --quick    # what pytest -m bench runs

Same base, same rows, same order, same optimizer settings; the losses of every step must agree within 1%. The contenders
take turns step by step in one process, so that a noisy machine is equally noisy to all. Speed is useful tokens a second:
tokens of the rows, padding not counted. TRL's defaults mean batches of 8 as they come, padded to the longest, gradient
checkpointing on, mixed bfloat16 (measured with and without).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import math
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalharness.causal import Causal, Example, encode_example, load
from evalharness.records import Message
from evalharness.runners.lora.options import LoraOptions
from tests import tiny

ROOT = Path(__file__).parents[2]
BATCH, RATE, RANK = 8, 1e-3, 16


@dataclass
class Turns:
    """Lets contenders run one step each, in turn, and times what each does in its turns: seconds on the clock, and of CPU."""

    seconds: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    _gates: dict[str, threading.Semaphore] = field(default_factory=dict)
    _began: tuple[float, float] = (0.0, 0.0)

    def run(self, contenders: dict[str, Callable[[Callable[[float], None]], None]]) -> None:
        """Each contender is called with the function that it calls after every step with the step's loss."""
        self._gates = {name: threading.Semaphore(0) for name in contenders}
        errors: list[BaseException] = []
        threads = [threading.Thread(target=self._one, args=(name, work, errors), daemon=True) for name, work in contenders.items()]
        for thread in threads:
            thread.start()
        self._pass_on(None)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _one(self, name: str, work: Callable[[Callable[[float], None]], None], errors: list[BaseException]) -> None:
        self.seconds[name], self.losses[name] = [], []
        self._gates[name].acquire()
        self._began = _clocks()

        def step(loss: float) -> None:
            wall, cpu = _clocks()
            self.seconds[name].append((wall - self._began[0], cpu - self._began[1]))
            self.losses[name].append(loss)
            self._pass_on(name)
            self._gates[name].acquire()
            self._began = _clocks()

        try:
            work(step)
        except BaseException as error:
            errors.append(error)
        finally:
            self._pass_on(name)
            del self._gates[name]

    def _pass_on(self, name: str | None) -> None:
        names = list(self._gates)
        following = names[(names.index(name) + 1) % len(names)] if name else names[0]
        self._gates[following].release()


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


@dataclass(frozen=True)
class Speed:
    """Useful tokens a second on the clock, and for a second of CPU: the second hardly minds other work on the machine."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Work:
    """One base in a folder and its rows, in order, eight a step."""

    name: str
    folder: Path
    rows: Sequence[Example]
    bf16: bool = False
    """Whether half precision races, too: on small models it is no gain."""

    @property
    def steps(self) -> int:
        return len(self.rows) // BATCH

    def batch(self, step: int) -> Sequence[Example]:
        return self.rows[step * BATCH : (step + 1) * BATCH]

    def base(self, dtype: str = "float32") -> Causal:
        return load(str(self.folder), device="cpu", dtype=dtype)


def ours(work: Work, dtype: str) -> Callable[[Callable[[float], None]], None]:
    """The local runner's own step."""
    from evalharness.runners.lora.network import Network

    options = LoraOptions(rank=RANK, dropout=0.0, learning_rate=RATE, weight_decay=0.0)
    network = Network(work.base(dtype), options, 0)

    def train(step: Callable[[float], None]) -> None:
        for number in range(work.steps):
            step(network.learn(work.batch(number), number, RATE)[0])

    return train


def trl(work: Work, *, bf16: bool) -> Callable[[Callable[[float], None]], None]:
    """SFTTrainer at its defaults; batches of 8 and gradient checkpointing are among them, bf16=True as well."""
    sft: Any = importlib.import_module("trl")
    args = sft.SFTConfig(bf16=bf16, **_same(work))
    base = work.base()
    trainer = sft.SFTTrainer(base.model, args=args, train_dataset=_dataset(work), processing_class=base.tokenizer, peft_config=_lora())
    return _stepping(trainer)


def plain(work: Work) -> Callable[[Callable[[float], None]], None]:
    """transformers' Trainer around a PEFT model, batches padded to the longest."""
    import torch
    from peft import get_peft_model

    transformers: Any = importlib.import_module("transformers")
    base = work.base()
    torch.manual_seed(0)
    model = get_peft_model(base.model, _lora())
    collator = transformers.DataCollatorForSeq2Seq(base.tokenizer, padding=True)
    args = transformers.TrainingArguments(**_same(work), per_device_train_batch_size=BATCH)
    return _stepping(transformers.Trainer(model, args, train_dataset=_dataset(work), data_collator=collator))


def _same(work: Work) -> dict[str, Any]:
    """What makes the work the same and the run quiet; nothing that decides speed."""
    return {
        "output_dir": tempfile.mkdtemp(), "max_steps": work.steps, "learning_rate": RATE, "lr_scheduler_type": "constant", "seed": 0,
        "train_sampling_strategy": "sequential", "use_cpu": True, "report_to": [], "save_strategy": "no", "disable_tqdm": True,
        "logging_steps": 1,
    }  # fmt: skip


def _lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def _dataset(work: Work) -> Any:
    from datasets import Dataset

    rows = [{"input_ids": list(r.ids), "labels": [-100] * r.answer_start + list(r.ids[r.answer_start :])} for r in work.rows]
    return Dataset.from_list(rows)


def _stepping(trainer: Any) -> Callable[[Callable[[float], None]], None]:
    transformers: Any = importlib.import_module("transformers")

    def train(step: Callable[[float], None]) -> None:
        class Turn(transformers.TrainerCallback):  # type: ignore[misc]
            def on_log(self, _args: Any, _state: Any, _control: Any, logs: dict[str, Any], **_: Any) -> None:
                if "loss" in logs:
                    step(float(logs["loss"]))

        trainer.add_callback(Turn())
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()

    return train


def chats(count: int, vocabulary: int) -> list[Example]:
    """Rows as long as chats are: prompts of 20 to 500 tokens (lognormal, median 100), answers of 8 to 40 from a few words."""
    draw = np.random.default_rng(0)
    words, rows = draw.integers(3, vocabulary, 32), []
    for _ in range(count):
        prompt = draw.integers(3, vocabulary, int(np.clip(draw.lognormal(math.log(100), 0.5), 20, 500)))
        answer = draw.choice(words, int(draw.integers(8, 40)))
        rows.append(Example((*map(int, prompt), *map(int, answer)), len(prompt), False))
    return rows


def tickets(count: int) -> list[Example]:
    """The demo's own rows: nearly equal lengths, where padding costs least."""
    tokenizer, prompt = load("embedded").tokenizer, (ROOT / "suites/prompts/tickets_zero_shot.md").read_text()
    lines = (ROOT / "suites/data/tickets/train.jsonl").read_text().splitlines()[:count]
    turns = [(row["input"], row["target"]) for row in map(json.loads, lines)]
    return [encode_example(tokenizer, [Message("system", prompt), Message("user", i), Message("assistant", t)], 1024) for i, t in turns]


def works(folder: Path, steps: int, names: Sequence[str]) -> Iterator[Work]:
    """The bases to train on, made in `folder`, and their rows."""
    import torch

    if "embedded" in names:
        from evalharness import embedded

        yield Work("embedded", embedded.path(), tickets(steps * BATCH * 3))
    if "tiny" in names:
        base = tiny.make(folder / "tiny", hidden=256, layers=5, vocab=2048, head_dim=32)
        yield Work("tiny", base, chats(steps * BATCH * 3, 2048))
    if "100M" in names:
        base = tiny.make(folder / "100M", hidden=640, layers=14, vocab=32768, head_dim=64)
        yield Work("100M", base, chats(steps * BATCH, 32768), bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def race(work: Work, *, quick: bool = False) -> dict[str, Speed]:
    """The speed of each contender, the first step left out; raises AssertionError where losses part by over 1%."""
    contenders = {"evalh": ours(work, "float32"), "TRL": trl(work, bf16=False), "Trainer": plain(work)}
    if work.bf16:
        contenders |= {"evalh bf16": ours(work, "bfloat16")} | ({} if quick else {"TRL bf16": trl(work, bf16=True)})
    turns = Turns()
    _one_heap()
    turns.run(contenders)
    for name, losses in turns.losses.items():
        assert np.allclose(losses, turns.losses["evalh"], rtol=0.01), f"{name}: {losses} beside {turns.losses['evalh']}"
    useful = sum(len(row.ids) for row in work.rows[BATCH : work.steps * BATCH])
    totals = {name: np.sum(seconds[1:], axis=0) for name, seconds in turns.seconds.items()}
    return {name: Speed(useful / wall, useful / cpu) for name, (wall, cpu) in totals.items()}


def _one_heap() -> None:
    """Have glibc's threads share one heap: what one contender freed, the next one uses."""
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(-8, 1)


def report(work: Work, speeds: dict[str, Speed]) -> str:
    """One line per contender."""
    padded = sum(BATCH * max(len(row.ids) for row in work.batch(step)) for step in range(work.steps))
    share = 1 - sum(len(row.ids) for row in work.rows[: work.steps * BATCH]) / padded
    size = work.base().model.num_parameters() / 1e6
    head = f"{work.name}: {size:.1f} M parameters, {work.steps} steps of {BATCH} rows, {share:.0%} padding in batches as they come"
    rows = [
        f"  {name:<11}{speed.wall:7.0f} useful tokens/s{speed.wall / speeds['TRL'].wall:6.2f} x TRL"
        f"   {speed.cpu:7.0f} per CPU second{speed.cpu / speeds['TRL'].cpu:6.2f} x TRL"
        for name, speed in speeds.items()
    ]
    return "\n".join([head, *rows])


def measure(steps: int, names: Sequence[str], *, quick: bool = False) -> dict[str, dict[str, Speed]]:
    """Race on every base and print; a quick race leaves TRL's bfloat16 out, which no claim is about."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's trainers
        for work in works(Path(folder), steps, names):
            found[work.name] = race(work, quick=quick)
            print(report(work, found[work.name]), flush=True)
            gc.collect()
    return found


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_training_is_faster_than_what_people_use() -> None:
    """Compared by CPU seconds, which other work on the machine blurs least; the clock's seconds are printed beside them."""
    found = measure(2, ["tiny", "100M"], quick=True)
    for speeds in found.values():
        assert speeds["evalh"].cpu >= 2 * speeds["TRL"].cpu
    if "evalh bf16" in found["100M"]:
        assert found["100M"]["evalh bf16"].cpu >= 3 * found["100M"]["TRL"].cpu


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", default=["embedded", "tiny", "100M"], help="embedded, tiny, 100M")
    chosen = parser.parse_args()
    measure(2 if chosen.quick else 10, chosen.only, quick=chosen.quick)
