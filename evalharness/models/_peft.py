"""What an adapter folder says of itself (adapter_config.json, manifest.json), read without torch.

>>> unfit(Path("results/trainings/a/adapter"), identity("embedded"))      # doctest: +SKIP
'its chat template is another one than the base model's'
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalharness.errors import RunError

CONFIG, WEIGHTS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"

_OTHER_KINDS = (
    "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "lora_bias", "modules_to_save",
    "monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora",
)  # fmt: skip
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the base's weights as they are (PiSSA and the like train on a changed base)."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's adapter_config.json. Raises RunError if it is not there, not readable or not plain LoRA."""
    config = _read(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise RunError(f"{CONFIG}: peft_type is {config.get('peft_type')!r}; only LORA can be used")
    other = [key for key in _OTHER_KINDS if config.get(key)]
    if config.get("bias", "none") != "none":
        other.append("bias")
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        other.append("init_lora_weights")
    if other:
        raise RunError(f"{CONFIG}: only plain LoRA can be used, this one has {', '.join(sorted(other))}")
    return config


def scaling(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What B(A(x)) is multiplied with at this layer: alpha/rank, or alpha/sqrt(rank) (rsLoRA, arXiv 2312.03732)."""
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}
    own = next((alpha for key, alpha in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), None)
    alpha = float(config.get("lora_alpha", 8) if own is None else own)
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def unfit(folder: Path, base: Mapping[str, str]) -> str | None:
    """Why the adapter cannot be used on the base with this identity; None if nothing speaks against it."""
    try:
        read_config(folder)
        manifest = _read(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    except RunError as error:
        return str(error)
    if not (folder / WEIGHTS).is_file():
        return f"there is no {WEIGHTS} in {folder}"
    return _another_base(manifest, base)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path.name} is not a JSON object")
    return value


def _another_base(manifest: Mapping[str, Any], base: Mapping[str, str]) -> str | None:
    """Compares what both sides know: hashes of weights and template, or the hub's commit."""
    trained: dict[str, Any] = {**manifest.get("base_identity", {}), "template": manifest.get("template")}
    if trained["template"] and base.get("template", trained["template"]) != trained["template"]:
        return "it was trained with another chat template than the base model has now"
    for key in ("weights", "revision"):
        mine, theirs = base.get(key), trained.get(key)
        names = key == "revision" and not all(_COMMIT.fullmatch(str(value)) for value in (mine, theirs))  # say nothing: tags, branches
        if mine and theirs and mine != theirs and not names:
            return f"it was trained on another base model ({key} {theirs}, here {mine})"
    return None
