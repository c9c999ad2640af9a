"""Every error evalh raises on purpose, in one tree.

    EvalhError                exit 4   anything below; catch this one
    ├── ConfigError           exit 2   a suite, trainer or data file is wrong (one or many problems)
    │   ├── DataError         exit 2   a row, a file or a split is wrong
    │   ├── MissingExtra      exit 2   an optional package is not installed
    │   └── StoreError        exit 2   the results store cannot be opened, written or understood
    ├── RunError              exit 4   something failed while running
    │   ├── TrainingFailed    exit 4   a training ended without a model
    │   └── ProviderError     exit 4   a hosted service failed or could not be reached
    │       └── Refused       exit 4   it read the request and said no: nothing was bought
    └── BudgetExceeded        exit 4   the next step would pass the suite's cap

>>> raise ConfigError([Problem("suites/a.yaml", "metrics[0]", "'blue' is no metric", "Did you mean 'bleu'?")])
Traceback (most recent call last):
evalharness.errors.ConfigError: suites/a.yaml: metrics[0]: 'blue' is no metric. Did you mean 'bleu'?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with what the user gave: where, what was found, what to do."""

    file: str
    key: str
    found: str
    fix: str = ""

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.key) if part)
        text = f"{where}: {self.found}" if where else self.found
        return f"{text}. {self.fix}" if self.fix else text


class EvalhError(Exception):
    """Root of every error that evalh raises on purpose; `exit_code` is what the CLI ends with."""

    exit_code = 4


class ConfigError(EvalhError):
    """A suite, trainer or data file is wrong. `problems` lists everything that was found, in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("", "", problems)]
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DataError(ConfigError):
    """A row, a file or a split is wrong."""


class MissingExtra(ConfigError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, needed_by: str) -> None:
        found = f"{needed_by} needs the package {package!r}, which is not installed"
        fix = f"Install it: pip install -c constraints.txt 'evalh[{extra}]'"
        super().__init__([Problem("", "", found, fix)])


class StoreError(ConfigError):
    """The results store cannot be opened, written or understood."""


class RunError(EvalhError):
    """Something failed while running; what was done before is stored."""


class TrainingFailed(RunError):
    """A training ended without a usable model; the message says why."""


class ProviderError(RunError):
    """A hosted service failed or could not be reached; whether something was bought is for `find` to say."""


class Refused(ProviderError):
    """A hosted service read the request and said no: nothing was bought, and asking again changes nothing."""


class BudgetExceeded(EvalhError):
    """The next step would pass the suite's cap; nothing was bought for it."""
