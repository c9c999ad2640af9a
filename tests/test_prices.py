"""The price book: every figure has a source and a date, unknown is never 0, the user's figures win."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from evalharness.errors import ConfigError
from evalharness.prices import Price, book, price


@pytest.fixture(autouse=True)
def no_own_book(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVALH_PRICES", raising=False)


def test_every_figure_says_where_and_when() -> None:
    entries = [(provider, model, found) for provider, models in book().items() for model, found in models.items()]
    assert entries
    for provider, model, found in entries:
        assert found.source, f"{provider}/{model}"
        assert found.date is not None
        assert found.date <= datetime.date.today()
        assert any(getattr(found, name) for name in Price.model_fields if name.startswith("usd"))


def test_lookup() -> None:
    mini = price("openai", "gpt-4o-mini")
    assert price("openai", "gpt-4o-mini-2024-07-18") == mini
    tuned = price("openai", "ft:gpt-4o-mini-2024-07-18:org:suffix:id")
    assert tuned.usd_per_million_input_tokens == 0.30
    assert price("openai", "gpt-4o-mini-and-more") == Price()
    assert price("nobody", "gpt-4o-mini") == Price()


def test_unknown_is_none() -> None:
    unknown = Price()
    assert (unknown.of_tokens(10, 10), unknown.of_training(10), unknown.of_hours(1.0)) == (None, None, None)
    assert Price(usd_per_million_input_tokens=1.0).of_tokens(10, 10) is None


def test_sums() -> None:
    known = Price(usd_per_million_input_tokens=2.0, usd_per_million_cached_tokens=0.5, usd_per_million_output_tokens=8.0)
    assert known.of_tokens(1_000_000, 500_000, cached=400_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.5 * 8)
    plain = Price(usd_per_million_input_tokens=2.0, usd_per_million_output_tokens=8.0)
    assert plain.of_tokens(1_000_000, 0, cached=400_000) == pytest.approx(2.0)
    assert Price(usd_per_million_training_tokens=25.0).of_training(2_000) == pytest.approx(0.05)
    assert Price(usd_per_hour=1.2).of_hours(0.5) == pytest.approx(0.6)


def test_own_figures_win() -> None:
    own = price("openai", "gpt-4.1", {"usd_per_million_input_tokens": 9.0})
    assert own.usd_per_million_input_tokens == 9.0
    assert own.usd_per_million_output_tokens == 8.0
    assert own.source == "your own prices"
    with pytest.raises(ConfigError, match=r"prices\.usd_per_million_input_tokens"):
        price("openai", "gpt-4.1", {"usd_per_million_input_tokens": -1.0})


def test_an_own_book_adds_and_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(
        "openai:\n  gpt-4.1: {usd_per_million_training_tokens: 25, source: our contract}\n  gpt-4o: {usd_per_million_output_tokens: 1}\n"
        "  gpt-5: {usd_per_million_input_tokens: null}\nmine:\n  m: {usd_per_hour: 1.0}\n"
    )
    before = {name: price("openai", name) for name in ("gpt-4.1", "gpt-4o")}
    monkeypatch.setenv("EVALH_PRICES", str(own))
    assert price("mine", "m").of_hours(2) == 2.0
    tuned = price("openai", "gpt-4.1-2025-04-14")
    assert (tuned.of_training(1_000_000), tuned.source, tuned.date) == (25.0, "our contract", None)
    assert tuned.of_tokens(9, 9) == before["gpt-4.1"].of_tokens(9, 9)  # figures that the file does not give stay
    assert price("openai", "gpt-4o").of_tokens(0, 1_000_000) == 1.0
    assert price("openai", "gpt-4o").of_tokens(9, 0) == before["gpt-4o"].of_tokens(9, 0)
    assert price("openai", "gpt-5").of_tokens(1, 1) is None
    assert price("openai", "gpt-4o").of_tokens(1, 1) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("openai: {a: {usd: 1}, b: {usd_per_hour: much}}", r"openai\.a\.usd: .*\n.*openai\.b\.usd_per_hour"),
        ("openai: {a: {usd_per_hour: .inf}}", r"openai\.a\.usd_per_hour: .*finite"),
        ("- 1", "is no price book"),
        ("a: 1", "is no price book"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_bad_book_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(text)
    monkeypatch.setenv("EVALH_PRICES", str(own))
    with pytest.raises(ConfigError, match=message):
        price("openai", "gpt-4.1")


def test_a_missing_book_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALH_PRICES", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        price("openai", "gpt-4.1")
