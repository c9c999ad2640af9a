from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalharness.doctor.examine import check_allow, examine, only, read
from evalharness.doctor.findings import BrokenRow, Case, Finding, SeenRow
from evalharness.doctor.inputs import Inputs
from evalharness.doctor.rules import IDS, RULES
from evalharness.errors import ConfigError
from tests.doctor.workspace import by_rule, look, pairs, suite


class Sees:
    """A rule that notes what it sees and says one thing of each severity."""

    ids: tuple[str, ...] = ("test.note", "test.warning", "test.error")
    cheap = False

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []
        self.lost: list[BrokenRow] = []

    def see(self, row: SeenRow) -> None:
        self.seen.append((row.number, row.side))

    def broken(self, row: BrokenRow) -> None:
        self.lost.append(row)

    def findings(self, case: Case) -> Iterator[Finding]:
        again = [(row.number, row.side) for row in case.read(number for number, _ in self.seen)]
        assert again == self.seen
        lost = [(each.number, each.side, Path(each.source).name, each.rule) for each in self.lost]
        for rule in self.ids:
            yield Finding(rule, rule.removeprefix("test."), 1, f"{self.seen} {lost}", "")  # type: ignore[arg-type]


FILES = {"train.jsonl": '{"input": "a", "target": "b"}\nno\n{"input": "c", "target": "d"}\n', "test.jsonl": pairs(("e", "f"))}


def test_every_rule_sees_every_row_in_order_and_the_worst_is_said_first(tmp_path: Path) -> None:
    seen = examine(suite(tmp_path, FILES), [Sees])
    assert [each.rule for each in seen.findings] == ["test.error", "test.warning", "test.note"]
    said = "[(0, 'train'), (2, 'train'), (3, 'test')] [(1, 'train', 'train.jsonl:2', 'format.unreadable')]"
    assert seen.findings[0].found == said
    assert (seen.count("error"), seen.count("note"), seen.refuses, dict(seen.broken)) == (1, 1, True, {"train": 1})


def test_only_cheap_rules(tmp_path: Path) -> None:
    assert not examine(suite(tmp_path, FILES), [Sees], cheap=True).findings


def test_logs_are_rows_without_targets(tmp_path: Path) -> None:
    loaded, logs = suite(tmp_path, FILES), tmp_path / "logs.jsonl"
    logs.write_text(json.dumps({"input": "a"}) + "\n" + json.dumps({"input": ""}) + "\n")
    seen = look(loaded, Sees, logs=[logs])
    assert "(4, 'logs')" in seen.findings[0].found
    assert (seen.rows["logs"], seen.broken["logs"]) == (1, 1)
    assert not by_rule(look(loaded, Inputs, logs=[logs]))  # an input of production that is in train is no leak
    with pytest.raises(ConfigError, match="there is no such file"):
        look(loaded, Sees, logs=[tmp_path / "none.jsonl"])


def test_rows_are_read_again_by_number(tmp_path: Path) -> None:
    loaded = suite(tmp_path, FILES)
    assert [(row.number, row.sample.input) for row in read(loaded, [3, 0, 1])] == [(0, "a"), (3, "e")]
    assert list(read(loaded, [])) == []


def test_what_the_suite_allows_is_no_error_any_more(tmp_path: Path) -> None:
    files = {"train.jsonl": pairs(("a", "x"), ("b", "x")), "test.jsonl": pairs(("a", "x"), ("q", "x"))}
    seen = look(suite(tmp_path, files, data="allow: {leak.exact: the classic split}"), Inputs)
    (found,) = seen.findings
    assert (found.severity, found.allowed, found.refuses, seen.refuses) == ("error", "the classic split", False, False)
    assert seen.count("error") == 0


@pytest.mark.parametrize(("name", "hint"), [("leak.exakt", "Did you mean 'leak.exact'?"), ("xyz", "Known: ")])
def test_a_rule_that_is_none_cannot_be_allowed(tmp_path: Path, name: str, hint: str) -> None:
    loaded = suite(tmp_path, FILES, data=f"allow: {{{name}: because}}")
    with pytest.raises(ConfigError) as caught:
        examine(loaded)
    assert (caught.value.problems[0].key, caught.value.exit_code) == (f"data.allow.{name}", 2)
    assert hint in caught.value.problems[0].fix
    with pytest.raises(ConfigError):
        check_allow(loaded)


def test_allowing_needs_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no reason"):
        suite(tmp_path, FILES, data="allow: {leak.exact: ' '}")


def test_one_candidate_only(tmp_path: Path) -> None:
    arms = "baselines: {a: {outputs: suite.yaml}}\ncandidates: {b: {outputs: suite.yaml}, c: {outputs: suite.yaml}}\n"
    loaded = suite(tmp_path, FILES, more=arms)
    assert list(only(loaded, ["c"]).suite.arms) == ["a", "c"]
    assert list(only(loaded, ["c"]).outputs) == ["a", "c"]
    assert only(loaded, []) is loaded
    with pytest.raises(ConfigError, match="'d' is no candidate"):
        only(loaded, ["d"])


def test_a_divided_file_is_looked_at_side_by_side(tmp_path: Path) -> None:
    rows = pairs(*((f"question {k}", "x") for k in range(300)), *((f"Question {k}!", "x") for k in range(300)))
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = look(suite(tmp_path, {}, data="file: all.jsonl, split: {test: 0.3, dev: 0.1}"), Inputs)
    assert sum(seen.rows.values()) == 600
    assert set(seen.rows) == {"train", "dev", "test"}
    found = by_rule(seen)
    assert not [rule for rule in found if rule.startswith("leak.")]  # equal inputs stay on one side
    assert sum(each.count for each in found["duplicate.normalised"]) == 300


def test_rule_ids_are_unique_and_named_by_their_kind() -> None:
    assert len(set(IDS)) == len(IDS)
    assert all(rule_id.count(".") == 1 for rule_id in IDS)
    assert Inputs in RULES


def test_every_rule_is_in_the_documents_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    table = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert sorted(table.replace("`", "").replace(",", " ").split()) == sorted(IDS)
