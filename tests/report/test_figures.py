"""How a report's numbers are written."""

from __future__ import annotations

import pytest

from evalharness.report import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0.0123, "12 ms"),
        (0.0995, "0.1 s"),
        (0.182, "0.18 s"),
        (12.3, "12 s"),
        (75.0, "1 min 15 s"),
        (3700.0, "1 h 01 min"),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert figures.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "unknown"), (0.0, "$0.00"), (0.00123, "$0.0012"), (0.4, "$0.40"), (1234.5, "$1,234.50")]
)
def test_dollars(value: float | None, text: str) -> None:
    assert figures.dollars(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "unknown"), (9999, "9,999"), (48_120, "48.1k"), (3_200_000, "3.2M"), (7_000_000_000, "7B")]
)
def test_short_count(value: int | None, text: str) -> None:
    assert figures.short_count(value) == text
