"""The report model and its renderers on a small made-up run."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from evalharness.errors import ConfigError
from evalharness.metrics.exact_match import ExactMatch
from evalharness.metrics.sacrebleu import Bleu
from evalharness.report import FILES, as_json, build, markdown, of_view, terminal, write
from evalharness.report.model import Report
from evalharness.stats import tango, wilson
from evalharness.store import MetricRow, Store
from evalharness.verdict import load
from tests.report.made import RUN, Made, MeanLength, trained


def made_run() -> Made:
    made = Made(n=150, metrics=[ExactMatch(), Bleu(), MeanLength()], notes=("25 training rows left out: their inputs are held out.",))
    made.arm("zero-shot", right=0.2).arm("few-shot", right=0.4, cost=0.001)
    facts: dict[str, Any] = {"trained_parameters": 81920, "total_parameters": 3_200_000, "truncated_rows": 3}
    made.arm("tuned", "candidate", right=0.75, errors=[7], truncated=range(20), training=trained("t1", cost_usd=3.1, **facts), cost=0.0)
    made.arm("overfit", "candidate", right=0.25, training=trained("t2"))
    return made.arm("broken", "candidate", right=0.0, missing=range(150), training=trained("t3", "failed", error="loss is NaN at step 12"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made_run().store(tmp_path_factory.mktemp("store"))[0]


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return build(store)


def printed(report: Report, width: int) -> str:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(report))
    return capture.get()


def test_rows_are_best_first_and_the_failed_one_last(report: Report) -> None:
    assert [row.arm for row in report.rows] == ["tuned", "few-shot", "overfit", "zero-shot", "broken"]
    assert [row.arm for row in report.rows if row.is_reference] == ["few-shot"]
    assert report.rows[-1].problem == "loss is NaN at step 12"
    assert report.rows[-1].cells == ()


def test_intervals_are_those_of_the_statistics(report: Report, store: Store) -> None:
    few, over = (next(row for row in report.rows if row.arm == label) for label in ("few-shot", "overfit"))
    cell, gain = few.cell("exact_match"), over.cell("exact_match")
    assert cell is not None
    assert cell.score is not None
    assert few.counts is not None
    assert gain is not None
    assert gain.gain is not None
    expected = wilson(few.counts.right or 0, 150)
    assert (cell.score.value, cell.score.low, cell.score.high) == pytest.approx((expected.estimate, expected.low, expected.high), abs=1e-8)
    assert (report.candidates, report.level, gain.gain.level) == (2, 0.975, 0.975)
    tables = store.score_tables([few.arm_id, over.arm_id], report.dataset.dataset_id, [_metric_id(store, "exact_match")])
    base, mine = next(iter(tables.values())).values[:, :, 0]
    paired = tango(int((mine > base).sum()), int((mine < base).sum()), 150, 0.975)
    assert (gain.gain.low, gain.gain.high) == pytest.approx((paired.low, paired.high), abs=1e-8)
    assert cell.gain is None


def _metric_id(store: Store, label: str) -> str:
    return next(row.metric_id for row in store.run_metrics(RUN) if row.label == label)


def test_the_four_counts_exclude_each_other(report: Report) -> None:
    for row in report.rows[:-1]:
        assert row.counts is not None
        assert row.counts.total == 150
        assert row.counts.missing == 0
    tuned = report.rows[0].counts
    assert tuned is not None
    assert (tuned.error, tuned.metric) == (1, "exact_match")
    assert 0 < tuned.truncated < 20, "cut answers that are right all the same count as right"
    assert report.rows[-1].counts is not None
    assert report.rows[-1].counts.missing == 150


def test_an_answer_that_the_metric_failed_on_is_an_error_not_a_wrong_answer(tmp_path: Path) -> None:
    made = Made(n=40, metrics=[ExactMatch()]).arm("few-shot").arm("tuned", "candidate", right=[True] * 40, unscored=[3])
    counts = build(made.store(tmp_path)[0]).rows[0].counts
    assert counts is not None
    assert (counts.right, counts.wrong, counts.error) == (39, 0, 1)


def test_one_bootstrap_serves_leaderboard_gate_and_decision(tmp_path: Path) -> None:
    made = Made(n=40, dev=30, metrics=[Bleu()]).arm("few-shot").arm("a", "candidate", right=0.9, dev_right=0.9)
    made.arm("b", "candidate", right=0.8, dev_right=0.8)
    made.suite = {"gate": {"rules": [{"metric": "bleu", "margin": 1.0}]}, "decide": {"metric": "bleu"}}
    view = load(*made.store(tmp_path))
    report = of_view(view)
    assert report.decision is not None
    assert report.decision["evidence"]["level"] == 0.95, "a was picked on dev"
    assert list(view.boards) == [("few-shot", 0.975)]


def test_unknown_costs_stay_unknown_and_zero_stays_zero(report: Report) -> None:
    costs = {row.arm: row.usage.cost_usd_per_1000 for row in report.rows}
    assert costs == {"tuned": 0.0, "few-shot": 1.0, "overfit": None, "zero-shot": None, "broken": None}
    assert "unknown" in printed(report, 118)
    assert "| unknown | unknown |" in markdown.text(report)


def test_the_page_says_where_training_never_pays_back(tmp_path: Path) -> None:
    """The verdict and the page's first screen say one thing of the date."""
    day = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=400)
    for name, volume, ends, said in (
        ("soon", 1_000_000, None, "The training pays back after 5,200 requests, on "),
        (
            "late",
            100,
            day.isoformat(),
            f"does not pay back before its base model is switched off on {day}",
        ),
        ("never", 1, None, "At 1 request a month the training does not pay back in a lifetime"),
    ):
        decide = {"metric": "exact_match", "volume": volume}
        made = Made(n=60, suite={"decide": decide}).arm("few-shot", right=0.1, cost=0.001)
        training = trained("t1", cost_usd=3.1, **({"shutdown_date": ends} if ends else {}))
        (tmp_path / name).mkdir()
        found = build(made.arm("tuned", "candidate", right=0.9, training=training, cost=0.0004).store(tmp_path / name)[0])
        assert said in FILES["html"](found, None)


