"""Real data, spoilt on purpose: 200 faults of every kind planted into banking77, and how many of them the doctor finds.

python -m pytest tests/doctor/test_corruption.py -s          prints the table
"""

from __future__ import annotations

import csv
import functools
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evalharness.doctor.examine import Examination, examine
from evalharness.doctor.format import Format
from evalharness.doctor.inputs import Inputs
from evalharness.reading import load_suite

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the project")
FAULTS = 200
RECALL, NEAR_RECALL, FALSE_ALARMS = 0.99, 0.95, 0.01
LONG = 10
"""Words from which on one word in ten can change."""

Row = tuple[str, str]


@dataclass
class Table:
    """Kind of fault -> planted, found; and clean rows that were named."""

    lines: list[tuple[str, int, int, float]] = field(default_factory=list)
    clean: int = 0
    alarms: int = 0

    def show(self) -> None:
        print(f"\n{'planted fault':44} {'planted':>8} {'found':>6} {'recall':>8} {'bar':>6}")
        for kind, planted, found, bar in self.lines:
            print(f"{kind:44} {planted:8,} {found:6,} {found / planted:8.1%} {bar:6.0%}")
        print(f"{'clean rows named beyond what is really there':44} {self.clean:8,} {self.alarms:6,} {self.alarms / self.clean:8.2%}")

    def check(self) -> None:
        for kind, planted, found, bar in self.lines:
            assert found >= bar * planted, f"{kind}: {found} of {planted}"
        assert self.alarms <= FALSE_ALARMS * self.clean


@functools.cache
def banking(side: str) -> list[Row]:
    with (SHARED / "banking77" / f"{side}.csv").open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def retyped(text: str, rng: random.Random) -> str:
    """The same up to case, space, punctuation and Unicode form."""
    changes: list[Callable[[str], str]] = [
        str.upper,
        str.lower,
        lambda t: f"  {t.replace(' ', '  ')} ",
        lambda t: t.rstrip("?.!") + " ?!",
        lambda t: t.replace("'", "’").replace(" ", "\u00a0"),
        lambda t: "".join(c for c in t if c.isalnum() or c in " $£€"),
        lambda t: "".join(c if c.isalnum() or c in "$£€" else " " for c in t),
        lambda t: "".join(chr(ord(c) + 0xFEE0) if "a" <= c <= "z" else c for c in t),
    ]
    for change in rng.sample(changes, len(changes)):
        if (other := change(text)) != text:
            return other
    raise AssertionError(text)


def misspelt(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word))
    return word[:at] + rng.choice("aeiou'") + word[at + 1 :]


