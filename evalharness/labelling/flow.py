"""Labelling at a terminal: show, listen, store, until all is labelled or the person has had enough.

>>> left = run(session, texts, rubric, Screen(Console(), scale), Keyboard(sys.stdin))                 # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evalharness.labelling.choosing import Ask
from evalharness.labelling.keyboard import Keyboard
from evalharness.labelling.scale import COMMANDS
from evalharness.labelling.screen import Screen
from evalharness.labelling.session import Session
from evalharness.labelling.texts import Shown

Texts = Callable[[Ask], Shown]


def run(session: Session, texts: Texts, rubric: str, screen: Screen, keyboard: Keyboard) -> None:
    """Ask until nothing is left or the person quits; every answer is stored when it is given."""
    screen.rubric(rubric)
    note, fresh = "", True
    while (ask := session.current) is not None:
        if fresh:
            screen.ask(texts(ask), session)
        said = keyboard.ask(single=screen.scale.single_keys)
        command, rest = _command(said)
        if command == "quit":
            return
        note, fresh = _act(command, rest, note, session, rubric, screen, keyboard)


def _command(said: str | None) -> tuple[str, str]:
    """(command, what follows it); the command is "" for an answer, and the end of the input quits."""
    if said is None:
        return "quit", ""
    word, _, rest = said.partition(" ")
    names: Mapping[str, str] = COMMANDS | {name: name for name in COMMANDS.values()}
    return (names[word.lower()], rest.strip()) if word.lower() in names else ("", said)


def _act(command: str, rest: str, note: str, session: Session, rubric: str, screen: Screen, keyboard: Keyboard) -> tuple[str, bool]:
    """Do what was said; returns the note for what comes, and whether to show it anew."""
    if command == "skip":
        session.skip()
        screen.say("skipped: it comes back next time", "yellow")
        return "", True
    if command == "undo":
        screen.say("taken back" if session.undo() else "nothing to take back: earlier sessions stay", "yellow")
        return "", True
    if command == "rubric":
        screen.rubric(rubric)
        return note, True
    if command == "note":
        if not rest:
            screen.say("note: ")
            rest = keyboard.ask(single=False) or ""
        screen.say("noted; now the label", "yellow")
        return rest, False
    value = screen.scale.read(rest)
    if value is None:
        screen.say(f"say {screen.scale.wanted}", "red")
        return note, False
    session.answer(value, note)
    screen.say(f"✓ {screen.scale.label(value)}", "green")
    return "", True
