from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.errors import ConfigError, DataError
from evalharness.prompts import Prompt, choose_examples, read_prompt, render, training_rows, variables
from evalharness.records import Message, Sample


def sample(text: str, target: str = "a", *, system: str | None = None, before: tuple[Message, ...] = (), **fields: str) -> Sample:
    own = (Message("system", system),) if system is not None else ()
    return Sample.of([*own, *before, Message("user", text)], [target, "other"], fields=fields, source="t.jsonl:3")


def chat(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(message.role[0], message.content) for message in messages]


SHOTS = (sample("q1", "a1", lang="de", system="Example's own."), sample("q2", "a2", lang="cs"))


def test_no_prompt_is_the_sample_itself() -> None:
    assert chat(render(None, sample("q"), ())) == [("u", "q")]
    assert chat(render(None, sample("q", system="s"), SHOTS[:1])) == [("s", "s"), ("u", "q1"), ("a", "a1"), ("u", "q")]


def test_a_template_without_input_is_the_system_turn() -> None:
    prompt = Prompt("Answer in {{ lang }}.\n")
    assert chat(render(prompt, sample("q", lang="de"), SHOTS)) == [
        ("s", "Answer in de."), ("u", "q1"), ("a", "a1"), ("u", "q2"), ("a", "a2"), ("u", "q"),
    ]  # fmt: skip


def test_a_template_with_input_is_the_users_turn_in_the_examples_too() -> None:
    prompt = Prompt("{{ lang }}: {{ input }}")
    assert chat(render(prompt, sample("q", lang="en"), SHOTS)) == [
        ("u", "de: q1"), ("a", "a1"), ("u", "cs: q2"), ("a", "a2"), ("u", "en: q"),
    ]  # fmt: skip


@pytest.mark.parametrize(("tail", "role"), [("", "s"), ("> {{ input }}", "u")])
def test_a_template_may_place_the_examples_itself(tail: str, role: str) -> None:
    prompt = Prompt("{% for e in examples %}{{ e.input }} ({{ e.lang }}) -> {{ e.target }}; {% endfor %}" + tail)
    first = chat(render(prompt, sample("q"), SHOTS))[0]
    assert first == (role, "q1 (de) -> a1; q2 (cs) -> a2; " + ("> q" if tail else ""))
    assert len(render(prompt, sample("q"), SHOTS)) == (1 if tail else 2)


@pytest.mark.parametrize("text", ["New.", "New: {{ input }}"])
def test_a_prompt_replaces_the_rows_system_turn(text: str) -> None:
    assert "old" not in str(render(Prompt(text), sample("q", system="old"), ()))


def test_earlier_turns_of_a_chat_stay() -> None:
    row = sample("yes", before=(Message("user", "Book it"), Message("assistant", "Sure?")))
    assert chat(render(Prompt("> {{ input }}"), row, ())) == [("u", "Book it"), ("a", "Sure?"), ("u", "> yes")]


def test_what_stands_in_rows_is_never_a_template() -> None:
    assert chat(render(Prompt("{{ input }}"), sample("{{ 7 * 7 }} <b>&"), ())) == [("u", "{{ 7 * 7 }} <b>&")]


@pytest.mark.parametrize(
    "text",
    [
        "{{ input.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ input.format.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{{ examples.append(1) }}",
    ],
)
def test_the_sandbox_holds(text: str) -> None:
    with pytest.raises(DataError, match="cannot be filled"):
        render(Prompt(text), sample("q"), ())


def test_a_row_without_the_field_is_named() -> None:
    with pytest.raises(DataError) as caught:
        render(Prompt("{{ lang }} {{ input }}", "prompts/p.md"), sample("q", id="1"), ())
    assert str(caught.value) == "prompts/p.md: row t.jsonl:3: cannot be filled: 'lang' is undefined. Fields of the row: examples, id, input"


@pytest.mark.parametrize("text", ["{{ 1 / 0 }}", "{{ input + 1 }}", "{{ examples[3].input }}", "{{ lang | int + [] }}", "{{ input() }}"])
def test_a_template_that_fails_is_told(text: str) -> None:
    with pytest.raises(DataError, match="the prompt: row"):
        render(Prompt(text), sample("q", lang="x"), ())


