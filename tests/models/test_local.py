"""The local model: what it answers is what transformers would answer one by one, only sooner."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evalharness.models.local import LocalModel, LocalOptions, end_tokens
from evalharness.protocols import Model
from evalharness.records import Message, Reply, Request, Sampling
from tests import tiny
from tests.contracts import ModelContract
from tests.models.small import HEAD, ask, lively, one_by_one, question, texts


class TestContract(ModelContract):
    @pytest.fixture(autouse=True)
    def _base(self, base: Path) -> None:
        self.base = base

    def make(self) -> Model:
        return LocalModel(LocalOptions(name=str(self.base)))


def test_greedy_is_what_generate_says_one_by_one(base: Path, model: LocalModel) -> None:
    mixed = [question(i, Sampling(max_tokens=5 + i % 20), head=(HEAD, "Hi.", HEAD + "Now: ")[i % 3]) for i in range(23)]
    expected = one_by_one(base, mixed)
    assert len(set(expected)) > 15
    assert texts(model, mixed) == expected


def test_greedy_is_what_generate_says_for_qwen(tmp_path: Path) -> None:
    base = lively(tmp_path / "qwen", arch="qwen3", seed=3)
    requests = [question(i) for i in range(7)]
    assert texts(LocalModel(LocalOptions(name=str(base))), requests) == one_by_one(base, requests)


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 3}, {"batch_tokens": 400}, {"batch_tokens": 1}])
def test_batches_of_any_size_say_the_same(base: Path, model: LocalModel, options: dict[str, int]) -> None:
    requests = [question(i) for i in range(9)]
    assert texts(LocalModel(LocalOptions(name=str(base), **options)), requests) == texts(model, requests)  # type: ignore[arg-type]


def test_counts_finish_and_time(model: LocalModel) -> None:
    replies = ask(model, [question(i, Sampling(max_tokens=60)) for i in range(24)])
    assert {reply.finish for reply in replies} == {"stop", "length"}
    for reply in replies:
        assert reply.completion_tokens is not None
        assert (reply.completion_tokens == 60) or reply.finish == "stop"
        assert reply.prompt_tokens is not None
        assert reply.prompt_tokens > len(HEAD)  # every byte is a token here
        assert reply.latency_s is not None
        assert reply.latency_s > 0
        assert reply.cost_usd is None


def test_a_price_makes_a_cost(base: Path) -> None:
    reply = ask(LocalModel(LocalOptions(name=str(base), usd_per_hour=7200.0)), [question(0)])[0]
    assert reply.latency_s is not None
    assert reply.cost_usd == pytest.approx(2 * reply.latency_s)


def sampled(i: int, **sampling: float | int) -> Request:
    return question(i, Sampling(max_tokens=12, temperature=1.5, **sampling))  # type: ignore[arg-type]


def test_a_sample_is_the_request_s_own(model: LocalModel) -> None:
    requests = [sampled(i) for i in range(6)]
    together = texts(model, requests)
    assert [texts(model, [request])[0] for request in requests] == together
    assert texts(model, requests[::-1]) == together[::-1]


def test_seeds_and_repeats_are_other_samples_of_the_same_question(model: LocalModel) -> None:
    again = [replace(sampled(0), output_id=f"o{repeat}", repeat=repeat) for repeat in range(4)]
    assert len(set(texts(model, again))) == 4
    assert texts(model, [sampled(0, seed=1)]) != texts(model, [sampled(0, seed=2)])
    assert texts(model, [sampled(0, seed=1)]) == texts(model, [sampled(0, seed=1)])


def test_a_narrow_nucleus_is_greedy(model: LocalModel) -> None:
    requests = [question(i) for i in range(5)]
    narrow = [replace(r, sampling=replace(r.sampling, temperature=2.0, top_p=1e-6)) for r in requests]
    assert texts(model, narrow) == texts(model, requests)


def test_stop_strings_end_the_answer_and_are_not_part_of_it(model: LocalModel) -> None:
    whole = ask(model, [question(i) for i in range(12)])
    text = max((reply.text or "" for reply in whole), key=lambda t: len(set(t)))
    i = next(i for i, reply in enumerate(whole) if reply.text == text)
    stop = text[5:8]
    cut = ask(model, [question(i, Sampling(max_tokens=16, stop=("never said", stop)))])[0]
    assert cut.text == text[: text.index(stop)]
    assert cut.finish == "stop"
    assert cut.completion_tokens is not None
    assert cut.completion_tokens < 16


def test_a_stop_string_that_is_a_special_token_ends_the_answer(base: Path, model: LocalModel) -> None:
    plain = ask(model, [question(i, Sampling(max_tokens=60)) for i in range(24)])
    ended = ask(model, [question(i, Sampling(max_tokens=60, stop=("<|im_start|>", "<|pad|>"))) for i in range(24)])
    shorter = [(a, b) for a, b in zip(plain, ended, strict=True) if a.completion_tokens != b.completion_tokens]
    assert shorter
    assert all(b.finish == "stop" and (a.text or "").startswith(b.text or "") for a, b in shorter)


def test_a_prompt_beyond_the_context_is_an_error_and_one_that_fits_is_cut_there(model: LocalModel) -> None:
    long = replace(question(0), messages=(Message("user", "x" * 2100),))
    edge = replace(question(1, Sampling(max_tokens=90)), messages=(Message("user", "x" * 1990),))
    error, cut, fine = ask(model, [long, edge, question(2)])
    assert error.finish == "error"
    assert error.error is not None
    assert "2119 tokens, the model's context only 2048" in error.error
    assert error.completion_tokens == 0
    assert cut.finish in ("length", "stop")
    assert cut.prompt_tokens is not None
    assert cut.completion_tokens is not None
    assert cut.prompt_tokens + cut.completion_tokens <= 2048
    assert fine.text == texts(model, [question(2)])[0]


def test_a_chat_that_the_template_refuses_is_an_error(tmp_path: Path) -> None:
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}{{ messages[0]['content'] }}"
    model = LocalModel(LocalOptions(name=str(tiny.make(tmp_path / "strict", template=template))))
    with_system, without, empty = ask(
        model,
        [
            question(0),
            Request("o1", "s1", (Message("user", "hi"),), Sampling(max_tokens=2)),
            Request("o2", "s2", (Message("user", ""),), Sampling(max_tokens=2)),
        ],
    )
    assert "no system turns" in (with_system.error or "")
    assert without.error is None
    assert empty.error == "the chat template makes nothing of this chat"


def test_end_tokens_are_the_model_s_the_tokenizer_s_and_the_template_s(base: Path) -> None:
    engine = LocalModel(LocalOptions(name=str(base)))._load()
    engine.model.generation_config.eos_token_id = [7, 8]
    engine.tokenizer.chat_template = engine.tokenizer.chat_template.replace("<|im_end|>", "<|pad|>")
    names = engine.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|pad|>"])
    assert end_tokens(engine.model, engine.tokenizer) == {7, 8, *names}
    engine.tokenizer.chat_template = "{{ 1 if add_generation_prompt else raise_exception('prompts only') }}"
    assert end_tokens(engine.model, engine.tokenizer) == {7, 8, names[0]}


def test_the_event_loop_goes_on_meanwhile(model: LocalModel) -> None:
    async def watch() -> tuple[list[Reply], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        clock = asyncio.create_task(tick())
        replies = [reply async for reply in model.generate([question(i, Sampling(max_tokens=30)) for i in range(8)])]
        clock.cancel()
        return replies, ticks

    replies, ticks = asyncio.run(watch())
    assert len(replies) == 8
    assert ticks > 10


def test_closing_frees_the_model_and_asking_loads_it_again(base: Path) -> None:
    model = LocalModel(LocalOptions(name=str(base)))
    first = texts(model, [question(0)])
    loaded = [model._engine is not None]
    asyncio.run(model.close())
    loaded.append(model._engine is not None)
    assert loaded == [True, False]
    assert texts(model, [question(0)]) == first


def test_pools_differ_by_base_and_settings(base: Path, tmp_path: Path) -> None:
    def pool(**options: object) -> str:
        return LocalModel(LocalOptions.model_validate({"name": str(base), **options})).pool

    assert pool() == pool(device="auto")
    assert len({pool(), pool(dtype="float32"), pool(batch_size=2), pool(revision="x"), pool(name=str(tmp_path))}) == 5


def test_identity_is_cheap_and_holds_what_decides_the_answers(base: Path) -> None:
    code = (
        "import sys; from evalharness.models.local import LocalModel as L;"
        f"print(L(L.Options(name={str(base)!r})).identity()); assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    plain = LocalModel(LocalOptions(name=str(base))).identity()
    assert said.strip() == str(plain)
    assert plain.keys() == {"weights", "template", "ends"}
    other = LocalModel(LocalOptions(name=str(base), dtype="bfloat16", load_in_4bit=True)).identity()
    assert other == plain | {"dtype": "bfloat16", "quantisation": "4bit"}


def test_other_end_tokens_are_another_model(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    before = LocalModel(LocalOptions(name=str(folder))).identity()
    settings = json.loads((folder / "generation_config.json").read_text("utf-8"))
    (folder / "generation_config.json").write_text(json.dumps(settings | {"temperature": 0.3}), "utf-8")  # which is not used
    assert LocalModel(LocalOptions(name=str(folder))).identity() == before
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [1, 2]}), "utf-8")
    after = LocalModel(LocalOptions(name=str(folder))).identity()
    assert {key for key in before if before[key] != after[key]} == {"ends"}


def test_embedded_answers() -> None:
    requests = [question(i, head="Reply with one line.") for i in range(3)]
    replies = ask(LocalModel(LocalOptions()), requests)
    assert all(reply.error is None for reply in replies)
