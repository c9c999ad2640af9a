"""Texts that were read with the wrong encoding: found, and mended where that can be undone.

>>> mended("The cafÃ© doesnâ€™t open"), is_garbled("Ä\\ufffdas"), mended("ÀÉ SÃO")
('The café doesn’t open', True, 'ÀÉ SÃO')
"""

from __future__ import annotations

import re

_CP1252 = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
"""What Windows-1252 shows for the bytes 0x80 to 0x9F."""
_TAIL = f"[\\x80-\\xbf{_CP1252}]"
_TWICE = re.compile(f"(?:[\\xc2-\\xdf]{_TAIL}|[\\xe0-\\xef]{_TAIL}{{2}}|[\\xf0-\\xf4]{_TAIL}{{3}})+")
"""UTF-8 that was read as Latin-1 or Windows-1252: bytes of one character, shown as two to four."""
_LOST = re.compile("[\\ufffd\\x80-\\x9f]")
_BYTES = {ord(c): c.encode("cp1252")[0] for c in _CP1252}


def is_garbled(text: str) -> bool:
    """Whether the text holds a character that was lost, or that only a wrong encoding gives."""
    return not text.isascii() and (_LOST.search(text) is not None or mended(text) != text)


def mended(text: str) -> str:
    """The text with what was decoded wrongly decoded rightly; what is lost (U+FFFD) stays."""
    return text if text.isascii() else _TWICE.sub(_decoded, text)


def _decoded(match: re.Match[str]) -> str:
    try:
        decoded = bytes(_BYTES.get(ord(c), ord(c)) for c in match[0]).decode()
    except UnicodeDecodeError:
        return match[0]
    return decoded if all(c.isprintable() or c in "\u00a0\u00ad\u200b\u200d\u2028" for c in decoded) else match[0]
