from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from evalharness import registry
from evalharness.errors import ConfigError
from evalharness.ids import digest
from evalharness.metrics.function import as_metric
from evalharness.pipeline.scoring import Scorer, metric_id
from evalharness.protocols import Metric
from evalharness.records import Output, Reply, Sample
from evalharness.store import MetricRow
from evalharness.verdict.measures import Measure
from tests.metrics.contract import MetricContract, item

CHECKS = """# checks.py
def polite(output, target, *, words: int = 80) -> bool:
    "Says please, and is short."
    return "please" in output.lower() and len(output.split()) <= words

def near(output, target):
    return 1 - abs(len(output) - len(target)) / max(len(output), len(target), 1)

def points(sample, reply):
    return len(set(reply.text.split()) & set(sample.input.split()))

points.range = (0, 1000)
points.version = "2"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "checks.py").write_text(CHECKS, encoding="utf-8")
    return tmp_path


def near(output: str, target: str) -> float:
    """How near the lengths are."""
    return 1 - abs(len(output) - len(target)) / max(len(output), len(target), 1)


def shouts(output: str, *, most: int = 2) -> bool:
    """Fewer is better."""
    return output.count("!") > most


setattr(shouts, "higher_is_better", False)  # noqa: B010 (functions have no such attribute for type checkers)


class TestNear(MetricContract):
    def make(self) -> Metric:
        metric: Metric = as_metric(near)()
        return metric


class TestShouts(MetricContract):
    def make(self) -> Metric:
        plugin = as_metric(shouts)
        return plugin(plugin.Options.model_validate({"most": 0}))

    def pairs(self) -> list[tuple[Sample, Reply]]:
        return [item(text, "x") for text in ("hi", "hi!", "hi!!!", "")]


def test_a_function_in_a_file_is_a_metric(root: Path) -> None:
    plugin = registry.find("metrics", "checks.py:polite", root)
    metric = plugin(registry.options(plugin, {"words": 2}, root))
    assert (metric.name, metric.kind, metric.range) == ("polite", "binary", (0.0, 1.0))
    assert metric.score(*item("Please do", "x")) == (1.0,)
    assert metric.score(*item("Please do it", "x")) == (0.0,)
    with pytest.raises(ValidationError):
        registry.options(plugin, {"letters": 2}, root)


def test_of_several_targets_the_best_counts(root: Path) -> None:
    metric = registry.find("metrics", "checks.py:near", root)()
    assert metric.score(*item("abc", "a", "xyz")) == (1.0,)
    worst_first = as_metric(lower)()
    assert worst_first.score(*item("abc", "a", "xyzu")) == (0.25,)


def lower(output: str, target: str) -> float:
    """Distance of lengths: fewer is better."""
    return abs(len(output) - len(target)) / 4


setattr(lower, "higher_is_better", False)  # noqa: B010


def test_attributes_say_what_differs(root: Path) -> None:
    metric = registry.find("metrics", "checks.py:points", root)()
    assert (metric.range, metric.version, metric.kind) == ((0.0, 1000.0), "2", "mean")
    sample, reply = item("question mark", "x")
    assert metric.score(sample, reply) == (1.0,)


def test_an_edit_is_another_metric(root: Path) -> None:
    before = registry.find("metrics", "checks.py:near", root)().identity()
    (root / "checks.py").write_text(CHECKS.replace("1 - abs", "0.5 - 0.5 * abs"), encoding="utf-8")
    assert digest(registry.find("metrics", "checks.py:near", root)().identity()) != digest(before)


def test_the_verdict_finds_it_again(root: Path) -> None:
    for name, options in (("polite", {"words": 3}), ("near", {})):
        plugin = registry.find("metrics", f"checks.py:{name}", root)
        metric = plugin(plugin.Options.model_validate(options))
        row = MetricRow(metric_id(metric), metric.name, metric.version, metric.identity(), True, metric.range, metric.kind, name)
        uses = ["exact_match", "checks.py:polite", {"checks.py:near": {}}]
        measure = Measure.of(row, root, uses)
        assert (measure.problem, measure.ready) == (None, True)
        assert measure.finish(np.array([3.0]), np.array(4.0)) == 0.75


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return None", "returned None, which is no number"),
        ("return 'x'", "returned 'x', which is no number"),
        ("return 7", "returned 7, outside of 0 to 1: set f.range"),
        ("return float('nan')", "returned nan"),
        ("return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_it_does_wrong_is_an_outcome_of_the_row(tmp_path: Path, body: str, why: str) -> None:
    (tmp_path / "own.py").write_text(f"def f(output):\n    {body}\n", encoding="utf-8")
    sample, reply = item("a", "a")
    (score,) = Scorer([registry.find("metrics", "own.py:f", tmp_path)()]).score(
        sample, Output("o1", "arm", "d", sample.id, 0, reply, "run")
    )
    assert why in str(score.error)
    assert score.value == 0.0


def test_a_bool_that_is_none_is_told() -> None:
    def half(output: str) -> bool:
        return 0.5  # type: ignore[return-value]

    with pytest.raises(ValueError, match="declared to return true or false"):
        as_metric(half)().score(*item("a", "a"))


@pytest.mark.parametrize("head", ["(x, y)", "()", "(output, target, extra)", "(output, *rest)", "(output, **rest)", "(target, output)"])
def test_other_parameters_are_refused(tmp_path: Path, head: str) -> None:
    (tmp_path / "own.py").write_text(f"def f{head}:\n    return 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"f: takes \(.*A metric takes \(output, target\), "):
        registry.find("metrics", "own.py:f", tmp_path)


def test_annotations_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def f(output: 'Nowhere'):\n    return 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="its annotations cannot be read"):
        registry.find("metrics", "own.py:f", tmp_path)


def test_the_other_forms() -> None:
    def every(output: str, targets: tuple[str, ...]) -> bool:
        return all(target in output for target in targets)

    assert as_metric(every)().score(*item("a b", "a", "b")) == (1.0,)
    assert as_metric(every)().score(*item("a", "a", "b")) == (0.0,)


def test_who_takes_no_target_needs_none() -> None:
    assert not as_metric(shouts).needs_targets
    assert as_metric(near).needs_targets


def test_reasons_are_stored_with_the_score() -> None:
    from evalharness.metrics.json_match import JsonMatch

    sample, reply = item('{"a": 1}', '{"a": 2}')
    (score,) = Scorer([JsonMatch()]).score(sample, Output("o1", "arm", "d", sample.id, 0, reply, "run"))
    assert (score.why, score.error) == ('a: "1" for "2"', None)
