"""Embedding similarity over a loopback endpoint, and the embedders' own errors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pydantic import ValidationError

from evalharness import registry
from evalharness.errors import ConfigError, MissingExtra, ProviderError
from evalharness.ids import digest
from evalharness.metrics.embedders import BATCH, Embedder, embedder
from evalharness.metrics.embedding import EmbeddingOptions, EmbeddingSimilarity
from evalharness.protocols import AskingMetric, Metric, Opinion, Question, opines
from evalharness.reading.plugins import At
from evalharness.reading.verdicts import check_verdicts
from evalharness.records import Reply
from evalharness.store import MetricRow
from evalharness.verdict.measures import Measure
from tests.emulators.core import KEY, Fault
from tests.emulators.ragas import RagasEmulator, vector
from tests.metrics.asked import Asked
from tests.metrics.contract import MetricContract, item

USE = {"openai": {"name": "text-embedding-x", "max_retries": 1, "prices": {"usd_per_million_input_tokens": 10.0}}}


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[RagasEmulator]:
    with RagasEmulator() as emulator:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.url)
        yield emulator


def similarity() -> EmbeddingSimilarity:
    return EmbeddingSimilarity(EmbeddingOptions(model=USE))


def ask(metric: AskingMetric, *rows: tuple[Any, Reply]) -> list[Opinion]:
    async def gather() -> list[Opinion]:
        return [found async for found in metric.ask([Question(str(i), *row) for i, row in enumerate(rows)])]

    return sorted(asyncio.run(gather()), key=lambda found: int(found.key))


def embed(use: Any, texts: list[str], root: Path = Path()) -> Any:
    return asyncio.run(embedder(use, root).embed(texts))


class TestEmbeddingSimilarity(MetricContract):
    def make(self) -> Metric:
        return cast("Metric", Asked(similarity()))


def test_it_is_the_cosine_with_the_nearest_target(service: RagasEmulator) -> None:
    found = ask(similarity(), item("the red dog", "a cat", "the dog"), item("dog", "dog"), item("", "dog"), item("", "  "))
    u, v = np.array(vector("the red dog")), np.array(vector("the dog"))
    expected = [u @ v / np.linalg.norm(u) / np.linalg.norm(v), 1.0, 0.0, 1.0]
    assert [each.stats[0] for each in found] == pytest.approx(expected)
    (call,) = service.called("embeddings")
    assert sorted(call.body["input"]) == ["a cat", "dog", "the dog", "the red dog"]
    words = sum(len(text.split()) for text in call.body["input"])
    assert sum(each.cost_usd or 0.0 for each in found) == pytest.approx(words * 10 / 1e6)


def test_many_texts_go_in_batches(service: RagasEmulator) -> None:
    vectors, cost = embed(USE, [f"word{i}" for i in range(2 * BATCH + 1)])
    assert vectors.shape == (2 * BATCH + 1, 64)
    assert np.array_equal(vectors[BATCH], vector(f"word{BATCH}"))
    assert len(service.called("embeddings")) == 3
    assert cost == pytest.approx((2 * BATCH + 1) * 10 / 1e6)


def test_unknown_prices_stay_unknown() -> None:
    assert embed({"openai": {"name": "text-embedding-x"}}, ["a"])[1] is None
    metric = EmbeddingSimilarity(EmbeddingOptions(model="openai/text-embedding-x"))
    assert metric.estimate([Question("k", *item("a", "b"))]) is None


def test_the_estimate_is_an_upper_bound() -> None:
    pair = item("the red dog", "a cat")
    estimate = similarity().estimate([Question("k", *pair)])
    (found,) = ask(similarity(), pair)
    assert estimate is not None
    assert found.cost_usd is not None
    assert 0 < found.cost_usd <= estimate


def test_a_failing_service_is_tried_again_and_then_an_error(service: RagasEmulator) -> None:
    service.fail("embeddings", Fault.http(429, "slow down", retry_after="0"))
    assert ask(similarity(), item("a", "a"))[0].stats == (1.0,)
    service.fail("embeddings", Fault.reset_before(), Fault.http(503, f"down, said {KEY}"))
    (found,) = ask(similarity(), item("a", "a"))
    assert found.stats == ()
    assert "HTTP 503" in str(found.error)
    assert KEY not in str(found.error)
    service.fail("embeddings", Fault.http(404, "no such model"))
    before = len(service.called("embeddings"))
    with pytest.raises(ProviderError, match="no such model"):
        embed(USE, ["a"])
    assert len(service.called("embeddings")) == before + 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"data": []}, r"answered 1 texts with an array of shape \(0,\)"),
        ({"data": [{"index": 0, "embedding": []}]}, "shape"),
        ({"data": [{"index": 0, "embedding": ["x"]}]}, "has not the form"),
        ({"data": [{"index": 0}]}, "has not the form"),
        ({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}]}, "shape"),
        ([], "has not the form"),
        ("<html>", "connection lost"),
    ],
)
def test_nonsense_is_told(service: RagasEmulator, body: object, why: str) -> None:
    service.fail("embeddings", *[Fault(200, body)] * 2)
    with pytest.raises(ProviderError, match=why):
        embed(USE, ["a"])


def test_the_identity_makes_it_again_and_knows_no_prices() -> None:
    identity: Any = similarity().identity()
    assert identity["embedding"]["model"] == "text-embedding-x"
    assert identity["signature"] == "cosine|model:text-embedding-x|version:1"
    assert "prices" not in str(identity)
    again = EmbeddingSimilarity(EmbeddingOptions.model_validate(identity["options"]))
    assert digest(again.identity()) == digest(identity)


def test_who_has_no_endpoint_is_told() -> None:
    with pytest.raises(ConfigError, match="'rehearsal' has no embeddings endpoint"):
        embedder("rehearsal", Path())
    with pytest.raises(ConfigError, match=r"local\.name"):
        embedder("local", Path())
    with pytest.raises(ValidationError):
        registry.options(EmbeddingSimilarity, None)


def test_a_key_with_line_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk\nx")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY: holds characters that no key has"):
        embed(USE, ["a"])


def test_an_answer_without_text_or_target_is_an_error() -> None:
    found = ask(similarity(), (item("a", "a")[0], Reply("o", None, "error", error="down")), item("a"))
    assert [each.stats for each in found] == [(), ()]
    assert "no text to score" in str(found[0].error)
    assert "target: missing" in str(found[1].error)


def test_without_the_library_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"evalh\[embedding\]"):
        embedder("local/x", Path())


def folder(path: Path) -> Path:
    """A sentence-transformers model of a few thousand random weights."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "the", "dog", "cat", "red"]
    tokenizer = Tokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    size: Any = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(names), max_position_embeddings=32, **size)).save_pretrained(path / "base")
    made: Any = PreTrainedTokenizerFast
    fast = made(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32)
    fast.save_pretrained(path / "base")
    inner = modules.Transformer(str(path / "base"))
    SentenceTransformer(modules=[inner, modules.Pooling(16)], device="cpu").save(str(path / "model"))
    return path / "model"


