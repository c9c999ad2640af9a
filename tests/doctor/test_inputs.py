from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalharness.data import load
from evalharness.doctor.index import Index, mark, repeats, shared
from evalharness.doctor.inputs import Inputs
from evalharness.prompts import choose_examples
from tests.doctor.workspace import by_rule, lines, look, pairs, suite

LONG = "please tell me where the new card is that you sent me last week"
NEAR = LONG.replace("week", "month")


def test_repeats_letter_by_letter_and_up_to_punctuation(tmp_path: Path) -> None:
    train = pairs(("Where is it?", "a"), ("where is it", "a"), ("Where is it?", "a"), ("Where is it?", "b"), ("What?", "a"))
    seen = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": pairs(("q", "a"), ("Q!", "a"))}), Inputs))
    (exact,), (plain, in_test) = seen["duplicate.exact"], seen["duplicate.normalised"]
    assert (lines(exact), exact.rows, exact.severity) == (["train.jsonl:3 train.jsonl:1"], (2,), "warning")
    assert (lines(plain), plain.count) == (["train.jsonl:2 train.jsonl:1"], 1)
    assert lines(in_test) == ["test.jsonl:2 test.jsonl:1"]


def test_the_same_question_with_another_answer(tmp_path: Path) -> None:
    rows = [(f"question {k}", "yes" if k % 2 else "no") for k in range(30)]
    train, test = pairs(*rows, ("Question 3!", "no"), ("question 3", "no")), pairs(("QUESTION 4", "yes"), ("q", "yes"))
    (found,) = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": test}), Inputs))["conflict.same"]
    assert (found.severity, found.count, found.figures["inputs"], found.figures["test_rows"]) == ("warning", 5, 2, 1)
    assert lines(found) == ["train.jsonl:31 train.jsonl:4", "test.jsonl:1 train.jsonl:5"]
    assert found.worst[0].excerpt == "Question 3! → no (there: yes)"
    assert found.about == (3, 4, 30, 31, 32)
    assert not found.rows
    assert "1 of them is held out" in found.found


def test_several_right_answers_are_no_trouble_of_open_questions(tmp_path: Path) -> None:
    train = pairs(*((f"question {k}", f"answer {k}") for k in range(9)), ("question 1", "another"))
    (found,) = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": pairs(("q", "x"))}), Inputs))["conflict.same"]
    assert found.severity == "note"


@pytest.mark.parametrize(
    ("rule", "severity", "allowed"), [("error", "error", None), ("drop_train", "note", None), ("allow", "error", "data.leaks is allow")]
)
def test_leaks_are_judged_by_the_suites_leak_rule(tmp_path: Path, rule: str, severity: str, allowed: str | None) -> None:
    files = {
        "train.jsonl": pairs(("Where is it?", "a"), ("b", "a"), ("WHERE IS IT", "c"), ("c", "a")),
        "dev.jsonl": pairs(("b!", "a")),
        "test.jsonl": pairs(("Where is it?", "a"), ("d", "a")),
    }
    seen = by_rule(look(suite(tmp_path, files, data=f"leaks: {rule}"), Inputs))
    (exact,), plain = seen["leak.exact"], {(each.count, each.severity) for each in seen["leak.normalised"]}
    assert (exact.severity, exact.allowed, exact.refuses) == (severity, allowed, rule == "error")
    assert lines(exact) == ["train.jsonl:1 test.jsonl:1"]
    assert plain == {(1, severity), (1, "warning" if rule == "allow" else severity)}  # the second one is into dev
    assert exact.rows == (0,)


def test_near_leaks_duplicates_and_conflicts(tmp_path: Path) -> None:
    filler = [(f"number {k} {k}", "yes") for k in range(30)]
    train = pairs((LONG, "yes"), (NEAR, "no"), (LONG.replace("please", "now"), "yes"), *filler)
    loaded = suite(tmp_path, {"train.jsonl": train, "test.jsonl": pairs((LONG.replace("new", "old"), "yes"), ("q", "no"))})
    seen = by_rule(look(loaded, Inputs))
    (leak,), (conflict,) = seen["leak.near"], seen["conflict.near"]
    assert (leak.severity, leak.rows) == ("error", (0,))  # two of the 13 words differ from the others: more than a tenth
    assert leak.worst[0].excerpt.endswith("where the old card is that you sent me last week")
    assert lines(seen["duplicate.near"][0]) == ["train.jsonl:3 train.jsonl:1"]
    assert lines(conflict) == ["train.jsonl:2 train.jsonl:1"]


def test_a_near_leak_is_found_for_every_copy_of_it(tmp_path: Path) -> None:
    """Equal texts are compared with others only once; all of them count."""
    train = pairs((NEAR, "a"), (LONG.upper(), "a"), (NEAR + "!", "a"))
    seen = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": pairs((LONG, "a"))}), Inputs))
    assert (seen["leak.near"][0].rows, seen["leak.normalised"][0].rows) == ((0, 2), (1,))


