"""Whose model is it? A judge tends to like what its own family writes, so that has to be said.

>>> family("meta-llama/Llama-3.1-8B-Instruct"), family("ft:gpt-4.1-mini-2025-04-14:acme::x"), family("accounts/fireworks/models/qwen3-8b")
('llama', 'gpt', 'qwen')
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_ALIASES = {
    "chatgpt": "gpt", "davinci": "gpt", "babbage": "gpt", "o": "gpt", "codellama": "llama", "ministral": "mistral", "mixtral": "mistral",
    "codestral": "mistral", "magistral": "mistral", "devstral": "mistral", "qwq": "qwen", "codegemma": "gemma",
}  # fmt: skip
_NAMES = ("model", "base", "name")
_WEIGHTS = ("weights", "base_weights")


def family(model: str) -> str:
    """The family that a model's name begins with, in lower case; "" if it begins with no letter."""
    name = model.removeprefix("ft:").split(":")[0].rstrip("/").rsplit("/", 1)[-1]
    letters = re.match(r"[a-z]+", name.lower())
    return _ALIASES.get(letters[0], letters[0]) if letters else ""


def kinship(judge: Mapping[str, object], arm: Mapping[str, object], names: Iterable[str] = ()) -> str | None:
    """How a judge's model is related to an arm's: "the same model", "the same family (qwen)" or None.

    Both by what identifies them; `names` are more names of the arm's model, such as the base that it was tuned from.
    """
    mine = {value for key in _NAMES if isinstance(value := judge.get(key), str)}
    theirs = {value for key in _NAMES if isinstance(value := arm.get(key), str)} | set(names)
    weights = {arm.get(key) for key in _WEIGHTS} - {None}
    if mine & theirs or judge.get("weights") in weights:
        return "the same model"
    shared = ({family(name) for name in mine} & {family(name) for name in theirs}) - {""}
    return f"the same family ({min(shared)})" if shared else None