@pytest.mark.slow
def test_a_model_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    made = folder(tmp_path)
    local: Embedder = embedder("local/model", tmp_path)
    vectors, cost = asyncio.run(local.embed(["the dog", "the dog", "cat"]))
    assert (vectors.shape, cost, local.estimate(["a"])) == ((3, 16), 0.0, 0.0)
    assert np.allclose(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], vectors[2])
    options = registry.options(EmbeddingSimilarity, "local/model", tmp_path)
    metric = EmbeddingSimilarity(cast("EmbeddingOptions", options))
    assert metric.local
    assert [each.stats[0] for each in ask(metric, item("the dog", "cat", "the dog"))] == pytest.approx([1.0])
    before = digest(local.identity())
    (made / "config_sentence_transformers.json").write_text("{}", encoding="utf-8")
    assert digest(local.identity()) != before
    (tmp_path / "base" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="cannot be loaded"):
        embed("local/base", ["a"], tmp_path)


def test_a_cosine_is_no_opinion() -> None:
    metric = similarity()
    row = MetricRow("m", metric.name, metric.version, metric.identity(), True, metric.range, metric.kind)
    assert isinstance(metric, AskingMetric), "it is asked about many texts at once"
    assert not opines(metric)
    assert not Measure(row, metric).asks
    assert not Measure(row, None).asks, "also where it cannot be loaded"
    rules = {"gate": {"rules": [{"metric": metric.name, "margin": 0.1, "require_labels": 50}]}}
    (problem,) = check_verdicts(rules, {metric.name: metric}, [], At("s.yaml", (), Path()))
    assert problem.found == "embedding_similarity is computed: labels correct only what a model was asked"
