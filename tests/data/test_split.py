from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.data.split import choose, side
from evalharness.records import Message, Sample
from evalharness.spec import Split

GROUPS = st.lists(st.text(max_size=6), min_size=1, max_size=40, unique=True)


def samples(groups: list[str]) -> list[Sample]:
    return [Sample.of([Message("user", group)], ["x"]) for group in groups]


def test_shares_are_kept() -> None:
    sides = [side(str(k), Split(test=0.2, dev=0.1, seed=7)) for k in range(5000)]
    assert abs(sides.count("test") / 5000 - 0.2) < 0.02
    assert abs(sides.count("dev") / 5000 - 0.1) < 0.02


def test_another_seed_is_another_split() -> None:
    one, other = ([side(str(k), Split(test=0.5, seed=seed)) for k in range(100)] for seed in (0, 1))
    assert one != other


@settings(max_examples=50, deadline=None, derandomize=True)
@given(GROUPS, st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_a_larger_test_share_takes_nothing_out_of_test(groups: list[str], less: float, more: float) -> None:
    small, large = sorted((less, more))
    for group in groups:
        if side(group, Split(test=small, dev=0.1)) == "test":
            assert side(group, Split(test=large, dev=0.1)) == "test"


@settings(max_examples=50, deadline=None, derandomize=True)
@given(GROUPS, st.integers(1, 10), st.randoms(use_true_random=False))
def test_the_same_rows_are_chosen_in_any_order(groups: list[str], n: int, random: object) -> None:
    before = choose(samples(groups), n, seed=3)
    shuffled = samples(groups)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    after = choose(shuffled, n, seed=3)
    assert len(before) == min(n, len(groups))
    assert {s.id for s in before} == {s.id for s in after}
    assert [s for s in shuffled if s in after] == list(after), "file order is kept"


@settings(max_examples=50, deadline=None, derandomize=True)
@given(GROUPS, st.text(max_size=6), st.integers(1, 10))
def test_one_more_row_changes_the_choice_by_one_at_most(groups: list[str], added: str, n: int) -> None:
    before = {s.id for s in choose(samples(groups), n, seed=0)}
    after = {s.id for s in choose(samples([*groups, added]), n, seed=0)}
    assert len(before - after) <= 1


def test_no_limit_is_everything() -> None:
    assert choose(samples(["a", "b"]), None, 0) == tuple(samples(["a", "b"]))