def test_the_page_s_answer_shows_no_score_of_a_winner_picked_on_the_test_set(tmp_path: Path) -> None:
    for name, labels in (("one", ("a",)), ("two", ("a", "b"))):
        made = Made(n=60).arm("few-shot", right=0.1)
        for label in labels:
            made.arm(label, "candidate", right=0.9 if label == "a" else 0.3)
        (tmp_path / name).mkdir()
        page = FILES["html"](build(made.store(tmp_path / name)[0]), None)
        assert bool(re.search(r"a: exact_match \d", page)) == (name == "one")
        assert ("a: exact_match against few-shot +" in page) == (name == "two")


def test_the_page_of_prompts_alone_asks_for_candidates_not_for_a_gate_that_is_there(tmp_path: Path) -> None:
    page = FILES["html"](build(Made(n=60).arm("few-shot", right=0.4).store(tmp_path)[0]), None)
    assert "no candidate to judge: add candidates: to the suite" in page
    assert "no verdict was asked for" not in page


def test_training_facts_and_notes(report: Report) -> None:
    training = report.rows[0].training
    assert training is not None
    assert training.trained_share == pytest.approx(0.0256)
    assert "25 training rows left out: their inputs are held out." in report.notes
    assert "tuned: 3 training rows longer than the model takes, cut." in report.notes
    assert any(note.startswith("word_gap: word_gap cannot be loaded") for note in report.notes), "the test's own metric is not registered"


def test_headline_gate_and_decision(report: Report) -> None:
    assert report.headline.startswith("Adopt tuned: +")
    assert report.gate is not None
    assert report.decision is not None
    outcomes = {each["candidate"]: each["outcome"] for each in report.gate["evidence"]["candidates"]}
    assert outcomes == {"tuned": "PASS", "overfit": "FAIL", "broken": "INVALID"}
    assert report.decision["outcome"] == "ADOPT"


