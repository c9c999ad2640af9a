"""A plain function as a metric: `checks.py:polite` in a suite, for a file of twenty lines or less.

    def polite(output, target, *, words: int = 80) -> bool:
        return "please" in output.lower() and len(output.split()) <= words

It takes `(output, target)` (the best of several targets counts), `(output)`, `(output, targets)` or `(sample, reply)`,
and returns true or false, or a number from 0 to 1. What follows a `*` are its options, which the suite sets:
`"checks.py:polite": {words: 40}`. Attributes say what differs: `polite.range = (0, 100)`, `polite.higher_is_better = False`.

>>> def short(output, *, most=10): return len(output) <= most
>>> metric = as_metric(short)(as_metric(short).Options(most=3))
>>> from evalharness.records import Message, Reply, Sample
>>> metric.score(Sample.of([Message("user", "2+2?")], ["4"]), Reply("o1", "4", "stop"))
(1.0,)
"""

from __future__ import annotations

import hashlib
import inspect
import math
import textwrap
import typing
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import create_model

from evalharness import metrics, protocols
from evalharness.errors import ConfigError, Problem
from evalharness.metrics import PerSample
from evalharness.records import Reply, Sample

Function = Callable[..., Any]

_FORMS = (("output", "target"), ("output", "targets"), ("output",), ("sample", "reply"))


class FunctionMetric(PerSample):
    """What all of them share; `as_metric` makes the class. The function's text is in the identity: an edit scores anew."""

    name = ""
    function: ClassVar[Function]
    form: ClassVar[tuple[str, ...]]
    needs_targets: ClassVar[bool]
    source: ClassVar[str]

    def identity(self) -> dict[str, object]:
        """Name, options and the function's own text; not what it calls, so set `NAME.version` when that changes."""
        return {**super().identity(), "source": self.source}

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """What the function returns. Raises ValueError for anything but a number within the range."""
        text = metrics.text_of(reply)
        call = partial(type(self).function, **self.options.model_dump())
        if self.form == ("sample", "reply"):
            return (self._number(call(sample, reply)),)
        if self.form == ("output",):
            return (self._number(call(text)),)
        targets = metrics.targets_of(sample, self.name)
        if self.form == ("output", "targets"):
            return (self._number(call(text, targets)),)
        best = max if self.higher_is_better else min
        return (best(self._number(call(text, target)) for target in targets),)

    def _number(self, found: object) -> float:
        low, high = self.range
        try:
            value = float(found)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ValueError(f"{self.name} returned {found!r}, which is no number") from None
        if not low <= value <= high or math.isnan(value):
            raise ValueError(f"{self.name} returned {value:g}, outside of {low:g} to {high:g}: set {self.name}.range")
        if self.kind == "binary" and value not in (0.0, 1.0):
            raise ValueError(f"{self.name} returned {value:g}, though it is declared to return true or false")
        return value


def as_metric(function: Function) -> type[FunctionMetric]:
    """A metric class of the function. Raises ConfigError if its parameters are none that evalh knows."""
    name = function.__name__
    parameters = inspect.signature(function).parameters.values()
    given = tuple(each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD))
    if given not in _FORMS or any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
        known = ", ".join(f"({', '.join(form)})" for form in _FORMS)
        raise ConfigError([Problem("", name, f"takes ({', '.join(each.name for each in parameters)})", f"A metric takes {known}")])
    low, high = getattr(function, "range", (0.0, 1.0))
    kind: Literal["binary", "mean"] = "binary" if _hints(function).get("return") is bool else "mean"
    return type(
        name,
        (FunctionMetric,),
        {
            "__doc__": function.__doc__,
            "name": name,
            "function": staticmethod(function),
            "form": given,
            "source": _source(function),
            "kind": kind,
            "needs_targets": given != ("output",),
            "range": (float(low), float(high)),
            "higher_is_better": bool(getattr(function, "higher_is_better", True)),
            "version": str(getattr(function, "version", "1")),
            "Options": _options(function),
        },
    )


def _options(function: Function) -> type[protocols.Options]:
    """Keyword-only parameters as options; what has no type takes anything."""
    hints = _hints(function)
    fields: dict[str, Any] = {
        each.name: (hints.get(each.name, Any), ... if each.default is each.empty else each.default)
        for each in inspect.signature(function).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    }
    return create_model(f"{function.__name__}_options", __base__=protocols.Options, **fields)


def _hints(function: Function) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        raise ConfigError([Problem("", function.__name__, f"its annotations cannot be read: {error}", "Import the name")]) from None


def _source(function: Function) -> str:
    """Hash of the function's text."""
    return hashlib.sha256(textwrap.dedent(inspect.getsource(function)).encode()).hexdigest()[:24]
