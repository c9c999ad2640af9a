from __future__ import annotations

from pathlib import Path

import pytest

from evalharness.doctor.contained import Contained, stands_in
from tests.doctor.workspace import lines, look, pairs, suite


@pytest.mark.parametrize(
    ("answer", "question", "inside"),
    [
        ("Paris, France", "Is it PARIS — France?", True),
        ("card", "a card", True),
        ("card", "cardboard", False),
        ("no", "yes or no", False),
        ("", "a", False),
    ],
)
def test_whole_answers_only(answer: str, question: str, inside: bool) -> None:
    assert stands_in(answer, question) is inside


def test_rows_that_give_their_answer_away(tmp_path: Path) -> None:
    test = pairs(("The answer is Paris. Which city?", "Paris"), *((f"Which city is number {k}?", "London") for k in range(9)))
    (found,) = look(suite(tmp_path, {"test.jsonl": test}), Contained).findings
    assert (found.severity, found.count, lines(found)) == ("note", 1, ["test.jsonl:1"])
    assert "(10%)" in found.found
    many = pairs(("Paris Paris", "Paris"), *((f"Which city is number {k}?", "London") for k in range(200)))
    assert not look(suite(tmp_path, {"test.jsonl": many}), Contained).findings
