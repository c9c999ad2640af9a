"""The examples in the docstrings of verdicts and reports say what the code does."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import evalharness.report
import evalharness.verdict

PARTS = (evalharness.report, evalharness.verdict)
NAMES = [f"{part.__name__}.{module.name}" for part in PARTS for module in pkgutil.iter_modules(part.__path__)]


@pytest.mark.parametrize("name", [*NAMES, *(part.__name__ for part in PARTS)])
def test_example(name: str) -> None:
    module = importlib.import_module(name)
    assert ">>> " in (module.__doc__ or "")
    assert doctest.testmod(module).failed == 0
