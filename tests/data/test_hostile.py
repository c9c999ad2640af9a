"""Files that nobody meant well: whatever the bytes, reading ends with rows and with faults that name file and line."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.data import load
from evalharness.data.files import Faults, read_rows
from evalharness.data.stream import Fault, stream
from evalharness.data.texts import DEEPEST, MOST_BYTES
from evalharness.errors import DataError
from evalharness.spec import DataSpec

GOOD = b'{"input": "q%d", "target": "a"}\n'


def faults_of(path: Path) -> tuple[int, str]:
    """How many rows were read, and what is wrong with the others."""
    faults = Faults()
    n = sum(1 for _ in read_rows(path, faults))
    try:
        faults.check()
    except DataError as error:
        return n, str(error)
    return n, ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"\xff\xfe", "byte 1 of the line is not UTF-8"),
        (b'{"input": "\xc3("}', "byte 12 of the line is not UTF-8"),
        (b"\0" * 50, "is not JSON"),
        (b'\xef\xbb\xbf{"input": 1}', "is not JSON"),
        (b'{"input": "a", "input": "b"}', "the key 'input' is there twice"),
        (b'{"x": {"\\u001b\\ud800": 1, "\\u001b\\ud800": 1}}', r"the key '\x1b\ud800' is there twice"),
        (b'{"input": NaN}', "NaN is no JSON value"),
        (b'{"input": -Infinity}', "-Infinity is no JSON value"),
        (b'{"input": 1e999}', "the number 1e999 is too large"),
        (b'{"input": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[" * 50_000, "is nested too deeply"),
        (b'{"a":' * 50_000, "is nested too deeply"),
        (b'{"a":' + b"[" * DEEPEST + b"]" * DEEPEST + b"}", "is nested too deeply. 100 levels at most"),
        (b'{"input": "q"', "is not JSON"),
        (b'"text"', "expected an object"),
        (b"\x1b[2J", "is not JSON"),
    ],
)
def test_a_bad_line_is_one_fault_and_the_others_are_read(line: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD % 1 + line + b"\n" + GOOD % 2)
    n, said = faults_of(tmp_path / "a.jsonl")
    assert n == 2
    assert "a.jsonl:2: " in said
    assert says in said
    assert len(said.splitlines()) == 1
    assert said.isprintable()


def test_what_is_just_not_too_deep_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a":' + b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1) + b"}")
    (tmp_path / "a.json").write_bytes(b'[{"a":' + b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1) + b"}]")
    assert faults_of(tmp_path / "a.jsonl") == faults_of(tmp_path / "a.json") == (1, "")
    row = b'[{"messages": [' + b",".join([b'{"role": "user", "content": "x"}'] * 500) + b"]}]"
    (tmp_path / "a.json").write_bytes(row)
    assert faults_of(tmp_path / "a.json") == (1, ""), "many are not deep"


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_of_100_mb_takes_no_memory(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    with gzip.open(path, "wb", 1) if packed else path.open("wb") as file:
        file.write(GOOD % 1 + b'{"input": "')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + GOOD % 2)
    tracemalloc.start()
    n, said = faults_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n == 2
    assert ":2: the line has more than 16 MB (100). Cut it, or take it out" in said
    assert peak < 3 * MOST_BYTES


def test_a_file_of_one_endless_line(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wb", 1) as file:
        for _ in range(40):
            file.write(b"\0" * (1 << 20))
    n, said = faults_of(tmp_path / "a.csv.gz")
    assert n == 0
    assert "a.csv.gz:1: the line has more than 16 MB (40)" in said


@pytest.mark.parametrize(
    ("content", "rows", "says"),
    [
        (b'input,target\na,b\n"' + b"x\n" * 5000, 1, "a.csv:3: is not CSV: unexpected end of data"),
        (b'input,target\na,b\n"' + (b"x" * 1023 + b"\n") * (17 << 10), 1, "a.csv:3: is not CSV: field larger than field limit"),
        (b"input,target\na\0b,c\n", 1, ""),
        (b'input,target\n"a"b,c\nd,e\n', 1, "a.csv:2: is not CSV"),
        (b'input,target\n"a,b\nc,"d"\ne,f\n', 1, "(read up to line 3)"),
        (b"input,target\na,b\nc\xe9,d\ne,f\n", 2, "a.csv:3: byte 2 of the line is not UTF-8"),
        (b'input,target\n"a\nb\xe9",c\ne,f\n', 1, "a.csv:2: byte 2 of the line is not UTF-8"),
        (b"input,target\ra,b\r", 0, "is not CSV"),
        (b"a" * 100 + b"," + b"a" * 100 + b"\n", 0, "two columns are called 'aaaa"),
        (b"\xff\n", 0, "a.csv:1: byte 1 of the line is not UTF-8"),
        (b"\n\n\n", 0, "no header line"),
    ],
)
def test_csv_that_is_none(content: bytes, rows: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    n, said = faults_of(tmp_path / "a.csv")
    assert n == rows
    assert says in said
    assert bool(said) == bool(says)
    assert len(said.splitlines()) <= 1


def test_gzip_that_ends_in_the_middle(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(GOOD % k for k in range(2000)), mtime=0)
    for end in (1, 5, 9, 10, 11, 40, len(packed) // 2, len(packed) - 8, len(packed) - 1):
        (tmp_path / "a.jsonl.gz").write_bytes(packed[:end])
        n, said = faults_of(tmp_path / "a.jsonl.gz")
        assert n <= 2000
        assert "the gzip file is damaged" in said
    (tmp_path / "a.jsonl.gz").write_bytes(packed + b"garbage")
    assert faults_of(tmp_path / "a.jsonl.gz")[0] == 2000
    assert "damaged" in faults_of(tmp_path / "a.jsonl.gz")[1]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["\ud800", "\0", "\x1b[2J", " "])
JSON = st.recursive(
    SCALARS, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3), max_leaves=8
)
NAMES = st.sampled_from(
    ["input", "target", "messages", "conversations", "prompt", "completion", "role", "from", "value", "content", "x\ud800", "k"]
)
TURNS = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), SCALARS | st.sampled_from(["user", "human", "gpt", "assistant"]))
)
ROWS = st.dictionaries(NAMES, JSON | TURNS, max_size=5)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows=st.lists(ROWS, min_size=1, max_size=4), seed=st.integers(0, 1 << 30), broken=st.integers(0, 4))
def test_any_rows_are_samples_or_faults(
    rows: list[dict[str, Any]], seed: int, broken: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also after some bytes were changed: `load` raises nothing but DataError, `stream` raises nothing."""
    r = random.Random(seed)
    folder = tmp_path_factory.mktemp("fuzz")
    content = bytearray("\n".join(map(json.dumps, rows)).encode())
    for _ in range(broken):
        content[r.randrange(len(content))] = r.randrange(256)
    (folder / "a.jsonl").write_bytes(content)
    spec = DataSpec.model_validate({"test": "a.jsonl"})
    seen = list(stream(spec, folder))
    faults = [each.sample for each in seen if isinstance(each.sample, Fault)]
    assert all(each.sample is not None for each in seen)
    if faults:
        with pytest.raises(DataError) as caught:
            load(spec, folder)
        assert str(caught.value).encode(), "can be printed"
        return
    for sample in load(spec, folder).test.samples:
        assert json.dumps([dict(sample.fields), sample.targets, sample.input], ensure_ascii=False).encode()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    content=st.binary(max_size=200), name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz", "a.csv.gz", "a.parquet"])
)
def test_any_bytes_are_samples_or_a_data_error(content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / name).write_bytes(gzip.compress(content)[: 200 if len(content) % 2 else -3] if name.endswith(".gz") else content)
    assert all(isinstance(each.sample, Fault) for each in stream(DataSpec.model_validate({"test": name}), folder))
    with pytest.raises(DataError):
        load(DataSpec.model_validate({"test": name}), folder)
