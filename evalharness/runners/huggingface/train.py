# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "accelerate==1.15.0",
#     "datasets==5.2.0",
#     "huggingface_hub==2.4.0",
#     "peft==0.21.2",
#     "torch==2.13.0",
#     "transformers==5.23.0",
#     "trl==1.16.0",
# ]
# ///
"""What runs inside the job: LoRA by TRL on answer tokens only; alone in its file, because only this file is sent.

    uv run train.py --model_name_or_path Qwen/Qwen3-0.6B --dataset_name me/rows --hub_model_id me/tuned --push_to_hub

Without --push_to_hub everything stays in --output_dir, and --dataset_name may be a folder. Losses are mean nats per
answer token. What it prints are JSON lines: points of the loss curve, and at the end {"done": ...} or {"error": ...}.

>>> main(["--model_name_or_path", "tiny", "--dataset_name", "rows", "--output_dir", "out"])           # doctest: +SKIP
0
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Any

WEIGHTS, CONFIG, METRICS, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "metrics.jsonl", "manifest.json"
_SHOWN = 5
_POINTS = 200
"""Training losses that are logged, about."""
_MEASURES = 4
"""Dev losses an epoch, unless --eval_steps says."""


class Hopeless(Exception):
    """The same job would fail the same way again."""


def main(argv: list[str] | None = None) -> int:
    """Train; 0 if an adapter was made. The last line printed says how it ended."""
    args = arguments().parse_args(argv)
    try:
        say({"done": train(args)})
    except Hopeless as error:
        say({"error": str(error), "again": False})
    except Exception as error:  # the boundary of the process: its traceback is the log's, its reason the job's
        traceback.print_exc()
        say({"error": reason(error), "again": True})
    else:
        return 0
    return 1


def arguments() -> argparse.ArgumentParser:
    """Named as TRL's own scripts name them, where those have them."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("model_name_or_path", "dataset_name"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--output_dir", default="output")
    for name in ("model_revision", "hub_model_id"):
        parser.add_argument(f"--{name}")
    for name, number in (("num_train_epochs", 2.0), ("learning_rate", 2e-4), ("warmup_ratio", 0.03), ("weight_decay", 0.0)):
        parser.add_argument(f"--{name}", type=float, default=number)
    for name, real in (("max_grad_norm", 1.0), ("lora_alpha", 32.0), ("lora_dropout", 0.0)):
        parser.add_argument(f"--{name}", type=float, default=real)
    for name, count in (("per_device_train_batch_size", 4), ("gradient_accumulation_steps", 4), ("max_length", 1024), ("lora_r", 16)):
        parser.add_argument(f"--{name}", type=int, default=count)
    for name in ("max_steps", "eval_steps", "early_stopping_patience"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr_scheduler_type", default="cosine")
    parser.add_argument("--lora_target_modules", nargs="+", default=["all-linear"])
    for name in ("gradient_checkpointing", "push_to_hub"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser


def train(args: argparse.Namespace) -> dict[str, object]:
    """Train, save and send the adapter -> facts about the training."""
    from transformers import AutoTokenizer, set_seed

    out = Path(args.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path, revision=args.model_revision)
    if tokenizer.chat_template is None:
        raise Hopeless(f"{args.model_name_or_path} has no chat template: take a chat model")
    rows = {split: read(split, args.dataset_name) for split in ("train", "dev")}
    examples = {split: encode_all(tokenizer, found, args.max_length, split) for split, found in rows.items()}
    model = load(args)
    began = time.monotonic()
    trainer, log = make_trainer(args, model, tokenizer, examples, out)
    trainer.train()
    facts = {**facts_of(trainer, examples), "seconds": round(time.monotonic() - began, 3)}
    save(trainer.model, args, out)
    manifest = write_manifest(args, model, facts, out)
    if args.push_to_hub:
        push(args.hub_model_id, out)
    return {"files": manifest["files"], "points": len(log), **facts}


def say(line: dict[str, object]) -> None:
    """Print one JSON line."""
    print(json.dumps(line), flush=True)


def reason(error: Exception) -> str:
    """One line: what a person can do about it where that is known."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory. Lower per_device_train_batch_size or max_length, or choose a larger flavor"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def read(split: str, dataset: str) -> list[list[dict[str, str]]]:
    """The chats of a split, from a folder or a dataset repository; empty if it has no such file (there may be no dev rows)."""
    path = Path(dataset) / f"{split}.jsonl"
    if not Path(dataset).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            path = Path(hf_hub_download(dataset, f"{split}.jsonl", repo_type="dataset"))
        except EntryNotFoundError:
            return []
    if not path.is_file():
        return []
    return [json.loads(line)["messages"] for line in path.read_text("utf-8").split("\n") if line.strip()]


def encode_all(tokenizer: Any, chats: list[list[dict[str, str]]], max_length: int, split: str) -> list[dict[str, Any]]:
    """Every chat as `input_ids` and `labels` (-100: no loss). Raises Hopeless naming rows whose answer would be cut off."""
    examples: list[dict[str, Any]] = []
    problems = []
    for number, chat in enumerate(chats, 1):
        ids, start = encode(tokenizer, chat)
        if start >= min(len(ids), max_length):
            problems.append(f"{split} row {number}: its prompt alone fills max_length ({max_length} tokens)")
        examples.append(
            {"input_ids": ids[:max_length], "labels": ([-100] * start + ids[start:])[:max_length], "cut": len(ids) > max_length}
        )
    if problems:
        more = f"; and {len(problems) - _SHOWN} more such rows" if len(problems) > _SHOWN else ""
        raise Hopeless("; ".join(problems[:_SHOWN]) + more)
    return examples


def encode(tokenizer: Any, chat: list[dict[str, str]]) -> tuple[list[int], int]:
    """Token ids of a chat and where its last turn's answer begins: the prompt is encoded as generation will encode it."""
    prompt_text = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, tokenize=False)
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    prompt, ids = ids_of(tokenizer, prompt_text), ids_of(tokenizer, text)
    if ids[: len(prompt)] == prompt:
        start = len(prompt)
    elif text.startswith(prompt_text):
        ids, start = prompt + ids_of(tokenizer, text[len(prompt_text) :]), len(prompt)
    else:
        ids, start = masked(tokenizer, chat)
    start = max(start, 1)  # nothing predicts the first token of all
    return end_turn(tokenizer, ids, start), start


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """Token ids of rendered text, whose special tokens are written out already."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def masked(tokenizer: Any, chat: list[dict[str, str]]) -> tuple[list[int], int]:
    """The same by the template's own marks, for templates that rewrite history. Raises Hopeless if it has none."""
    if not re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.get_chat_template()):
        raise Hopeless("the model's chat template renders a finished chat differently from its prompt and has no {% generation %} marks")
    encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    mask = list(encoded["assistant_masks"])
    if 1 not in mask:
        raise Hopeless("the model's chat template marks no part of the last turn as the answer")
    end = len(mask) - mask[::-1].index(1)
    return list(encoded["input_ids"]), next((i + 1 for i in range(end - 1, -1, -1) if not mask[i]), 0)


