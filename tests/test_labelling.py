"""What people are asked, in which order, what becomes of their answers, and files that go out and come back."""

from __future__ import annotations

import csv
import doctest
import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.errors import ConfigError, DataError
from evalharness.labelling import Plan, Scale, Session, everything, exchange, keyboard, plan, scale, screen, texts
from evalharness.labelling.choosing import _spread
from evalharness.labelling.keyboard import Keyboard
from evalharness.report import people
from evalharness.store import Store
from evalharness.verdict import View, load
from tests.judged import RUN, Graded, PairJudge, StyleJudge, Trial, judged_view, label_all, labelled, stored

PASS_FAIL = Scale({"fail": 0.0, "pass": 1.0}, (0.0, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def store(folder: Path) -> Store:
    return stored(Trial(seed=1, n=60), folder)


def view_of(store: Store, folder: Path) -> View:
    return load(store, RUN, folder)


def test_a_plan_asks_both_arms_of_an_item_and_never_cuts_one_in_two() -> None:
    view = judged_view(Trial(seed=1, n=400))
    for n in (1, 2, 7, 100):
        found = plan(view, "style", n)
        by_item: dict[str, list[str]] = {}
        for ask in found.asks:
            by_item.setdefault(ask.sample_id, []).extend(ask.outputs)
        assert all(sorted(output[0] for output in outputs) == ["0", "1"] for outputs in by_item.values())
        assert len(found.asks) <= max(n, 2)
        assert found.items == len(by_item)
    few = plan(view, "style", 50).asks
    assert plan(view, "style", 100).asks[: len(few)] == few, "more labels go on where fewer ended"
    whole = plan(view, "style", 10_000)
    assert (whole.whole, found.whole) == (True, False)
    assert whole.asks == everything(view, "style", found)


def test_equal_texts_are_asked_once_and_rarely() -> None:
    view = judged_view(Trial(seed=2, n=2000, same=0.5))
    found = plan(view, "style", 300)
    once = [ask for ask in found.asks if len(ask.outputs) == 2]
    twice = (len(found.asks) - len(once)) // 2
    assert len(once) + 2 * twice == len(found.asks)
    assert 0.15 < len(once) / twice < 0.35, "a quarter as often"


def test_neither_ids_nor_order_tell_the_arm() -> None:
    view = judged_view(Trial(seed=3, n=600, same=0.0))
    asks = plan(view, "style", 400).asks
    first = [ask.arm for ask in asks[::2]]
    assert 0.4 < first.count("tuned") / len(first) < 0.6
    assert len({ask.key for ask in asks}) == len(asks)
    assert not any(ask.arm in ask.key or ask.outputs[0] in ask.key for ask in asks)


def test_every_item_has_the_same_chance_whatever_the_judge_thinks() -> None:
    rng = np.random.default_rng(0)
    gap = rng.choice([-1.0, 0.0, 1.0], 510, p=[0.07, 0.8, 0.13])
    chosen = np.zeros(510)
    draws = 1500
    for _ in range(draws):
        chosen[np.argsort(_spread(gap, np.abs(gap), rng.random(510), rng.random(510)))[:46]] += 1
    for value in (-1.0, 0.0, 1.0):
        mine = chosen[gap == value]
        assert mine.mean() / draws == pytest.approx(46 / 510, abs=4 * np.sqrt(0.09 * 0.91 / draws / len(mine)))


def test_few_labels_meet_all_kinds_of_items() -> None:
    rng = np.random.default_rng(1)
    gap = np.sort(rng.normal(size=500))
    for _ in range(50):
        first = np.argsort(_spread(gap, gap, rng.random(500), rng.random(500)))[:50]
        counts = np.bincount(first // 50, minlength=10)
        assert counts.min() >= 4
        assert counts.max() <= 6


def test_added_items_leave_the_draw_of_the_others() -> None:
    few, more = judged_view(Trial(seed=4, n=300)), judged_view(Trial(seed=4, n=310))
    before = {ask.sample_id for ask in plan(few, "style", 60).asks}
    after = {ask.sample_id for ask in plan(more, "style", 60).asks}
    assert len(before & after) > len(before) / 2


def test_the_next_person_gets_the_same_items_first() -> None:
    view = judged_view(Trial(seed=5, n=300))
    first = plan(view, "style", 40)
    again = plan(labelled(view, 40), "style", 60)
    assert {ask.key for ask in again.asks[: len(first.asks)]} == {ask.key for ask in first.asks}
    assert all(ask.annotators == {"ada"} for ask in again.asks[: len(first.asks)])


def test_unknown_arms_and_nothing_to_label_are_told(store: Store, folder: Path) -> None:
    view = view_of(store, folder)
    with pytest.raises(ConfigError, match="has no arm 'nobody'"):
        plan(view, "style", 10, ["nobody"])
    assert plan(view, "style", 10, ["tuned"]).arms == ("tuned",)
    assert {len(ask.outputs) for ask in plan(view, "style", 10, ["tuned"]).asks} == {1}
    pairs = stored(Trial(seed=1, n=20), folder / "pairs", PairJudge())
    with pytest.raises(ConfigError, match="is the arm that the others are compared with"):
        plan(load(pairs, RUN, folder / "pairs"), "pairs", 10, ["few-shot"])


def test_scales_have_keys_where_one_key_can_be_an_answer() -> None:
    grades = Scale(Graded.choices, (1.0, 5.0))
    assert grades.keys == {str(k): str(k) for k in range(1, 6)}
    assert PASS_FAIL.keys == {"f": "fail", "p": "pass"}
    assert Scale({"bad": 0.0, "so-so": 0.5, "good": 1.0}, (0.0, 1.0)).keys == {"1": "bad", "2": "so-so", "3": "good"}, "s skips"
    ten = Scale({str(k): float(k) for k in range(11)}, (0.0, 10.0))
    assert (ten.keys, ten.single_keys, ten.read("10"), ten.read("11")) == ({}, False, 10.0, None)
    free = Scale({}, (0.0, 1.0))
    assert (free.read("0.25"), free.read("1.5"), free.read("nan"), free.read("x"), free.wanted) == (
        0.25,
        None,
        None,
        None,
        "a number from 0 to 1",
    )
    assert (grades.read("4.0"), grades.read("4.5"), PASS_FAIL.read(" PASS "), PASS_FAIL.read("P")) == (4.0, None, 1.0, 1.0)
    assert (PASS_FAIL.label(1.0), free.label(0.25), PASS_FAIL.wanted) == ("pass", "0.25", "fail or pass")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6), st.integers(0, 9), min_size=2))