def reworded(text: str, rng: random.Random) -> str:
    """At most a tenth of the words replaced, misspelt, left out or added."""
    words = text.split()
    other = rng.choice(banking("test"))[0].split()
    for _ in range(max(1, len(words) // 10)):
        at = rng.randrange(len(words))
        match rng.choice(["replace", "other", "misspell", "drop", "add"] if len(words) // 10 == 1 else ["replace"]):
            case "replace":
                words[at] = f"word{rng.randrange(10**6)}"
            case "other":
                words[at] = rng.choice(other)
            case "misspell":
                words[at] = misspelt(words[at], rng)
            case "drop" if len(words) > LONG:
                del words[at]
            case _ if len(words) >= LONG:
                words.insert(at, f"word{rng.randrange(10**6)}")
    made = " ".join(words)
    return made if letters(made) != letters(text) else reworded(text, rng)


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def suite(folder: Path, train: list[str], test: list[str]) -> Path:
    (folder / "train.jsonl").write_text("".join(f"{line}\n" for line in train), "utf-8", "surrogatepass")
    (folder / "test.jsonl").write_text("".join(f"{line}\n" for line in test), "utf-8")
    path = folder / "suite.yaml"
    path.write_text("data: {train: train.jsonl, test: test.jsonl}\nbaselines: {a: {outputs: test.jsonl}}\nmetrics: [exact_match]\n")
    return path


def about(seen: Examination) -> dict[str, set[int]]:
    """Rule -> numbers of all rows that it names."""
    named: dict[str, set[int]] = defaultdict(set)
    for finding in seen.findings:
        named[finding.rule] |= set(finding.about)
    return named


def jsonl(rows: list[Row]) -> list[str]:
    return [json.dumps({"input": text, "target": label}, ensure_ascii=False) for text, label in rows]


@needs_shared
def test_repeated_leaked_and_contradicting_rows_are_found(tmp_path: Path) -> None:
    rng = random.Random(7)
    train, test = banking("train"), banking("test")
    before = examine(load_suite(suite(tmp_path, jsonl(train), jsonl(test))), [Inputs])
    really = set().union(*about(before).values())
    words = [row for row in train if len(row[0].split()) >= LONG]
    held = [row for row in test if len(row[0].split()) >= LONG]
    labels = sorted({label for _, label in train})
    kinds: dict[str, tuple[tuple[str, ...], list[Row]]] = {
        "exact duplicate": (("duplicate.exact",), rng.sample(train, FAULTS)),
        "normalised duplicate": (("duplicate.normalised",), [(retyped(t, rng), y) for t, y in rng.sample(train, FAULTS)]),
        "near duplicate (≤ 10% of words)": (("duplicate.near",), [(reworded(t, rng), y) for t, y in rng.sample(words, FAULTS)]),
        "exact leak": (("leak.exact",), rng.sample(test, FAULTS)),
        "normalised leak": (("leak.normalised",), [(retyped(t, rng), y) for t, y in rng.sample(test, FAULTS)]),
        "near leak (≤ 10% of words)": (("leak.near",), [(reworded(t, rng), y) for t, y in rng.sample(held, FAULTS)]),
        "same question, another label": (
            ("conflict.same",), [(t, rng.choice([z for z in labels if z != y])) for t, y in rng.sample(train, FAULTS)]
        ),
        "near question, another label": (
            ("conflict.near",), [(reworded(t, rng), rng.choice([z for z in labels if z != y])) for t, y in rng.sample(words, FAULTS)]
        ),
    }  # fmt: skip
    table, spoilt, numbers = Table(), list(train), {}
    for kind, (_, rows) in kinds.items():
        numbers[kind] = range(len(spoilt), len(spoilt) + len(rows))
        spoilt += rows
    seen = about(examine(load_suite(suite(tmp_path, jsonl(spoilt), jsonl(test))), [Inputs]))
    for kind, (rules, rows) in kinds.items():
        found = set().union(*(seen[rule] for rule in rules)) & set(numbers[kind])
        table.lines.append((kind, len(rows), len(found), NEAR_RECALL if "near" in kind else RECALL))
    table.clean = len(train) - len(really)
    named = {n for rule, rows in seen.items() if rule != "conflict.same" for n in rows}  # the clean row of a conflict is named rightly
    table.alarms = len({n for n in named if n < len(train)} - really)
    table.show()
    table.check()


def chat(text: str, label: str) -> dict[str, Any]:
    turns = [("system", "Sort the question."), ("user", text), ("assistant", label)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def spoilt_lines(rows: Iterator[Row]) -> dict[str, tuple[str, list[str]]]:
    """Kind of fault -> the rule that should find it, and its lines."""

    def lines(change: Callable[[list[dict[str, Any]]], object]) -> list[str]:
        found = []
        for _ in range(FAULTS):
            row = chat(*next(rows))
            change(row["messages"])
            found.append(json.dumps(row, ensure_ascii=False))
        return found

    def cut(text: str, k: int) -> str:
        return text[: len(text) // 2] if k % 2 else text[:-1] + ",}"

    whole = [json.dumps(chat(*next(rows))) for _ in range(FAULTS)]
    garbled = [json.dumps(chat(f"{t} — it’s about my café".encode().decode("cp1252"), y), ensure_ascii=False) for t, y in take(rows)]
    lost = [json.dumps(chat(f"{t} caf\ufffd", y), ensure_ascii=False) for t, y in take(rows)]
    return {
        "malformed JSON": ("format.unreadable", [cut(line, k) for k, line in enumerate(whole)]),
        "no object": ("format.unreadable", [json.dumps([text, label]) for text, label in take(rows)]),
        "unknown role": ("format.roles", lines(lambda turns: turns[1].update(role="human"))),
        "system turn not first": ("format.roles", lines(lambda turns: turns.insert(1, turns.pop(0)))),
        "no user turn": ("format.roles", lines(lambda turns: turns.pop(1))),
        "no assistant turn": ("format.answer", lines(lambda turns: turns.pop())),
        "empty answer": ("format.answer", lines(lambda turns: turns[-1].update(content=" "))),
        "empty question": ("format.empty", lines(lambda turns: turns[1].update(content=""))),
        "content is no text": ("format.schema", lines(lambda turns: turns[1].update(content=["a", "b"]))),
        "NUL in the text": ("format.text", lines(lambda turns: turns[1].update(content=f"{turns[1]['content']}\0"))),
        "two user turns in a row": ("format.turns", lines(lambda turns: turns.insert(1, {"role": "user", "content": "Hello"}))),
        "assistant speaks first": ("format.turns", lines(lambda turns: turns.insert(1, {"role": "assistant", "content": "Hello"}))),
        "no system prompt": ("format.system", lines(lambda turns: turns.pop(0))),
        "another system prompt": ("format.system", lines(lambda turns: turns[0].update(content="Be brief."))),
        "UTF-8 read as Windows-1252": ("format.encoding", garbled),
        "lost characters (U+FFFD)": ("format.encoding", lost),
        "another kind of row": ("format.mixed", [json.dumps({"prompt": text, "completion": label}) for text, label in take(rows)]),
    }


def take(rows: Iterator[Row]) -> list[Row]:
    return [next(rows) for _ in range(FAULTS)]


@needs_shared
def test_broken_and_odd_rows_are_found(tmp_path: Path) -> None:
    train, test = banking("train"), banking("test")
    kinds = spoilt_lines(iter(train))
    clean = [json.dumps(chat(*row), ensure_ascii=False) for row in train[FAULTS * len(kinds) :]]
    before = examine(load_suite(suite(tmp_path, clean, [json.dumps(chat(*row), ensure_ascii=False) for row in test])), [Format])
    mixed = [(line, "") for line in clean] + [(line, kind) for kind, (_, lines) in kinds.items() for line in lines]
    random.Random(7).shuffle(mixed)
    path = suite(tmp_path, [line for line, _ in mixed], [json.dumps(chat(*row), ensure_ascii=False) for row in test])
    seen, table = about(examine(load_suite(path), [Format])), Table()
    for kind, (rule, _) in kinds.items():
        planted = {number for number, (_, each) in enumerate(mixed) if each == kind}
        table.lines.append((f"{kind} [{rule}]", len(planted), len(planted & seen[rule]), RECALL))
    faultless = {number for number, (_, kind) in enumerate(mixed) if not kind}
    table.clean, table.alarms = len(faultless), len(faultless & set().union(*seen.values()))
    table.show()
    table.check()
    assert not before.findings
