from __future__ import annotations

import importlib.util
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from evalharness.doctor import truncated
from evalharness.doctor.truncated import Truncated, fits
from evalharness.errors import ConfigError
from evalharness.models.local import LocalOptions
from evalharness.prompts import Prompt, choose_examples, render, training_rows
from evalharness.reading import LoadedSuite
from evalharness.records import Message
from evalharness.runners.lora.options import LoraOptions
from evalharness.runners.vertex import VertexRunner
from evalharness.spec import Trainer
from tests.doctor.seen import chosen, examine, loaded, rows

needs_transformers = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="the extra local is not installed")
PROMPT = Prompt("Sort the mail. {{ input }}")


def tuned(max_length: int, base: str = "embedded", shots: int = 0, prompt: Prompt | None = PROMPT, **more: Any) -> LoadedSuite:
    """A suite with a LoRA candidate "t"."""
    trainer = {"runner": "lora", "base": base}
    suite = {"data": {"train": "a.jsonl", "test": "b.jsonl"}, "candidates": {"t": {"train": trainer, "shots": shots}}, **more}
    options = LoraOptions(max_length=max_length)
    return loaded({"t": prompt}, {}, {"t": Trainer.model_validate(trainer)}, {"t": chosen("lora", options, local=True)}, suite)


def mails(n: int, most: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    words = ["order", "card", "refund", "late", "please", "Größe", "we", "ask", "number"]
    lengths = [(rng.randrange(5, most), rng.randrange(2, 12)) for _ in range(n)]
    return [(" ".join(rng.choices(words, k=question)), " ".join(rng.choices(words, k=answer))) for question, answer in lengths]


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    from evalharness.bases import resolve

    return AutoTokenizer.from_pretrained(resolve("embedded"), local_files_only=True)


@needs_transformers
@pytest.mark.parametrize("shots", [0, 2])
def test_as_many_rows_are_cut_as_the_runner_cuts(shots: int) -> None:
    from evalharness.causal import encode_example

    seen, limit = rows("train", mails(120, 60)), 120 + 100 * shots
    samples = [row.sample for row in seen]
    examples = choose_examples(samples, shots, 0) if shots else ()
    encoded = [encode_example(tokenizer(), chat, limit) for chat in training_rows(PROMPT, samples, examples)]
    cut = [row.source for row, example in zip(samples, encoded, strict=True) if example.truncated]
    gone = sum(example.answer_start >= len(example.ids) for example in encoded)
    assert 5 < len(cut) < 110
    (finding,) = [each for each in examine(Truncated(), seen, tuned(limit, shots=shots)) if each.rule == "truncated.train"]
    assert (finding.count, finding.figures["no_room"], finding.figures["limit"]) == (len(cut), gone, limit)
    assert finding.severity == ("error" if gone else "warning")
    assert {place.source for place in finding.worst} <= set(cut)
    tokens = [int(place.other.split()[0]) for place in finding.worst]
    assert tokens == sorted(tokens, reverse=True)
    assert not finding.found.startswith("about")


@needs_transformers
def test_a_sample_tells_about_how_many_where_most_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = rows("train", mails(600, 60))
    (exact,) = examine(Truncated(), seen, tuned(100))
    monkeypatch.setattr(truncated, "LONGEST", 100)
    monkeypatch.setattr(truncated, "SAMPLED", 200)
    (about,) = examine(Truncated(), seen, tuned(100))
    assert about.found.startswith(f"about {about.count:,} training rows of t with more than 100 tokens lose part of the answer")
    assert abs(about.count - exact.count) < 60
    assert about.worst[:3] == exact.worst[:3]


@needs_transformers
def test_questions_that_leave_no_room_for_the_answer() -> None:
    from evalharness.causal import encode_prompt

    pairs = [*mails(20, 40), ("card " * 3900, "x"), ("card " * 4200, "x")]
    seen = rows("test", pairs)
    sizes = [len(encode_prompt(tokenizer(), render(PROMPT, row.sample, ()))) for row in seen]
    assert sizes[-1] > 4096 > sizes[-2] > 3000
    spec = {"baselines": {"a": {"model": "local/embedded", "sampling": {"max_tokens": 4096 - sizes[-2] + 1}}}}
    suite = loaded({"a": PROMPT}, {"a": chosen("local", LocalOptions(), local=True)}, suite=spec)
    (finding,) = examine(Truncated(), seen, suite)
    assert (finding.rule, finding.severity, finding.count, finding.figures["no_room"]) == ("truncated.test", "warning", 2, 1)
    assert [place.source for place in finding.worst] == ["test.jsonl:22", "test.jsonl:21"]
    spec["baselines"]["a"]["sampling"]["max_tokens"] -= 1  # type: ignore[index]
    (finding,) = examine(Truncated(), seen, loaded({"a": PROMPT}, {"a": chosen("local", LocalOptions(), local=True)}, suite=spec))
    assert finding.count == 1


def test_rows_that_fit_load_no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truncated, "_tokenizer", lambda base: pytest.fail("it was loaded"))
    assert examine(Truncated(), [*rows("train", mails(50, 30)), *rows("test", mails(50, 30), 50)], tuned(1024)) == []


