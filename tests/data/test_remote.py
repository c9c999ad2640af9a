from __future__ import annotations

import gzip
import http.server
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evalharness.data import load
from evalharness.data.paths import display, resolve_all
from evalharness.data.remote import address_of, copy_of, fetched, is_remote, without_secrets
from evalharness.errors import ConfigError, DataError, MissingExtra
from evalharness.spec import DataSpec

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
ROWS = b'{"input": "q", "target": "a"}\n{"input": "r", "target": "b"}\n'


@dataclass
class Web:
    """A web server on this machine: path -> content, ETag, status and the length that it tells; which requests it got."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    more: int = 0
    seen: list[str] = field(default_factory=list)


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            self._head(web.more)
            self.wfile.write(web.files.get(self._name, b""))

        @property
        def _name(self) -> str:
            return self.path.partition("?")[0].lstrip("/")

        def _head(self, more: int = 0) -> None:
            web.seen.append(f"{self.command} {self.path}")
            self.send_response(web.status.get(self._name, 200 if self._name in web.files else 404))
            self.send_header("Content-Length", str(len(web.files.get(self._name, b"")) + more))
            if self._name in web.tags:
                self.send_header("ETag", web.tags[self._name])
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the test's screen."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        web.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield web
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EVALH_CACHE", str(tmp_path / "cache"))
    fetched.cache_clear()
    yield tmp_path / "cache"
    fetched.cache_clear()


@pytest.fixture
def bucket() -> Iterator[Callable[[str, bytes], str]]:
    store = fsspec.filesystem("memory")

    def put(name: str, content: bytes) -> str:
        store.pipe_file(f"/bucket/{name}", content)
        return f"memory://bucket/{name}"

    yield put
    store.rm("/bucket", recursive=True)


def again(address: str) -> bytes:
    """As another run would have it."""
    fetched.cache_clear()
    return fetched(address).read_bytes()


def test_rows_from_a_bucket(bucket: Callable[[str, bytes], str], tmp_path: Path) -> None:
    test, train = bucket("test.jsonl.gz", gzip.compress(ROWS)), bucket("deep/train.csv", b"input,target\nx,y\n")
    splits = load(DataSpec.model_validate({"train": train, "test": test}), tmp_path)
    assert [sample.input for sample in splits.test.samples] == ["q", "r"]
    assert [sample.source for sample in splits.train.samples] == ["memory://bucket/deep/train.csv:2"]
    with pytest.raises(DataError, match=r"^memory://bucket/bad\.jsonl:1: is not JSON"):
        load(DataSpec.model_validate({"test": bucket("bad.jsonl", b"{")}), tmp_path)


def test_a_file_that_did_not_change_is_fetched_once(web: Web) -> None:
    address = f"{web.url}/a/test.jsonl"
    web.files["a/test.jsonl"], web.tags["a/test.jsonl"] = ROWS, '"1"'
    assert [again(address), again(address), fetched(address).read_bytes()] == [ROWS] * 3
    assert [line for line in web.seen if line.startswith("GET")] == ["GET /a/test.jsonl"]
    web.files["a/test.jsonl"], web.tags["a/test.jsonl"] = ROWS[:30], '"2"'
    assert fetched(address).read_bytes() == ROWS, "one run sees one state"
    assert again(address) == ROWS[:30]


def test_without_an_etag_it_is_fetched_again(web: Web) -> None:
    for content in (b"a\n", b"b\n"):
        web.files["test.jsonl"] = content
        assert again(f"{web.url}/test.jsonl") == content


def test_an_answer_that_breaks_off_is_no_file(web: Web, cache: Path) -> None:
    web.files["test.jsonl"], web.tags["test.jsonl"], web.more = ROWS, '"1"', 5
    with pytest.raises(ConfigError, match="cannot be fetched"):
        fetched(f"{web.url}/test.jsonl")
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("status", "says"), [(404, "there is no file http://"), (403, "the server answers 403"), (500, "the server answers 500")]
)
def test_a_server_that_says_no(status: int, says: str, web: Web) -> None:
    web.status["test.jsonl"] = status
    with pytest.raises(ConfigError) as caught:
        fetched(f"{web.url}/test.jsonl?X-Signature=s3cret")
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_no_server() -> None:
    with pytest.raises(ConfigError, match="cannot be fetched: ClientConnectorError") as caught:
        fetched("http://me:s3cret@127.0.0.1:9/test.jsonl?key=s3cret#s3cret")
    assert "s3cret" not in str(caught.value)


def test_all_that_is_missing_is_told_together(web: Web, tmp_path: Path) -> None:
    parts = {"train": ["gone.jsonl", f"{web.url}/gone.jsonl"], "test": f"{web.url}/test.doc"}
    with pytest.raises(ConfigError) as caught:
        resolve_all(DataSpec.model_validate(parts), tmp_path)
    found = [(problem.key, problem.found.partition("http")[0]) for problem in caught.value.problems]
    assert [key for key, _ in found] == ["train[0]", "train[1]", "test"]
    assert found[1][1] == "there is no file "
    assert "'test.doc' has no known format" in caught.value.problems[2].found
    assert not [line for line in web.seen if "test.doc" in line], "not asked for"
    with pytest.raises(ConfigError, match=r"root: s3://bucket/x is no folder here\. Write whole addresses"):
        resolve_all(DataSpec.model_validate({"root": "s3://bucket/x", "test": "a.jsonl"}), tmp_path)


def test_a_store_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> object:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MissingExtra, match=r"s3://bucket/a\.jsonl needs the package 's3fs'.*evalh\[remote\]"):
        fetched("s3://bucket/a.jsonl")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:pw@host:8443/a//b%20c/d e.jsonl?sig=1#x", "https://host:8443/a//b%20c/d e.jsonl"),
        ("s3://bucket/ž/%2e%2e/train.csv.gz", "s3://bucket/ž/%2e%2e/train.csv.gz"),
        ("GS://bucket/x:y.parquet", "gs://bucket/x:y.parquet"),
    ],
)
def test_a_copy_says_where_it_is_from(address: str, shown: str, cache: Path) -> None:
    path = copy_of(address)
    assert path.is_relative_to(cache / "remote")
    assert ".." not in path.parts
    assert path.suffix == Path(shown).suffix
    assert address_of(path) == display(path) == shown
    assert copy_of(address + "&more" if "?" in address else address + "?more") != path
    assert is_remote(address)


@pytest.mark.parametrize("address", ["s3://bucket/../../etc/x.jsonl", "https://host/a/", "https://host/./x.jsonl", "https://host/.."])
def test_addresses_of_no_file(address: str) -> None:
    with pytest.raises(ConfigError, match="names no file"):
        copy_of(address)


def test_what_is_no_address(tmp_path: Path) -> None:
    assert not any(map(is_remote, ["a.jsonl", "/a/b.jsonl", "c:\\x.jsonl", "a://", "s3:/b/c", "://x"]))
    assert address_of(tmp_path / "a.jsonl") is None
    assert without_secrets("https://h/x?y") == "https://h/x"


def test_what_a_store_logs_while_it_fails_is_not_on_the_screen(
    web: Web, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        logging.getLogger("gcsfs").error("a page of traceback")
        raise OSError("no way there")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fails)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as at a user's, where nobody has set up logging
    with pytest.raises(ConfigError, match="no way there"):
        fetched(f"{web.url}/rows.jsonl")
    assert "traceback" not in capfd.readouterr().err
