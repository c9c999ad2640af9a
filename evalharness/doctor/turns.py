"""What can be wrong with a chat that can be read: roles out of order, system prompts that come and go.

>>> out_of_turn([Message("user", "Hi"), Message("user", "Hello?")], answered=True)
'two user turns in a row (turn 1 and 2)'
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from evalharness.doctor.drafts import Draft
from evalharness.doctor.findings import SeenRow, Side
from evalharness.doctor.index import mark
from evalharness.records import Message

IDS = ("format.turns", "format.system")
_USUAL = 0.5
"""Share of rows with one and the same system prompt from which on other ones look like a mistake."""
_MOST_SYSTEMS = 1000
"""Beyond so many different ones on a side, each row has its own and nothing is inconsistent."""


def out_of_turn(messages: Sequence[Message], *, answered: bool) -> str:
    """What is unusual in the order of roles; empty if nothing. With `answered`, an assistant turn follows."""
    roles = [message.role for message in messages if message.role != "system"]
    if roles[0] == "assistant":
        return "the assistant speaks first"
    roles += ["assistant"] if answered else []
    for k in range(1, len(roles)):
        if roles[k] == roles[k - 1]:
            return f"two {roles[k]} turns in a row (turn {k} and {k + 1})"
    return ""


@dataclass
class Turns:
    """Counts rows out of turn, and system prompts by their hash."""

    _wrong: Counter[str] = field(default_factory=Counter)
    _rows: array[int] = field(default_factory=lambda: array("Q"))
    _systems: dict[Side, Counter[int]] = field(default_factory=dict)
    _numbers: dict[tuple[Side, int], array[int]] = field(default_factory=dict)

    def see(self, row: SeenRow) -> None:
        """One row; what has no system turn counts as system 0."""
        messages = row.sample.messages
        if len(messages) > 1 and (wrong := out_of_turn(messages, answered=bool(row.sample.targets))):
            self._wrong[wrong.partition(" (")[0]] += 1
            self._rows.append(row.number)
        system = mark(messages[0].content) if messages[0].role == "system" else 0
        counts = self._systems.setdefault(row.side, Counter())
        counts[system] += 1
        if len(counts) <= _MOST_SYSTEMS:
            self._numbers.setdefault((row.side, system), array("Q")).append(row.number)

    def drafts(self) -> Iterator[Draft]:
        """What was found."""
        if self._wrong:
            kinds = ", ".join(f"{kind}: {count:,}" for kind, count in self._wrong.most_common())
            n = self._wrong.total()
            found = f"{n:,} {'chat is' if n == 1 else 'chats are'} out of turn ({kinds}): some chat templates refuse them"
            yield Draft(
                "format.turns", "warning", n, found, "Join turns of one role, begin with the user", [(row, None) for row in self._rows]
            )
        for side, counts in self._systems.items():
            yield from self._inconsistent(side, counts)

    def _inconsistent(self, side: Side, counts: Counter[int]) -> Iterator[Draft]:
        """Rows with none where others have one, and rows with another one where most have the same."""
        total, without = counts.total(), counts[0]
        usual, most = counts.most_common(1)[0]
        if 0 < without < total:
            few, many = (0, "have a system prompt") if without <= total - without else (None, "have none")
            n = min(without, total - without)
            what = "no system prompt" if few == 0 else "a system prompt"
            rows = [row for system in counts if (system == 0) == (few == 0) for row in self._numbers.get((side, system), [])]
            found = f"{n:,} of {total:,} {side} rows have {what}, the others {many}: the model learns two ways to be asked"
            yield self._draft(n, found, "Give every row the same one, or none; an arm's own prompt replaces it", rows)
        others = total - without - most
        if usual and others and most > _USUAL * (total - without):
            rows = [row for system in counts if system not in (0, usual) for row in self._numbers.get((side, system), [])]
            kinds = len([system for system in counts if system not in (0, usual)])
            found = f"{others:,} of {total:,} {side} rows have another system prompt than most ({kinds:,} different)"
            yield self._draft(others, found, "Use one text, unless the difference is meant", rows)

    @staticmethod
    def _draft(count: int, found: str, fix: str, rows: list[int]) -> Draft:
        return Draft("format.system", "warning", count, found, fix, [(row, None) for row in sorted(rows)])