def test_no_key_of_a_scale_is_a_command_and_every_key_answers(choices: Mapping[str, int]) -> None:
    some = Scale({label: float(value) for label, value in choices.items()}, (0.0, 9.0))
    assert not set(some.keys) & set("sunq?")
    assert all(some.read(key) == some.choices[label] for key, label in some.keys.items())


def test_a_session_stores_each_answer_takes_back_and_comes_back_to_what_was_skipped(store: Store, folder: Path) -> None:
    view = view_of(store, folder)
    found = plan(view, "style", 6)
    session = Session(store, found.question, found.asks, "ada", (0.0, 1.0))
    assert not session.undo()
    session.answer(1.0, "clear")
    assert stored_labels(view) == [(found.asks[0].outputs[0], 1.0, "clear")]
    session.skip()
    session.answer(0.0)
    assert (session.labelled, session.skipped, session.current) == (2, 1, found.asks[3])
    assert session.undo()
    assert session.undo()
    assert len(stored_labels(view)) == 1
    assert session.undo()
    assert (session.labelled, stored_labels(view)) == (0, [])
    for _ in found.asks:
        session.answer(1.0)
    assert session.current is None
    with pytest.raises(ValueError, match="nothing left"):
        session.answer(1.0)
    again = plan(view_of(store, folder), "style", 6)
    resumed = Session(store, again.question, again.asks, "ada", (0.0, 1.0))
    assert (resumed.before, resumed.current) == (len(found.asks), None)
    assert Session(store, again.question, again.asks, "bob", (0.0, 1.0)).current == again.asks[0]