def test_variables() -> None:
    text = "{% set own = 1 %}{{ own }}{{ input }}{% for e in examples %}{{ e.target }}{% endfor %}{{ lang | upper }}{{ range(3) }}"
    assert variables(Prompt(text)) == {"input", "examples", "lang"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n{{ input", "the template has an error in line 2: unexpected end of template"),
        ("{% if %}", "line 1: Expected an expression"),
        ("{{ input | uper }}", "No filter named 'uper'"),
    ],
)
def test_a_template_that_is_none(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        variables(Prompt(text, "prompts/p.md"))
    assert caught.value.problems[0].file.startswith("prompts/p.md:")
    assert told in str(caught.value)


def test_a_file_or_the_text_itself(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_bytes(b"\xef\xbb\xbfAnswer.\r\n")
    assert read_prompt("p.md", tmp_path) == Prompt("Answer.\n", "p.md")
    assert read_prompt("Answer as p.md\nsays", tmp_path) == Prompt("Answer as p.md\nsays")
    assert read_prompt("{{ input }}.txt", tmp_path).source == ""


def test_the_identity_is_the_text_not_the_file() -> None:
    assert Prompt("a", "one.md").identity() == Prompt("a", "two.md").identity() != Prompt("b", "one.md").identity()


@pytest.mark.parametrize(
    ("value", "content", "says"),
    [
        ("gone.md", None, "there is no file gone.md"),
        ("p.md", b"\xff", "p.md: byte 1 is not UTF-8"),
        ("p.md", b" \n", "p.md: the prompt is empty"),
        ("p.md", b"{{", "p.md:1: the template has an error"),
    ],
)
def test_files_that_are_no_prompts(value: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / value).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_prompt(value, tmp_path)
    assert says in str(caught.value)


TRAIN = [sample(f"q{k}", f"a{k % 3}") for k in range(30)]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 30), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_same_examples_in_any_order_of_the_file(n: int, seed: int, order: random.Random) -> None:
    shuffled = list(TRAIN)
    order.shuffle(shuffled)
    chosen = choose_examples(TRAIN, n, seed)
    assert choose_examples(shuffled, n, seed) == chosen
    assert len({example.id for example in chosen}) == n
    assert chosen == choose_examples(TRAIN, 30, seed)[:n], "more examples keep the first ones"


def test_another_seed_chooses_others() -> None:
    assert choose_examples(TRAIN, 5, 0) != choose_examples(TRAIN, 5, 1)


def test_repeats_count_once() -> None:
    again = Sample.of(TRAIN[0].messages, TRAIN[0].targets, occurrence=1)
    assert {e.id for e in choose_examples([TRAIN[0], again, TRAIN[1]], 2, 0)} == {TRAIN[0].id, TRAIN[1].id}
    with pytest.raises(ConfigError, match="shots: 3 examples, but 2 different training rows"):
        choose_examples([TRAIN[0], again, TRAIN[1]], 3, 0)


def test_training_rows_are_what_the_arm_will_see_and_the_answer() -> None:
    rows = training_rows(Prompt("Answer."), TRAIN[:2], ())
    assert [chat(row) for row in rows] == [[("s", "Answer."), ("u", "q0"), ("a", "a0")], [("s", "Answer."), ("u", "q1"), ("a", "a1")]]


def test_a_training_row_is_never_its_own_example() -> None:
    repeat = Sample.of(TRAIN[0].messages, TRAIN[0].targets, occurrence=1)
    rows = training_rows(None, [TRAIN[0], repeat, TRAIN[2]], TRAIN[:2])
    assert [[text for _, text in chat(row)] for row in rows] == [
        ["q1", "a1", "q0", "a0"],
        ["q1", "a1", "q0", "a0"],
        ["q0", "a0", "q1", "a1", "q2", "a2"],
    ]


def test_a_prompt_is_one_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the template includes or extends another one"):
        read_prompt("{% include 'examples.md' %}{{ input }}", tmp_path)
