"""The promises of `split`, on made rows that are near, equal and grouped in all ways."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.data import load
from evalharness.data.divide import Divided, Torn, divide
from evalharness.data.files import Faults, Row
from evalharness.data.leaks import input_key
from evalharness.data.near import near_pairs
from evalharness.data.rows import sample_of
from evalharness.data.split import Side
from evalharness.errors import DataError
from evalharness.spec import DataSpec

WORDS = [f"w{k}" for k in range(40)]
ORDER = {"train": 0, "dev": 1, "test": 2}


@dataclass(frozen=True)
class Made:
    """A row of the property tests: its text is what it is known by."""

    text: str
    user: str
    label: str


def made_rows(r: random.Random, n: int, users: int = 8) -> list[Made]:
    """Families of rows that differ in one or two words of fifteen, or in nothing but case."""
    families = [r.choices(WORDS, k=15) for _ in range(max(1, n // 4))]
    rows = []
    for _ in range(n):
        words = list(r.choice(families))
        for _ in range(r.randint(0, 2)):
            words[r.randrange(15)] = r.choice(WORDS)
        text = " ".join(words)
        rows.append(Made(text.upper() if r.random() < 0.2 else text, f"u{r.randrange(users)}", f"l{r.randrange(3)}"))
    return rows


def spec(**split: Any) -> DataSpec:
    leaks = split.pop("leaks", "error")
    return DataSpec.model_validate({"file": "a.jsonl", "split": {"test": 0.3, "dev": 0.2, "seed": 7, **split}, "leaks": leaks})


def divided(rows: Sequence[Made], where: DataSpec) -> Divided:
    faults = Faults()
    read = [Row({"input": row.text, "target": "a", "user": row.user, "label": row.label}, "a.jsonl", k) for k, row in enumerate(rows, 1)]
    samples = [sample_of(row, where, faults, strict=True) for row in read]
    made = divide([(row, sample) for row, sample in zip(read, samples, strict=True) if sample], where, faults)
    faults.check()
    return made


def placed(rows: Sequence[Made], where: DataSpec) -> dict[Made, Side | None]:
    """Row -> its side, None where it is left out. Equal rows are on one side by what is tested elsewhere."""
    made = divided(rows, where)
    return {row: None if k in made.left_out else made.sides[k] for k, row in enumerate(rows)}


BY = st.sampled_from([None, "user"])
RANDOM = st.randoms(use_true_random=False)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(RANDOM, BY)
def test_the_order_of_rows_changes_nothing(r: random.Random, by: str | None) -> None:
    rows = made_rows(r, 40)
    before = placed(rows, spec(by=by))
    r.shuffle(rows)
    assert placed(rows, spec(by=by)) == before


@settings(max_examples=60, deadline=None, derandomize=True)
@given(RANDOM, BY)
def test_more_rows_move_no_row_to_another_side_and_touch_no_test_row(r: random.Random, by: str | None) -> None:
    rows = made_rows(r, 60)
    before, after = placed(rows[:30], spec(by=by)), placed(rows, spec(by=by))
    for row, side in before.items():
        assert after[row] in (side, None)
        if side == "test":
            assert after[row] == "test"
        if side is None:
            assert after[row] is None, "what leaves a row out stays, too"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(RANDOM, BY)
def test_nothing_learned_is_near_what_is_held_out(r: random.Random, by: str | None) -> None:
    rows = [row for row, side in placed(made_rows(r, 40), spec(by=by)).items() if side]
    sides = placed(rows, spec(by=by))
    for i, j, _ in near_pairs([row.text for row in rows]):
        assert sides[rows[i]] == sides[rows[j]]
    assert None not in sides.values(), "what is left fits together"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(RANDOM)
def test_groups_and_equal_inputs_are_whole(r: random.Random) -> None:
    rows = made_rows(r, 40)
    users: dict[str, set[Side | None]] = {}
    for row, side in placed(rows, spec(by="user")).items():
        users.setdefault(row.user, set()).add(side)
    assert all(len(sides - {None}) <= 1 for sides in users.values())
    made = divided(rows, spec())
    inputs: dict[str, set[tuple[Side, bool]]] = {}
    for k, row in enumerate(rows):
        inputs.setdefault(row.text.casefold(), set()).add((made.sides[k], k in made.left_out))
    assert all(len(sides) == 1 for sides in inputs.values())


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0.1, 0.4), st.floats(0.05, 0.3))
def test_every_stratum_has_its_shares(seed: int, test: float, dev: float) -> None:
    """Rows are placed one by one, so that each stratum's share is binomial: within 5 standard deviations here."""
    rows = [Made(f"q{k}", "u", f"l{k % 3}") for k in range(1500)]
    made = divided(rows, spec(test=test, dev=dev, seed=seed, stratify="label"))
    assert sorted(made.strata) == ["l0", "l1", "l2"]
    for counts in made.strata.values():
        for n, share in ((counts["test"], test), (counts["dev"], dev)):
            assert abs(n - 500 * share) <= 5 * (500 * share * (1 - share)) ** 0.5