def test_groups_on_two_sides(tmp_path: Path) -> None:
    def of(*rows: tuple[str, str]) -> list[dict[str, str]]:
        return [{"input": text, "target": "x", "customer": customer} for text, customer in rows]

    files = {"train.jsonl": of(("a", "ann"), ("b", "ben")), "test.jsonl": of(("c", "ann"), ("d", "ann"), ("e", "eve"))}
    (found,) = by_rule(look(suite(tmp_path, files, data="cluster: customer"), Inputs))["leak.group"]
    assert (found.severity, found.count, found.figures["clusters"]) == ("warning", 2, 1)
    assert lines(found) == ["test.jsonl:1 train.jsonl:1"]


ARMS = "prompt: prompt.md\nbaselines: {few: {model: local/embedded, shots: {n: 3, seed: 5}}, plain: {model: local/embedded}}\n"


def test_held_out_inputs_in_a_prompt(tmp_path: Path) -> None:
    prompt = (
        f"Sort the mail.\nQ: Where's my card?\nA: card_arrival\n{NEAR}\nsome say why did you charge me twice and so\n- pending_transfer\n"
    )
    test = pairs(("Where’s my card", "x"), (LONG, "x"), ("Why did you charge me twice?", "x"), ("Pending transfer?", "pending_transfer"))
    files = {"prompt.md": prompt, "train.jsonl": pairs(*((f"t {k}", "x") for k in range(5))), "test.jsonl": [*test, *pairs(("card", "y"))]}
    (found,) = by_rule(look(suite(tmp_path, files, more=ARMS), Inputs))["leak.prompt"]
    assert (found.severity, found.count) == ("error", 3)
    assert "few, plain" in found.found
    assert "(1 of them with few words changed)" in found.found
    assert lines(found) == ["test.jsonl:1 prompt.md:2", "test.jsonl:2 prompt.md:4", "test.jsonl:3 prompt.md:5"]


@pytest.mark.parametrize(
    "prompt",
    [
        "<example><q>Cancel it now</q> <a>x</a></example>",
        "- Cancel it now => x",
        'If somebody says "cancel it now", answer x.',
        "| question | label |\n| Cancel it now | x |",
        "<q>Where is the card that you sent?</q><a>x</a>",
        "Somebody who writes 我的信用卡什么时候到 wants x",
        f"Example: {NEAR.replace('please', 'kindly').replace('month', 'week')} -> x",
    ],
)
def test_examples_typed_into_a_prompt_in_any_shape(prompt: str, tmp_path: Path) -> None:
    test = pairs(
        ("Cancel it now", "x"), ("Where is the card that you sent", "x"), ("我的信用卡什么时候到?", "x"), (LONG, "x"), ("yes", "z")
    )
    text = json.dumps(f'Say "yes" or "no".\n{prompt}', ensure_ascii=False)
    arms = f"baselines: {{a: {{model: local/embedded, prompt: {text}}}}}\n"
    (found,) = by_rule(look(suite(tmp_path, {"test.jsonl": test}, more=arms), Inputs))["leak.prompt"]
    assert (found.severity, found.count) == ("error", 1)


@pytest.mark.parametrize(("own", "count"), [("null", 1), ("Sort.", 0)])
def test_system_prompts_that_rows_share_are_prompts_of_arms_without_one(own: str, count: int, tmp_path: Path) -> None:
    told = {"role": "system", "content": f"Sort mails.\nQ: {LONG}\nA: x"}
    chats = [{"messages": [told, {"role": "user", "content": text}, {"role": "assistant", "content": "x"}]} for text in (LONG, "Hello")]
    alone = {"messages": [{**told, "content": "Answer to: What else?"}, {"role": "user", "content": "What else?"}, chats[0]["messages"][2]]}
    arms = f"baselines: {{a: {{model: local/embedded, prompt: {own}}}}}\n"
    seen = by_rule(look(suite(tmp_path, {"test.jsonl": [*chats, alone]}, more=arms), Inputs))
    assert [(each.severity, each.about) for each in seen.get("leak.prompt", [])] == [("error", (0,))] * count
    assert all("the system prompt of " in each.found for each in seen.get("leak.prompt", []))


def chat(*turns: str) -> dict[str, list[dict[str, str]]]:
    return {"messages": [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(turns)]}


def test_chats_that_begin_with_a_held_out_one(tmp_path: Path) -> None:
    train = [chat("Hello", "Hi", LONG, "x"), chat(LONG.upper(), "x", "Thanks", "Bye"), chat(LONG, "x", "And why?", "y", "Fine", "Bye")]
    test = [chat("Hello", "z"), chat("Something else", "z"), chat(LONG, "z"), chat(LONG, "x", "And why?", "z")]
    (found,) = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": test}), Inputs))["leak.turns"]
    assert (found.severity, found.rows, found.clashes) == ("error", (1, 2), (5,))


