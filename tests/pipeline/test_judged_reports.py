"""A judge's scores from the service to the reader: order, length, panel, kinship, trouble and price in every report."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from evalharness.cli import app
from evalharness.pipeline import execute, make_plan
from evalharness.reading import load_suite
from evalharness.report import FILES, Items, Report, of_view, terminal
from evalharness.stats import length_controlled, wilson
from evalharness.verdict import View, compare, compare_past, decide, find, gate, load
from evalharness.verdict.judging import reasons
from tests.emulators.judge import Faults, JudgeService
from tests.pipeline.test_judging import SUITE, Court, _doubles

N = 60
GATE = """
gate: {against: base, rules: [{metric: pairs, margin: 0.05}]}
decide: {metric: pairs}
"""
PAIRS = "rubric: 'Which is right?', against: base, name: pairs"


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    with JudgeService(Faults(position=0.1)) as service:
        court = Court(tmp_path, service)
        rows = [{"input": f"question {i}", "target": "right", "lang": "de" if i % 3 else "en"} for i in range(N)]
        court.write("data/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        court.answers("base", [f"item {i} q=0.4" for i in range(N)])
        court.answers("tuned", [f"item {i} q=0.6" + " and more" * (i % 5) for i in range(N)])
        yield court


def view_of(court: Court) -> View:
    run = court.store.latest_run()
    assert run is not None
    return load(court.store, run.run_id, court.root)


def shown(report: Report, items: Items | None = None) -> dict[str, str]:
    """Ending -> the report in that form, the terminal's as `txt`."""
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal.render(report))
    return {"txt": console.export_text(), **{ending: render(report, items) for ending, render in FILES.items()}}


def head(report: Report, metric: str) -> Any:
    return next(each for each in report.metrics if each.label == metric)


def test_a_pairwise_judge_decides_and_is_shown_with_order_and_length(court: Court) -> None:
    court.use(PAIRS, more=GATE)
    assert court.run().state == "succeeded"
    view = view_of(court)
    stats = view.stats("tuned", "pairs")[:, 0]
    facts = compare(view, "tuned").evidence["metrics"][1]["judging"]["arms"]["tuned"]
    rate = wilson(int(stats[:, 1].sum()), N)
    assert 0.05 < rate.estimate < 0.5, "a judge with a position bias of 10 points changes its mind"
    assert (facts["flip_rate"]["n"], facts["flip_rate"]["value"], facts["flip_rate"]["low"]) == (
        N,
        pytest.approx(rate.estimate),
        pytest.approx(rate.low),
    )
    fair = length_controlled(stats[:, 0], stats[:, 3], stats[:, 4])
    assert facts["length_controlled"]["value"] == pytest.approx(fair.estimate)
    assert facts["length_controlled"]["method"] == "length-controlled, judge opinion, not corrected"
    assert facts["length"] == pytest.approx(stats[:, 3].mean())
    assert facts["other_length"] == pytest.approx(stats[:, 4].mean())
    assert gate(view).evidence["candidates"][0]["checks"][0]["corrected"] is False
    assert decide(view).evidence["metric"] == "pairs"
    report = of_view(view)
    for ending, text in shown(report, Items.of(view)).items():
        assert "judge opinion, not corrected" in text, ending
    whole = shown(report)
    for ending in ("txt", "md", "html"):
        text = " ".join(whole[ending].split())
        assert f"changed the verdict in {100 * rate.estimate:.0f}% ({100 * rate.low:.0f} to {100 * rate.high:.0f}) of {N} pairs" in text
        assert "characters an answer against" in text
        assert "win rate at equal lengths" in text
        assert "judging cost" in text
    kept = json.loads(whole["json"])["metrics"][1]["judging"]
    assert kept["arms"]["tuned"]["flip_rate"]["value"] == pytest.approx(rate.estimate)
    assert kept["arms"]["base"]["flip_rate"] is None, "an arm beside itself is a tie, and asked about nothing"
    assert kept["cost_usd"] == pytest.approx(2 * N * 120e-6)


