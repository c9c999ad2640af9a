from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from evalharness.errors import ConfigError, DataError
from evalharness.metrics import score_all
from evalharness.metrics.sacrebleu import Bleu, BleuOptions, Chrf, ChrfOptions, Ter, TerOptions
from evalharness.protocols import Metric
from evalharness.records import Message, Reply, Sample
from tests.metrics.contract import MetricContract, item

WMT22 = Path(__file__).parents[3] / "shared" / "data" / "wmt22-cs-en"


class TestBleu(MetricContract):
    def make(self) -> Metric:
        return Bleu()


class TestBleuAddK(MetricContract):
    def make(self) -> Metric:
        return Bleu(BleuOptions(smooth_method="add-k", effective_order=True, tokenize="char", lowercase=True, max_ngram_order=2))


class TestChrf(MetricContract):
    def make(self) -> Metric:
        return Chrf()


class TestChrfPlusPlus(MetricContract):
    def make(self) -> Metric:
        return Chrf(ChrfOptions(word_order=2, eps_smoothing=True, whitespace=True))


class TestTer(MetricContract):
    def make(self) -> Metric:
        return Ter()


def corpus(metric: Metric, texts: list[str], references: list[list[str]]) -> float:
    """The corpus score; `references` has one list per text."""
    samples = [Sample.of([Message("user", str(i))], targets) for i, targets in enumerate(references)]
    stats = score_all(metric, samples, [Reply(str(i), text, "stop") for i, text in enumerate(texts)])
    return float(metric.finish(stats.sum(axis=0), np.array(float(len(texts)))))


def columns(references: list[list[str]]) -> Any:
    """sacrebleu's shape: one stream per reference number, None where an item has fewer."""
    most = max(map(len, references))
    return [[targets[k] if k < len(targets) else None for targets in references] for k in range(most)]


def test_sacrebleus_published_example() -> None:
    """The three sentences and figures of sacrebleu's README."""
    texts = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = [
        ["The dog bit the man.", "The dog had bit the man."],
        ["It was not unexpected.", "No one was surprised."],
        ["The man bit him first.", "The man had bitten the dog."],
    ]
    assert f"{corpus(Bleu(), texts, references):.2f}" == "48.53"
    assert f"{corpus(Chrf(), texts, references):.2f}" == "59.73"
    library = BLEU().corpus_score(texts, columns(references))
    assert f"{library}" == "BLEU = 48.53 82.4/50.0/45.5/37.5 (BP = 0.943 ratio = 0.944 hyp_len = 17 ref_len = 18)"


words = st.lists(st.sampled_from(["a", "b", "c", "dd.", "E", ","]), max_size=7).map(" ".join)
rows = st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rows,
    st.sampled_from(["exp", "floor", "add-k", "none"]),
    st.sampled_from([None, 0.5]),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
)
def test_bleu_equals_sacrebleu(
    pairs: list[tuple[str, list[str]]], smooth: str, value: float | None, order: int, effective: bool, lowercase: bool
) -> None:
    options: dict[str, Any] = {
        "smooth_method": smooth,
        "smooth_value": value,
        "max_ngram_order": order,
        "effective_order": effective,
        "lowercase": lowercase,
    }
    texts, references = [text for text, _ in pairs], [targets for _, targets in pairs]
    expected = BLEU(force=True, **options).corpus_score(texts, columns(references)).score
    metric = Bleu(BleuOptions(**options))
    assert corpus(metric, texts, references) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    samples, replies = zip(*(item(text, *targets) for text, targets in pairs), strict=True)
    one_by_one = [metric.score(sample, reply) for sample, reply in zip(samples, replies, strict=True)]
    assert np.array_equal(metric.score_many(samples, replies), one_by_one)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows, st.integers(1, 6), st.integers(0, 2), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans())
def test_chrf_equals_sacrebleu(
    pairs: list[tuple[str, list[str]]], chars: int, word_order: int, beta: int, lowercase: bool, whitespace: bool, eps: bool
) -> None:
    options: dict[str, Any] = {
        "char_order": chars,
        "word_order": word_order,
        "beta": beta,
        "lowercase": lowercase,
        "whitespace": whitespace,
        "eps_smoothing": eps,
    }
    texts, references = [text for text, _ in pairs], [targets for _, targets in pairs]
    expected = CHRF(**options).corpus_score(texts, columns(references)).score
    assert corpus(Chrf(ChrfOptions(**options)), texts, references) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows, st.booleans(), st.booleans(), st.booleans())
def test_ter_equals_sacrebleu(pairs: list[tuple[str, list[str]]], normalized: bool, no_punct: bool, case_sensitive: bool) -> None:
    options: dict[str, Any] = {"normalized": normalized, "no_punct": no_punct, "case_sensitive": case_sensitive}
    texts, references = [text for text, _ in pairs], [targets for _, targets in pairs]
    expected = TER(**options).corpus_score(texts, columns(references)).score
    assert corpus(Ter(TerOptions(**options)), texts, references) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.skipif(not WMT22.is_dir(), reason=f"the WMT22 data are not at {WMT22}")
