"""Secrets and personal data in what would be uploaded: said with the places masked, and replaced where that is asked for.

>>> redact("Write to ada@mail.com")
('Write to <EMAIL>', 1)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from evalharness.doctor.findings import MOST_PLACES, BrokenRow, Case, Finding, Place, SeenRow, Severity
from evalharness.doctor.private import Hit, Kind, detectors, find
from evalharness.prompts import variables

_RULES: dict[Kind, str] = {
    "private_key": "secret.key",
    "key": "secret.key",
    "iban": "personal.iban",
    "card": "personal.card",
    "email": "personal.email",
    "phone": "personal.phone",
}
_NAMES = {
    "secret.key": ("key, token or password", "keys, tokens or passwords"),
    "personal.iban": ("bank account (IBAN)", "bank accounts (IBAN)"),
    "personal.card": ("card number", "card numbers"),
    "personal.email": ("e-mail address", "e-mail addresses"),
    "personal.phone": ("phone number", "phone numbers"),
}
LOGS: str = "logs"
"""The side of production inputs: they are looked at, and neither trained on nor asked about."""


def redact(text: str) -> tuple[str, int]:
    """The text with a placeholder (<EMAIL>, <PHONE>, <KEY>, ...) for everything private in it, and how many there are."""
    hits = find(text)
    return _masked(text, hits), len(hits)


def excerpt(text: str, width: int = 100, hits: Sequence[Hit] | None = None, about: Hit | None = None) -> str:
    """One line of the text for people, masked, about `width` characters; around one private place, or the first one."""
    hits = find(text) if hits is None else hits
    about = about or next(iter(hits), None)
    masked = _masked(text, hits)
    at = len(_masked(text[: about.start], [hit for hit in hits if hit.end <= about.start])) if about else 0
    begin = max(0, min(at - width // 2, len(masked) - width))
    shown = " ".join(masked[begin : begin + width].split())
    return f"{'…' if begin else ''}{shown}{'…' if begin + width < len(masked) else ''}"


def _masked(text: str, hits: Iterable[Hit]) -> str:
    parts, at = [], 0
    for hit in hits:
        parts += [text[at : hit.start], f"<{hit.kind.upper()}>"]
        at = hit.end
    return "".join([*parts, text[at:]])


class _Found:
    """What one rule id met in one field ("" is the chat itself): rows, places, how many times."""

    def __init__(self) -> None:
        self.rows, self.times = 0, 0
        self.sides: Counter[str] = Counter()
        self.places: list[Place] = []

    def add(self, side: str, times: int, place: Place) -> None:
        self.rows += 1
        self.times += times
        self.sides[side] += 1
        if len(self.places) < MOST_PLACES:
            self.places.append(place)


class Private:
    """Keys, e-mail and phone, card and account numbers in rows and prompts; columns count where a prompt names them.

    An error where a key would leave this machine for a service that trains or answers, otherwise a warning; a note where nothing is
    trained on the rows, and they stay here.
    """

    ids: tuple[str, ...] = tuple(_NAMES)
    cheap = True

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], _Found] = {}

    def see(self, row: SeenRow) -> None:
        if row.side == LOGS:
            return
        sample = row.sample
        self._look("", row.side, sample.source, [*(m.content for m in sample.messages), *sample.targets])
        for name, value in sample.fields.items():
            self._look(name, row.side, sample.source, [value])

    def broken(self, row: BrokenRow) -> None:
        """What is no sample is not uploaded."""

    def _look(self, field: str, side: str, source: str, texts: Iterable[str]) -> None:
        """Count each rule once a row; the excerpt shows the text where it was met first."""
        times: Counter[str] = Counter()
        where: dict[str, tuple[str, list[Hit], Hit]] = {}
        for text in texts:
            if len(text) < 6:  # shorter than anything private
                continue
            hits = find(text)
            for hit in hits:
                rule = _RULES[hit.kind]
                times[rule] += 1
                where.setdefault(rule, (text, hits, hit))
        for rule, (text, hits, first) in where.items():
            found = self._found.setdefault((rule, field), _Found())
            shown = "" if len(found.places) >= MOST_PLACES else excerpt(text, hits=hits, about=first)
            found.add(side, times[rule], Place(source, shown))

    def findings(self, case: Case) -> Iterator[Finding]:
        prompts = [(label, prompt) for label, prompt in case.loaded.prompts.items() if prompt is not None]
        for label, prompt in {prompt.text: (label, prompt) for label, prompt in reversed(prompts)}.values():
            self._look("", "prompt", prompt.source or f"the prompt of {label}", [prompt.text])
        named = {"", *(name for _, prompt in prompts for name in variables(prompt))}
        hosted, trains = sorted(_hosted(case)), bool(case.loaded.runners)
        for rule in self.ids:
            parts = [found for (each, field), found in self._found.items() if each == rule and field in named]
            if parts:
                yield _finding(rule, parts, hosted, trains=trains)


def _hosted(case: Case) -> Iterator[str]:
    """The arms whose rows or prompts leave this machine."""
    for chosen in (case.loaded.runners, case.loaded.models):
        yield from (label for label, each in chosen.items() if not each.instance.local)


def _finding(rule: str, parts: list[_Found], hosted: list[str], *, trains: bool) -> Finding:
    rows, times = sum(part.rows for part in parts), sum(part.times for part in parts)
    sides: Counter[str] = Counter()
    for part in parts:
        sides.update(part.sides)
    where = ", ".join(f"{count:,} {'prompts' if side == 'prompt' else side}" for side, count in sides.items())
    severity: Severity = "error" if rule == "secret.key" and hosted else "warning" if hosted or trains else "note"
    goes = "nothing of this suite is trained on them or sends them anywhere"
    if hosted:
        goes = f"they would be sent to a service by {', '.join(hosted[:3])}{' and others' if len(hosted) > 3 else ''}"
    elif trains:
        goes = "what is trained on them may learn them by heart"
    spoilt = "Make the keys invalid where they were issued, then clean" if rule == "secret.key" else "Clean"
    return Finding(
        rule, severity, rows, f"{times:,} {_NAMES[rule][times > 1]} ({where}); {goes}",
        f"{spoilt} the rows: evalh check SUITE --redact OUT writes copies with placeholders",
        tuple(place for part in parts for place in part.places)[:MOST_PLACES],
        figures={"times": times, **{f"rows_{side}": count for side, count in sides.items()}, "looked": detectors()},
    )  # fmt: skip


__all__ = ["LOGS", "Private", "excerpt", "redact"]
