"""What a person says: one key at a terminal where one is enough, else a line.

>>> import io
>>> lines = Keyboard(io.StringIO("p\\n"))
>>> lines.ask(single=True), lines.ask(single=True)
('p', None)
"""

from __future__ import annotations

import os
from typing import TextIO

_ENDS = {"\x03": "q", "\x04": "q", "\x7f": "u", "\x08": "u", "": "q"}
"""Ctrl-C and Ctrl-D leave, backspace takes back."""


class Keyboard:
    """Reads from a stream; keys only where it is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()

    def ask(self, *, single: bool) -> str | None:
        """A key (if `single` and at a terminal) or a line without its end; None where nothing more comes."""
        if single and self.is_terminal:
            return self._key()
        line = self._stream.readline()
        return line.strip() if line else None

    def _key(self) -> str:
        import termios
        import tty

        place = self._stream.fileno()
        before = termios.tcgetattr(place)
        try:
            tty.setraw(place, termios.TCSADRAIN)
            key = _character(place)
            while key == "\x1b":  # an arrow or another key of several characters: not an answer
                os.read(place, 16)
                key = _character(place)
        finally:
            termios.tcsetattr(place, termios.TCSADRAIN, before)
        return _ENDS.get(key, key)


def _character(place: int) -> str:
    """The next character, however many bytes it has."""
    found = os.read(place, 1)
    while True:
        try:
            return found.decode()
        except UnicodeDecodeError:
            if len(found) >= 4:
                return "\ufffd"
            found += os.read(place, 1)
