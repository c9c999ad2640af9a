"""Data files elsewhere: `https://`, `s3://`, `gs://` and what else fsspec reaches, fetched once and again when they change.

>>> is_remote("s3://bucket/train.jsonl"), is_remote("data/train.jsonl")
(True, False)

A copy lies in the user's cache (EVALH_CACHE, else XDG_CACHE_HOME/evalh, else ~/.cache/evalh) under a path that says where it is from.
Each run asks once whether size and ETag (checksum, time of change) are still the same, and fetches the file again if not, or if
the store tells neither. Keys come from where the service's own tools have them. Needs the extra `remote`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from evalharness.errors import ConfigError, MissingExtra, Problem

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:]", re.IGNORECASE)
_MARKS = ("ETag", "etag", "Content-MD5", "md5Hash", "Digest", "Last-Modified", "LastModified", "updated", "mtime")
_PLAIN = "-_.,=+@~() "
_UNSEEN = logging.NullHandler()
_QUIET_S = 60
"""A server that sends nothing for so long is given up."""


def is_remote(name: str) -> bool:
    """Whether a file's name is an address."""
    return _ADDRESS.match(name) is not None


def without_secrets(address: str) -> str:
    """The address without user, password, query and fragment: signed addresses carry keys in them."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def copy_of(address: str) -> Path:
    """Where the local copy is, or would be. The address can be told from it (`address_of`), what is secret in it cannot."""
    plain = without_secrets(address)
    scheme, _, rest = plain.partition("://")
    folders = [quote(part, safe=_PLAIN) for part in rest.split("/")[:-1]]
    name = quote(rest.rpartition("/")[2], safe=_PLAIN)
    key = hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    if {".", ".."} & {*folders, name} or not name:
        raise ConfigError([Problem("", "", f"{plain} names no file", "Write the whole address of one file")])
    return _cache().joinpath(scheme.lower(), *(part or "%" for part in folders), key, name)


def address_of(path: Path) -> str | None:
    """Where a local copy is from, for people to read; None if the file is none."""
    folder = _cache()
    if not path.is_relative_to(folder) or len(path.relative_to(folder).parts) < 3:
        return None
    scheme, *parts = path.relative_to(folder).parts
    del parts[-2]
    return f"{scheme}://{'/'.join(unquote(part) if part != '%' else '' for part in parts)}"


def _cache() -> Path:
    named = os.environ.get("EVALH_CACHE")
    shared = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "evalh"
    return Path(os.path.abspath(Path(named).expanduser() if named else shared)) / "remote"


@cache
def fetched(address: str) -> Path:
    """The local copy of the file, as it was when this process first asked.

    Raises ConfigError if it cannot be had, MissingExtra without fsspec or the package for this kind of store.
    """
    path = copy_of(address)
    plain = without_secrets(address)
    try:
        _fetch(address, path)
    except ImportError as error:
        raise MissingExtra(_package(plain), "remote", plain) from error
    except Exception as error:  # every store has errors of its own
        cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error
        if isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) == 404:
            found, fix = f"there is no file {plain}", "Look at the address"
        else:
            found, fix = f"{plain} cannot be fetched: {_words(cause, address)}", ""
        raise ConfigError([Problem("", "", found, fix)]) from None
    return path


def _fetch(address: str, path: Path) -> None:
    from fsspec.core import url_to_fs

    for name in ("fsspec", "gcsfs", "s3fs"):  # what they log they also raise; whoever sets up logging still gets it
        logging.getLogger(name).addHandler(_UNSEEN)
    store, place = url_to_fs(address, **_options(address))
    info = store.info(place)
    mark = {"size": info.get("size"), "mark": next((str(info[name]) for name in _MARKS if info.get(name)), None)}
    told = path.with_name(path.name + ".from.json")
    if mark["mark"] is not None and path.is_file() and told.is_file() and json.loads(told.read_text()) == mark:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
        new, beside = Path(folder) / "new", Path(folder) / "from"
        store.get_file(place, str(new))
        if mark["size"] is not None and new.stat().st_size != mark["size"]:
            raise OSError(f"got {new.stat().st_size:,} of {mark['size']:,} bytes")
        told.unlink(missing_ok=True)
        new.replace(path)
        beside.write_text(json.dumps(mark))
        beside.replace(told)


def _options(address: str) -> Mapping[str, Any]:
    if not address.lower().startswith(("http://", "https://")):
        return {}
    import aiohttp

    patient = aiohttp.ClientTimeout(total=None, sock_connect=_QUIET_S, sock_read=_QUIET_S)
    return {"client_kwargs": {"timeout": patient, "trust_env": True}, "skip_instance_cache": True}


def _package(address: str) -> str:
    return {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}.get(address.partition("://")[0], "fsspec")


def _words(error: BaseException, address: str) -> str:
    """What the store says, without anything secret of the address."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return f"the server answers {status}"
    said = (str(error).replace(address, without_secrets(address)).splitlines() or [""])[0]
    return f"{type(error).__name__}: {re.sub(r'[?#][^ ]*', '', said)[:200]}".rstrip(": ")
