"""What a job leaves behind: log lines while it runs, and at its end a repository with the adapter.

Only safetensors and text are fetched; sizes and hashes are checked against the Hub's listing and the job's own manifest.

>>> points_in(['{"step": 1, "train_loss": 2.0, "total_steps": 9}', "Downloading torch"])
((Point(step=1, train_loss=2.0, dev_loss=None, learning_rate=None, seconds=None),), 9)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evalharness.errors import ProviderError
from evalharness.ids import digest, file_digest
from evalharness.records import Point, TrainedModel
from evalharness.runners import hosted
from evalharness.runners.huggingface.hub import Hub

WEIGHTS, CONFIG, METRICS, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "metrics.jsonl", "manifest.json"
_STATE = "trainer_state.json"
_ORIGIN = "origin.json"
_OF_A_BASE = (".json", ".safetensors", ".jinja", ".model", ".tiktoken", ".txt")


class Unusable(ProviderError):
    """The repository holds something else than an adapter of the job: fetching it again changes nothing."""


def json_lines(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The lines that are JSON objects."""
    found = []
    for line in lines:
        if line.lstrip().startswith("{"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            found += [value] if isinstance(value, dict) else []
    return found


def points_in(lines: Iterable[str]) -> tuple[tuple[Point, ...], int | None]:
    """Loss points, and the number of steps if it was said, in a log or a metrics file."""
    return points_of(json_lines(lines))


def points_of(rows: Iterable[Mapping[str, Any]]) -> tuple[tuple[Point, ...], int | None]:
    """The same out of rows, in the script's words or in transformers' own (loss, eval_loss)."""
    points, total = [], None
    for row in rows:
        step = hosted.number(row.get("step"))
        losses = [hosted.number(row.get(name, row.get(other))) for name, other in (("train_loss", "loss"), ("dev_loss", "eval_loss"))]
        if step is not None and losses != [None, None]:
            points.append(
                Point(int(step), losses[0], losses[1], hosted.number(row.get("learning_rate")), hosted.number(row.get("seconds")))
            )
        total = int(hosted.number(row.get("total_steps")) or 0) or total
    return hosted.merged(points), total


def said_at_the_end(lines: Iterable[str]) -> tuple[str | None, bool]:
    """Why the job failed by its own words, and whether another try may help."""
    for row in reversed(json_lines(lines)):
        if "error" in row:
            return str(row["error"]), row.get("again") is not False
    return None, True


def fetch(hub: Hub, repo: str, workdir: Path) -> tuple[TrainedModel, tuple[Point, ...]] | None:
    """The tuned model in `workdir`/adapter and its loss curve; None if the repository holds no adapter (yet).

    Raises ProviderError if what came is not what the Hub lists, Unusable if that is not what the job wrote, or no adapter.
    """
    info = hub.repository(repo, "model")
    listed = {file.rfilename: file for file in (info.siblings if info is not None else None) or []}
    if not {WEIGHTS, CONFIG} <= set(listed):
        return None
    origin, adapter = {"repo": repo, "revision": str(info.sha or "main")}, workdir / "adapter"
    if _read_json(adapter / _ORIGIN) != origin:
        _download(hub, origin, listed, adapter)
    return _model(adapter, origin), _curve(adapter)


def fetch_base(hub: Hub, base: str, revision: str | None) -> Path:
    """The folder of the SDK's cache with a base's weights and tokenizer, fetched unless they are there. Raises ProviderError."""
    listed = hub.read(lambda: hub.api.model_info(base, revision=revision, timeout=hub.options.timeout_s)).siblings or []
    names = [file.rfilename for file in listed if "/" not in file.rfilename and file.rfilename.endswith(_OF_A_BASE)]
    paths = [hub.read(lambda name=name: hub.api.hf_hub_download(base, name, revision=revision)) for name in names]  # type: ignore[misc]
    if not paths:
        raise ProviderError(f"the base {base!r} has no weights that can be read here")
    return Path(paths[0]).parent


def _download(hub: Hub, origin: Mapping[str, str], listed: Mapping[str, Any], adapter: Path) -> None:
    """Fetch into a folder beside, check, then put it in place in one step."""
    for left in adapter.parent.glob(".adapter.*"):  # of a process that was killed: one at a time trains in this folder
        shutil.rmtree(left, ignore_errors=True)
    part = adapter.with_name(f".adapter.{os.getpid()}")
    for name in (MANIFEST, CONFIG, METRICS, _STATE, WEIGHTS):
        if name in listed:
            hub.read(lambda name=name: hub.api.hf_hub_download(origin["repo"], name, revision=origin["revision"], local_dir=part))  # type: ignore[misc]
    shutil.rmtree(part / ".cache", ignore_errors=True)
    _verify(part, listed)
    (part / _ORIGIN).write_text(json.dumps(origin), "utf-8")
    shutil.rmtree(adapter, ignore_errors=True)
    part.rename(adapter)


def _verify(folder: Path, listed: Mapping[str, Any]) -> None:
    """Raises ProviderError for a file with another size or hash than the Hub lists, Unusable if what it has is no adapter of the job."""
    manifest = _read_json(folder / MANIFEST) or {}
    own = manifest.get("files") if isinstance(manifest.get("files"), dict) else {}
    for path in sorted(folder.iterdir()):
        said, made = listed[path.name], (own or {}).get(path.name) or {}
        size, sha = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
        if {said.size, size} - {None, size} or {getattr(said.lfs, "sha256", None), sha} - {None, sha}:
            raise ProviderError(f"{path.name} came damaged: {size} bytes, SHA-256 {sha[:12]}; {said.size} bytes are listed. Run again")
        if {made.get("size"), size} - {None, size} or {made.get("sha256"), sha} - {None, sha}:
            raise Unusable(f"{path.name} is not what the job wrote: {size} bytes, SHA-256 {sha[:12]}; its manifest says {made}")
    if not _is_safetensors(folder / WEIGHTS):
        raise Unusable(f"{WEIGHTS} is no safetensors file")
    if _read_json(folder / CONFIG) is None:
        raise Unusable(f"{CONFIG} is no JSON object")


def _is_safetensors(path: Path) -> bool:
    """Eight bytes with the length of a JSON header, then the header (github.com/huggingface/safetensors, Format)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= path.stat().st_size - 8:
            return False
        try:
            return isinstance(json.loads(file.read(length)), dict)
        except ValueError:
            return False


def _model(adapter: Path, origin: Mapping[str, str]) -> TrainedModel:
    manifest, config = _read_json(adapter / MANIFEST) or {}, _read_json(adapter / CONFIG) or {}
    base = str(manifest.get("base") or config.get("base_model_name_or_path"))
    revision = manifest.get("base_revision") or config.get("revision")
    essentials = {key: config.get(key) for key in ("peft_type", "r", "lora_alpha", "target_modules")}
    weights = digest([file_digest(adapter / WEIGHTS), essentials])
    said = manifest.get("facts") if isinstance(manifest.get("facts"), dict) else {}
    facts = {str(key): value for key, value in (said or {}).items() if value is None or isinstance(value, int | float | str)}
    identity = {"base": base, **({"base revision": str(revision)} if revision else {}), "adapter": weights}
    return TrainedModel(f"local/{base}", str(adapter), identity, {**facts, **origin, "rank": config.get("r")})


def _curve(adapter: Path) -> tuple[Point, ...]:
    state = _read_json(adapter / _STATE) or {}
    history = state.get("log_history") if isinstance(state.get("log_history"), list) else []
    rows = [row for row in history or [] if isinstance(row, dict)]
    path = adapter / METRICS
    lines = path.read_text("utf-8", "replace").split("\n") if path.is_file() else []
    return hosted.merged([*points_of(rows)[0], *points_in(lines)[0]])


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None
