"""Rows unlike the rest: much longer or shorter, in another script or language, the same words around many, words that go in circles.

>>> script_of("Где моя карта?"), script_of("Where is my card?")
('Cyrillic', 'Latin')

Notes only: an unusual row may be the most valuable one. Everything is counted as rows go by, in bounded memory.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from evalharness.doctor.findings import MOST_PLACES, BrokenRow, Case, Finding, Place, SeenRow
from evalharness.doctor.secrets import LOGS, excerpt
from evalharness.doctor.wording import many

FAR = 6.0
"""Robust z from which on a length is an outlier."""
_WORDS = 8
"""Words at the beginning or end that count as boilerplate where many rows have them."""
_MOST_HEADS = 50_000
_FEWEST = 20
"""Rows below which nothing is usual, so nothing is unusual."""
_MOST_UNUSUAL = 0.05
"""Share of rows: what more of them are is a second kind, no outlier."""
_LOOKED = 400
"""Characters of a row by which its script is told."""
_LANGUAGES = {
    "English": "the and is of to it you that for with your would my have are not what how can this from they why",
    "German": "der die das und ist nicht ich wie kann mein meine ein eine zu mit von auf für den wird",
    "French": "le la les et est pas je une des du pour que dans vous mon ma avec sur qui ne",
    "Spanish": "el los las es una por que para con mi del se cómo puedo está lo mis al",
    "Italian": "il che è non di per una con mio mia del della sono come gli nel alla anche ho più",
    "Portuguese": "os as não é uma que para com meu minha do da em como posso está mais ao você",
    "Dutch": "de het een en is niet ik mijn van op met voor hoe kan dat zijn er naar wordt ook",
    "Polish": "nie jest się na że moja mój jak czy mogę dla po od za tylko są oraz przez który",
    "Czech": "je se na že není jak mám pro moje můj ale tak jsem od po byl jako jsou které bude",
}
"""Function words; languages of another script are told by the script."""


class _Votes(dict[str, tuple[str, ...]]):
    """word -> the languages that have it as a function word."""

    def __init__(self) -> None:
        super().__init__()
        for language, words in _LANGUAGES.items():
            for word in words.split():
                self[word] = (*self.get(word, ()), language)


_VOTES = _Votes()


class _Scripts(dict[str, str]):
    """character -> its script by the first word of its Unicode name; "" for what belongs to none."""

    def __missing__(self, character: str) -> str:
        name = unicodedata.name(character, "").split(" ")[0] if character.isalpha() else ""
        self[character] = found = "Chinese or Japanese" if name in ("CJK", "HIRAGANA", "KATAKANA") else name.capitalize()
        return found


_SCRIPTS = _Scripts()


def script_of(text: str) -> str:
    """The script of most letters; "" for a text without letters."""
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else ""
    counts = Counter(map(_SCRIPTS.__getitem__, text))
    del counts[""]
    return max(counts, key=lambda name: (counts[name], name)) if counts else ""


def language_of(text: str, words: Sequence[str] | None = None) -> str:
    """The language by function words (three different ones, and twice as many as any other language has), else the script."""
    script = script_of(text[:_LOOKED])
    if script != "Latin":
        return script
    votes: Counter[str] = Counter()
    for word in set((text.split() if words is None else words)[:60]):
        for language in _VOTES.get(word.lower().strip(".,?!"), ()):
            votes[language] += 1
    (best, most), (_, second) = [*votes.most_common(2), ("", 0), ("", 0)][:2]
    return best if most >= 3 and most >= 2 * second else "Latin"


class Outliers:
    """Lengths, scripts and languages, boilerplate, repetition: in inputs, and in the answers that are trained on."""

    ids: tuple[str, ...] = ("outlier.length", "outlier.language", "outlier.boilerplate", "outlier.repetition")
    cheap = True

    def __init__(self) -> None:
        self._parts = {"input": _Part("input"), "target": _Part("target")}

    def see(self, row: SeenRow) -> None:
        if row.side == LOGS:
            return
        self._parts["input"].add(row.number, row.sample.source, row.sample.input)
        if row.side == "train" and row.sample.targets:
            self._parts["target"].add(row.number, row.sample.source, row.sample.targets[0])

    def broken(self, row: BrokenRow) -> None:
        """A row without a sample has no text."""

    def findings(self, case: Case) -> Iterator[Finding]:
        for part in self._parts.values():
            if len(part.numbers) >= _FEWEST:
                yield from part.findings(case)


class _Part:
    """What is counted of all inputs, or of all targets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers, self.lengths = array("Q"), array("I")
        self.languages: Counter[str] = Counter()
        self.heads, self.tails = Frequent(_MOST_HEADS), Frequent(_MOST_HEADS)
        self.circles: list[Place] = []
        self.circling = 0
        self._by_language: dict[str, list[Place]] = {}

    def add(self, number: int, source: str, text: str) -> None:
        self.numbers.append(number)
        self.lengths.append(min(len(text), (1 << 32) - 1))
        words = text.split()
        language = language_of(text, words)
        self.languages[language] += 1
        if len(places := self._by_language.setdefault(language, [])) < MOST_PLACES:
            places.append(Place(source, excerpt(text[:2000], 80)))
        if len(words) > _WORDS:
            self.heads.add(" ".join(words[:_WORDS]), source)
            self.tails.add(" ".join(words[-_WORDS:]), source)
        if len(words) >= 40 and len(set(words)) < 0.35 * len(words) and (share := repeated(words)) >= 0.3:
            self.circling += 1
            if len(self.circles) < MOST_PLACES:
                self.circles.append(Place(source, excerpt(text, 80), f"{share:.0%} of it are repetitions"))

    def findings(self, case: Case) -> Iterator[Finding]:
        yield from self._length(case)
        yield from self._language()
        yield from self._boilerplate()
        if self.circling:
            said = f"{many(self.circling, self.name, 'says', 'say')} the same words again and again"
            fix = "Look whether they were generated or cut badly"
            yield Finding("outlier.repetition", "note", self.circling, said, fix, tuple(self.circles))

    def _length(self, case: Case) -> Iterator[Finding]:
        z = robust_z(self.lengths)
        order = sorted((i for i in range(len(z)) if abs(z[i]) >= FAR), key=lambda i: (-abs(z[i]), i))
        if not order or len(order) > _MOST_UNUSUAL * len(z):
            return
        worst = order[:MOST_PLACES]
        at = {self.numbers[i]: i for i in worst}
        texts = {row.number: row.sample for row in case.read(at)}
        middle = sorted(self.lengths)[len(self.lengths) // 2]
        yield Finding(
            "outlier.length", "note", len(order),
            f"{many(len(order), self.name, 'is', 'are')} far longer or shorter than the others (median: {middle:,} characters)",
            "Look whether they were joined, cut or pasted by accident",
            tuple(Place(texts[self.numbers[i]].source, excerpt(self._text(texts[self.numbers[i]]), 80), f"{self.lengths[i]:,} characters")
                  for i in worst),
            figures={"median": middle, "longest": max(self.lengths), "shortest": min(self.lengths)},
        )  # fmt: skip

    def _text(self, sample: Any) -> str:
        return str(sample.input if self.name == "input" else sample.targets[0])

    def _language(self) -> Iterator[Finding]:
        told = Counter({name: count for name, count in self.languages.items() if name})
        usual = told.most_common(1)[0][0] if told else ""
        if usual == "Latin" and (named := [name for name, _ in told.most_common(2)[1:] if name in _LANGUAGES]):
            usual = named[0]  # short rows hold too few function words to tell
        rare = {name: count for name, count in told.items() if count <= 0.01 * len(self.numbers)}
        if usual not in _LANGUAGES:  # then a language among Latin letters says nothing
            rare = {name: count for name, count in rare.items() if name not in _LANGUAGES}
        elif "Latin" in rare:
            del rare["Latin"]
        rarest = sorted(rare, key=lambda name: (rare[name], name))
        places = [Place(each.source, each.excerpt, name) for name in rarest for each in self._by_language[name]]
        if places:
            names = ", ".join(f"{count:,} {name}" for name, count in sorted(rare.items(), key=lambda item: -item[1]))
            yield Finding(
                "outlier.language", "note", sum(rare.values()),
                f"{self.name}s in another script or language than nearly all others: {names}",
                "Keep them if such inputs will come, and then give them a slice; else take them out",
                tuple(places[:MOST_PLACES]), figures={"usual": usual or "mixed"},
            )  # fmt: skip

    def _boilerplate(self) -> Iterator[Finding]:
        least = max(_FEWEST, len(self.numbers) // 20)
        common = [(count, where, words, source) for where, heads in (("begin", self.heads), ("end", self.tails))
                  for words, count, source in heads.above(least)]  # fmt: skip
        if common:
            common.sort(key=lambda each: (-each[0], each[2]))
            yield Finding(
                "outlier.boilerplate", "note", common[0][0],
                f"{common[0][0]:,} {self.name}s {common[0][1]} with the same {_WORDS} words",
                "Put what is always said into the prompt" if self.name == "input" else "Ask whether every answer should say this",
                tuple(Place(source, excerpt(words, 80), f"{count:,} {self.name}s {where} so")
                      for count, where, words, source in common[:MOST_PLACES]),
            )  # fmt: skip


class Frequent:
    """Counts of the most frequent texts in bounded memory (Misra and Gries 1982): none that is in more than 1 of `most` rows is lost.

    A count is never too high, and too low by at most rows/most.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._counts: dict[int, list[Any]] = {}

    def add(self, text: str, source: str) -> None:
        """One more of this text."""
        entry = self._counts.get(hash(text))
        if entry is not None:
            entry[0] += 1
            return
        if len(self._counts) >= self.most:
            for key in [key for key, each in self._counts.items() if self._less(each)]:
                del self._counts[key]
            return
        self._counts[hash(text)] = [1, text[:200], source]

    @staticmethod
    def _less(entry: list[Any]) -> bool:
        entry[0] -= 1
        return bool(entry[0] == 0)

    def above(self, least: int) -> Iterator[tuple[str, int, str]]:
        """(text, count, where it stood first) of those counted at least so often."""
        return ((text, count, source) for count, text, source in self._counts.values() if count >= least)


def repeated(words: Sequence[str], n: int = 4) -> float:
    """The share of words that belong to a run of n words which came before in the same text."""
    seen: set[tuple[str, ...]] = set()
    covered = bytearray(len(words))
    for i in range(len(words) - n + 1):
        run = tuple(words[i : i + n])
        if run in seen:
            covered[i : i + n] = b"\x01" * n
        seen.add(run)
    return sum(covered) / max(1, len(words))


def robust_z(lengths: Iterable[int]) -> Any:
    """(rows,) distance of log length from the median in robust standard deviations.

    The median of the distances tells their spread (times 1.4826), so that outliers do not hide themselves. It counts as at least 0.4
    of a doubling: what is not five times as long as the middle is no outlier where all rows are about equal.
    """
    import numpy as np

    logs = np.log2(1 + np.array(lengths, dtype=np.float64))
    middle = np.median(logs)
    return (logs - middle) / max(0.4, 1.4826 * float(np.median(np.abs(logs - middle))))
