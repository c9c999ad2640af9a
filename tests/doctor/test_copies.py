from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from evalharness.data.files import Faults
from evalharness.data.tables import saved_dataset
from evalharness.doctor.copies import LOG, changes, fixed, redacted
from evalharness.doctor.examine import examine
from evalharness.doctor.format import Format
from evalharness.doctor.inputs import Inputs
from evalharness.errors import ConfigError
from evalharness.reading import LoadedSuite
from tests.data.test_tables import save
from tests.doctor.workspace import pairs, suite

TEST = pairs(("held out", "x"), ("another", "y"))
SAID = pairs(("one", "a"), ("one", "a"), ("cafÃ©", "b"))
FEATURES = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}


def fix(loaded: LoadedSuite, out: Path) -> list[tuple[str, int, str, list[str]]]:
    made = fixed(loaded, examine(loaded, [Format, Inputs]), out)
    log = [(Path(each["file"]).name, each["line"], each["action"], each["rules"]) for each in changes(out)]
    assert (made.removed, made.changed) == tuple(sum(action == each for _, _, action, _ in log) for each in ("removed", "changed"))
    assert made.files[-1] == out / LOG
    assert all(path.is_file() for path in made.files)
    return log


def test_json_lines_are_copied_byte_for_byte_but_for_what_is_wrong(tmp_path: Path) -> None:
    train = '{"target":"a",  "input":"one"}\r\n\n{"input": "one", "target": "a"}\nnot json\n'
    train += '{"input": "cafÃ©", "target": "b", "n": 1.50}\n{"input": "HELD OUT", "target": "x"}'
    loaded = suite(tmp_path, {"train.jsonl": train, "test.jsonl": TEST})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    log = fix(loaded, tmp_path / "out")
    assert (tmp_path / "out" / "train.jsonl").read_bytes().decode() == (
        '{"target":"a",  "input":"one"}\r\n\n{"input": "café", "target": "b", "n": 1.5}\n'
    )
    assert (tmp_path / "out" / "test.jsonl").read_bytes() == before[tmp_path / "test.jsonl"]
    assert log == [
        ("train.jsonl", 3, "removed", ["duplicate.exact"]),
        ("train.jsonl", 4, "removed", ["format.unreadable"]),
        ("train.jsonl", 5, "changed", ["format.encoding"]),
        ("train.jsonl", 6, "removed", ["leak.normalised"]),
    ]
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_csv_keeps_its_header_quotes_and_lines_inside_cells(tmp_path: Path) -> None:
    train = 'input,target\n"two\nlines",a\n"two\nlines",a\nthree,cells,here\n"cafÃ©, ""bar""",b\nlast,c'
    loaded = suite(tmp_path, {"train.csv": train, "test.jsonl": TEST})
    log = fix(loaded, tmp_path / "out")
    assert (tmp_path / "out" / "train.csv").read_text() == 'input,target\n"two\nlines",a\n"café, ""bar""",b\nlast,c\n'
    assert [(line, action) for _, line, action, _ in log] == [(4, "removed"), (6, "removed"), (7, "changed")]


def test_csv_with_semicolons_keeps_them_and_its_line_ends(tmp_path: Path) -> None:
    train = b"input;target\r\none;a\r\nb\xe9;c\r\n" + "cafÃ©; x".join('""').encode() + b";b\r\nlast;c\r\n"
    loaded = suite(tmp_path, {"train.csv": "", "test.jsonl": TEST})
    (tmp_path / "train.csv").write_bytes(train)
    assert [each[1:3] for each in fix(loaded, tmp_path / "out")] == [(3, "removed"), (4, "changed")]
    assert (tmp_path / "out" / "train.csv").read_bytes().decode() == 'input;target\r\none;a\r\n"café; x";b\r\nlast;c\r\n'


def test_a_column_of_numbers_holds_no_placeholder(tmp_path: Path) -> None:
    train = [{**row, "card": card} for row, card in zip(pairs(("a", "b"), ("c", "d")), (4111111111111111, 7), strict=True)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(train), tmp_path / "train.parquet")
    loaded = suite(tmp_path, {"test.jsonl": TEST}, data="train: train.parquet")
    assert redacted(loaded, tmp_path / "out").changed == 1
    assert pyarrow.parquet.read_table(tmp_path / "out" / "train.parquet").to_pylist() == [{**train[0], "card": None}, train[1]]