@pytest.mark.parametrize("system", ["ALMAnaCH-Inria", "Online-B"])
def test_wmt22_equals_sacrebleu_to_every_printed_digit(system: str) -> None:
    names = (f"hyp.{system}.en", "ref.B.en", "ref.C.en")
    texts, first, second = ((WMT22 / name).read_text(encoding="utf-8").split("\n")[:60] for name in names)
    references = [list(pair) for pair in zip(first, second, strict=True)]
    pairs: list[tuple[Metric, Any]] = [
        (Bleu(), BLEU()),
        (Chrf(), CHRF()),
        (Chrf(ChrfOptions(word_order=2)), CHRF(word_order=2)),
        (Ter(), TER()),
    ]
    for metric, library in pairs:
        expected = library.corpus_score(texts, [first, second])
        assert f"{corpus(metric, texts, references):.9f}" == f"{expected.score:.9f}"
        assert metric.signature(2) == str(library.get_signature())  # type: ignore[attr-defined]


@pytest.mark.slow(seconds=50)
@pytest.mark.skipif(not WMT22.is_dir(), reason=f"the WMT22 data are not at {WMT22}")
@pytest.mark.parametrize("system", ["ALMAnaCH-Inria", "CUNI-Transformer", "JDExploreAcademy", "Online-B"])
def test_all_of_wmt22_equals_sacrebleu(system: str) -> None:
    names = (f"hyp.{system}.en", "ref.B.en", "ref.C.en")
    texts, first, second = ((WMT22 / name).read_text(encoding="utf-8").split("\n")[:-1] for name in names)
    references = [list(pair) for pair in zip(first, second, strict=True)]
    made: list[tuple[Metric, Any]] = [(Bleu(), BLEU()), (Chrf(), CHRF()), (Ter(), TER())]
    for metric, library in made:
        expected = library.corpus_score(texts, [first, second]).score
        found = corpus(metric, texts, references)
        print(f"{metric.name}: {found:.6f}, sacrebleu {expected:.6f}, {library.get_signature()}")
        assert f"{found:.9f}" == f"{expected:.9f}"
        assert metric.signature(2) == str(library.get_signature())  # type: ignore[attr-defined]


def test_the_signature_is_in_the_identity_and_full_on_request() -> None:
    assert Bleu().identity()["signature"] == f"case:mixed|eff:no|tok:13a|smooth:exp|version:{version()}"
    assert Bleu().signature(2) == f"nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:{version()}"
    assert Chrf().signature(None).startswith("nrefs:var|case:mixed|eff:yes|nc:6|nw:0")


def version() -> str:
    import sacrebleu

    return str(sacrebleu.__version__)


@pytest.mark.parametrize("metric", [Bleu(), Chrf()], ids=["bleu", "chrf"])
@pytest.mark.parametrize("answer", ["", "wrong words of this length here", "the dog bit the man", "the"])
def test_failing_never_pays(metric: Metric, answer: str) -> None:
    """Whatever the other outputs are like, a failed output costs at least as much as any answer up to the target's length."""
    for others in ("the dog bit the man and ran", "the dog bit a", "the dog bit the man", "the dog bit the man a b c d e f g h"):
        rest = np.sum([metric.score(*item(others, "the dog bit the man"))] * 5, axis=0)
        sample, reply = item(answer, "the cat bit the dog today")
        n = np.array(6.0)
        assert metric.finish(rest + metric.failed(sample), n) <= metric.finish(rest + metric.score(sample, reply), n) + 1e-9
        assert metric.finish(rest + metric.perfect(sample), n) >= metric.finish(rest + metric.score(sample, reply), n) - 1e-9


def test_a_wrong_answer_does_not_score_by_its_letters() -> None:
    """Trap: BLEU over characters gave a wrong answer 79. Words are the default, and characters must be asked for by name."""
    wrong, target = "The invoice was paid on 12 March 2021.", "The invoice was paid on 21 March 2012."
    assert corpus(Bleu(), [wrong], [[target]]) < 50
    assert corpus(Bleu(BleuOptions(tokenize="char")), [wrong], [[target]]) > 75
    assert "tok:char" in str(Bleu(BleuOptions(tokenize="char")).identity()["signature"])


def test_a_tokenizer_that_needs_a_missing_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)
    with pytest.raises(ConfigError, match=r"'ja-mecab' cannot start.*sacrebleu\[ja\]"):
        Bleu(BleuOptions(tokenize="ja-mecab"))


def test_unequal_lengths_are_refused() -> None:
    sample, reply = item("x", "x")
    with pytest.raises(ValueError, match="2 samples and 1 replies"):
        Bleu().score_many([sample, sample], [reply])


def test_an_item_without_target_is_the_users_error() -> None:
    sample, reply = item("x")
    for metric in (Bleu(), Chrf(), Ter()):
        with pytest.raises(DataError, match="target: missing"):
            metric.score(sample, reply)