def test_without_the_tokenizer_it_is_an_estimate() -> None:
    pairs = [*mails(10, 20), ("x" * 8000, "yes"), ("x" * 3600, "yes")]
    (finding,) = examine(Truncated(), rows("train", pairs), tuned(1000, base="someone/not-here", prompt=None))
    assert (finding.severity, finding.count, finding.figures["tokens_estimated"]) == ("warning", 1, 1)
    assert finding.found.startswith("about 1 training row of t with more than 1,000 tokens")
    assert "at 4 characters a token" in finding.found


def test_the_published_limit_of_a_service() -> None:
    trainer = {"runner": "vertex", "base": "gemini-2.5-flash"}
    suite = {"data": {"train": "a.jsonl", "test": "b.jsonl"}, "candidates": {"t": {"train": trainer}}}
    runner = chosen("vertex", VertexRunner.Options.model_construct(), local=False)
    there = loaded({"t": None}, {}, {"t": Trainer.model_validate(trainer)}, {"t": runner}, suite)
    (finding,) = examine(Truncated(), rows("train", [("a b " * 140_000, "yes"), ("short", "no")]), there)
    assert (finding.count, finding.figures["limit"]) == (1, 131_072)
    assert examine(Truncated(), rows("train", [("short", "no")]), there) == []


def test_nothing_is_said_where_no_limit_is_known(tmp_path: Path) -> None:
    openai = chosen("openai", object(), local=False)
    trainer = {"runner": "openai", "base": "gpt"}
    suite = {"data": {"train": "a.jsonl", "test": "b.jsonl"}, "candidates": {"t": {"train": trainer}}}
    there = loaded({}, {}, {"t": Trainer.model_validate(trainer)}, {"t": openai}, suite)
    assert examine(Truncated(), rows("train", [("x " * 99_999, "y")]), there) == []
    assert examine(Truncated(), rows("test", [("x " * 99_999, "y")])) == []


def test_rows_that_a_prompt_cannot_render_are_left_to_others() -> None:
    with pytest.raises(ConfigError):
        render(Prompt("{{ missing }} {{ input }}"), rows("train", [("a", "b")])[0].sample, ())
    assert examine(Truncated(), rows("train", [("x" * 9999, "y")]), tuned(64, prompt=Prompt("{{ missing }} {{ input }}"))) == []


def test_fits_is_sure() -> None:
    assert fits([Message("user", "x" * 800)], 1000)
    assert not fits([Message("user", "x" * 900)], 1000)
    assert not fits([Message("user", "é" * 500)], 1000)  # two bytes each
