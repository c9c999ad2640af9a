"""What a resumed training needs, in one folder that is there whole or not at all.

    checkpoint-120/state.safetensors    weights, moments; best/ and the best weights so far
    checkpoint-120/progress.json        numbers

Only safetensors and JSON are read back: nothing in a checkpoint can run code.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from evalharness.records import Point

_BEST = "best/"


@dataclass(slots=True)
class Progress:
    """The numbers of a training so far. `step` optimizer steps are done; losses are nats per answer token."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    answer_tokens: int = 0
    base_dev_loss: float | None = None
    best_step: int | None = None
    best_dev_loss: float | None = None
    worse: int = 0
    """Dev losses in a row without a new best."""
    stopped: bool = False
    first_loss: float | None = None
    recent: list[float] = field(default_factory=list)
    unlogged: list[float] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)


Weights = dict[str, torch.Tensor]


def save(folder: Path, progress: Progress, state: Weights, best: Weights | None) -> None:
    """Write `folder`/checkpoint-<step>, then remove the older ones."""
    whole = folder / f"checkpoint-{progress.step}"
    half = folder / f".checkpoint.{os.getpid()}"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    save_file({**state, **{_BEST + name: weight for name, weight in (best or {}).items()}}, half / "state.safetensors")
    (half / "progress.json").write_text(json.dumps(asdict(progress)), "utf-8")
    for file in half.iterdir():
        _flush(file)
    shutil.rmtree(whole, ignore_errors=True)
    half.rename(whole)
    remove(folder, keep=whole)


def load(folder: Path) -> tuple[Progress, Weights, Weights | None] | None:
    """The newest checkpoint, or None."""
    found = max(_all(folder), key=lambda path: int(path.name.partition("-")[2]), default=None)
    if found is None:
        return None
    numbers = json.loads((found / "progress.json").read_text("utf-8"))
    points = [Point(**point) for point in numbers.pop("points")]
    tensors = load_file(found / "state.safetensors")
    best = {name[len(_BEST) :]: tensor for name, tensor in tensors.items() if name.startswith(_BEST)}
    state = {name: tensor for name, tensor in tensors.items() if not name.startswith(_BEST)}
    return Progress(**numbers, points=points), state, best or None


def remove(folder: Path, keep: Path | None = None) -> None:
    """Delete all checkpoints but one, and what a killed child left half."""
    for path in [*_all(folder), *folder.glob(".checkpoint.*")]:
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)


def _all(folder: Path) -> list[Path]:
    return list(folder.glob("checkpoint-*"))


def _flush(file: Path) -> None:
    """Have the bytes on the disk before the rename says that they are there."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