def test_the_command_line_shows_it_too(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    court.use(PAIRS, more=GATE)
    court.run()
    monkeypatch.chdir(court.root)
    said = {}
    for words in (["compare", "tuned"], ["decide"], ["gate"], ["report"], ["report", "--format", "md"], ["report", "--format", "json"]):
        result = CliRunner().invoke(app, words)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        said[" ".join(words)] = result.output
    assert "the order of the two answers changed the verdict" in said["compare tuned"]
    assert "win rate at equal lengths" in said["compare tuned"]
    assert "judge opinion, not corrected" in said["gate"]


def test_every_judge_of_a_panel_is_kept_and_shown(court: Court) -> None:
    models = [f"{{openai: {{name: {name}, base_url: '{court.service.url}'}}}}" for name in ("gpt-x", "llama-y", "qwen-z")]
    panel = f"{{judge: {{panel: [{', '.join(models)}], combine: majority, rubric: 'Is it right?', scale: pass_fail, name: panel}}}}"
    court.use(PAIRS)
    suite = court.root / "suites/toy.yaml"
    suite.write_text(suite.read_text().replace("[exact_match, ", f"[exact_match, {panel}, "))
    court.script.faults = Faults(garbage=0.1)
    court.run()
    view = view_of(court)
    assert view.measure("panel").row.kind == "binary", "a majority of right or wrong is right or wrong"
    report = of_view(view)
    said = head(report, "panel").judging["arms"]["tuned"]
    assert list(said["judges"]) == ["openai/gpt-x", "openai/llama-y", "openai/qwen-z"]
    assert said["asked"] == N
    assert said["asked_twice"] > 0
    assert head(report, "panel").judging["cost_usd"] is None, "the price of these judges is not known"
    assert head(report, "panel").judging["panel_alpha"] == pytest.approx(1.0), "they follow one script"
    for ending in ("txt", "md", "html"):
        text = " ".join(shown(report)[ending].split())
        assert "tuned, judge by judge: openai/gpt-x" in text
        assert "the judges with each other: alpha 1.00" in text
        assert "had to be asked twice" in text


def test_a_judge_s_relatives_are_named_in_every_report(court: Court) -> None:
    court.write("doubles.py", _doubles())
    echo = "base: {model: {doubles.py:Echo: {name: gpt-4o}}}"
    court.use("rubric: 'Is it right?', scale: pass_fail", suite=SUITE.replace("base: {outputs: data/base.jsonl}", echo))
    court.run()
    report = of_view(view_of(court))
    assert head(report, "judge").judging["related"] == {"base": "openai/gpt-x: the same family (gpt)"}
    for ending in ("txt", "md", "html"):
        text = " ".join(shown(report)[ending].replace("\\", "").split())
        assert "openai/gpt-x: the same family (gpt) as base: judges favour their own kind" in text


def test_what_the_judge_could_not_say_is_counted_in_the_report(court: Court) -> None:
    court.script.faults = Faults(fails_on="item 7 q=0.6")
    court.use("rubric: 'Is it right?', scale: pass_fail")
    court.run()
    report = of_view(view_of(court))
    assert head(report, "judge").judging["arms"]["tuned"]["failed"] == 1
    assert "tuned: the judge failed on 1 answer, counted as missing" in shown(report)["txt"]


def test_reasons_are_read_back(court: Court) -> None:
    court.use(PAIRS)
    court.run()
    view = view_of(court)
    found = reasons(view, "tuned", "pairs", view.ids[:3])
    assert set(found) == set(view.ids[:3])
    first, second = found[view.ids[0]].splitlines()
    assert first.startswith("openai/gpt-x, this one shown first: ")
    assert second.startswith("openai/gpt-x, this one shown second: ")
    assert "says so." in first


def test_a_rehearsal_claims_nothing_of_its_judge(court: Court) -> None:
    court.use(PAIRS, more=GATE)
    plan = make_plan(load_suite(court.root / "suites" / "toy.yaml"), court.store, court.root / "results", rehearse=True)
    asyncio.run(execute(plan, court.store, court.events.append))
    report = of_view(view_of(court))
    assert head(report, "pairs").judging["arms"]["tuned"]["length_controlled"] is None
    assert all(shown(report, Items.of(view_of(court))).values())


def test_several_answers_to_an_item_are_one_unit(court: Court) -> None:
    rows = [{"input": f"question {i}", "output": f"item {i} q=0.6 try {k}" + " more" * (i % 4)} for i in range(N) for k in range(2)]
    court.write("data/tuned.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    court.write("data/base.jsonl", "".join(json.dumps({**row, "output": f"item {i // 2} q=0.4"}) + "\n" for i, row in enumerate(rows)))
    court.use(PAIRS, more="repeats: 2\n" + GATE)
    court.run()
    view = view_of(court)
    facts = compare(view, "tuned").evidence["metrics"][1]["judging"]["arms"]["tuned"]
    assert facts["flip_rate"]["n"] == 2 * N
    assert facts["flip_rate"]["method"] == "t", "two answers to one item are not two independent coins"
    stats = view.stats("tuned", "pairs").reshape(2 * N, 5)
    apart = length_controlled(stats[:, 0], stats[:, 3], stats[:, 4])
    assert facts["length_controlled"]["value"] == pytest.approx(apart.estimate)
    assert facts["length_controlled"]["high"] - facts["length_controlled"]["low"] != pytest.approx(apart.high - apart.low)
    assert shown(of_view(view))["json"]


def test_another_run_s_arm_is_compared_with_its_order_and_length(court: Court) -> None:
    court.use(PAIRS)
    court.run()
    court.answers("tuned", [f"item {i} q=0.9" for i in range(N)])
    court.run()
    view = view_of(court)
    found = compare_past(view, "tuned", find(view, "last"))
    facts = found.evidence["metrics"][1]["judging"]["arms"]
    assert len(facts) == 2
    assert all(each["flip_rate"]["n"] == N for each in facts.values())
