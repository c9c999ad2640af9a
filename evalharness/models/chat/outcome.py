"""How asking can fail, for the engine: try the same again, give this request up, or stop asking this service.

    Again     rate limit, server error, lost connection, half an answer: the same request may be sent once more
    Refused   the service has answered, and the answer is no (a bad request, a missing model)
    Halted    no request will be answered (a wrong key, no credit): the ones not sent yet are not sent

>>> raise Again("HTTP 429", after=1.5, limited=True)
Traceback (most recent call last):
evalharness.models.chat.outcome.Again: HTTP 429
"""

from __future__ import annotations

from evalharness.errors import ProviderError
from evalharness.records import Reply


class Again(ProviderError):
    """The same request may be sent once more, not before `after` seconds if the service named them.

    `limited`: a rate limit refused it, which is no fault of the request and counts as no try. `crowded`: the
    service may be overloaded. `raw`: what came instead of an answer. `cost_usd`: what this try has cost.
    `waking`: what answers is being started, which may take minutes and counts as no try.
    `reply`: a whole answer that is hard to believe (an empty text); it is believed when it has come three times.
    """

    def __init__(
        self,
        reason: str,
        *,
        after: float | None = None,
        limited: bool = False,
        crowded: bool = False,
        raw: str | None = None,
        cost_usd: float | None = None,
        reply: Reply | None = None,
        waking: bool = False,
    ) -> None:
        super().__init__(reason)
        self.after, self.limited, self.crowded, self.raw = after, limited, crowded or limited, raw
        self.cost_usd, self.reply, self.waking = cost_usd, reply, waking


class Refused(ProviderError):
    """This request fails for good. `raw` is what came instead of an answer; `systemic`: others are likely to fail alike.

    `absent`: the service knows no such model, which for one that has just been made may mean: not yet.
    """

    def __init__(self, reason: str, *, raw: str | None = None, systemic: bool = False, absent: bool = False) -> None:
        super().__init__(reason)
        self.raw, self.systemic, self.absent = raw, systemic, absent


class Halted(ProviderError):
    """No request will be answered until a person has acted."""