def test_a_crowd_of_near_rows_is_not_torn() -> None:
    r = random.Random(2)
    words = r.choices(WORDS, k=40)
    rows = [Made(" ".join((*words[:20], f"n{k}", *words[20:])), "", "") for k in range(1500)]
    made = divided(rows, spec(test=0.05, dev=0.05))
    assert made.sizes["test"] > 40
    assert made.sizes["train"] == made.sizes["dev"] == 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["train", "dev", "test"]), min_size=1, max_size=12), st.data())
def test_torn_is_what_all_pairs_say(sides: list[Side], data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=len(sides), max_size=len(sides)))
    close = data.draw(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(lambda pair: pair[0] < pair[1])))
    first = {kind: kinds.index(kind) for kind in kinds}
    pairs = [(first[kind], k, 1.0) for k, kind in enumerate(kinds) if first[kind] != k]
    pairs += [(first[a], first[b], 0.95) for a, b in close if a in first and b in first]
    eager, lazy = Torn(sides), Torn(sides)
    for pair in pairs:
        eager.add(*pair)
        if pair[2] == 1.0 or lazy.wanted(*pair[:2]):
            lazy.add(*pair)
    found = eager.rows()

    def near(i: int, j: int) -> bool:
        a, b = sorted((kinds[i], kinds[j]))
        return a == b or (a, b) in close

    rows = range(len(sides))
    assert set(lazy.rows()) == set(found) == {i for i in rows if any(near(i, j) and ORDER[sides[j]] > ORDER[sides[i]] for j in rows)}
    assert all(near(i, j) and ORDER[sides[j]] > ORDER[sides[i]] for i, j in found.items())


def read(folder: Path, rows: list[dict[str, str]], split: dict[str, Any], **parts: Any) -> Any:
    (folder / "all.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return load(DataSpec.model_validate({"file": "all.jsonl", "split": split, **parts}), folder)


def pair_of_sides(split: dict[str, Any]) -> tuple[str, str]:
    """Two near texts, the first of which is a test row and the second one of train."""
    base = "please tell me when the parcel with my two grey shirts will be here"
    where = DataSpec.model_validate({"file": "a", "split": split})
    texts = [base, *(base.replace("grey", f"c{k}") for k in range(60))]
    sides = divided([Made(text, "", "") for text in texts], where.model_copy(update={"leaks": "allow"})).sides
    return texts[sides.index("test")], texts[sides.index("train")]


def test_load_leaves_torn_rows_out_and_says_which(tmp_path: Path) -> None:
    split = {"test": 0.3, "stratify": "label"}
    held_out, learned = pair_of_sides(split)
    rows = [
        {"input": text, "target": "x", "label": "ab"[k % 2]} for k, text in enumerate((held_out, learned, "q", "r", "s", "t", "u", "v"))
    ]
    splits = read(tmp_path, rows, split)
    assert learned not in {sample.input for sample in splits.train.samples}
    assert held_out in {sample.input for sample in splits.test.samples}
    assert [source.rpartition(":")[2] for source in splits.dropped] == ["2"]
    sizes, lost, strata, *_ = splits.notes
    assert sizes == f"8 rows divided by content hash: {len(splits.train)} train, {len(splits.test)} test"
    assert "1 train rows are near held-out rows: left out of train (the first: " in lost
    assert "data.split.by" in lost, "one row of eight is many"
    assert strata == "label has 2 values"
    allowed = read(tmp_path, rows, split, leaks="allow")
    assert (len(allowed.train), allowed.dropped) == (len(splits.train) + 1, ())
    assert len(read(tmp_path, rows, {**split, "near": 1.0}).train) == len(splits.train) + 1


def test_equal_inputs_of_two_groups_are_no_error_but_left_out(tmp_path: Path) -> None:
    rows = [{"input": "hi" if k % 5 == 0 else f"q{k}", "target": "x", "user": str(k)} for k in range(60)]
    splits = read(tmp_path, rows, {"test": 0.4, "by": "user"})
    assert "hi" in {sample.input for sample in splits.test.samples}
    assert "hi" not in {sample.input for sample in splits.train.samples}
    assert not {input_key(s) for s in splits.train.samples} & {input_key(s) for s in splits.test.samples}


def test_strata_that_are_missing_or_far_off_are_told(tmp_path: Path) -> None:
    rows = [
        {"input": f"q{k}", "target": "x", "label": "big" if k < 200 else f"rare{k}", "user": "one" if k < 200 else str(k)}
        for k in range(206)
    ]
    notes = read(tmp_path, rows, {"test": 0.3, "dev": 0.1, "by": "user", "stratify": "label"}).notes
    assert "label has 7 values" in notes
    assert any(note.startswith("label: no dev rows of ") for note in notes)
    assert any("standard deviations off" in note and "'big'" in note for note in notes)
    with pytest.raises(DataError, match="there is no 'tone'"):
        read(tmp_path, rows, {"test": 0.3, "stratify": "tone"})
