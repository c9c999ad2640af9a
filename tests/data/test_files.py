from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.data.files import Faults, Row, read_lines, read_rows
from evalharness.data.paths import FORMATS
from evalharness.errors import DataError

ROWS = [{"input": "a,\n\"b\" 'c'", "target": "d"}, {"input": "žluť\u2028x", "target": "\t"}]


def write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


def csv_text(separator: str) -> str:
    cells = [["input", "target"], *[list(row.values()) for row in ROWS]]
    return "".join(separator.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\r\n" for row in cells)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda p: p.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n"),
    "a.ndjson": lambda p: p.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()),
    "a.jsonl.gz": lambda p: p.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in ROWS).encode())),
    "a.json": lambda p: p.write_text(json.dumps(ROWS, indent=1)),
    "a.json.gz": lambda p: p.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "a.csv": lambda p: p.write_bytes(b"\xef\xbb\xbf" + csv_text(",").encode()),
    "a.csv.gz": lambda p: p.write_bytes(gzip.compress(csv_text(",").encode())),
    "a.tsv": lambda p: p.write_text(csv_text("\t"), newline=""),
    "a.parquet": write_parquet,
}


def read(path: Path) -> tuple[list[Row], Faults]:
    faults = Faults()
    return list(read_rows(path, faults)), faults


def complaint(path: Path) -> str:
    _, faults = read(path)
    with pytest.raises(DataError) as caught:
        faults.check()
    return str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    rows, faults = read(tmp_path / name)
    assert [row.values for row in rows] == ROWS
    faults.check()


def test_every_format_is_tried() -> None:
    assert {suffix for name in WRITERS for suffix in FORMATS if suffix in name.replace(".gz", "")[1:]} == set(FORMATS)


def test_a_csv_row_is_named_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('input,target\n"one\ntwo",1\n\nthree,2\n')
    assert [row.line for row in read(tmp_path / "a.csv")[0]] == [2, 5]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_header_without_commas_says_what_separates_cells(separator: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(f'a{separator}b\r\n"x, y"{separator}2\r\n'.encode("utf-8-sig"))
    rows, _ = read(tmp_path / "a.csv")
    assert [(row.values, row.line) for row in rows] == [({"a": "x, y", "b": "2"}, 2)]


def test_bad_json_lines_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": \n[1]\n{"a": NaN}\n{"a": 2}\n"x"\n')
    rows, faults = read(path)
    assert [row.values for row in rows] == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError) as caught:
        faults.check()
    assert [problem.file.rpartition(":")[2] for problem in caught.value.problems] == ["2", "3", "4", "6"]
    assert "is not JSON" in caught.value.problems[0].found
    assert "expected an object, found [1]" in caught.value.problems[1].found


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "a.jsonl:2: byte 8 of the line is not UTF-8"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "looks like UTF-16"),
        ("a.jsonl", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b'{"a": ' + b"1" * 5000 + b"}", "is not JSON"),
        ("a.jsonl", b"\x00\x01", "is not JSON"),
        ("a.json", b'{"a": 1}', "expected a list of rows"),
        ("a.json", b"[1, null]", "a.json:2: expected an object, found null"),
        ("a.json", b'["\xff"]', "is not UTF-8"),
        ("a.json", b'[{"a": 1},\n {"a": ]', "at line 2"),
        ("a.csv", b"", "no header line"),
        ("a.csv", b"a,a\n1,2\n", "two columns are called 'a'"),
        ("a.csv", b"a,b\n1,2,3\n", "a.csv:2: has 3 cells, the header has 2"),
        ("a.csv", b'a,b\n1,"2\n3,4\n', "a.csv:2: is not CSV"),
        ("a.csv", b"a,b\n1,\xe9\n", "a.csv:2: byte 3 of the line is not UTF-8"),
        ("a.csv.gz", b"a,b\n1,2\n", "gzip"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20], "gzip"),
        ("a.parquet", b"PAR1 no", "not a Parquet file"),
    ],
)
def test_damaged_files_are_faults(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in complaint(tmp_path / name)


def test_a_file_that_vanished_is_a_fault(tmp_path: Path) -> None:
    assert "cannot be read" in complaint(tmp_path / "gone.jsonl")


def test_cells_longer_than_the_csv_modules_default(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" + "x" * 200_000 + ",1\n")
    assert len(read(tmp_path / "a.csv")[0][0].values["a"]) == 200_000


def test_equal_faults_are_told_once_with_their_count() -> None:
    faults = Faults()
    for line in range(2, 1002):
        faults.add("a.csv", line, "there is no 'input'")
    with pytest.raises(DataError, match=r"^a\.csv:2: there is no 'input' \(and 999 more rows\)$"):
        faults.check()


def test_at_most_twenty_messages() -> None:
    faults = Faults()
    for line in range(25):
        faults.add("a.csv", line + 1, f"fault {line}")
    with pytest.raises(DataError) as caught:
        faults.check()
    assert len(caught.value.problems) == 21
    assert str(caught.value.problems[-1]) == "... and 5 more"


def test_line_aligned_text(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a\u2028b\nc\n")
    (tmp_path / "r1").write_bytes(b"1\r\n2\r\n")
    (tmp_path / "r2.gz").write_bytes(gzip.compress(b"x\ny"))
    rows = list(read_lines({"input": (tmp_path / "s",), "target": (tmp_path / "r1", tmp_path / "r2.gz")}, Faults()))
    assert [row.values for row in rows] == [{"input": "a\u2028b", "target": ["1", "x"]}, {"input": "c", "target": ["2", "y"]}]
    assert [row.line for row in rows] == [1, 2]


@pytest.mark.parametrize(("target", "says"), [(b"1\n", "r: has 1 lines"), (b"1\n\xff\n", "r:2: byte 1 of the line is not UTF-8")])
def test_line_aligned_text_that_is_not(target: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a\nb\n")
    (tmp_path / "r").write_bytes(target)
    faults = Faults()
    assert list(read_lines({"input": (tmp_path / "s",), "target": (tmp_path / "r",)}, faults)) == []
    with pytest.raises(DataError) as caught:
        faults.check()
    assert says in str(caught.value)
    assert len(caught.value.problems) == 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(content=st.binary(max_size=300), name=st.sampled_from([*WRITERS]))
def test_random_bytes_are_rows_or_faults(content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(content)
    rows, faults = read(path)
    assert all(isinstance(row.values, dict) for row in rows)
    assert rows or faults or not content.strip() or name.startswith(("a.csv", "a.tsv")) or content.strip() == b"[]"
