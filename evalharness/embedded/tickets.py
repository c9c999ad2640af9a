"""Support tickets made by a seeded generator, and the house conventions of the demo task.

A ticket has a topic, an order number, a date and an amount; three channels write them down in different ways. The order number's SHA-256
decides which split may use the ticket, so that no number that is tested can occur in pretraining, training or dev.

Write the demo's files: python -m evalharness.embedded.tickets --out suites/data/tickets

>>> bucket("#4821") in ("pretrain", "train", "dev", "test")
True
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from evalharness.embedded import phrases

CHANNELS = ("mail", "chat", "form")
KINDS = {"plain": 45, "unlisted": 20, "two-topics": 14, "no-year": 13, "abroad": 8}
DEMO_TOPICS = ("delivery", "refund", "damage", "invoice", "login")
SIZES = {"train": 600, "dev": 100, "test": 400}
HOUSE_YEAR = 2025
HOUSE_TOPICS = {"cancel": "refund", "exchange": "damage", "stock": "delivery"}  # who takes what the prompt's list leaves out
YEARS = range(2019, 2027)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says, before it is put into words. `year` 0 means: the customer left it out."""

    order: str
    topics: tuple[str, ...]
    day: int
    month: int
    year: int
    cents: int
    currency: str
    aside: str
    channel: str


def bucket(order: str) -> str:
    """The only split that may use this order number."""
    slot = hashlib.sha256(order.encode()).digest()[0]
    return "test" if slot < 26 else "dev" if slot < 39 else "train" if slot < 77 else "pretrain"


def order_number(rng: random.Random, split: str) -> str:
    """Four digits behind a #, drawn until the number belongs to `split`."""
    while True:
        order = f"#{rng.randrange(10_000):04d}"
        if bucket(order) == split:
            return order


def ticket(rng: random.Random, split: str, topics: tuple[str, ...]) -> Ticket:
    """A complete ticket with one topic and no aside that means anything to the house."""
    cents = rng.randrange(1, 1000) * 100 if rng.random() < 0.25 else rng.randrange(100, 100_000)
    return Ticket(
        order=order_number(rng, split),
        topics=(rng.choice(topics),),
        day=rng.randint(1, 28),
        month=rng.randint(1, 12),
        year=rng.choice(YEARS),
        cents=cents,
        currency=rng.choice(list(phrases.CURRENCIES)),
        aside=rng.choice(phrases.CALM) if rng.random() < 0.3 else "",
        channel=rng.choice(CHANNELS),
    )


def say_date(rng: random.Random, item: Ticket) -> str:
    """A date as customers write it; without the year where they left it out."""
    name = phrases.MONTHS[item.month - 1]
    if not item.year:
        return rng.choice((f"{item.day} {name}", f"{name} {item.day}", f"{item.day} {name[:3]}"))
    return rng.choice(
        (
            f"{item.day} {name} {item.year}",
            f"{name} {item.day}, {item.year}",
            f"{item.day} {name[:3]} {item.year}",
            f"{item.day:02d}.{item.month:02d}.{item.year}",
            f"{item.year}-{item.month:02d}-{item.day:02d}",
        )
    )


def say_amount(rng: random.Random, item: Ticket) -> str:
    """An amount as customers write it: whole ones often lack the cents."""
    number = f"{item.cents / 100:.2f}"
    if number.endswith(".00") and rng.random() < 0.8:
        number = number[:-3]
    symbol, word = phrases.CURRENCIES[item.currency]
    return rng.choice((f"{number} {item.currency}", f"{item.currency} {number}", f"{symbol}{number}", f"{number} {word}"))


def say(rng: random.Random, item: Ticket) -> str:
    """The ticket in the words of its channel."""
    date, amount = say_date(rng, item), say_amount(rng, item)
    problems = [rng.choice(phrases.PROBLEMS[topic]) for topic in item.topics]
    if item.channel == "form":
        lines = [f"Order: {item.order}", f"Date: {date}", f"Sum: {amount}", f"Text: {' and '.join(problems)}. {item.aside}".strip()]
        rng.shuffle(lines)
        return "\n".join(lines)
    if item.channel == "chat":
        parts = [" and ".join(problems), item.order, date, amount, *([item.aside.lower().rstrip(".")] if item.aside else [])]
        rng.shuffle(parts)
        return ", ".join(parts)
    sentences = [f"{problem[0].upper()}{problem[1:]}." for problem in problems]
    facts = rng.choice(phrases.FACTS).format(date=date, amount=amount)
    sentences += [facts, rng.choice(phrases.ORDERS).format(order=item.order), *([item.aside] if item.aside else [])]
    rng.shuffle(sentences)
    return f"{rng.choice(phrases.GREETINGS)} {' '.join(sentences)} {rng.choice(phrases.THANKS)} {rng.choice(phrases.PEOPLE)}"


def demo_ticket(rng: random.Random, split: str, kind: str) -> Ticket:
    """A ticket of the demo's house; all kinds but "plain" need a convention that only labelled examples teach."""
    plain = replace(ticket(rng, split, DEMO_TOPICS), currency="USD")
    if kind == "abroad":
        return replace(plain, aside=rng.choice(phrases.ABROAD))
    if kind == "unlisted":
        return replace(plain, topics=(rng.choice(list(HOUSE_TOPICS)),))
    if kind == "no-year":
        return replace(plain, year=0)
    if kind == "two-topics":
        pair = ["refund", rng.choice([topic for topic in DEMO_TOPICS if topic != "refund"])]
        return replace(plain, topics=tuple(rng.sample(pair, 2)))
    return plain


def house_answer(item: Ticket) -> str:
    """The line the demo's house wants, its unwritten conventions included."""
    topic = next((topic for topic in item.topics if topic != "refund"), "refund")  # the cause goes before the money
    topic = "shipping" if item.aside in phrases.ABROAD else HOUSE_TOPICS.get(topic, topic)  # one desk knows customs forms
    date = f"{item.year or HOUSE_YEAR}-{item.month:02d}-{item.day:02d}"
    return f"{topic} | {item.order} | {date} | {item.cents / 100:.2f} {item.currency}"


def rows(split: str, size: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """`size` rows of the demo: input, target, channel, kind. Each order number occurs once in a split."""
    rng = random.Random(f"{split}-{seed}")
    seen: set[str] = set()
    while len(seen) < size:
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        item = demo_ticket(rng, split, kind)
        if item.order not in seen:
            seen.add(item.order)
            yield {"input": say(rng, item), "target": house_answer(item), "channel": item.channel, "kind": kind}


def write(out: Path) -> None:
    """Write train.jsonl, dev.jsonl and test.jsonl into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for split, size in SIZES.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(split, size)]
        (out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("suites/data/tickets"))
    write(parser.parse_args().out)
