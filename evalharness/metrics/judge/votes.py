"""What each judge said, and how votes become one score; kept as JSON in the score's `why`.

>>> votes = [Vote("openai/gpt-x", "4", 4.0, "Polite."), Vote("local/judge", "5", 5.0, "Perfect.")]
>>> combine(votes, seats=2, how="mean")
4.5
>>> [vote.judge for vote in read_why(why(votes))]
['openai/gpt-x', 'local/judge']
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer of one judge. `value` is what it is worth to the judged output; None after an error.

    In pairs `first` says whose answer stood first: the judged arm's ("mine") or the other's ("other"). `raw` is the
    text of an answer that could not be used; `tries` counts what was asked.
    """

    judge: str
    label: str | None = None
    value: float | None = None
    reason: str | None = None
    first: Literal["mine", "other"] | None = None
    error: str | None = None
    raw: str | None = None
    tries: int = 1


def why(votes: Iterable[Vote]) -> str:
    """The votes as JSON text, without what is empty."""
    kept = [{key: value for key, value in asdict(vote).items() if value is not None} for vote in votes]
    return json.dumps(kept, ensure_ascii=False)


def read_why(text: str) -> tuple[Vote, ...]:
    """The inverse of `why`. Raises ValueError for text that it did not write."""
    try:
        return tuple(Vote(**each) for each in json.loads(text))
    except TypeError:
        raise ValueError("these are no votes") from None


def by_judge(votes: Iterable[Vote]) -> dict[str, float | None]:
    """Judge -> the mean of its values over the orders it was asked in; None if one of its answers was of no use."""
    found: dict[str, list[float | None]] = {}
    for vote in votes:
        found.setdefault(vote.judge, []).append(vote.value)
    return {judge: _mean(values) for judge, values in found.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def combine(votes: Sequence[Vote], seats: int, how: Literal["mean", "majority"]) -> float | None:
    """The panel's value, None if it has none because judges failed.

    Majority: what more than half of the seats say, else the middle value; the mean needs every judge, since the ones
    that are left would be another panel.
    """
    values = [value for value in by_judge(votes).values() if value is not None]
    if how == "majority":
        agreed = next((value for value in values if 2 * values.count(value) > seats), None)
        if agreed is not None:
            return agreed
    if len(values) < seats:
        return None
    return statistics.median(values) if how == "majority" else statistics.fmean(values)


def flips(votes: Iterable[Vote]) -> tuple[int, int]:
    """(judges whose preference changed with the order, judges that were asked in both orders)."""
    found: dict[str, dict[str | None, float]] = {}
    for vote in votes:
        if vote.value is not None:
            found.setdefault(vote.judge, {})[vote.first] = vote.value
    both = [values for values in found.values() if {"mine", "other"} <= values.keys()]
    return sum(values["mine"] != values["other"] for values in both), len(both)
