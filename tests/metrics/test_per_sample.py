"""The short way to a metric of one's own holds the contract, also the one that the README shows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from evalharness import registry
from evalharness.metrics import PerSample
from evalharness.protocols import Metric
from evalharness.records import Message, Reply, Sample

SAMPLE = Sample.of([Message("user", "hi")], ["hello"])


class Words(PerSample):
    """Words of an answer: fewer are better."""

    higher_is_better = False
    range = (0.0, 100.0)

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        return (float(len((reply.text or "").split())),)


def test_a_metric_is_its_score_method() -> None:
    metric = Words()
    assert isinstance(metric, Metric)
    assert metric.name == "words"
    assert metric.score(SAMPLE, Reply("o", "a b c", "stop")) == (3.0,)
    assert (metric.failed(SAMPLE), metric.perfect(SAMPLE)) == ((100.0,), (0.0,))
    assert metric.finish(np.array([9.0]), np.array(3.0)) == 3.0
    assert metric.identity() == {"name": "words", "version": "1", "options": {}}


def test_without_score_it_says_so() -> None:
    with pytest.raises(TypeError, match="PerSample has no score"):
        PerSample().score(SAMPLE, Reply("o", "a", "stop"))


def test_the_readmes_metric_works(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    code = re.search(r"```python\n(# checks\.py.*?)```", readme, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 20
    (tmp_path / "checks.py").write_text(code[1])
    plugin = registry.find("metrics", "checks.py:polite", tmp_path)
    metric = plugin(registry.options(plugin, {"words": 3}, tmp_path))
    assert isinstance(metric, Metric)
    assert metric.score(SAMPLE, Reply("o", "Thank you", "stop")) == (1.0,)
    assert metric.score(SAMPLE, Reply("o", "No", "stop")) == (0.0,)
    assert metric.score(SAMPLE, Reply("o", "Thank you very much", "stop")) == (0.0,)
