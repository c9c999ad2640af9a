"""Labels taken for others and fields that are wrong: from recorded answers to every report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from evalharness.report import FILES, Items, Report, as_json, of_view, terminal
from evalharness.report.mistakes import lines, table, told
from evalharness.report.model import Confusion, FieldErrors
from evalharness.verdict import View, compare, load
from tests.pipeline.conftest import Workspace

SUITE = """
data: {test: data/test.jsonl}
baselines: {base: {outputs: data/base.jsonl}}
candidates: {tuned: {outputs: data/tuned.jsonl}}
metrics: METRICS
"""
KINDS = ["refund", "delivery", "other"]


def made(root: Path, metrics: str, targets: list[str], **answers: list[str | None]) -> View:
    """A run of recorded answers."""
    workspace = Workspace(root)
    workspace.write("data/test.jsonl", rows({"input": f"question {i}", "target": target} for i, target in enumerate(targets)))
    for label, texts in answers.items():
        workspace.write(f"data/{label}.jsonl", rows({"input": f"question {i}", "output": text} for i, text in enumerate(texts)))
    workspace.suite(SUITE.replace("METRICS", metrics))
    workspace.run()
    run = workspace.store.latest_run()
    assert run is not None
    return load(workspace.store, run.run_id, root)


def rows(found: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in found)  # type: ignore[attr-defined]


def shown(report: Report) -> dict[str, str]:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal.render(report))
    found = {"txt": console.export_text(), **{ending: render(report, None) for ending, render in FILES.items()}}
    return {ending: " ".join(text.split()) for ending, text in found.items()}


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> View:
    targets = [KINDS[i % 3] for i in range(30)]
    wrong: list[str | None] = [{"refund": "delivery"}.get(target, target) for target in targets]
    wrong[1], wrong[2], wrong[4] = "no idea", None, "other"
    return made(tmp_path_factory.mktemp("labels"), f"[{{macro_f1: [{', '.join(KINDS)}]}}]", targets, base=wrong, tuned=list(targets))


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> View:
    targets = [json.dumps({"id": i, "city": "Paris", "lines": [{"sku": "a"}, {"sku": "b"}]}) for i in range(30)]
    wrong: list[str | None] = [
        json.dumps({"id": i, "city": "Rome" if i < 9 else "Paris", "lines": [{"sku": "x"}, {"sku": "y"}]}) for i in range(30)
    ]
    wrong[10], wrong[11] = "sorry", None
    return made(tmp_path_factory.mktemp("fields"), "[json_match]", targets, base=wrong, tuned=list(targets))


def test_the_confusion_matrix_of_every_arm_is_in_the_report(labels: View) -> None:
    report = of_view(labels)
    base, tuned = report.confusions
    assert (base.arm, base.metric, base.labels) == ("base", "macro_f1", tuple(KINDS))
    assert table(base) == [[0, 10, 0, 0], [0, 8, 1, 1], [0, 0, 9, 1]]
    assert sum(count for *_, count in base.counts) == 30, "every answer is in it, the failed one, too"
    assert table(tuned) == [[10, 0, 0, 0], [0, 10, 0, 0], [0, 0, 10, 0]]
    assert json.loads(as_json.text(report))["confusions"][0]["counts"][0] == [0, 1, 10]


def test_the_most_confused_labels_are_told_in_words(labels: View) -> None:
    report = of_view(labels)
    ((arm, metric, found),) = told(report)
    assert (arm, metric) == ("base", "macro_f1")
    assert found[0] == "refund taken for delivery: 10"
    assert "delivery answered with no label: 1" in found
    for ending in ("txt", "md"):
        assert "refund taken for delivery: 10" in shown(report)[ending]
    page = shown(report)["html"]
    assert '<td class="n worse">10</td>' in page
    assert 'table class="confusion"' in page


def test_many_classes_are_told_and_not_drawn() -> None:
    names = tuple(f"class {i}" for i in range(40))
    found = Confusion("tuned", "macro_f1", names, ((0, 0, 5), (1, 2, 3), (3, None, 9)))
    assert table(found) is None
    assert lines(found) == ["class 3 answered with no label: 9", "class 1 taken for class 2: 3"]


def test_fields_that_are_wrong_are_counted_and_shown(fields: View) -> None:
    report = of_view(fields)
    (base,) = [each for each in report.field_errors if each.fields]
    assert base == FieldErrors("base", "json_match", 30, (("lines[].sku", 28), ("city", 9), ("no answer", 1), ("the whole", 1)))
    for ending in ("txt", "md", "html"):
        assert "city wrong in 9 answers of 30" in shown(report)[ending].replace("\\", "")


def test_each_flip_says_which_fields_differ(fields: View) -> None:
    report = of_view(fields)
    flip = next(each for each in report.flips if each.reference_text and "Rome" in each.reference_text)
    assert flip.arm_why is None
    assert flip.reference_why is not None
    assert 'city: "Rome" for "Paris"' in flip.reference_why
    assert "&#34;Rome&#34; for &#34;Paris&#34;" in shown(report)["html"]
    found = compare(fields, "tuned").evidence["flips"]
    assert any('"Rome" for "Paris"' in each["why"].get("base", "") for each in found)
    assert Items.of(fields).total == 30
