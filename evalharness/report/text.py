"""Text that others wrote, shown as text: nothing in it can move the cursor, turn the line around or become markup.

>>> visible("\\x1b[31mred\\u202e")
'\\\\x1b[31mred\\\\u202e'
>>> for_markdown("a|b <script> `x` [y](z)")
'a\\\\|b &lt;script&gt; \\\\`x\\\\` \\\\[y\\\\](z)'
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
"""Part of ordinary words and emoji; they move nothing."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]+!|~$])")
_NUMBERED = re.compile(r"^(\d+)([.)])")
_DASHED = re.compile(r"^([-=])")
_LINK = re.compile(r"(?i)\b(https?|ftp|www)(?=[:.])|[@#]")
"""What services turn into links and mentions by themselves, after Markdown: a zero-width space breaks it."""


def visible(text: str) -> str:
    """One line in which control, direction and other invisible characters stand as \\x1b or \\u202e, a line break as ⏎."""
    return text if text.isprintable() else "".join(_seen(character) for character in text.replace("\r\n", "\n"))


def _seen(character: str) -> str:
    if character == "\n":
        return "⏎"
    if character == "\t":
        return " "
    if character in _JOINERS or unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def lines_of(text: str) -> str:
    """`visible` for text of several lines: line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in text.replace("\r\n", "\n").split("\n"))


def plain(text: str, style: str = "") -> Text:
    """The text for rich tables and lines: `visible`, and no markup is read in it."""
    from rich.text import Text

    return Text(visible(text), style=style)


def for_markdown(text: str) -> str:
    """One line of Markdown that renders as this text: no table cell, HTML tag, link, mention, heading or list begins in it."""
    line = html.escape(visible(text), quote=False)
    line = _MARKDOWN.sub(r"\\\1", line)
    line = _LINK.sub(lambda hit: hit[0] + "\u200b", line)
    return _DASHED.sub(r"\\\1", _NUMBERED.sub(r"\1\\\2", line))


def shortened(text: str, width: int) -> str:
    """The text, cut to `width` characters with an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
