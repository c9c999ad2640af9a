"""Content hashes and run ids.

>>> digest({"b": 1, "a": [1.0, "x"]}) == digest({"a": [1.0, "x"], "b": 1})
True
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def digest(value: object) -> str:
    """24 hex digits (96 bits) of SHA-256 over the value's canonical JSON (sorted keys, UTF-8, no spaces).

    Takes what JSON takes (tuples count as lists). Raises TypeError for anything else: a hash over a
    `repr` would change from run to run. Lone surrogates hash as themselves.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def file_digest(*paths: Path) -> str:
    """24 hex digits of SHA-256 over the bytes of the files, in the given order, each preceded by its size."""
    sha = hashlib.sha256()
    for path in paths:
        sha.update(f"{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                sha.update(chunk)
    return sha.hexdigest()[:24]


def ulid() -> str:
    """A ULID (github.com/ulid/spec): 48 bits of milliseconds, 80 random bits, 26 Crockford base-32 digits; sorts by time."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
