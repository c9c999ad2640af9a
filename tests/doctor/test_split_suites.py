"""What a split leaves out is no leak: the doctor says so, and judges the few-shot examples that are left."""

from __future__ import annotations

import random
from pathlib import Path

from evalharness.data import load
from evalharness.doctor.inputs import Inputs
from evalharness.prompts import choose_examples
from tests.doctor.workspace import by_rule, look, pairs, suite

ARMS = "baselines: {few: {model: local/embedded, prompt: Sort., shots: {n: 20, seed: 5}}}\n"


def rows() -> list[tuple[str, str]]:
    """Families of three: a text, one with another word, and the first one in capitals."""
    r = random.Random(5)
    texts = [" ".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=15)) for _ in range(40)]
    return [(text, "x") for first in texts for text in (first, f"new {first}", first.upper())]


def said(folder: Path, split: str, **more: str) -> dict[str, set[tuple[str, str | None]]]:
    leaks = f", leaks: {more['leaks']}" if more else ""
    loaded = suite(folder, {"all.jsonl": pairs(*rows())}, more=ARMS, data=f"file: all.jsonl, split: {split}{leaks}")
    found = by_rule(look(loaded, Inputs))
    return {rule: {(each.severity, each.allowed) for each in findings} for rule, findings in found.items() if rule.startswith("leak.")}


def test_near_rows_on_two_sides_are_notes_because_they_are_left_out(tmp_path: Path) -> None:
    assert said(tmp_path, "{test: 0.4, dev: 0.2}") == {"leak.near": {("note", None)}}


def test_a_split_that_lets_near_rows_through_has_leaks(tmp_path: Path) -> None:
    found = said(tmp_path, "{test: 0.4, near: 1.0}")
    assert found["leak.near"] == {("error", None)}
    assert found["leak.shots"] == {("error", None)}
    allowed = said(tmp_path, "{test: 0.4}", leaks="allow")
    assert allowed["leak.near"] == {("error", "data.leaks is allow")}


def test_the_doctor_counts_what_loading_leaves_out(tmp_path: Path) -> None:
    loaded = suite(tmp_path, {"all.jsonl": pairs(*rows())}, more=ARMS, data="file: all.jsonl, split: {test: 0.4}")
    (found,) = by_rule(look(loaded, Inputs))["leak.near"]
    splits = load(loaded.suite.data, loaded.root)
    assert found.count == len(splits.dropped) > 10
    assert "left out of train (data.split)" in found.found
    assert len(choose_examples(splits.train.samples, 20, 5)) == 20