def stored_labels(view: View) -> list[tuple[str, float, str]]:
    question = next(iter(view.measures.values())).question
    arm_ids = [each.arm.arm_id for each in view.contenders]
    found = view.store.labels_on(question, arm_ids, view.dataset.dataset_id)
    return [(each.label.output_id, each.label.value, each.label.note) for each in found]


def test_a_pair_that_was_shown_turned_is_turned_back(folder: Path) -> None:
    store = stored(Trial(seed=2, n=40, same=0.0), folder, PairJudge())
    view = view_of(store, folder)
    found = plan(view, "pairs", 20)
    shown = texts.read(view, found.asks, view.measure("pairs"))
    answers = Scale.of(view.measure("pairs"))
    assert answers.keys == {"1": "first", "2": "second", "3": "tie"}
    session = Session(store, found.question, found.asks, "ada", (0.0, 1.0))
    mine = {output.output_id: output.reply.text for output in store.outputs(view.contender("tuned").arm.arm_id, view.dataset.dataset_id)}
    for ask in found.asks:
        value = answers.read("1")
        assert value is not None
        session.answer(value)
        first_is_mine = shown[ask.key].answers[0] == mine[ask.outputs[0]]
        assert first_is_mine is not ask.turned
        (label,) = [each for each in stored_labels(view_of(store, folder)) if each[0] == ask.outputs[0]]
        assert label[1] == (1.0 if first_is_mine else 0.0)


def exported(store: Store, folder: Path, name: str, n: int = 10) -> tuple[Plan, Path]:
    view, path = view_of(store, folder), folder / name
    found = plan(view, "style", n)
    exchange.write(found, texts.read(view, found.asks, view.measure("style")), "ada", path)
    return found, path


def rows_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else list(csv.DictReader(io.StringIO(text)))


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
def test_files_go_out_blind_and_come_back(store: Store, folder: Path, name: str) -> None:
    found, path = exported(store, folder, name)
    rows = rows_of(path)
    assert [row["id"] for row in rows] == [ask.key for ask in found.asks]
    assert "tuned" not in path.read_text()
    assert "few-shot" not in path.read_text()
    assert all(output not in path.read_text() for ask in found.asks for output in ask.outputs)
    assert rows[0]["question"].endswith("\nwith a second line")
    for row in rows[:-1]:
        row["value"] = "pass" if row["answer"].endswith("good") else 0
    rows[0]["note"] = "sure"
    save(path, rows)
    labels = exchange.read(path, everything(view_of(store, folder), "style", found), found.question, PASS_FAIL, "ada")
    assert len({label.output_id for label in labels}) == sum(len(ask.outputs) for ask in found.asks[:-1]), "an empty value is no label"
    assert {label.value for label in labels} <= {0.0, 1.0}
    assert labels[0].note == "sure"
    store.put_labels(labels)
    left, path = exported(store, folder, "rest.csv")
    assert [row["id"] for row in rows_of(path)] == [found.asks[-1].key]
    assert left.asks == tuple(sorted(left.asks, key=lambda ask: not ask.annotators))


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
def test_every_wrong_row_is_told_with_its_line_and_nothing_is_taken(store: Store, folder: Path, name: str) -> None:
    found, path = exported(store, folder, name)
    rows = rows_of(path)[:5]
    for row in rows:
        row["value"] = "pass"
    rows[0]["value"] = "maybe"
    rows[2]["id"] = "feed"
    rows[4]["id"] = rows[3]["id"]
    save(path, rows)
    with pytest.raises(DataError) as caught:
        exchange.read(path, everything(view_of(store, folder), "style", found), found.question, PASS_FAIL, "ada")
    told = [str(problem) for problem in caught.value.problems]
    lines = [1, 3, 5] if path.suffix == ".jsonl" else [2, 6, 10]  # a question takes two lines of CSV
    for line, text, words in zip(
        lines, told, ("'maybe' is no label. Write fail or pass", "has the id 'feed'", "labelled twice by ada"), strict=True
    ):
        assert f"{name}:{line}" in text
        assert words in text


