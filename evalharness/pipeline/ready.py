"""Whether everything that is to be asked can be asked at all: packages and keys, looked at before anything is stored or bought.

>>> refuse_unready(plan)                                                                              # doctest: +SKIP
evalharness.errors.ConfigError: suites/toy.yaml: baselines.plain: openai/gpt-x needs a key. Set OPENAI_API_KEY, or base_url
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from evalharness.data.paths import display
from evalharness.errors import ConfigError, Problem
from evalharness.pipeline.plan import Plan


def refuse_unready(plan: Plan) -> None:
    """Asks every model and metric that has work to do to `check` itself, where it can.

    Raises ConfigError with every problem, each at its key in the suite.
    """
    problems: list[Problem] = []
    for key, thing in _asked(plan):
        try:
            check = getattr(thing, "check", None)
            if check is not None:
                check()
        except ConfigError as error:
            problems += [_placed(each, display(plan.loaded.path), key) for each in error.problems]
    if problems:
        raise ConfigError(problems)


def _placed(problem: Problem, file: str, key: str) -> Problem:
    """The problem at its key below the suite's `key`, unless it is of a file of its own."""
    if problem.file:
        return problem if problem.key else replace(problem, key=key)
    return replace(problem, file=file, key=f"{key}.{problem.key}" if problem.key else key)


def _asked(plan: Plan) -> Iterator[tuple[str, object]]:
    """(key in the suite, model or metric) of everything that has questions to answer."""
    open_ = {arm.label for arm in plan.arms if arm.to_do}
    for entry in plan.entries:
        if entry.model is not None and entry.label in open_:
            yield f"{entry.role}s.{entry.label}", entry.model
    asked = {each.metric for each in plan.judging if each.questions}
    if not plan.rehearse:
        keys = {label: f"metrics[{i}]" for i, label in enumerate(plan.loaded.metrics)}
        yield from ((keys[label], metric) for label, metric in plan.loaded.metrics.items() if label in asked)
