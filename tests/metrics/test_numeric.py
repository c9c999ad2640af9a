from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evalharness.errors import DataError
from evalharness.metrics.numeric import Numeric, NumericOptions, numbers
from evalharness.protocols import Metric
from evalharness.records import Reply, Sample
from tests.metrics.contract import MetricContract, item


class TestNumeric(MetricContract):
    target = "42"

    def make(self) -> Metric:
        return Numeric()

    def pairs(self) -> list[tuple[Sample, Reply]]:
        return [item(text, "42", "-1") for text in ("42", "so 42.0", "43", "-1", "1", "none", "")]


class TestNumericWithEveryOption(TestNumeric):
    def make(self) -> Metric:
        return Numeric(NumericOptions(relative=0.1, absolute=0.5, which="only", decimal=",", percent="ignore", units={"km": 1000}))


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("42", {}, [42]),
        ("1,234.5", {}, [1234.5]),
        ("1.234,5", {"decimal": ","}, [1234.5]),
        ("1.234,5", {}, [1.234, 5]),
        ("12,345,678", {}, [12345678]),
        ("1,23", {}, [1, 23]),
        ("1'234'567.25", {}, [1234567.25]),
        ("1\u202f234\u00a0567", {}, [1234567]),
        ("1_000_000", {}, [1000000]),
        ("in 2020 100 people", {}, [2020, 100]),
        (".5 and 0.5", {}, [0.5, 0.5]),
        ("-3 and −4 and +5", {}, [-3, -4, 5]),
        ("10-20", {}, [10, 20]),
        ("GPT-4 scored 86.4%", {}, [4, 0.864]),
        ("86.4 %", {"percent": "ignore"}, [86.4]),
        ("12 percent, 3‰", {}, [0.12, 0.003]),
        ("1e-3 2E6 3.5e+2", {}, [0.001, 2e6, 350]),
        ("6.02×10^23", {}, [6.02e23]),
        ("6.02 · 10²³, 2*10**-3, 1 x 10⁻³", {}, [6.02e23, 0.002, 0.001]),
        ("$1,299.99 or -€5", {}, [1299.99, -5]),
        ("3 km 20 m", {"units": {"km": 1000, "m": 1}}, [3000, 20]),
        ("3 kmh 20 mm", {"units": {"km": 1000, "m": 10}}, [3, 20]),
        ("5m", {"units": {"m": 60, "min": 1}}, [300]),
        ("5min", {"units": {"m": 60, "min": 1}}, [5]),
        ("20 °C", {"units": {"°C": 1}}, [20]),
        ("1e999", {}, []),
        ("none", {}, []),
        ("The answer is 7.", {}, [7]),
        ("3, 4, and 5", {}, [3, 4, 5]),
    ],
)
def test_every_number_in_a_text(text: str, options: dict[str, object], expected: list[float]) -> None:
    assert numbers(text, NumericOptions.model_validate(options)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "targets", "options", "expected"),
    [
        ("2+2 is 4", ["4"], {}, True),
        ("4, not 5", ["4"], {}, False),
        ("4, not 5", ["4"], {"which": "first"}, True),
        ("4, not 5", ["4"], {"which": "only"}, False),
        ("4, yes 4.0", ["4"], {"which": "only"}, True),
        ("12%", ["0.12"], {}, True),
        ("12", ["12%"], {}, False),
        ("101", ["100"], {"relative": 0.01}, True),
        ("101.1", ["100"], {"relative": 0.01}, False),
        ("-101", ["-100"], {"relative": 0.01}, True),
        ("0.4", ["0"], {"relative": 0.9}, False),
        ("0.4", ["0"], {"absolute": 0.5}, True),
        ("7", ["no number here", "7"], {}, True),
        ("", ["7"], {}, False),
        ("-7", ["7"], {}, False),
        ("0.1 + 0.2 = 0.30000000000000004", ["0.3"], {}, True),
    ],
)
def test_right_and_wrong(text: str, targets: list[str], options: dict[str, object], expected: bool) -> None:
    metric = Numeric(NumericOptions.model_validate(options))
    assert metric.score(*item(text, *targets)) == (float(expected),)


def test_it_says_which_number_it_read() -> None:
    assert Numeric().why(*item("it is 1,200", "7")) == "read as 1200"
    assert Numeric().why(*item("none", "7")) == "no number"


@pytest.mark.parametrize(("target", "decimal"), [("3.5", ","), ("-1234.5", ","), ("3,5", "."), (" 1234,56 ", ".")])
def test_a_target_with_the_other_decimal_mark_is_told_and_not_taken_for_two_numbers(target: str, decimal: str) -> None:
    with pytest.raises(DataError, match=f"would be two numbers. The decimal mark is '{decimal}' here"):
        Numeric(NumericOptions.model_validate({"decimal": decimal})).score(*item("5", target))


def test_a_target_without_a_number_and_a_bad_unit_are_told() -> None:
    with pytest.raises(DataError, match="holds no number"):
        Numeric().score(*item("7", "seven"))
    with pytest.raises(ValidationError, match="needs a name and a factor"):
        NumericOptions(units={"km": 0.0})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(-1e12, 1e12, allow_subnormal=False), st.sampled_from(["{:.6f}", "{:,.3f}", "{:.4e}", "{:+.2f}", "{:g}"]))
def test_what_python_writes_is_read_back(value: float, form: str) -> None:
    text = form.format(value)
    expected = float(text.replace(",", ""))
    assert numbers(f"so {text} then", NumericOptions()) == [expected]
    german = text.translate(str.maketrans(",.", ".,"))
    assert numbers(f"so {german}, dann", NumericOptions(decimal=",")) == [expected]