def test_files_that_are_none_are_told(store: Store, folder: Path) -> None:
    found, path = exported(store, folder, "labels.csv")
    with pytest.raises(ConfigError, match="is no format for labels"):
        exchange.read(folder / "labels.xlsx", everything(view_of(store, folder), "style", found), found.question, PASS_FAIL, "ada")
    with pytest.raises(DataError, match="cannot be read"):
        exchange.read(folder / "none.csv", everything(view_of(store, folder), "style", found), found.question, PASS_FAIL, "ada")
    path.write_text("id,answer\nx,y\n")
    with pytest.raises(DataError, match=r"labels.csv:2: has no value"):
        exchange.read(path, everything(view_of(store, folder), "style", found), found.question, PASS_FAIL, "ada")
    path.write_text("id,value\n")
    with pytest.raises(DataError, match="has no rows"):
        exchange.read(path, everything(view_of(store, folder), "style", found), found.question, PASS_FAIL, "ada")
    (folder / "taken").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        exported(store, folder, "taken/labels.csv")


def test_several_people_share_a_file(store: Store, folder: Path) -> None:
    found, path = exported(store, folder, "labels.jsonl", 4)
    key = found.asks[0].key
    save(path, [{"id": key, "value": 1, "annotator": "bob"}, {"id": key, "value": 0.0, "annotator": None}])
    labels = exchange.read(path, everything(view_of(store, folder), "style", found), found.question, PASS_FAIL, "ada")
    assert {(label.annotator, label.value) for label in labels} == {("bob", 1.0), ("ada", 0.0)}


def test_spreadsheets_run_no_formula_out_of_a_model(folder: Path) -> None:
    from evalharness.labelling.texts import Shown
    from evalharness.records import Message

    view = view_of(stored(Trial(seed=1, n=20), folder), folder)
    found = plan(view, "style", 2)
    hostile = Shown((Message("user", "=1+1"),), (), ('=HYPERLINK("http://x","\ud83d")',))
    path = folder / "labels.csv"
    exchange.write(found, {ask.key: hostile for ask in found.asks}, "ada", path)
    (row, *_) = rows_of(path)
    assert row["answer"].startswith("'=HYPERLINK")
    assert row["question"] == "'=1+1"


def test_people_see_the_accepted_answers_only_where_the_judge_does(store: Store, folder: Path) -> None:
    view = view_of(store, folder)
    asks = plan(view, "style", 2).asks
    assert texts.read(view, asks, view.measure("style"))[asks[0].key].targets != ()

    class Blind(StyleJudge):
        class options:
            reference = False
            rubric = "Be kind."

    from dataclasses import replace

    measure = replace(view.measure("style"), plugin=Blind())
    object.__setattr__(measure.plugin, "options", Blind.options)
    assert texts.read(view, asks, measure)[asks[0].key].targets == ()
    assert texts.rubric_of(measure) == "Be kind."
    assert texts.rubric_of(view.measure("style")) == "How good is the answer, by style?"


def test_lines_are_read_where_there_is_no_terminal() -> None:
    with Keyboard(io.StringIO("pass\n\n  s \n")) as lines:
        assert [lines.ask(single=True) for _ in range(4)] == ["pass", "", "s", None]


def test_labels_survive_another_judge_of_the_same_question(store: Store, folder: Path) -> None:
    label_all(store, folder, n=40)
    view = view_of(store, folder)
    assert view.measure("style").question == StyleJudge().question_id() != view.measure("style").row.metric_id


@pytest.mark.parametrize("module", [keyboard, scale, screen, people])
def test_examples_in_docstrings_run(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)
