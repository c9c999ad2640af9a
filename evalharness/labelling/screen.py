"""What a person sees while labelling. Judged text is untrusted: nothing in it acts on the terminal.

>>> screen = Screen(Console(), Scale({"fail": 0.0, "pass": 1.0}, (0.0, 1.0)))
>>> screen.keys()
'[f] fail  [p] pass    [s] skip  [u] undo  [n] note  [?] rubric  [q] quit'
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.text import Text

from evalharness.labelling.scale import COMMANDS, Scale
from evalharness.labelling.session import Session
from evalharness.labelling.texts import Shown
from evalharness.report.text import lines_of

_ORDER = ("s", "u", "n", "?", "q")


@dataclass(frozen=True, slots=True)
class Screen:
    """Prints to a console; `scale` says what can be answered."""

    console: Console
    scale: Scale

    def rubric(self, rubric: str) -> None:
        """What to judge by."""
        self._block("Judge by this", rubric, "bold cyan")

    def ask(self, shown: Shown, session: Session) -> None:
        """One text, or pair of texts, with what was asked."""
        self.console.print()
        self.console.print(Rule(self._progress(session), align="left", style="dim"))
        if self.console.is_terminal:
            self.console.print(ProgressBar(session.total, session.labelled, width=min(60, self.console.width)))
            self.console.print()  # a progress bar ends no line
        self._block("Question", shown.question, "bold")
        if shown.targets:
            self._block("Accepted", "\n".join(shown.targets), "bold green")
        names = ("First answer", "Second answer") if len(shown.answers) == 2 else ("Answer",)
        for name, answer in zip(names, shown.answers, strict=True):
            self._block(name, answer or "(empty)", "bold yellow")
        self.console.print(Text(self.keys(), style="dim"))

    def keys(self) -> str:
        """What can be pressed or typed."""
        answers = "  ".join(f"[{key}] {lines_of(label)}" for key, label in self.scale.keys.items()) or f"type {self.scale.wanted}"
        return f"{answers}    " + "  ".join(f"[{key}] {COMMANDS[key]}" for key in _ORDER)

    def say(self, text: str, style: str = "") -> None:
        """A line."""
        self.console.print(Text(text, style=style))

    def _progress(self, session: Session) -> Text:
        skipped = f" · {session.skipped} skipped" if session.skipped else ""
        return Text(f"{session.labelled} of {session.total} labelled{skipped}", style="bold")

    def _block(self, title: str, text: str, style: str) -> None:
        self.console.print(Text(title, style=style))
        self.console.print(Padding(Text(lines_of(text)), (0, 0, 1, 2)))