@pytest.mark.parametrize("width", [118, 100, 80, 50])
def test_the_terminal_fits_and_says_all_that_counts(report: Report, width: int) -> None:
    text = printed(report, width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    for said in ("Adopt tuned:", "reference", "better", "worse", "broken: loss is NaN at step 12", "FAIL overfit", "3 training rows"):
        assert said in flat, said
    assert "…" not in text, "nothing is cut at this width"
    assert ("●" in text) == (width >= 100)
    assert text.index("Adopt tuned") < text.index("exact_match")
    assert "corrected for 2 candidates" in flat


def test_bars_lie_where_the_intervals_do(report: Report) -> None:
    lines = printed(report, 118).splitlines()
    tuned, few = (next(line for line in lines if line.startswith(label)) for label in ("tuned", "few-shot"))
    assert few.index("●") < tuned.index("●")
    assert few[few.index("●") - 1] == few[few.index("●") + 1] == "─"


def test_markdown_starts_with_the_verdict_and_folds_details(report: Report) -> None:
    text = markdown.text(report)
    lines = text.splitlines()
    assert lines[0].startswith("**ADOPT.** Adopt tuned: ")
    assert "| few-shot *(reference)* |" in text
    assert text.count("<details>") == text.count("</details>") == 3
    for table in (block for block in text.split("\n\n") if block.startswith("| ")):
        assert len({_columns(line) for line in table.splitlines()}) == 1, table
    assert "- ✅ **PASS** tuned" in text
    assert "- ⚠️ **INVALID** broken: loss is NaN at step 12" in text


def _columns(line: str) -> int:
    return line.replace("\\|", "").count("|")


def test_json_is_the_model_with_a_version_and_a_schema(report: Report) -> None:
    text = as_json.text(report)
    found = json.loads(text)
    assert next(iter(found)) == "schema"
    assert found["schema"] == 1
    assert TypeAdapter(Report).validate_json(text) == report
    assert found["metrics"][0]["range"] == [0.0, 1.0]
    described = as_json.schema()
    assert set(described["properties"]) == set(found)


def test_row_order_changes_no_byte_of_the_files(report: Report, tmp_path: Path) -> None:
    shuffled, _ = made_run().store(tmp_path, shuffle=5)
    again = build(shuffled)
    for render in FILES.values():
        assert _timeless(render(report, None), report) == _timeless(render(again, None), again)


def _timeless(text: str, report: Report) -> str:
    times = [time[:digits] for digits in (19, 16) for time in (report.run.started, report.run.finished or "")]
    for time in [*times, *(time.replace("T", " ") for time in times)]:
        text = text.replace(time, "then") if time else text
    return text


def test_row_order_of_the_data_file_changes_only_the_data_set_s_id(report: Report, tmp_path: Path) -> None:
    made = made_run()
    made.order = list(map(int, np.random.default_rng(2).permutation(made.n)))
    again = build(made.store(tmp_path)[0])
    assert again.dataset.dataset_id != report.dataset.dataset_id
    ids = (report.dataset.dataset_id, again.dataset.dataset_id)
    assert _timeless(as_json.text(report), report) == _timeless(as_json.text(again), again).replace(ids[1], ids[0])


def test_files_are_written_whole_and_replaced(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "reports"
    for _ in range(2):
        paths = write(report, folder)
    assert [path.name for path in paths] == [f"{RUN}.{ending}" for ending in ("md", "html", "json", "junit.xml")]
    assert sorted(folder.iterdir()) == sorted(paths), "no half-written file stays"
    assert paths[0].read_text(encoding="utf-8") == markdown.text(report)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the report cannot be written"):
        write(report, tmp_path / "file")


def test_a_corpus_metric_whose_plugin_is_gone_is_told_not_crashed_on(tmp_path: Path) -> None:
    store, _ = Made(n=40, metrics=[ExactMatch()]).arm("few-shot").arm("tuned", "candidate", right=0.9).store(tmp_path)
    gone = MetricRow("gone", "gone_metric", "1", {"options": {}}, True, (0.0, 100.0), "corpus", "gone_metric")
    store.put_metrics(RUN, [*store.run_metrics(RUN), gone])
    report = build(store)
    assert [cell.metric for cell in report.rows[0].cells] == ["exact_match"]
    assert any("gone_metric cannot be loaded" in note for note in report.notes)
    assert "gone\\_metric cannot be loaded" in markdown.text(report)
    assert "gone_metric cannot be loaded" in printed(report, 100)


def test_a_suite_without_gate_or_binary_metric(tmp_path: Path) -> None:
    made = Made(n=40, metrics=[Bleu()]).arm("a", right=0.2).arm("b", right=0.9, truncated=[1], errors=[2], missing=[3])
    made.suite = {}
    report = build(made.store(tmp_path)[0])
    assert (report.gate, report.decision, report.reference) == (None, None, "a")
    assert report.headline == "2 arms scored on 40 items."
    counts = report.rows[0].counts
    assert counts is not None
    assert (counts.right, counts.wrong, counts.truncated, counts.error, counts.missing) == (None, 37, 1, 1, 1)
    assert "Some outputs of b are not there" in " ".join(report.notes)
    assert " ok " in printed(report, 80)


def test_an_unreadable_suite_and_an_unfinished_run_are_noted(tmp_path: Path) -> None:
    made = Made(n=40, metrics=[ExactMatch()]).arm("few-shot").arm("tuned", "candidate", right=0.9)
    made.suite = {"confidence": "very"}
    store, _ = made.store(tmp_path)
    run = store.run(RUN)
    assert run is not None
    store.finish_run(RUN, "running")
    report = build(store)
    assert (report.gate, report.confidence) == (None, 0.95)
    assert "not one that this version of evalh reads" in report.notes[0]
    assert "not finished" in report.notes[1]


def test_runs_are_found_by_suite_and_their_lack_is_told(store: Store, tmp_path: Path) -> None:
    assert build(store, suite="made").run.run_id == RUN
    with pytest.raises(ConfigError, match="there is no run of suite 'other'"):
        build(store, suite="other")
    with pytest.raises(ConfigError, match="there are no runs"):
        build(Store(tmp_path / "evalh.duckdb"))
