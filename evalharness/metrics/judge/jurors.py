"""The models that judge: found by name like an arm's, one instance each.

>>> juror = Juror.of("openai/gpt-x", Path("."))
>>> juror.name, juror.identity()["model"]
('openai/gpt-x', 'gpt-x')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from evalharness import registry
from evalharness.errors import ConfigError, Problem
from evalharness.ids import digest
from evalharness.protocols import Model
from evalharness.records import Request
from evalharness.spec import Use, model_use


@dataclass(frozen=True, slots=True)
class Juror:
    """One judge: how the suite names it, and the model that answers for it."""

    name: str
    plugin: str
    argument: object
    model: Model
    root: Path

    @staticmethod
    def of(use: Use, root: Path) -> Juror:
        """The judge that `use` names. Raises ConfigError if there is no such model or its options are wrong."""
        plugin, argument = model_use(use)
        model = _make(plugin, argument, root)
        short = type(model).Options.shorthand
        name = argument.get(short) if isinstance(argument, Mapping) else argument
        return Juror(f"{plugin}/{name}" if name else plugin, plugin, argument, model, root)

    def check(self) -> None:
        """Raises ConfigError if its key or package is missing, as far as the model can tell beforehand."""
        check = getattr(self.model, "check", None)
        if check is not None:
            check()

    def identity(self) -> dict[str, str]:
        """What decides its answers besides prompt and sampling."""
        return {"plugin": self.plugin, **self.model.identity()}

    def use(self) -> Use:
        """The shortest way to name it: without options that do not decide its answers (concurrency, prices, headers)."""
        if not isinstance(self.argument, Mapping):
            return self.plugin if self.argument is None else {self.plugin: self.argument}
        kept, wanted = dict(self.argument), digest(self.identity())
        for key in sorted(kept):
            fewer = {name: value for name, value in kept.items() if name != key}
            if self._same(fewer, wanted):
                kept = fewer
        short = type(self.model).Options.shorthand
        return {self.plugin: kept[short] if short is not None and kept.keys() == {short} else kept}

    def _same(self, argument: Mapping[str, object], wanted: str) -> bool:
        try:
            model = _make(self.plugin, argument, self.root)
        except ConfigError:
            return False
        return digest({"plugin": self.plugin, **model.identity()}) == wanted

    def dollars(self, requests: Sequence[Request]) -> float | None:
        """What the requests cost at most; None if nobody knows."""
        costs = [self.model.estimate(request) for request in requests]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None


def _make(plugin: str, argument: object, root: Path) -> Model:
    found = registry.find("models", plugin, root)
    try:
        model: Model = found(registry.options(found, argument, root))
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [Problem("", ".".join([plugin, *map(str, each["loc"])]), each["msg"]) for each in details]
        raise ConfigError(problems) from None
    return model
