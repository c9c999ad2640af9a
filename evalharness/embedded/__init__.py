"""The embedded default model: a tiny causal LM that ships with evalh, so that everything works without GPU, network or key.

>>> path().name
'model'
"""

from __future__ import annotations

from pathlib import Path


def path() -> Path:
    """The folder with the shipped model: weights, tokenizer, chat template and model card (README.md)."""
    return Path(__file__).parent / "model"
