from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from evalharness.data import Splits, load, template_fields
from evalharness.data.leaks import input_key
from evalharness.errors import ConfigError, DataError
from evalharness.spec import DataSpec

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the project")


def write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(*inputs: str, target: str = "x") -> list[dict[str, str]]:
    return [{"input": text, "target": target} for text in inputs]


def read(folder: Path, **parts: Any) -> Splits:
    return load(DataSpec.model_validate(parts), folder, "demo")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train.jsonl", rows("a", "b", "c"))
    write(tmp_path / "dev.jsonl", rows("d"))
    write(tmp_path / "test.jsonl", rows("e", "f"))
    return tmp_path


def test_files_make_splits(folder: Path) -> None:
    splits = read(folder, train="train.jsonl", dev="dev.jsonl", test="test.jsonl")
    assert [(s.name, s.split, len(s)) for s in (splits.train, splits.dev, splits.test)] == [
        ("demo", "train", 3),
        ("demo", "dev", 1),
        ("demo", "test", 2),
    ]
    assert splits.test.source.endswith("test.jsonl")
    assert splits.test.samples[1].source.endswith("test.jsonl:2")
    assert (splits.notes, splits.dropped) == ((), ())


def test_several_files_follow_one_another(folder: Path) -> None:
    assert [s.input for s in read(folder, test=["test.jsonl", "dev.jsonl"]).test.samples] == ["e", "f", "d"]


def test_the_root_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"root": "${EVALH_SOME_DATA:-nowhere}", "test": "test.jsonl"}
    with pytest.raises(ConfigError, match="there is no file"):
        read(folder, **spec)
    monkeypatch.setenv("EVALH_SOME_DATA", str(folder))
    assert len(read(Path("/"), **spec).test) == 2


def test_a_variable_that_is_not_set(folder: Path) -> None:
    with pytest.raises(ConfigError, match="test: the environment variable EVALH_UNSET is not set"):
        read(folder, test="${EVALH_UNSET}/test.jsonl")


def test_every_missing_file_is_told_with_the_nearest(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "a.xlsx").touch()
    with pytest.raises(ConfigError) as caught:
        read(folder, train=["trian.jsonl", "train.jsonl", "sub"], dev="none/dev.jsonl", test="a.xlsx")
    told = {problem.key: (problem.found, problem.fix) for problem in caught.value.problems}
    assert told["train[0]"][1] == "Did you mean 'train.jsonl'?"
    assert told["train[2]"][0].endswith("is a folder")
    assert told["dev"][1].startswith("There is no folder")
    assert told["test"][0] == "'a.xlsx' has no known format"


def test_exact_repeats_are_different_samples(folder: Path) -> None:
    write(folder / "test.jsonl", rows("e", "f", "e", "e"))
    ids = [sample.id for sample in read(folder, test="test.jsonl").test.samples]
    assert len(set(ids)) == 4
    assert ids[:2] == [sample.id for sample in read(folder, test=["test.jsonl"]).test.samples][:2]


@pytest.mark.parametrize("side", ["train", "dev", "test"])
def test_no_rows(side: str, folder: Path) -> None:
    (folder / f"{side}.jsonl").write_text("\n")
    with pytest.raises(DataError, match=rf"{side}\.jsonl: data\.{side}: no rows"):
        read(folder, train="train.jsonl", dev="dev.jsonl", test="test.jsonl")


def test_faults_of_all_files_are_told_together(folder: Path) -> None:
    (folder / "train.jsonl").write_text('{"input": 1}\n')
    (folder / "test.jsonl").write_text("no\n")
    with pytest.raises(DataError) as caught:
        read(folder, train="train.jsonl", test="test.jsonl")
    assert [problem.file.rpartition("/")[2] for problem in caught.value.problems] == ["train.jsonl:1", "test.jsonl:1"]


def test_a_leak_is_an_error_that_names_both_lines(folder: Path) -> None:
    write(folder / "test.jsonl", rows("e", " A?"))
    with pytest.raises(DataError) as caught:
        read(folder, train="train.jsonl", dev="dev.jsonl", test="test.jsonl")
    first, second = caught.value.problems
    assert (first.key, first.found) == ("data.leaks", "1 of the train rows have the input of a test row (1 different inputs)")
    assert [part.rpartition("/")[2] for part in second.file.split(" <-> ")] == ["train.jsonl:1", "test.jsonl:2"]


def test_each_pair_of_sides_is_compared(folder: Path) -> None:
    write(folder / "dev.jsonl", rows("a", "e"))
    with pytest.raises(DataError) as caught:
        read(folder, train="train.jsonl", dev="dev.jsonl", test="test.jsonl")
    assert [p.found.split(" (")[0] for p in caught.value.problems if p.key] == [
        "1 of the dev rows have the input of a test row",
        "1 of the train rows have the input of a dev row",
    ]


