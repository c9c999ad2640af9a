"""The process that trains: reads job.json, writes state.json, ends with an adapter, an error, or a checkpoint.

python -m evalharness.runners.lora.child results/trainings/5d1c
"""

from __future__ import annotations

import json
import platform
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness import bases
from evalharness.errors import DataError, EvalhError, TrainingFailed
from evalharness.ids import digest, file_digest
from evalharness.records import Job, TrainedModel
from evalharness.runners.lora.files import JobFolder, write_json
from evalharness.runners.lora.memory import peak_mib
from evalharness.runners.lora.options import LoraOptions

if TYPE_CHECKING:
    from evalharness.causal import Causal
    from evalharness.runners.lora.checkpoint import Progress
    from evalharness.runners.lora.loop import Loop

_WRITE_S = 0.3


class Child:
    """One run of a training process."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.job: Job
        self.options: LoraOptions
        self._asked = False
        self._written = 0.0
        self._state: dict[str, Any] = {"step": 0, "total_steps": None, "tokens": 0, "seconds": 0.0}

    def run(self) -> int:
        """Train and write the final state; never raises for what can go wrong in a training."""
        try:
            found = self.folder.read_job()
            if found is None:
                raise TrainingFailed(f"there is no job in {self.folder.path}")
            self.job, params, threads = found
            self.options = LoraOptions.model_validate(params)
            self._train(threads)
        except EvalhError as error:
            self._fail(str(error), again=not isinstance(error, DataError))
        except Exception as error:  # the boundary of the process: whatever it was becomes the job's error, its traceback the log's
            traceback.print_exc()
            self._fail(_reason(error), again=True)
        return 0

    def _train(self, threads: int | None) -> None:
        bases.require("torch", "transformers", "peft", "safetensors", needed_by="the runner 'lora'")
        self._write("running", "loading the base model")
        import torch

        torch.set_num_threads(threads or torch.get_num_threads())
        self._state["threads"] = torch.get_num_threads()
        from evalharness.runners.lora.loop import Diverged, Stopped

        try:
            loop = self._prepare()
            progress = loop.run()
        except Stopped:
            self._write("cancelled", "stopped; it goes on from its last checkpoint")
            return
        except Diverged as error:
            self._fail(str(error), again=False)
            return
        self._finish(loop, progress)

    def _prepare(self) -> Loop:
        import torch

        from evalharness import causal
        from evalharness.runners.lora import data, loop, network

        options, job = self.options, self.job
        base = causal.load(
            job.base, revision=options.revision, device=options.device, dtype=options.dtype,
            load_in_4bit=options.load_in_4bit, trust_remote_code=options.trust_remote_code,
        )  # fmt: skip
        if base.device.startswith("cuda"):
            torch.use_deterministic_algorithms(True, warn_only=True)
        self._write("running", "reading the rows")
        train = data.encode(base.tokenizer, job.train[: options.max_rows], options.max_length, "train")
        dev = data.encode(base.tokenizer, job.dev, options.max_length, "dev")
        self.truncated = sum(row.truncated for row in train)
        if self.truncated:
            print(f"{self.truncated} of {len(train)} rows are longer than max_length ({options.max_length} tokens) and are cut")
        net = network.Network(base, options, job.seed)
        made = loop.Loop(net, train, dev, self.folder.path, job.seed, say=self._say, log=self.folder.add_point, asked=lambda: self._asked)
        resumed = made.resume()
        self.folder.write_points(made.progress.points)
        self._state["total_steps"] = made.total
        print(f"{'resumed at' if resumed else 'begun at'} step {made.progress.step} of {made.total} on {base.device} in {base.dtype}")
        return made

    def _say(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._written >= _WRITE_S:
            cut = f", {self.truncated} rows cut" if self.truncated else ""
            self._state |= {"step": progress.step, "tokens": progress.tokens, "seconds": progress.seconds}
            self._write("running", f"step {progress.step}{cut}")

    def _finish(self, loop: Loop, progress: Progress) -> None:
        from evalharness.runners.lora import checkpoint
        from evalharness.runners.lora.audit import LEAST, audit

        network, adapter = loop.network, self.folder.adapter
        self._state |= {"step": progress.step, "total_steps": progress.step, "tokens": progress.tokens, "seconds": progress.seconds}
        self._write("running", "saving the adapter")
        facts = _facts(loop, progress, self.truncated)
        _save_adapter(network.model, self.job, adapter)
        base = network.close()
        shift = audit(base, adapter, self.job.train[: self.options.max_rows], self.options.max_length)
        facts["audit_shift"] = shift
        if not shift >= LEAST:
            self._fail(
                f"invalid candidate: adapter changes nothing (log-probabilities of training answers move by {shift:.2g})", again=False
            )
            return
        identity = _identity(base, adapter) | bases.ends(self.job.base)
        write_json(adapter / "manifest.json", _manifest(self.job, self.options, base, identity, facts))
        checkpoint.remove(self.folder.path)
        model = TrainedModel(f"local/{self.job.base}", str(adapter), identity, facts)
        self._write("succeeded", "", model=asdict(model))

    def ask(self, _signal: int, _frame: object) -> None:
        """Stop after this step."""
        self._asked = True

    def _fail(self, error: str, *, again: bool) -> None:
        print(error, flush=True)
        self._write("failed", f"log: {self.folder.log}", error=error, again=again)

    def _write(self, state: str, detail: str, **more: object) -> None:
        self._written = time.monotonic()
        self.folder.write_state({"state": state, "detail": detail, **self._state, **more})


def _reason(error: Exception) -> str:
    """One line: what a person can do about it where that is known."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error):
        return "out of memory. Lower tokens_per_pass or max_length, or set gradient_checkpointing: true"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _facts(loop: Loop, progress: Progress, truncated: int) -> dict[str, float | int | str | None]:
    network = loop.network
    return {
        "trained_parameters": network.trained_parameters,
        "total_parameters": network.total_parameters,
        "share": network.trained_parameters / network.total_parameters,
        "rows": len(loop.train),
        "truncated_rows": truncated,
        "steps": progress.step,
        "best_step": progress.step if progress.best_step is None else progress.best_step,
        "best_dev_loss": progress.best_dev_loss,
        "base_dev_loss": progress.base_dev_loss,
        "seconds": round(progress.seconds, 3),
        "tokens": progress.tokens,
        "answer_tokens": progress.answer_tokens,
        "peak_memory_mb": _peak_memory_mb(),
        "device": network.causal.device,
        "dtype": network.causal.dtype,
    }


