"""Files -> samples, split into train, dev and test, with the leak rule applied.

>>> splits = load(DataSpec.model_validate({"test": "test.jsonl"}), Path("."))       # doctest: +SKIP
>>> len(splits.test)                                                                # doctest: +SKIP
3080
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from evalharness.data.divide import divide, sentences
from evalharness.data.files import Faults, Row
from evalharness.data.leaks import RULES, find_leaks, input_key, not_allowed, refuse
from evalharness.data.paths import display, resolve_all
from evalharness.data.rows import Unfit, field_names
from evalharness.data.samples import read_samples, rows_of
from evalharness.data.split import SIDES, Side, choose
from evalharness.errors import DataError, Problem
from evalharness.records import Dataset, Sample
from evalharness.spec import DataSpec

Samples = dict[Side, list[Sample]]
Files = Mapping[str, Mapping[str, tuple[Path, ...]]]
"""Split -> column -> files, as resolve_all gives them."""


@dataclass(frozen=True, slots=True)
class Splits:
    """The rows of a suite. `train` and `dev` are empty where the suite has none; `test` never is.

    `notes` are sentences for the report (what the leak rule and limits did); `dropped` the sources of rows
    (file:line) that were left out because they are held out, too; `leaked` the ids of test samples whose input is also
    learned from (train or dev), where the suite allows that.
    """

    train: Dataset
    dev: Dataset
    test: Dataset
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    leaked: frozenset[str] = frozenset()


def load(spec: DataSpec, root: Path, name: str = "", *, answered: bool = True) -> Splits:
    """Reads, splits and checks the rows that the suite names; `root` is the workspace, `name` goes into the data sets.

    Without `answered`, rows of a test file may lack a target: no metric asks for one.

    Raises ConfigError for missing files; DataError for bad rows (file, line; at most 20 messages), an empty
    held-out set, and inputs that are learned from and held out.
    """
    files = resolve_all(spec, root)
    notes = ["data.file is not read: test files are named"] if spec.file is not None and not spec.divides else []
    samples, dropped = _read(spec, files, answered, notes)
    _refuse_empty(samples, spec, files)
    dropped += _apply_leak_rule(samples, spec, files, notes)
    chosen: dict[Side, tuple[Sample, ...]] = {each: _limited(samples[each], each, spec, notes) for each in SIDES}
    sets = {each: Dataset(name, each, chosen[each], _origin(files, each)) for each in SIDES}
    return Splits(sets["train"], sets["dev"], sets["test"], tuple(notes), tuple(dropped), _leaked(chosen, spec))


def template_fields(spec: DataSpec, root: Path) -> frozenset[str]:
    """What a prompt may name, by the first 100 held-out rows. Raises as `load` does where those cannot be read."""
    files = resolve_all(spec, root)
    faults = Faults()
    rows = list(islice(rows_of(files.get("test") or files["file"], faults), 100))
    faults.check()
    try:
        return frozenset({"input"}).union(*(field_names(row, spec) for row in rows))
    except Unfit as unfit:
        raise DataError([Problem(rows[0].file, "", unfit.found, unfit.fix)]) from None


def _read(spec: DataSpec, files: Files, answered: bool, notes: list[str]) -> tuple[Samples, list[str]]:
    faults = Faults()
    if spec.divides:
        samples, dropped = _read_and_split(spec, files["file"], faults, notes)
    else:
        samples, dropped = {each: [] for each in SIDES}, []
        for each in SIDES:
            test = each == "test"
            samples[each] = [s for _, s in read_samples(spec, files.get(each, {}), faults, strict=test, answered=answered or not test)]
    faults.check()
    return samples, dropped


def _read_and_split(spec: DataSpec, columns: Mapping[str, tuple[Path, ...]], faults: Faults, notes: list[str]) -> tuple[Samples, list[str]]:
    """The rows of each side, and where those are that were left out."""
    kept: list[Sample] = []

    def rows() -> Iterator[tuple[Row, Sample]]:
        for row, sample in read_samples(spec, columns, faults, strict=True):
            kept.append(sample)
            yield row, sample

    made = divide(rows(), spec, faults)
    notes += sentences(made, spec, lambda k: kept[k].source)
    samples: Samples = {each: [] for each in SIDES}
    for k, sample in enumerate(kept):
        if k not in made.left_out:
            samples[made.sides[k]].append(sample)
    return samples, [kept[k].source for k in sorted(made.left_out)]


def _refuse_empty(samples: Samples, spec: DataSpec, files: Files) -> None:
    problems = []
    for each in SIDES:
        wanted = each == "test" or getattr(spec, each) is not None
        if wanted and not samples[each]:
            fix = "Add rows" if not spec.divides else "Add rows, or raise split.test"
            problems.append(Problem(_origin(files, each), f"data.{each}", "no rows", fix))
    if problems:
        raise DataError(problems)


def _apply_leak_rule(samples: Samples, spec: DataSpec, files: Files, notes: list[str]) -> list[str]:
    """Compares each pair of splits; with drop_train the rows leave the side that is learned from."""
    dropped: list[str] = []
    pairs: tuple[tuple[Side, Side], ...] = (("dev", "test"), ("train", "test"), ("train", "dev"))
    problems: list[Problem] = []
    for learned, held_out in pairs:
        leaks = find_leaks(samples[learned], samples[held_out])
        if not leaks:
            continue
        if spec.leaks == "error" and (refused := not_allowed(leaks, samples[held_out], spec.allow)):
            problems += refuse(refused, learned, held_out, _origin(files, learned)).problems
            continue
        which = f"{len(leaks):,} {learned} rows have the input of a {held_out} row"
        notes.append(f"{which}: left out of {learned}" if spec.leaks == "drop_train" else f"{which}: allowed by the suite")
        if spec.leaks == "drop_train":
            gone = {leak.learned.id for leak in leaks}
            samples[learned] = [sample for sample in samples[learned] if sample.id not in gone]
            dropped += [leak.learned.source for leak in leaks]
    if problems:
        raise DataError(problems)
    return dropped


def _leaked(chosen: Mapping[Side, Sequence[Sample]], spec: DataSpec) -> frozenset[str]:
    """Test samples with the input of a row that is learned from: none, unless the suite allows it."""
    if spec.leaks != "allow" and not any(rule in spec.allow for rule in RULES):
        return frozenset()
    learned = {input_key(sample) for each in ("train", "dev") for sample in chosen[each]}
    return frozenset(sample.id for sample in chosen["test"] if input_key(sample) in learned)


def _limited(samples: list[Sample], each: Side, spec: DataSpec, notes: list[str]) -> tuple[Sample, ...]:
    if spec.limit is None:
        return tuple(samples)
    chosen = choose(samples, getattr(spec.limit, each), spec.limit.seed)
    if len(chosen) < len(samples):
        notes.append(f"{len(chosen):,} of {len(samples):,} {each} rows are used (data.limit)")
    return chosen


def _origin(files: Files, each: Side) -> str:
    columns = files.get(each) or files.get("file") or {}
    return ", ".join(display(path) for paths in columns.values() for path in paths)


__all__ = ["SIDES", "Splits", "load", "template_fields"]