def test_every_format_comes_back_in_its_own(tmp_path: Path) -> None:
    rows = pairs(("one", "a"), ("one", "a"), ("cafÃ©", "b"))
    clean = [("one", "a"), ("café", "b")]
    (tmp_path / "all.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    (tmp_path / "all.json").write_text(json.dumps(rows))
    (tmp_path / "all.tsv").write_text("input\ttarget\n" + "".join(f"{row['input']}\t{row['target']}\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "all.parquet")
    for name in ("all.jsonl.gz", "all.json", "all.tsv", "all.parquet"):
        out = tmp_path / f"out-{name}"
        loaded = suite(tmp_path, {"test.jsonl": TEST}, data=f"train: {name}")
        assert len(fix(loaded, out)) == 2
        copied = examine(suite(tmp_path, {"test.jsonl": TEST}, data=f"train: {out.name}/{name}"), [Format, Inputs])
        assert (copied.findings, copied.rows["train"]) == ((), 2), name
    assert json.loads((tmp_path / "out-all.json" / "all.json").read_text()) == pairs(*clean)
    table = pyarrow.parquet.read_table(tmp_path / "out-all.parquet" / "all.parquet")
    assert table.to_pylist() == pairs(*clean)
    assert gzip.decompress((tmp_path / "out-all.jsonl.gz" / "all.jsonl.gz").read_bytes()).decode().splitlines() == [
        json.dumps(row, ensure_ascii=False) for row in pairs(*clean)
    ]


def test_lines_of_aligned_files_go_together(tmp_path: Path) -> None:
    (tmp_path / "src.de").write_text("eins\nzwei\neins\n")
    (tmp_path / "ref.en").write_text("one\ntwo\none\n")
    loaded = suite(tmp_path, {}, data="test: {lines: {input: src.de, target: ref.en}}")
    assert [line for _, line, _, _ in fix(loaded, tmp_path / "out")] == [3]
    assert (tmp_path / "out" / "src.de").read_text() == "eins\nzwei\n"
    assert (tmp_path / "out" / "ref.en").read_text() == "one\ntwo\n"


def test_what_the_suite_allows_stays(tmp_path: Path) -> None:
    train = pairs(("one", "a"), ("one", "a"), ("cafÃ©", "b"))
    allow = "allow: {duplicate.exact: meant, format.encoding: meant}"
    assert fix(suite(tmp_path, {"train.jsonl": train, "test.jsonl": TEST}, data=allow), tmp_path / "out") == []
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == (tmp_path / "train.jsonl").read_bytes()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    loaded = suite(tmp_path, {"train.jsonl": TEST, "test.jsonl": TEST})
    with pytest.raises(ConfigError, match="is there already"):
        fix(loaded, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is there already"):
        fix(loaded, tmp_path / "file")
    with pytest.raises(ConfigError, match="is named twice"):
        fix(suite(tmp_path, {"test.jsonl": TEST}, data="train: test.jsonl"), tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be written"):
        fix(loaded, tmp_path / "file" / "below")


def test_redacted_copies_hold_placeholders(tmp_path: Path) -> None:
    train = [{"input": "Write to ada@mail.com", "target": "ok", "more": {"from": ["bob@mail.com", 4111111111111111]}}, *pairs(("a", "b"))]
    loaded = suite(tmp_path, {"train.jsonl": train, "test.jsonl": TEST})
    made = redacted(loaded, tmp_path / "out")
    assert (made.removed, made.changed) == (0, 1)
    text = (tmp_path / "out" / "train.jsonl").read_text()
    assert json.loads(text.splitlines()[0]) == {"input": "Write to <EMAIL>", "target": "ok", "more": {"from": ["<EMAIL>", "<CARD>"]}}
    log = (tmp_path / "out" / LOG).read_text()
    assert "mail.com" not in log
    assert json.loads(log)["times"] == 3


def test_rows_nested_too_deeply_to_be_cleaned_are_left_out(tmp_path: Path) -> None:
    deep: object = "ada@mail.com"
    for _ in range(150):
        deep = [deep]
    loaded = suite(tmp_path, {"train.jsonl": [{"input": "a", "target": "b", "more": deep}, *pairs(("c", "d"))], "test.jsonl": TEST})
    assert redacted(loaded, tmp_path / "out").removed == 1
    assert (tmp_path / "out" / "train.jsonl").read_text().count("\n") == 1


def test_a_damaged_archive_gives_what_could_be_read(tmp_path: Path) -> None:
    whole = gzip.compress(
        "".join(json.dumps(row) + "\n" for row in pairs(*((f"row {k} {hash(k * k)}", "x") for k in range(5000)))).encode()
    )
    loaded = suite(tmp_path, {"test.jsonl": TEST, "broken.jsonl.gz": whole[: len(whole) // 2]}, data="train: broken.jsonl.gz")
    log = fix(loaded, tmp_path / "out")
    assert log[-1][:3] == ("broken.jsonl.gz", 0, "removed")
    copied = gzip.decompress((tmp_path / "out" / "broken.jsonl.gz").read_bytes()).decode().splitlines()
    assert len(copied) > 1000
    assert all(json.loads(line)["target"] == "x" for line in copied)


def test_a_line_of_many_pieces_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalharness.doctor.writers._PIECE", 7)
    long = '{"input": "a rather long question", "target": "x"}\n'
    train = long + long + '{"input": "b", "target": "y"}'
    loaded = suite(tmp_path, {"train.jsonl": train, "test.jsonl": TEST})
    assert len(fix(loaded, tmp_path / "out")) == 1
    first, _, last = train.splitlines()
    assert (tmp_path / "out" / "train.jsonl").read_text() == f"{first}\n{last}\n"


def test_talks_and_saved_data_sets(tmp_path: Path) -> None:
    talk = {"conversations": [{"from": "human", "value": "Write to ada@mail.com"}, {"from": "gpt", "value": "done"}]}
    save(
        tmp_path / "saved", [{**row, "label": k % 2, "card": 4111111111111111 * (k == 1)} for k, row in enumerate(SAID)], features=FEATURES
    )
    loaded = suite(tmp_path, {"test.jsonl": [talk]}, data="train: saved")
    assert redacted(loaded, tmp_path / "masked").changed == 2
    turns = json.loads((tmp_path / "masked" / "test.jsonl").read_text())["conversations"]
    assert [turn["value"] for turn in turns] == ["Write to <EMAIL>", "done"]
    assert [line for _, line, _, _ in fix(loaded, tmp_path / "out")] == [2, 3]
    faults = Faults()
    kept = [row.values for row in saved_dataset(tmp_path / "out" / "saved", "", faults)]
    assert [(row["input"], row["label"]) for row in kept] == [("one", "no"), ("café", "no")]
    masked = [row.values for row in saved_dataset(tmp_path / "masked" / "saved", "", faults)]
    assert [(row["label"], row["card"]) for row in masked] == [("no", 0), ("yes", None), ("no", 0)]
    assert not faults