def test_drop_train_leaves_the_rows_out_and_says_so(folder: Path) -> None:
    write(folder / "test.jsonl", rows("e", " A?"))
    splits = read(folder, train="train.jsonl", test="test.jsonl", leaks="drop_train")
    assert [sample.input for sample in splits.train.samples] == ["b", "c"]
    assert splits.notes == ("1 train rows have the input of a test row: left out of train",)
    assert [source.rpartition("/")[2] for source in splits.dropped] == ["train.jsonl:1"]


def test_allowed_leaks_are_noted(folder: Path) -> None:
    write(folder / "test.jsonl", rows("a"))
    splits = read(folder, train="train.jsonl", test="test.jsonl", leaks="allow")
    assert (len(splits.train), splits.notes) == (3, ("1 train rows have the input of a test row: allowed by the suite",))


def test_leaks_are_allowed_rule_by_rule(folder: Path) -> None:
    write(folder / "test.jsonl", rows("a", "B!"))
    files: dict[str, Any] = {"train": "train.jsonl", "test": "test.jsonl"}
    both = {"leak.exact": "known", "leak.normalised": "known"}
    splits = read(folder, **files, allow=both)
    assert (len(splits.train), len(splits.leaked)) == (3, 2)
    assert splits.notes == ("2 train rows have the input of a test row: allowed by the suite",)
    for rule in both:
        with pytest.raises(DataError, match="1 of the train rows have"):
            read(folder, **files, allow={rule: "known"})


def test_limits_are_noted_and_come_after_the_leak_rule(folder: Path) -> None:
    write(folder / "test.jsonl", rows("e", "f", "a"))
    with pytest.raises(DataError):
        read(folder, train="train.jsonl", test="test.jsonl", limit={"test": 1})
    splits = read(folder, train="train.jsonl", test="test.jsonl", leaks="allow", limit={"test": 1})
    assert (len(splits.train), len(splits.test)) == (3, 1)
    assert splits.notes[-1] == "1 of 3 test rows are used (data.limit)"


def test_a_split_is_stable_under_order_and_growth(tmp_path: Path) -> None:
    content = [{"input": f"question {k}", "target": "x", "user": str(k % 40)} for k in range(200)]
    parts: dict[str, Any] = {"file": "all.jsonl", "split": {"test": 0.3, "dev": 0.2, "seed": 7}}

    def sides(which: list[dict[str, str]], **split: Any) -> dict[str, str]:
        write(tmp_path / "all.jsonl", which)
        splits = read(tmp_path, **parts | {"split": parts["split"] | split})
        return {sample.input: each.split for each in (splits.train, splits.dev, splits.test) for sample in each.samples}

    first = sides(content)
    assert len(set(first.values())) == 3
    shuffled = content[50:]
    random.Random(0).shuffle(shuffled)
    assert sides(shuffled).items() <= first.items()
    by_user = sides(content, by="user")
    assert all(len({by_user[row["input"]] for row in content if row["user"] == user}) == 1 for user in map(str, range(40)))


def test_a_split_by_a_missing_field(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", rows("a", "b"))
    with pytest.raises(DataError, match="there is no 'user'"):
        read(tmp_path, file="all.jsonl", split={"test": 0.5, "by": "user"})


def test_a_split_that_leaves_no_test_rows(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", rows("a"))
    with pytest.raises(DataError, match=r"data\.test: no rows\. Add rows, or raise split\.test"):
        read(tmp_path, file="all.jsonl", split={"test": 1e-9})


def test_template_fields_come_from_the_first_rows(folder: Path) -> None:
    write(folder / "test.jsonl", [{"input": "a", "target": "b", "lang": "de"}, {"input": "c", "target": "d", "tone": "x"}])
    assert template_fields(DataSpec.model_validate({"test": "test.jsonl"}), folder) == {"input", "lang", "tone"}


@needs_shared
def test_banking77_has_28_leaked_rows() -> None:
    parts: dict[str, Any] = {"train": "train.csv", "test": "test.csv", "fields": {"input": "text", "target": "category"}}
    with pytest.raises(DataError) as caught:
        read(SHARED / "banking77", **parts)
    assert caught.value.problems[0].found == "28 of the train rows have the input of a test row (28 different inputs)"
    assert [part.rpartition("/")[2] for part in caught.value.problems[1].file.split(" <-> ")] == ["train.csv:1165", "test.csv:334"]
    splits = read(SHARED / "banking77", **parts, leaks="drop_train")
    assert (len(splits.train), len(splits.test), len(splits.dropped)) == (9975, 3080, 28)
    assert not {input_key(s) for s in splits.train.samples} & {input_key(s) for s in splits.test.samples}
    assert len({sample.targets for sample in splits.test.samples}) == 77


@needs_shared
def test_wmt22_has_two_references_a_segment() -> None:
    splits = read(SHARED / "wmt22-cs-en", test={"lines": {"input": "src.cs", "target": ["ref.B.en", "ref.C.en"]}})
    assert len(splits.test) == 1448
    assert {len(sample.targets) for sample in splits.test.samples} == {2}
    assert splits.test.samples[1].targets == ("Pavel Francouz has been called up to the NHL", "Pavel Francouz has been recalled by NHL.")
