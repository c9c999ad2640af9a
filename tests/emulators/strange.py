"""Services unlike our emulators, and legal all the same: what another maker of the same API may answer.

    more      fields that nobody knows, in every object
    bare      what is null or empty is left out
    times     time stamps as numbers where they were texts, and as texts where they were numbers
    shuffled  lists in another order, one item a page
    states    words that nobody knows before those that everybody does
    wire      chunked answers, connections that close, 201 for what was made, a path before all others, no look at the key

>>> with estranged(OpenAIEmulator(), "more", "bare") as service:                                      # doctest: +SKIP
...     OpenAI(base_url=service.url, api_key="anything").fine_tuning.jobs.list()
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tests.emulators.core import Emulator

E = TypeVar("E", bound=Emulator)
WAYS = ("more", "bare", "times", "shuffled", "states", "wire")
MAPS = frozenset({"metadata", "labels", "environment", "secrets", "filenameToSignedUrls", "data", "hyperparameters", "adapter"})
"""Objects whose keys are the user's own, or measured things: a service adds none there."""
_TIME = re.compile(
    r"(created|finished|updated|estimated_finish|[cC]reate|[uU]pdate|[cC]ompleted|start|end|started|finished)(_at|At|Time)?$"
)
_KEPT = frozenset({"data", "items", "text", "content"})
_UNKNOWN = {"states": "warming_up", "file_states": "WARMING_UP", "deployment_states": "WARMING_UP", "endpoint_states": "warmingUp"}


def estranged(service: E, *ways: str) -> E:
    """The emulator, with these ways (all of them if none is named); before it is entered."""
    chosen = ways or WAYS
    twists = [twist for name, twist in (("more", more), ("bare", bare), ("times", times), ("shuffled", shuffled)) if name in chosen]
    for one in (service, *([service.storage] if hasattr(service, "storage") else [])):
        one.twist = _chain(twists)
        if "shuffled" in chosen:
            one.page_size = 1
        if "wire" in chosen:
            one.closes, one.created, one.open_to_all = True, 201, True
            one.mount = "" if one is not service else "/gateway/eu"
    if "states" in chosen:
        _unknown_states(service)
    return service


def _chain(twists: Sequence[Callable[[str, Any], Any]]) -> Callable[[str, Any], Any]:
    def twisted(route: str, answer: Any) -> Any:
        for twist in twists if isinstance(answer, dict | list) else []:
            answer = twist(route, answer)
        return answer

    return twisted


def more(route: str, answer: Any) -> Any:
    """With fields that nobody knows."""
    return _deep(answer, lambda found: {"evalh_never_heard": {"of": [1, None, "this"]}, **found, "x-new": 7})


def bare(route: str, answer: Any) -> Any:
    """Without what is null or empty."""
    return _deep(answer, lambda found: {k: v for k, v in found.items() if k in _KEPT or v not in (None, "", [], {})})


def times(route: str, answer: Any) -> Any:
    """Numbers for texts, texts for numbers."""
    return _deep(answer, lambda found: {k: _other_time(v) if _TIME.match(k) else v for k, v in found.items()})


def shuffled(route: str, answer: Any) -> Any:
    """Lists the other way round."""
    lists = {"data", "items", "tuningJobs", "deployedModels", "checkpoints", "metrics", "events"}
    if isinstance(answer, list):
        return answer[::-1]
    return {k: v[::-1] if k in lists and isinstance(v, list) else v for k, v in answer.items()}


def _deep(found: Any, change: Callable[[dict[str, Any]], dict[str, Any]], inside: str = "") -> Any:
    if isinstance(found, list):
        return [_deep(one, change, inside) for one in found]
    if not isinstance(found, dict):
        return found
    deep = {key: _deep(value, change, key) for key, value in found.items()}
    own_keys = inside in MAPS and not isinstance(found.get("id", found.get("name")), str)
    return deep if own_keys else change(deep)


def _other_time(value: Any) -> Any:
    if isinstance(value, str) and "T" in value:
        return int(datetime.datetime.fromisoformat(value).timestamp())
    if isinstance(value, int) and value > 1_000_000_000:
        return datetime.datetime.fromtimestamp(value, datetime.UTC).isoformat()
    return value


def _unknown_states(service: Any) -> None:
    for field, word in _UNKNOWN.items():
        if known := getattr(service, field, None):
            like = word.upper() if known[0].isupper() else word
            head = "JOB_STATE_" if known[0].startswith("JOB_STATE_") else ""
            setattr(service, field, [*known[:-1], f"{head}{like}", known[-1]])
