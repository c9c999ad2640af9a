"""Fixtures of the metrics' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.metrics.hf import write


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with scripts of `evaluate` below metrics/; what the package makes of them stays in the same folder."""
    import evaluate.config

    made = tmp_path_factory.mktemp("hf")
    evaluate.config.HF_MODULES_CACHE = made / "modules"
    evaluate.config.HF_METRICS_CACHE = made / "cache"
    return write(made)