def _peak_memory_mb() -> int:
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() // 2**20
    return peak_mib()


def _save_adapter(model: Any, job: Job, adapter: Path) -> None:
    for config in model.peft_config.values():
        config.base_model_name_or_path = job.base  # as the user named it: the same wherever it was trained
    model.save_pretrained(str(adapter), save_embedding_layers=False)
    (adapter / "README.md").unlink(missing_ok=True)
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set, in another order every time
    path.write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")


def _identity(base: Causal, adapter: Path) -> dict[str, str]:
    from evalharness import causal

    known = {("base " + key if key in {"weights", "revision"} else key): value for key, value in base.identity.items()}
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    essentials = {key: config[key] for key in ("peft_type", "r", "lora_alpha", "target_modules")}
    weights = digest([file_digest(adapter / "adapter_model.safetensors"), essentials])
    return {**known, "template": causal.template_hash(base.tokenizer), "adapter": weights}


def _manifest(job: Job, options: LoraOptions, base: Causal, identity: Mapping[str, str], facts: Mapping[str, object]) -> dict[str, object]:
    import peft
    import torch
    import transformers

    import evalharness

    return {
        "base": job.base,
        "base_identity": base.identity,
        "identity": identity,
        "template": identity["template"],
        "training_id": job.training_id,
        "data_id": _data_id(job.train, job.dev),
        "settings": options.identity(),
        "seed": job.seed,
        "best_step": facts["best_step"],
        "facts": facts,
        "versions": {
            "evalh": evalharness.__version__, "torch": torch.__version__, "transformers": transformers.__version__,
            "peft": peft.__version__, "python": platform.python_version(),
        },
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def _data_id(*sides: Sequence[Sequence[Any]]) -> str:
    return digest([[[turn.as_dict() for turn in chat] for chat in side] for side in sides])


if __name__ == "__main__":
    child = Child(JobFolder(Path(sys.argv[1])))
    signal.signal(signal.SIGTERM, child.ask)
    sys.exit(child.run())