def test_every_held_out_row_that_a_training_row_is_near_to_is_named(tmp_path: Path) -> None:
    files = {"train.jsonl": pairs((LONG, "x")), "test.jsonl": pairs((NEAR, "x"), ("q", "x"), (LONG.replace("week", "year"), "x"))}
    (found,) = by_rule(look(suite(tmp_path, files), Inputs))["leak.near"]
    assert (found.rows, found.clashes, found.figures["inputs"]) == ((0,), (1, 3), 2)


def test_scripts_without_spaces_are_compared_by_character(tmp_path: Path) -> None:
    files = {
        "train.jsonl": pairs(("我昨天在銀行申請的信用卡什麼時候會寄到", "x")),
        "test.jsonl": pairs(("我前天在銀行申請的信用卡什麼時候會寄到", "x")),
    }
    (found,) = by_rule(look(suite(tmp_path, files), Inputs))["leak.near"]
    assert found.count == 1


@pytest.mark.parametrize("rule", ["allow", "drop_train"])
def test_few_shot_examples_that_are_held_out(tmp_path: Path, rule: str) -> None:
    """The doctor names the very rows that a run would show, also after leaked ones were dropped and train was limited."""
    train = pairs(*((f"question number {k}", "x") for k in range(40)), ("question number 3", "x"))
    files = {"prompt.md": "Sort.", "train.jsonl": train, "test.jsonl": pairs(*((f"Question number {k}!", "x") for k in range(0, 40, 2)))}
    loaded = suite(tmp_path, files, more=ARMS, data=f"leaks: {rule}, limit: {{train: 30}}")
    shown = choose_examples(load(loaded.suite.data, loaded.root).train.samples, 3, 5)
    leaked = {Path(each.source).name for each in shown if int(each.input.split()[-1]) % 2 == 0}
    found = by_rule(look(loaded, Inputs)).get("leak.shots", [])
    assert {line.split()[0] for each in found for line in lines(each)} == leaked
    assert bool(leaked) == (rule == "allow")


def test_a_clean_suite_has_no_findings(tmp_path: Path) -> None:
    train = pairs(*((f"question {k} of {k} {k}", "yes" if k % 3 else "no") for k in range(60)))
    seen = look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": pairs(("something else", "yes"), ("more", "no"))}), Inputs)
    assert (seen.findings, seen.refuses, dict(seen.rows)) == ((), False, {"train": 60, "test": 2})


def test_hashes_group_rows() -> None:
    empty = Index()
    later, first = repeats((empty.plain, empty.target), empty.number.astype(int))
    assert (len(later), len(first), len(shared(empty.plain, later, first)[0])) == (0, 0, 0)
    assert mark("a") != mark("b")


def test_one_word_may_make_the_difference_between_labels(tmp_path: Path) -> None:
    """Near questions with another label give nothing away; with the same label they do, also beside one with another."""
    filler = [(f"number {k} {k}", "card") for k in range(30)]
    train = pairs((LONG, "card"), (NEAR, "phone"), *filler)
    test = pairs((LONG.replace("new", "old"), "phone"), (LONG.replace("please", "now"), "card"), ("q", "card"))
    seen = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": test}), Inputs))
    assert [lines(each) for each in seen["leak.near"]] == [["train.jsonl:1 test.jsonl:2"]]
    assert lines(seen["conflict.near"][0]) == ["train.jsonl:2 train.jsonl:1", "test.jsonl:1 train.jsonl:1"]


def test_open_answers_leak_whatever_they_are(tmp_path: Path) -> None:
    train = pairs((LONG, "The one of Monday"), *((f"number {k} {k}", f"answer {k}") for k in range(5)))
    seen = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": pairs((NEAR, "Another answer"))}), Inputs))
    assert seen["leak.near"][0].rows == (0,)
    assert "conflict.near" not in seen


BEGIN = "Please read this ticket of one of our customers and answer with a single label only: {}"
END = "{} is what they wrote to us today so what is the right label for all of this"


@pytest.mark.parametrize("form", [BEGIN, END])
def test_the_form_that_inputs_are_filled_into_makes_them_not_near(form: str, tmp_path: Path) -> None:
    filled = [(form.format(f"card {k}"), f"x{k}") for k in range(30)]
    train, test = pairs(*filled[:20], (form.format(NEAR), "x")), pairs(*filled[20:], (form.format(LONG), "y"))
    (found,) = by_rule(look(suite(tmp_path, {"train.jsonl": train, "test.jsonl": test}), Inputs))["leak.near"]
    assert lines(found) == ["train.jsonl:21 test.jsonl:11"]
