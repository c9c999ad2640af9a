"""The price of a change: training, serving, and after how many requests the one pays for the other. Unknown stays unknown.

>>> Money(3.10, 0.08, 0.20).sentence()
'Training 3.10 USD; serving −60% per 1,000 requests; pays back after 26,000 requests.'
>>> Money(None, None, None).sentence()
'What training and serving cost is unknown.'
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from evalharness.verdict.records import plain
from evalharness.verdict.view import View


@dataclass(frozen=True, slots=True)
class Money:
    """US dollars; None where unknown. Serving is per 1,000 requests like those of the test set."""

    training: float | None
    serving: float | None
    serving_reference: float | None

    @staticmethod
    def of(view: View, candidate: str, reference: str) -> Money:
        """What the store knows of the two arms' costs."""
        training = view.contender(candidate).training
        return Money(training.cost_usd if training else None, per_1000(view, candidate), per_1000(view, reference))

    @property
    def pays_back_after(self) -> int | None:
        """Requests after which cheaper serving has paid for the training, to two digits; None if never or unknown."""
        if self.training is None or self.serving is None or self.serving_reference is None or self.serving >= self.serving_reference:
            return None
        requests = 1000 * self.training / (self.serving_reference - self.serving)
        unit = 10 ** max(0, math.floor(math.log10(requests)) - 1) if requests >= 1 else 1
        return math.ceil(round(requests / unit, 6)) * unit

    def as_json(self) -> dict[str, Any]:
        """The figures, plain."""
        return {
            "training_usd": plain(self.training),
            "serving_usd_per_1000": plain(self.serving),
            "reference_serving_usd_per_1000": plain(self.serving_reference),
            "pays_back_after_requests": self.pays_back_after,
        }

    def sentence(self) -> str:
        """ "Training 3.10 USD; serving −62% per 1,000 requests; pays back after 41,000 requests."."""
        if self.training is None and self.serving is None:
            return "What training and serving cost is unknown."
        training = "training: cost unknown" if self.training is None else f"training {self.training:,.2f} USD"
        parts = [training, self._serving()]
        if (after := self.pays_back_after) is not None and after > 0:
            parts.append(f"pays back after {after:,} requests")
        text = "; ".join(parts)
        return f"{text[0].upper()}{text[1:]}."

    def _serving(self) -> str:
        if self.serving is None:
            return "serving: cost unknown"
        if self.serving_reference is None:
            return f"serving {self.serving:,.2f} USD per 1,000 requests, the reference's cost unknown"
        if self.serving_reference == 0:
            return f"serving {self.serving:,.2f} USD per 1,000 requests against 0.00"
        change = round(100 * (self.serving / self.serving_reference - 1))
        return f"serving {change:+d}% per 1,000 requests".replace("-", "−")


def per_1000(view: View, arm: str) -> float | None:
    """What 1,000 answers of the arm cost, by what its answers on this set cost; None if any of them is unknown."""
    usage = view.usage[view.contender(arm).arm.arm_id]
    return None if usage.cost_usd is None or usage.n == 0 else 1000 * usage.cost_usd / usage.n
