"""What GitHub's runner reads in a job's log: lines that begin with "::" and "##[" anywhere are commands to it.

Answers, errors of services and slices are other people's words: none of them may set a mask, add an annotation or stop the
commands that follow. A zero-width space before it makes a command text. Sources: actions/runner, ActionCommand.cs.

>>> import io
>>> log = io.StringIO()
>>> _ = Inert(log).write("tuned\\n  ::error::fake ##[add-mask]x\\n")
>>> log.getvalue().replace(BREAK, "_")
'tuned\\n_  ::error::fake ##_[add-mask]x\\n'
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, cast

BREAK = "\u200b"


class Inert:
    """A text stream in which no words are commands; `stream` is for those that are meant."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._blank = True

    def write(self, text: str) -> int:
        """Write the text, whose lines may come in several parts."""
        for line in ("" + text).splitlines(keepends=True):  # bytes are refused: click asks with some what a stream takes
            begins = self._blank and line.lstrip().startswith("::")
            self.stream.write(BREAK * begins + line.replace("##[", f"##{BREAK}["))
            self._blank = line.endswith(("\n", "\r")) or (self._blank and not line.strip())
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def in_github() -> bool:
    """Whether this is a job of GitHub Actions, which sets a variable."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


@contextmanager
def inert(argv: Sequence[str]) -> Iterator[None]:
    """In GitHub Actions: what this command line prints is no command to the runner. Data for programs goes out as it is."""
    if not in_github():
        yield
        return
    kept = sys.stdout, sys.stderr
    is_data = any(word == "--json" or word.startswith("--format") for word in argv)
    sys.stdout, sys.stderr = (
        cast("TextIO", stream if data else Inert(stream)) for stream, data in zip(kept, (is_data, False), strict=True)
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def command(line: str) -> None:
    """Give the runner a command; by stderr, since it reads both streams and stdout may be data."""
    stream = sys.stderr.stream if isinstance(sys.stderr, Inert) else sys.stderr
    print(line, file=stream)
