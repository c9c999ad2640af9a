"""Any metric of Hugging Face's `evaluate`: by the path of its script, which needs no network, or by name from the hub.

In YAML: `evaluate: metrics/wer`, `evaluate: {metric: metrics/f1, labels: ["no", "yes"], args: {average: macro}}`.
A metric that is a mean over rows is scored row by row; any other (WER, F1, a correlation) is worked out anew on every
bootstrap draw, over up to 5,000 answers. Which of the two it is gets tried out on a few rows, unless `per` says it.

A metric is a script, and loading it runs it. A path is your own file, as `path.py:function` is. A name is somebody's
script on the hub, so it needs `trust_remote_code: true`, and the network unless it was loaded before.

>>> EvaluateOptions(metric="metrics/own.py").script.name, EvaluateOptions(metric="accuracy").script
('own.py', None)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from evalharness import metrics, protocols
from evalharness.errors import ConfigError, MissingExtra, Problem
from evalharness.ids import digest, file_digest
from evalharness.metrics import PerSample
from evalharness.metrics.evaluate_rows import Columns
from evalharness.records import Reply, Sample

_SHOWN = 200


class EvaluateOptions(protocols.Options):
    """Which metric, and how this suite's texts become its input."""

    shorthand: ClassVar[str | None] = "metric"

    metric: str = Field(min_length=1)
    """A folder (metrics/wer, with wer.py in it) or script of the workspace, or a name on the hub."""
    key: str | None = None
    """Which of the numbers that it computes; needed where there are several."""
    per: Literal["auto", "sample", "corpus"] = "auto"
    """A mean over rows, or one number of all rows."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Passed on to its compute, e.g. {average: macro}."""
    labels: tuple[str, ...] = ()
    """For metrics of whole numbers: the labels that 0, 1, 2, ... stand for; what is none of them is one more class."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Its further columns, e.g. {sources: input} or {sources: NAME-OF-A-COLUMN}."""
    config: str | None = None
    """The metric's configuration, where it has several (glue: sst2)."""
    worst: str | None = None
    """The answer that a failed one counts as; an empty one, or no label, if left out."""
    range: tuple[float, float] = (0.0, 1.0)
    """Between which values it lies; evaluate does not say."""
    higher_is_better: bool = True
    trust_remote_code: bool = False
    """Allow a script from the hub to run."""

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Remember the workspace, below which scripts are found."""
        root = context.get("root") if isinstance(context, Mapping) else None
        self._root = root if isinstance(root, Path) else Path.cwd()

    @property
    def script(self) -> Path | None:
        """The script that a path names; None for a name on the hub."""
        path = self._root / self.metric
        if path.suffix == ".py" or path.is_dir():
            return path if path.suffix == ".py" else path / f"{path.name}.py"
        return None


class Evaluate(PerSample):
    """One number of an `evaluate` metric; where rows are scored one by one, the best of several targets counts."""

    Options: ClassVar[type[protocols.Options]] = EvaluateOptions
    options: EvaluateOptions
    name = "evaluate"
    kind: Literal["binary", "mean", "corpus"]

    def __init__(self, options: EvaluateOptions) -> None:
        """Loads the metric and tries it out. Raises ConfigError if it cannot be loaded or used, MissingExtra without evaluate."""
        super().__init__(options)
        self.range, self.higher_is_better = options.range, options.higher_is_better
        if not options.range[0] < options.range[1] or not all(map(math.isfinite, options.range)):
            raise ConfigError([Problem("", "range", f"{list(options.range)} is no range", "Write [lowest, highest]")])
        self._module = _loaded(options)
        self._columns = Columns(self._module.info.features, options.labels, options.inputs, options.worst)
        self.per = options.per if options.per != "auto" else self._found_out()
        self.kind = "mean" if self.per == "sample" else "corpus"
        if self.per == "corpus":
            self._columns.check_worst()

    def identity(self) -> dict[str, object]:
        """The script's text, evaluate's version, and whether rows or draws are computed."""
        options = self.options.model_dump(mode="json", exclude_defaults=True)
        script = self.options.script
        source = file_digest(*sorted(script.parent.glob("*.py"))) if script is not None else digest(self._module.__module__.split(".")[:-1])
        how = "row by row" if self.per == "sample" else "recomputed on every draw"
        signature = f"evaluate:{version('evaluate')}|metric:{self._module.name}|key:{self.options.key or 'its only one'}|{how}"
        return {"name": self.name, "version": self.version, "options": options, "script": source, "signature": signature}

    def score(self, sample: Sample, reply: Reply) -> tuple[float, ...]:
        """Row by row: the value. Else what the metric says of this answer alone, the lower end of its range if nothing.

        Raises ValueError for an answer that is no input of the metric (no number, say), and for a value out of its range.
        """
        text, targets = metrics.text_of(reply), metrics.targets_of(sample, self.name)
        if self.per == "corpus" or self._columns.takes_all_targets:
            self._columns.of([sample], [text])
            try:
                return (self.whole([sample], [text]),)
            except ValueError:
                if self.per == "sample":
                    raise
                return (self.range[0],)
        best = max if self.higher_is_better else min
        return (best(self.whole([sample], [text], target) for target in targets),)

    def whole(self, samples: Sequence[Sample], texts: Sequence[str], target: str | None = None) -> float:
        """The value of these answers. Raises ValueError if there is none, or it lies outside of the declared range."""
        return self._within(self._compute(self._columns.of(samples, texts, target)))

    def row(self, sample: Sample, text: str) -> Mapping[str, Any]:
        """One answer's columns. Raises ValueError for an answer that is no input of the metric."""
        return {name: values[0] for name, values in self._columns.of([sample], [text]).items()}

    def on_rows(self, rows: Sequence[Mapping[str, Any]]) -> float:
        """`whole` of rows that are made already."""
        return self._within(self._compute({name: [row[name] for row in rows] for name in rows[0]} if rows else {}))

    def _within(self, value: float) -> float:
        low, high = self.range
        if not low - 1e-9 <= value <= high + 1e-9:
            raise ValueError(f"{self._module.name} is {value:g}, outside of {low:g} to {high:g}: set range: [lowest, highest]")
        return min(max(value, low), high)

    def stand_in(self, sample: Sample, perfect: bool) -> str:
        """The first target, or `worst`."""
        return metrics.targets_of(sample, self.name)[0] if perfect else self._columns.worst

    def _compute(self, columns: Mapping[str, Any]) -> float:
        """`compute` without its copies on disk. Raises ValueError for whatever goes wrong inside."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = self._module._compute(**columns, **self.options.args)
            except Exception as error:  # a metric is anybody's code
                raise ValueError(f"{self._module.name} fails: {type(error).__name__}: {' '.join(str(error).split())[:_SHOWN]}") from None
        value = self._number(found)
        if not math.isfinite(value):
            raise ValueError(f"{self._module.name} has no value here ({value})")
        return value

    def _number(self, found: Any) -> float:
        """The number asked for, of all that were computed. Raises ConfigError if there are several to choose from."""
        numbers = {key: value for key, value in (found or {}).items() if _is_number(value)}
        key = self.options.key or (next(iter(numbers)) if len(numbers) == 1 else self._module.name)
        if key not in numbers:
            known = ", ".join(numbers) or "no number"
            raise ConfigError([Problem("", "key", f"{self._module.name} computes {known}", "Say which: key: NAME")])
        return float(numbers[key])

    def _found_out(self) -> Literal["sample", "corpus"]:
        """Whether the number of a few rows is the mean of their numbers. Raises ConfigError if the metric fails on them."""
        trial = self._columns.trial()
        try:
            whole = [self._compute(_part(trial, 0, end)) for end in (len(trial["predictions"]), 3)]
        except ValueError as error:
            fix = "See its args, labels and inputs; or write per: sample or per: corpus, and it is not tried out"
            raise ConfigError([Problem("", "metric", str(error), fix)]) from None
        try:
            single = [self._compute(_part(trial, row, row + 1)) for row in range(len(trial["predictions"]))]
        except ValueError:
            return "corpus"
        same = all(math.isclose(sum(part) / len(part), all_, abs_tol=1e-9) for part, all_ in zip((single, single[:3]), whole, strict=True))
        return "sample" if same else "corpus"


def _part(columns: Mapping[str, Sequence[Any]], start: int, end: int) -> dict[str, Sequence[Any]]:
    return {name: values[start:end] for name, values in columns.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or (hasattr(value, "ndim") and value.ndim == 0)


def _loaded(options: EvaluateOptions) -> Any:
    try:
        version("evaluate")
    except PackageNotFoundError:
        raise MissingExtra("evaluate", "evaluate", "the metric 'evaluate'") from None
    script = options.script
    if script is None and not options.trust_remote_code:
        found = f"{options.metric!r} is no script of the workspace; by that name it would be downloaded from the Hugging Face hub and run"
        raise ConfigError([Problem("", "metric", found, "Give the path of its folder, or write trust_remote_code: true")])
    if script is not None and not script.is_file():
        raise ConfigError([Problem("", "metric", f"there is no script {script}", "The script has its folder's name: metrics/wer/wer.py")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import evaluate

        try:
            return evaluate.load(str(script) if script is not None else options.metric, config_name=options.config, keep_in_memory=True)
        except Exception as error:  # loading runs the script: it may raise anything
            raise ConfigError([_unloadable(options, error)]) from None


def _unloadable(options: EvaluateOptions, error: Exception) -> Problem:
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:_SHOWN]}"
    if options.script is None:
        found = f"{options.metric!r} is on the Hugging Face hub, if anywhere, and could not be loaded from there ({said})"
        return Problem("", "metric", found, "Go online once, or give the path of its folder")
    return Problem("", "metric", f"{options.metric} cannot be loaded: {said}", "It is a script with a class of evaluate.Metric")
