"""Models that are made once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalharness.models.local import LocalModel, LocalOptions


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that says many different things."""
    from tests.models.small import lively

    return lively(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def model(base: Path) -> LocalModel:
    """That model, four rows at a time, so that rows come and go while others decode."""
    return LocalModel(LocalOptions(name=str(base), batch_size=4))
