"""Answers and targets as the columns that a Hugging Face metric declares: texts, numbers, labels, lists, SQuAD's objects.

>>> from types import SimpleNamespace as Value
>>> columns = Columns({"predictions": Value(dtype="int32"), "references": Value(dtype="int32")}, ["no", "yes"], {}, None)
>>> columns.of([Sample.of([Message("user", "Is it?")], ["no"])], ["Yes."])
{'predictions': [1], 'references': [0]}
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evalharness.errors import ConfigError, DataError, Problem
from evalharness.metrics.labels import plain
from evalharness.records import Message, Sample

Cast = Callable[[str], Any]

_TEXTS = [
    ("the dog bit the man on the road today", "the dog bit the man on the road today"),
    ("a cat", "the cat sat on the mat"),
    ("she went home early in the rain", "she went home in the rain"),
    ("no", "yes of course it is"),
]
_PARTS = {"id", "prediction_text", "no_answer_probability", "answers"}


class Columns:
    """What a metric's `features` want, and rows made of samples and texts."""

    def __init__(self, features: Any, labels: Sequence[str], inputs: Mapping[str, str], worst: str | None) -> None:
        """Raises ConfigError for columns that nobody can fill."""
        self._features = _chosen(features)
        self._inputs, self._labels = inputs, {plain(label): number for number, label in enumerate(labels)}
        missing = sorted(set(self._features) - {"predictions", "references"} - set(inputs))
        if missing or "predictions" not in self._features:
            found = f"it has the columns {', '.join(self._features)}, and {', '.join(missing) or 'predictions'} cannot be filled"
            raise ConfigError([Problem("", "inputs", found, "Say where from: inputs: {COLUMN: input} or a column of the data")])
        self.takes_all_targets = "references" not in self._features or _is_many(self._features["references"])
        self._cast = self._caster(self._features["predictions"])
        self._known_worst = worst
        self.worst = "" if worst is None else worst

    def check_worst(self) -> None:
        """Raises ConfigError if a failed answer cannot be stood in for."""
        try:
            self._cast(self.worst)
        except ValueError:
            found = "an answer that failed has to count as something, and this metric takes numbers"
            raise ConfigError([Problem("", "worst", found, "Write worst: NUMBER, an answer that is as wrong as can be")]) from None

    def of(self, samples: Sequence[Sample], texts: Sequence[str], target: str | None = None) -> dict[str, list[Any]]:
        """The columns of these answers; `target` is the one that counts, the first if it is None and one is taken.

        Raises ValueError for an answer that is no number where one is wanted, DataError for such a target.
        """
        columns = {"predictions": [self._prediction(sample, text) for sample, text in zip(samples, texts, strict=True)]}
        if "references" in self._features:
            columns["references"] = [self._reference(sample, target) for sample in samples]
        for name, source in self._inputs.items():
            columns[name] = [self._input(sample, source) for sample in samples]
        return columns

    def trial(self) -> dict[str, list[Any]]:
        """A few rows that right and wrong answers make."""
        pairs = _TEXTS
        if self._kind == "number":
            count = max(2, len(self._labels))
            names = [str(number) for number in range(count)] if not self._labels else list(self._labels)
            pairs = [(names[a], names[b]) for a, b in itertools.islice(itertools.product(range(count), repeat=2), 9)] + [
                (names[1], names[1])
            ]
            pairs = [pairs[-1], *pairs[:-1]]
        samples = [Sample.of([Message("user", "question")], [target], fields=_anything(self._inputs, target)) for _, target in pairs]
        return self.of(samples, [answer for answer, _ in pairs])

    @property
    def _kind(self) -> str:
        return "text" if _dtype(self._features["predictions"]) in (None, "string", "large_string") else "number"

    def _prediction(self, sample: Sample, text: str) -> Any:
        feature = self._features["predictions"]
        if isinstance(feature, Mapping):
            parts = {"id": sample.id, "prediction_text": text, "no_answer_probability": 0.0}
            return {name: parts[name] for name in feature}
        return [self._cast(text)] if _is_list(feature) else self._cast(text)

    def _reference(self, sample: Sample, target: str | None) -> Any:
        feature = self._features["references"]
        if not sample.targets:
            raise DataError([Problem(sample.source, "target", "missing, and evaluate needs one", "Add a target or drop the metric")])
        if isinstance(feature, Mapping):
            answers = {"text": list(sample.targets), "answer_start": [0] * len(sample.targets)}
            return {name: {"id": sample.id, "answers": answers}[name] for name in feature}
        try:
            cast = self._caster(feature)
            if _is_list(feature):
                return [cast(each) for each in sample.targets]
            return cast(sample.targets[0] if target is None else target)
        except ValueError as error:
            raise DataError([Problem(sample.source, "target", str(error), "See its labels")]) from None

    def _input(self, sample: Sample, source: str) -> str:
        if source == "input":
            return sample.input
        if source not in sample.fields:
            there = ", ".join(sorted(sample.fields)) or "none"
            raise DataError([Problem(sample.source, source, f"there is no such column (columns: {there})", "See inputs")])
        return sample.fields[source]

    def _caster(self, feature: Any) -> Cast:
        dtype = _dtype(feature)
        if dtype in (None, "string", "large_string"):
            return str
        if dtype.startswith("float"):
            return _number
        if self._labels:
            return lambda text: self._labels.get(plain(text), len(self._labels))
        return _whole_number


def _chosen(features: Any) -> Mapping[str, Any]:
    """Of several forms that a metric takes, the one with a list of targets."""
    forms = features if isinstance(features, list) else [features]
    found: Mapping[str, Any] = next((form for form in forms if _is_list(form.get("references"))), forms[0])
    for name in ("predictions", "references"):
        feature = found.get(name)
        if isinstance(feature, Mapping) and not set(feature) <= _PARTS:
            raise ConfigError(
                [Problem("", "metric", f"its {name} are objects with {', '.join(feature)}", "evalh knows SQuAD's objects only")]
            )
    return found


def _is_list(feature: Any) -> bool:
    """datasets' Sequence, List or [feature]."""
    return isinstance(feature, list) or hasattr(feature, "feature")


def _is_many(feature: Any) -> bool:
    return _is_list(feature) or isinstance(feature, Mapping)


def _dtype(feature: Any) -> str | None:
    """The scalar type of a feature or of a list's entries; None for an object."""
    while _is_list(feature):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    dtype = getattr(feature, "dtype", None)
    return dtype if isinstance(dtype, str) and not isinstance(feature, Mapping) else None


def _anything(inputs: Mapping[str, str], text: str) -> dict[str, str]:
    return {source: text for source in inputs.values() if source != "input"}


def _number(text: str) -> float:
    try:
        return float(text.strip())
    except ValueError:
        raise ValueError(f"{text.strip()[:40]!r} is no number") from None


def _whole_number(text: str) -> int:
    try:
        return int(text.strip())
    except ValueError:
        raise ValueError(f"{text.strip()[:40]!r} is no whole number: name the labels, or use a metric of texts") from None
