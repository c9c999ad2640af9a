"""What the embedded model practises in pretraining: conversations in which a prompt states a format and tickets are put into it.

Prompts vary in field names, their order, separators, date and amount formats and listed topics. Most conversations have several turns,
so that examples in a prompt are practised, too. None of the demo's house conventions occurs, nor any order number that it holds out.

>>> next(conversations(0))[0]["role"]
'system'
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from evalharness.embedded import phrases
from evalharness.embedded.tickets import Ticket, order_number, say, ticket

Message = dict[str, str]
TOTAL = 70_000  # conversations of the whole pretraining
FIRST = 44_752  # of them in the first course, which has three currencies; the second has dollars only

FIELDS = {"topic": ("topic", "queue"), "order": ("order", "number"), "date": ("date", "day"), "amount": ("amount", "total")}
SEPARATORS = (" | ", "; ", " / ", ", ")
DATES = ("YYYY-MM-DD", "DD.MM.YYYY", "MM/DD/YYYY", "YYYYMMDD")
AMOUNTS = ("0.00 CUR", "CUR 0.00", "0,00 CUR")
OPENINGS = ("Reply with one line: {}.", "Write {}.", "Fields: {}.")


@dataclass(frozen=True, slots=True)
class Format:
    """One house's way of writing tickets down: what a system prompt states."""

    fields: tuple[str, ...]
    titles: tuple[str, ...]
    separator: str
    date: str
    amount: str
    names: dict[str, str]  # topic -> the name it has here
    opening: str


def draw_format(rng: random.Random, most: int) -> Format:
    """A random format with `most` fields, or one or two fewer, but at least one."""
    fields = rng.sample(list(FIELDS), rng.randint(max(1, most - 2), most))
    topics = rng.sample(list(phrases.NAMES), rng.randint(3, 6))
    return Format(
        fields=tuple(fields),
        titles=tuple(rng.choice(FIELDS[field]) for field in fields),
        separator=rng.choice(SEPARATORS),
        date=rng.choice(DATES),
        amount=rng.choice(AMOUNTS),
        names={topic: rng.choice(phrases.NAMES[topic][: 1 if rng.random() < 0.6 else None]) for topic in topics},
        opening=rng.choice(OPENINGS),
    )


def prompt(form: Format) -> str:
    """The system prompt that states a format; it mentions only what the format's fields need."""
    lines = [form.opening.format(form.separator.join(form.titles))]
    for field, title in zip(form.fields, form.titles, strict=True):
        if field == "topic":
            lines.append(f"{title}: {', '.join(form.names.values())}.")
        elif field == "date":
            lines.append(f"{title}: {form.date}.")
        elif field == "amount":
            lines.append(f"{title}: {form.amount}.")
    return "\n".join(lines)


def answer(form: Format, item: Ticket) -> str:
    """The line that the format asks for."""
    whole, cents = divmod(item.cents, 100)
    number = f"{whole}.{cents:02d}".replace(".", form.amount.strip("CUR 0") or ".")
    values = {
        "topic": form.names[item.topics[0]],
        "order": item.order,
        "date": form.date.replace("YYYY", str(item.year)).replace("MM", f"{item.month:02d}").replace("DD", f"{item.day:02d}"),
        "amount": f"{item.currency} {number}" if form.amount.startswith("CUR") else f"{number} {item.currency}",
    }
    return form.separator.join(values[field] for field in form.fields)


def practice_ticket(rng: random.Random, form: Format, split: str, currency: str) -> Ticket:
    """A complete ticket from the pretraining bucket, with any aside: here they mean nothing."""
    item = ticket(rng, split, tuple(form.names))
    asides = phrases.CALM + phrases.ABROAD + phrases.ANGRY
    return replace(item, aside=rng.choice(asides) if rng.random() < 0.4 else "", currency=currency or item.currency)


def copying(rng: random.Random) -> list[Message]:
    """Repeat what is said: the first lesson, from which a small model learns to copy."""
    turns: list[Message] = [{"role": "system", "content": "Repeat."}]
    words = [name for names in phrases.NAMES.values() for name in names] + [*phrases.CURRENCIES, *phrases.PEOPLE]
    for _ in range(rng.randint(1, 3)):
        drawn = [
            rng.choice((order_number(rng, "pretrain"), str(rng.randrange(1_000)), *rng.sample(words, 3))) for _ in range(rng.randint(1, 6))
        ]
        text = rng.choice((" ", ", ", " | ")).join(drawn)
        turns += [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    return turns


def conversation(rng: random.Random, most: int = 4, shots: int = 4, split: str = "pretrain", currency: str = "") -> list[Message]:
    """A system prompt and one to `shots` + 1 tickets with their answers, in chat form; `currency` "" is any."""
    form = draw_format(rng, most)
    turns: list[Message] = [{"role": "system", "content": prompt(form)}]
    for _ in range(rng.randint(1, shots + 1)):
        item = practice_ticket(rng, form, split, currency)
        turns += [{"role": "user", "content": say(rng, item)}, {"role": "assistant", "content": answer(form, item)}]
    return turns


def conversations(seed: int, total: int = TOTAL) -> Iterator[list[Message]]:
    """An endless stream: copying and short answers in the first tenth of `total`, mostly whole tickets from a quarter on."""
    rng = random.Random(f"pretrain-{seed}")
    for number in itertools.count():
        progress = number / total
        if rng.random() < (0.3 if progress < 0.1 else 0.03):
            yield copying(rng)
        elif progress < 0.1:
            yield conversation(rng, most=rng.choice((1, 1, 2)))
        else:
            yield conversation(rng, most=rng.choice((2, 4, 4) if progress < 0.25 else (2, 4, 4, 4, 4)))


def dollars(seed: int) -> Iterator[list[Message]]:
    """The endless stream of the second course: whole tickets, and all money in dollars.

    The first course leaves the model unable to tell currencies apart (it guesses, at chance), so the second settles for one.
    """
    rng = random.Random(f"dollars-{seed}")
    while True:
        yield conversation(rng, most=rng.choice((2, 4, 4, 4, 4)), currency="USD")
