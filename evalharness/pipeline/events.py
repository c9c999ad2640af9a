"""What a run tells the person who watches: small events, printed by the CLI, ignored by nobody's tests.

>>> Event("generate", "few-shot", done=3, total=400).share
0.0075
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["check", "train", "generate", "score"]


@dataclass(frozen=True, slots=True)
class Event:
    """Progress of one arm in one stage, or (kind "note"/"warning") a sentence about it.

    `done` and `total` count training steps, outputs or scores; `loss` is the newest training or dev loss.
    """

    stage: Stage
    label: str
    done: int = 0
    total: int | None = None
    text: str = ""
    kind: Literal["progress", "note", "warning", "end"] = "progress"
    loss: float | None = None
    cost_usd: float | None = None

    @property
    def share(self) -> float:
        """How much of the stage is done, 0 to 1; 0 while the total is unknown."""
        return self.done / self.total if self.total else 0.0


Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """Watches nothing."""