def end_turn(tokenizer: Any, ids: list[int], start: int) -> list[int]:
    """`ids` up to the token that ends the turn: blanks after it are never generated; without one, the end token is added."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special} | set(tokenizer.all_special_ids)
    last = max((i for i in range(start, len(ids)) if ids[i] in special), default=None)
    if last is not None and not tokenizer.decode(ids[last + 1 :]).strip():
        return ids[: last + 1]
    return ids if tokenizer.eos_token_id is None else [*ids, tokenizer.eos_token_id]


def load(args: argparse.Namespace) -> Any:
    """The base model: bfloat16 on a GPU that has it, else float32; safetensors only."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32
    return AutoModelForCausalLM.from_pretrained(args.model_name_or_path, revision=args.model_revision, dtype=dtype, use_safetensors=True)


def make_trainer(args: argparse.Namespace, model: Any, tokenizer: Any, examples: dict[str, Any], out: Path) -> tuple[Any, list[Any]]:
    """TRL's trainer with a dev loss per token, and the list that its points go to."""
    from datasets import Dataset
    from peft import LoraConfig, TaskType
    from transformers import EarlyStoppingCallback, PrinterCallback

    train, dev = ([{key: row[key] for key in ("input_ids", "labels")} for row in examples[split]] for split in ("train", "dev"))
    modules = args.lora_target_modules[0] if args.lora_target_modules == ["all-linear"] else args.lora_target_modules
    lora = LoraConfig(
        r=args.lora_r, lora_alpha=args.lora_alpha, lora_dropout=args.lora_dropout, target_modules=modules, task_type=TaskType.CAUSAL_LM
    )
    log: list[dict[str, Any]] = []
    callbacks = [curve_of(log, out / METRICS)]
    if dev and args.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=args.early_stopping_patience))
    trainer = trainer_class()(
        model=model, args=settings(args, len(train), bool(dev), out), processing_class=tokenizer, peft_config=lora, callbacks=callbacks,
        train_dataset=Dataset.from_list(train), eval_dataset=Dataset.from_list(dev) if dev else None,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer, log


def settings(args: argparse.Namespace, rows: int, dev: bool, out: Path) -> Any:
    """TRL's settings; the dev loss is measured, and the weights kept, about four times an epoch."""
    import torch
    import trl

    make: Any = trl.SFTConfig  # type: ignore[attr-defined]
    on_gpu = torch.cuda.is_available()
    epoch = max(1, math.ceil(rows / (args.per_device_train_batch_size * args.gradient_accumulation_steps)))
    total = args.max_steps or max(1, math.ceil(epoch * args.num_train_epochs))
    each = min(args.eval_steps or max(1, epoch // _MEASURES), total)
    best: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": each,
        "save_strategy": "steps",
        "save_steps": each,
        "save_total_limit": 2,
    }
    best |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    return make(
        output_dir=str(out / "checkpoints"), seed=args.seed, data_seed=args.seed, report_to="none", disable_tqdm=True, max_length=None,
        num_train_epochs=args.num_train_epochs, max_steps=args.max_steps or -1, learning_rate=args.learning_rate,
        lr_scheduler_type=args.lr_scheduler_type, warmup_steps=math.ceil(args.warmup_ratio * total), weight_decay=args.weight_decay,
        max_grad_norm=args.max_grad_norm, per_device_train_batch_size=args.per_device_train_batch_size,
        per_device_eval_batch_size=args.per_device_train_batch_size, gradient_accumulation_steps=args.gradient_accumulation_steps,
        gradient_checkpointing=args.gradient_checkpointing, bf16=on_gpu and torch.cuda.is_bf16_supported(), logging_first_step=True,
        logging_steps=max(1, total // _POINTS), dataset_kwargs={"skip_prepare_dataset": True}, packing=False,
        **(best if dev else {"eval_strategy": "no", "save_strategy": "no"}),
    )  # fmt: skip


def trainer_class() -> Any:
    """TRL's SFTTrainer, but that the dev loss is the mean over all answer tokens and not over batches."""
    import torch
    import trl

    sft: Any = trl.SFTTrainer  # type: ignore[attr-defined]

    class TokenMeanTrainer(sft):  # type: ignore[misc]
        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            self.model.eval()
            total, count = 0.0, 0
            with torch.inference_mode():
                for batch in self.get_eval_dataloader():
                    inputs = self._prepare_inputs(batch)
                    count += int((inputs["labels"][:, 1:] != -100).sum())
                    with self.compute_loss_context_manager():
                        total += float(self.compute_loss(self.model, inputs, num_items_in_batch=torch.tensor(1.0)))
            metrics = {"eval_loss": total / count}
            self.log(metrics)
            self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    return TokenMeanTrainer


def curve_of(log: list[dict[str, Any]], path: Path) -> Any:
    """A callback that keeps, prints and writes every point; a loss that is no number ends the training."""
    from transformers import TrainerCallback

    base: Any = TrainerCallback
    began = time.monotonic()
    path.write_text("")

    class Curve(base):  # type: ignore[misc]
        def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            names = {"loss": "train_loss", "eval_loss": "dev_loss", "learning_rate": "learning_rate"}
            values = {name: float(logs[key]) for key, name in names.items() if logs and key in logs}
            if not {"train_loss", "dev_loss"} & set(values):
                return
            if not all(map(math.isfinite, values.values())):
                raise Hopeless(f"the loss is no number any more at step {state.global_step}. Lower learning_rate")
            point = {"step": state.global_step, "total_steps": state.max_steps, "seconds": round(time.monotonic() - began, 3), **values}
            log.append(point)
            say(point)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(point) + "\n")

    return Curve()


def facts_of(trainer: Any, examples: dict[str, Any]) -> dict[str, Any]:
    """Numbers for reports. Raises Hopeless for an adapter that has learned nothing: its second matrices are still zero."""
    trained = [(name, weight) for name, weight in trainer.model.named_parameters() if weight.requires_grad]
    second = [weight for name, weight in trained if "lora_B" in name]
    if second and not any(float(weight.detach().abs().max()) > 0 for weight in second):
        raise Hopeless("invalid candidate: the adapter changes nothing. Raise learning_rate or epochs")
    learned = sum(weight.numel() for _, weight in trained)
    best = trainer.state.best_metric
    return {
        "trained_parameters": learned,
        "total_parameters": sum(weight.numel() for weight in trainer.model.parameters()) - learned,
        "rows": len(examples["train"]),
        "truncated_rows": sum(row["cut"] for row in examples["train"]),
        "steps": trainer.state.global_step,
        "best_step": getattr(trainer.state, "best_global_step", None) if best is not None else trainer.state.global_step,
        "best_dev_loss": best,
        "tokens": int(trainer.state.num_input_tokens_seen or 0) or _tokens(trainer, examples),
        "device": str(trainer.model.device.type),
    }


def _tokens(trainer: Any, examples: dict[str, Any]) -> int:
    """Tokens that went through the model, padding not counted."""
    return round(sum(len(row["input_ids"]) for row in examples["train"]) * float(trainer.state.epoch or 0))


def save(model: Any, args: argparse.Namespace, out: Path) -> None:
    """The adapter in safetensors, naming the base as it was asked for."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = args.model_name_or_path
    model.save_pretrained(str(out), save_embedding_layers=False)
    path = out / CONFIG
    config = json.loads(path.read_text("utf-8"))
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set, in another order every time
    path.write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")


def write_manifest(args: argparse.Namespace, model: Any, facts: dict[str, Any], out: Path) -> dict[str, Any]:
    """What was made from what: files with size and SHA-256, the base's commit, facts, versions."""
    from importlib.metadata import version

    files = {}
    for name in (WEIGHTS, CONFIG, METRICS):
        content = (out / name).read_bytes()
        files[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "base": args.model_name_or_path,
        "base_revision": getattr(model.config, "_commit_hash", None) or args.model_revision,
        "files": files,
        "facts": facts,
        "packages": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True), "utf-8")
    return manifest


def push(repo: str, out: Path) -> None:
    """Send the result in one commit: the repository holds all of it or nothing."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo, private=True, exist_ok=True)
    api.upload_folder(repo_id=repo, folder_path=out, allow_patterns=[WEIGHTS, CONFIG, METRICS, MANIFEST], commit_message="Adapter")


if __name__ == "__main__":
    sys.exit(main())
