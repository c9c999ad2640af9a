"""docs/metrics.md: every line of it is a metric that a suite takes, and no metric or option is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalharness import registry
from evalharness.metrics.ragas_metric import KINDS
from evalharness.reading import load_suite

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
USES: list[Any] = [use for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for use in yaml.safe_load(block)["metrics"]]
SUITE: dict[str, Any] = {
    "data": {"test": "test.jsonl"},
    "baselines": {"few-shot": {"outputs": "answers.jsonl"}},
    "candidates": {"tuned": {"outputs": "answers.jsonl"}},
}
"""What the page's lines stand in."""


def name_of(use: Any) -> str:
    return use if isinstance(use, str) else str(next(iter(use)))


@pytest.fixture(scope="module")
def root(scripts: Path) -> Path:
    for name, text in {
        "test.jsonl": '{"input": "a", "target": "b"}\n',
        "answers.jsonl": '{"input": "a", "output": "b"}\n',
        "prompts/polite.md": "Is it polite?",
        "prompts/better.md": "Which is better?",
    }.items():
        (scripts / name).parent.mkdir(parents=True, exist_ok=True)
        (scripts / name).write_text(text)
    return scripts


@pytest.mark.parametrize("use", USES, ids=[f"{number}-{name_of(use)}" for number, use in enumerate(USES)])
def test_every_line_is_a_metric(use: Any, root: Path) -> None:
    path = root / "suite.yaml"
    path.write_text(yaml.safe_dump({**SUITE, "metrics": [use]}))
    (metric,) = load_suite(path).metrics.values()
    assert type(metric) is registry.find("metrics", name_of(use))


def test_no_metric_and_no_option_is_left_out() -> None:
    said: dict[str, set[str]] = {}
    for use in USES:
        options = use[name_of(use)] if isinstance(use, dict) else {}
        said.setdefault(name_of(use), set()).update(options if isinstance(options, dict) else ())
    assert said.keys() == registry.BUILT_IN["metrics"].keys()
    for name, found in said.items():
        options = registry.find("metrics", name).Options
        known = set(options.model_fields) - {options.shorthand}
        assert known <= found, f"{name}: {known - found} are not on the page"
    assert all(kind in PAGE for kind in KINDS)
