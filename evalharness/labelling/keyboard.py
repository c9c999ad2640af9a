"""What a person says: one key at a terminal where one is enough, else a line.

>>> import io
>>> with Keyboard(io.StringIO("p\\n")) as lines:
...     lines.ask(single=True), lines.ask(single=True)
('p', None)
"""

from __future__ import annotations

import os
import select
from types import TracebackType
from typing import Any, TextIO

_NAMES = {"\x03": "q", "\x04": "q", "\x7f": "u", "\x08": "u"}
"""Ctrl-C and Ctrl-D leave, backspace takes back."""
_SOON_S = 0.05
"""What belongs to one key of several characters comes at once."""


class Keyboard:
    """Reads from a stream; keys only where it is a terminal. Inside a `with` block keys are not echoed, whenever they come."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._before: list[Any] | None = None
        self.is_terminal = stream.isatty()

    def __enter__(self) -> Keyboard:
        if self.is_terminal:
            import termios

            self._before = termios.tcgetattr(self._stream.fileno())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lines()

    def ask(self, *, single: bool) -> str | None:
        """A key (if `single` and at a terminal) or a line without its end; None where nothing more comes."""
        if single and self._before is not None:
            self._keys()
            return self._key()
        self._lines()
        line = self._stream.readline()
        return line.strip() if line else None

    def _keys(self) -> None:
        """Key by key, without echo; Ctrl-C is a key, too. Output is left as it is."""
        import termios

        place = self._stream.fileno()
        mode = termios.tcgetattr(place)
        mode[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
        termios.tcsetattr(place, termios.TCSADRAIN, mode)

    def _lines(self) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(self._stream.fileno(), termios.TCSADRAIN, self._before)

    def _key(self) -> str | None:
        place = self._stream.fileno()
        key = _character(place)
        while key == "\x1b":  # an arrow or another key of several characters: not an answer
            _skip_sequence(place)
            key = _character(place)
        return _NAMES.get(key, key) if key else None


def _skip_sequence(place: int) -> None:
    """Read what follows an escape: nothing, one character, or `[` and all up to a letter or `~`."""
    if not select.select([place], [], [], _SOON_S)[0]:
        return
    if _character(place) in ("[", "O"):
        while select.select([place], [], [], _SOON_S)[0] and not "@" <= _character(place) <= "~":
            continue


def _character(place: int) -> str:
    """The next character, however many bytes it has; "" at the end."""
    found = os.read(place, 1)
    while found:
        try:
            return found.decode()
        except UnicodeDecodeError:
            if len(found) >= 4:
                return "\ufffd"
            found += os.read(place, 1)
    return ""
