"""Every module's example runs as written."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import evalharness.stats as part


@pytest.mark.parametrize("name", ["", *(f".{module.name}" for module in pkgutil.iter_modules(part.__path__))])
def test_example(name: str) -> None:
    result = doctest.testmod(importlib.import_module(part.__name__ + name))
    assert result.attempted > 0
    assert result.failed == 0
