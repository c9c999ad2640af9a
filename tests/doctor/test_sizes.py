from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalharness.data import load
from evalharness.doctor.sizes import Sizes, limits_of
from evalharness.errors import DataError
from evalharness.reading import LoadedSuite
from evalharness.spec import Trainer
from tests.doctor.workspace import by_rule, look, pairs, suite

GATE = "gate: {{against: a, rules: [{{metric: exact_match, margin: {margin}}}]}}\ndecide: {{metric: exact_match, min_gain: {gain}}}\n"
ARMS = "baselines: {a: {outputs: suite.yaml}}\ncandidates: {b: {outputs: suite.yaml}}\n"


def sized(folder: Path, train: int, test: int, more: str = ARMS, data: str = "") -> LoadedSuite:
    files = {"train.jsonl": pairs(*((f"t {k}", "x") for k in range(train))), "test.jsonl": pairs(*((f"q {k}", "x") for k in range(test)))}
    return suite(folder, files, more=more, data=data)


def trained(loaded: LoadedSuite, runner: str) -> LoadedSuite:
    return replace(loaded, trainers={"b": Trainer(runner=runner, base="m")})


def test_what_the_test_set_can_see(tmp_path: Path) -> None:
    (found,) = by_rule(look(sized(tmp_path, 60, 400, ARMS + GATE.format(margin=0.02, gain=0.03)), Sizes))["size.test"]
    assert found.severity == "warning"
    assert "400 test rows can see a difference of 6.2 points" in found.found
    assert "exact_match passes the gate with a chance of 14% if nothing changed" in found.found
    assert "the decision asks for 3 points" in found.found
    assert not look(sized(tmp_path, 60, 400, ARMS + GATE.format(margin=0.1, gain=0.1)), Sizes).findings
    limited = by_rule(look(sized(tmp_path, 60, 400, data="limit: {test: 50}"), Sizes))["size.test"]
    assert limited[0].count == 50


@pytest.mark.parametrize(
    ("train", "test", "rules"), [(0, 200, ["size.train"]), (60, 0, ["size.test"]), (0, 0, ["size.train", "size.test"])]
)
def test_a_side_without_rows_is_an_error_because_a_run_refuses_it(train: int, test: int, rules: list[str], tmp_path: Path) -> None:
    loaded = trained(sized(tmp_path, train, test), "lora")
    seen = look(loaded, Sizes)
    assert [(each.rule, each.severity) for each in seen.findings] == [(rule, "error") for rule in rules]
    with pytest.raises(DataError, match="no rows"):
        load(loaded.suite.data, loaded.root)


def test_rows_of_a_slice(tmp_path: Path) -> None:
    rows = [{"input": f"q {k}", "target": "x", "lang": "de" if k % 10 else "fr"} for k in range(200)]
    seen = by_rule(look(suite(tmp_path, {"test.jsonl": rows}, data="slices: [lang]"), Sizes))
    assert (seen["size.slice"][0].severity, seen["size.slice"][0].count) == ("note", 1)
    assert "lang=fr (20)" in seen["size.slice"][0].found
    gate = ARMS + "gate: {rules: [{metric: exact_match, margin: 0.2, every_slice: true}]}\n"
    asked = by_rule(look(suite(tmp_path, {"test.jsonl": rows}, more=gate, data="slices: [lang]"), Sizes))
    assert asked["size.slice"][0].severity == "warning"


@pytest.mark.parametrize(("runner", "rows", "said"), [("openai", 9, "wants 10 or more"), ("fireworks", 2, "wants 3 or more")])
def test_fewer_rows_than_a_service_takes(tmp_path: Path, runner: str, rows: int, said: str) -> None:
    found = by_rule(look(trained(sized(tmp_path, rows, 200), runner), Sizes))
    assert found["size.runner"][0].severity == "error"
    assert said in found["size.runner"][0].found
    assert found["size.train"][0].severity == "warning"
    assert "size.runner" not in by_rule(look(trained(sized(tmp_path, 60, 200), runner), Sizes))


def test_more_than_a_service_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = trained(sized(tmp_path, 60, 200), "openai")
    small: Any = limits_of("openai")
    small = {side: replace(limits, max_rows=50, max_bytes=100) for side, limits in small.items()}
    monkeypatch.setattr("evalharness.doctor.sizes.limits_of", lambda runner: small)
    said = [each.found for each in by_rule(look(loaded, Sizes))["size.runner"]]
    assert "60 rows, and it takes 50 at most" in said[0]
    assert "bytes, and it takes 100 at most" in said[1]


@pytest.mark.parametrize("runner", ["openai", "together", "fireworks", "vertex"])
def test_published_limits_are_the_runners_own(runner: str) -> None:
    limits = limits_of(runner)
    assert limits is not None
    assert set(limits) == {"train", "dev"}


def test_local_runners_have_none() -> None:
    assert limits_of("lora") is None
