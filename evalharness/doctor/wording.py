"""Numbers in sentences.

>>> many(1, "row", "has", "have"), many(2500, "row", "has", "have")
('1 row has', '2,500 rows have')
"""

from __future__ import annotations


def many(count: int, noun: str, one: str = "", more: str = "") -> str:
    """The count with its noun, and the verb that fits."""
    verb = one if count == 1 else more
    return f"{count:,} {noun}{'' if count == 1 else 's'}{' ' if verb else ''}{verb}"
