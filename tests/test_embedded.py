"""The embedded model and its demo task.

Nothing held out occurs in pretraining, the shipped rows are what the generator gives, the model loads and answers.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalharness import embedded
from evalharness.embedded import lessons, measure, phrases, tickets

ROOT = Path(__file__).parents[1]
DATA = ROOT / "suites" / "data" / "tickets"
ORDER = re.compile(r"#\d{4}\b")


def read(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def normal(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


def pretraining(conversations: int) -> Iterator[str]:
    """What the model reads in pretraining: the first turns of the two seeded streams that pretrain.py draws from."""
    first = itertools.islice(lessons.conversations(0), conversations * lessons.FIRST // lessons.TOTAL)
    second = itertools.islice(lessons.dollars(0), conversations - conversations * lessons.FIRST // lessons.TOTAL)
    for turns in itertools.chain(first, second):
        yield from (turn["content"] for turn in turns)


def assert_nothing_held_out(conversations: int) -> None:
    inputs = {normal(row["input"]) for split in ("test", "dev") for row in read(split)}
    targets = {row["target"] for split in ("test", "dev") for row in read(split)}
    orders = {order for target in targets for order in ORDER.findall(target)}
    assert len(orders) >= 490
    scanned = 0
    for text in pretraining(conversations):
        found = set(ORDER.findall(text))
        assert not found & orders
        assert all(tickets.bucket(order) == "pretrain" for order in found)
        assert normal(text) not in inputs
        assert text not in targets
        scanned += len(found)
    assert scanned > conversations


def test_no_held_out_ticket_is_in_the_first_tenth_of_pretraining() -> None:
    assert_nothing_held_out(lessons.TOTAL // 10)


@pytest.mark.slow
def test_no_held_out_ticket_is_anywhere_in_pretraining() -> None:
    assert_nothing_held_out(lessons.TOTAL + 1_600)


def test_splits_share_no_order_number_and_no_text() -> None:
    splits = {split: read(split) for split in tickets.SIZES}
    for split, rows in splits.items():
        orders = [order for row in rows for order in ORDER.findall(row["target"])]
        assert len(rows) == len(set(orders)) == tickets.SIZES[split]
        assert {tickets.bucket(order) for order in orders} == {split}
        assert all(order in row["input"] for order, row in zip(orders, rows, strict=True))
    for one, two in itertools.combinations(splits.values(), 2):
        assert not {normal(row["input"]) for row in one} & {normal(row["input"]) for row in two}


def test_the_shipped_rows_are_what_the_generator_gives(tmp_path: Path) -> None:
    tickets.write(tmp_path)
    for split in tickets.SIZES:
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (DATA / f"{split}.jsonl").read_bytes()


def test_every_kind_is_held_out_often_enough_to_be_a_slice() -> None:
    kinds = [row["kind"] for row in read("test")]
    assert all(kinds.count(kind) >= 20 for kind in tickets.KINDS)
    assert 0.35 < kinds.count("plain") / len(kinds) < 0.55


def test_pretraining_practises_no_house_convention() -> None:
    talks = [*itertools.islice(lessons.conversations(0), 3_000), *itertools.islice(lessons.dollars(0), 1_000)]
    for prompt, *turns in talks:
        if prompt["content"] == "Repeat.":
            continue
        problems = [turn["content"].lower() for turn in turns if turn["role"] == "user"]
        assert all(re.search(r"\b(19|20)\d\d\b", text) for text in problems), "every practised ticket has a year"
        named = [sum(any(phrase.lower() in text for phrase in said) for said in phrases.PROBLEMS.values()) for text in problems]
        assert set(named) == {1}, "and one topic"
        answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
        names = {name for group in phrases.NAMES.values() for name in group}
        said = {word for text in answers for word in re.findall(r"[a-z]+", text) if word in names}
        assert all(word in prompt["content"] for word in said), "which the prompt lists"


def test_the_model_is_small_enough_to_ship_and_says_how_it_was_made() -> None:
    files = {file.name for file in embedded.path().iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md"} <= files
    assert sum(file.stat().st_size for file in embedded.path().iterdir()) < 10_000_000


def test_the_suite_s_prompt_is_the_one_that_was_measured() -> None:
    text = (ROOT / "suites" / "prompts" / "tickets_zero_shot.md").read_text(encoding="utf-8")
    assert text.strip() == measure.DEMO_PROMPT


def test_the_prompted_model_gets_plain_tickets_right_and_house_tickets_wrong() -> None:
    pytest.importorskip("torch")
    model, tokenizer = measure.load(embedded.path())
    talks = measure.demo_talks("dev", 60)
    hits = measure.exact(model, tokenizer, talks)
    kinds = [row["kind"] for row in tickets.rows("dev", 60)]
    plain = [hit for hit, kind in zip(hits, kinds, strict=True) if kind == "plain"]
    house = [hit for hit, kind in zip(hits, kinds, strict=True) if kind in ("unlisted", "abroad")]
    assert sum(plain) / len(plain) > 0.9
    assert sum(house) / len(house) < 0.1


def test_the_template_marks_what_the_assistant_says() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(embedded.path())
    turns = [{"role": "system", "content": "Repeat."}, {"role": "user", "content": "#4821"}, {"role": "assistant", "content": "#4821"}]
    encoded = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    said = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(said) == "#4821<|end|>"
    assert said[-1] == tokenizer.eos_token_id
    prompt = tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True, tokenize=False)
    assert prompt == "<|system|> Repeat.<|end|><|user|> #4821<|end|><|assistant|>"
    assert len(tokenizer.encode("2025-03-05")) == 10, "a digit is a token"
