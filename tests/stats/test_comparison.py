from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.stats import (
    Check,
    Contender,
    Measure,
    compare,
    compare_many,
    decide,
    difference_evidence,
    gate,
    leaderboards,
    mcnemar_midp,
    paired_t,
    score_evidence,
    scores,
    sign_flip,
    tango,
    wilson,
)
from evalharness.stats.interval import Floats
from tests.stats.test_resample import f1, ratio, rows

BINARY = Measure("binary")
GRADED = Measure("mean", range=(1.0, 5.0))
RATIO = Measure("corpus", finish=ratio, worst=np.array([0.0, 5.0]), best=np.array([5.0, 5.0]))


def binary(n: int, seed: int, rate: float = 0.5) -> Floats:
    return (np.random.default_rng(seed).random(n) < rate).astype(float)


def test_right_or_wrong_is_compared_by_tango_and_mcnemar() -> None:
    a, b = binary(100, 1, 0.7), binary(100, 2, 0.5)
    found = compare(a, b, BINARY)
    wins, losses = int((a > b).sum()), int((a < b).sum())
    assert found.difference == tango(wins, losses, 100)
    assert (found.wins, found.losses, found.ties) == (wins, losses, 100 - wins - losses)
    assert (found.p, found.p_method) == (mcnemar_midp(wins, losses), "McNemar mid-p")
    assert found.candidate.interval(0.95) == wilson(a.sum(), 100)
    assert found.baseline.interval(0.95) == wilson(b.sum(), 100)
    assert 0.1 < found.visible < 0.25
    assert (found.n, found.missing_candidate, found.missing_baseline) == (100, 0.0, 0.0)


def test_repeats_are_averaged_per_item_and_clusters_are_kept_together() -> None:
    a, b = (np.random.default_rng(seed).integers(0, 2, (60, 3, 1)).astype(float) for seed in (1, 2))
    found = compare(a, b, BINARY)
    differences = (a - b).mean(axis=1)[:, 0]
    assert found.difference == paired_t(differences, bound=1.0)
    assert (found.p, found.p_method) == (sign_flip(differences), "sign flip")
    labels = np.arange(60) // 4
    assert compare(a[:, 0], b[:, 0], BINARY, clusters=labels).difference == paired_t((a - b)[:, 0, 0], clusters=labels, bound=1.0)


def test_graded_scores_use_their_range() -> None:
    found = compare([3.0] * 10, [3.0] * 10, GRADED)
    assert found.difference.high == pytest.approx(4 * (1 - 0.05**0.1))
    assert found.candidate.interval(0.95).high == pytest.approx(min(5.0, 3 + 4 * (1 - 0.05**0.1)))
    assert found.visible == pytest.approx(found.difference.high)


def test_lower_is_better_is_turned_round() -> None:
    a, b = binary(80, 1, 0.3), binary(80, 2, 0.5)
    errors = Measure("binary", higher_is_better=False)
    assert compare(a, b, errors).difference == compare(1 - a, 1 - b, BINARY).difference
    assert compare(a, b, errors).wins == compare(b, a, BINARY).wins
    words = Measure("corpus", finish=ratio, higher_is_better=False)
    turned, plain = compare(rows(60, 1), rows(60, 2), words), compare(rows(60, 2), rows(60, 1), RATIO)
    assert turned.difference == plain.difference
    assert turned.candidate.estimate == plain.baseline.estimate


def test_corpus_metrics_are_bootstrapped() -> None:
    a, b = rows(200, 1, 0.7), rows(200, 2, 0.5)
    found = compare(a, b, RATIO)
    assert found.difference.method == "bootstrap"
    assert found.p_method == "approximate randomization"
    assert found.difference.estimate == pytest.approx(float(ratio(a.sum(0), np.ones(1)) - ratio(b.sum(0), np.ones(1))))
    assert found.wins == int((a[:, 0] / a[:, 1] > b[:, 0] / b[:, 1]).sum())
    assert found.difference.low < 0.2 < found.difference.high


def test_many_candidates_get_what_each_would_alone() -> None:
    arms = [rows(50, seed) for seed in range(4)]
    together = compare_many(arms[1:], arms[0], RATIO, level=0.98)
    for arm, found in zip(arms[1:], together, strict=True):
        assert found.difference == compare(arm, arms[0], RATIO, level=0.98).difference
        assert found.p == compare(arm, arms[0], RATIO, level=0.98).p
    assert scores(arms, RATIO)[2] == scores([arms[2]], RATIO)[0]
    assert [each.interval(0.95) for each in score_evidence(arms, RATIO)] == scores(arms, RATIO)
    evidence = difference_evidence(arms[1:], arms[0], RATIO, level=0.98)
    assert [each.interval(0.98) for each in evidence] == [found.difference for found in together]


def test_leaderboards_are_what_each_metric_says_alone() -> None:
    texts, answers = [rows(60, seed) for seed in range(3)], [binary(60, seed) for seed in range(3)]
    texts[1][4] = np.nan
    labels = np.arange(60) // 2
    boards = leaderboards([(RATIO, texts), (BINARY, answers), (RATIO, texts[::-1])], clusters=labels)
    for board, (measure, arms) in zip(boards, [(RATIO, texts), (BINARY, answers), (RATIO, texts[::-1])], strict=True):
        alone = score_evidence(arms, measure, clusters=labels)
        gains = difference_evidence(arms[:-1], arms[-1], measure, clusters=labels)
        assert [each.interval(0.95) for each in board.scores] == [each.interval(0.95) for each in alone]
        assert [each.interval(0.95) for each in board.differences] == [each.interval(0.95) for each in gains]
    (only,) = leaderboards([(BINARY, answers)])
    assert only.scores[0].interval(0.95) == scores(answers, BINARY)[0]


def test_missing_outputs_cannot_make_agreement_certain() -> None:
    """All outputs that are there agree: one missing must not leave a narrower interval than none missing."""
    whole = rows(60, 1)
    gaps = whole.copy()
    gaps[7] = np.nan
    complete, missing = (compare(arm, whole, RATIO).difference for arm in (whole, gaps))
    assert missing.low <= complete.low
    assert missing.high >= complete.high
    constant, holed = np.tile([2.0, 4.0], (60, 1)), np.tile([2.0, 4.0], (60, 1))
    holed[3] = np.nan
    full, partial = scores([constant, holed], RATIO)
    assert partial.low <= full.low < full.high <= partial.high


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_missing_outputs_cannot_make_the_end_of_the_range_certain(right: float) -> None:
    """Every draw has the same value though the outputs differ (BLEU of one-word answers is 0): that is not certainty."""
    sizes = 1.0 + np.arange(60) % 7
    whole = np.column_stack([right * sizes, sizes])
    gaps = whole.copy()
    gaps[3] = np.nan
    ends = (np.zeros_like(whole), np.zeros_like(whole)) if right == 0 else (whole * [0, 1], whole)
    measure = replace(RATIO, worst=ends[0], best=ends[1])
    full, partial = scores([whole, gaps], measure)
    assert partial.low <= full.low < full.high <= partial.high
    complete, missing = (compare(arm, whole[::-1], measure).difference for arm in (whole, gaps))
    assert missing.low <= complete.low
    assert missing.high >= complete.high


def test_high_levels_draw_enough() -> None:
    """20 candidates: 0.25% beyond the ends; 2000 draws would rest on two or three of them."""
    found = compare(rows(50, 1), rows(50, 2), RATIO, level=1 - 0.05 / 20, draws=2000)
    assert len(found.evidence.high) >= 16_000  # type: ignore[attr-defined]


def test_missing_outputs_are_outcomes() -> None:
    a, b = binary(100, 1, 0.7), binary(100, 2)
    a[:2] = np.nan
    found = compare(a, b, BINARY)
    worst, best = np.nan_to_num(a, nan=0.0), np.nan_to_num(a, nan=1.0)
    assert found.missing_candidate == 0.02
    assert found.difference.low == compare(worst, b, BINARY).difference.low
    assert found.difference.high == compare(best, b, BINARY).difference.high
    assert found.difference.estimate == compare(worst, b, BINARY).difference.estimate
    assert found.candidate.interval(0.95).low == wilson(worst.sum(), 100).low
    assert found.candidate.interval(0.95).high == wilson(best.sum(), 100).high


def test_trap_rows_whose_judge_failed_are_not_dropped() -> None:
    """The baseline is right half the time, the candidate 40%; its judge fails on 40% of the candidate's bad outputs.

    Dropping those rows makes the candidate pass as better; here they count, and a third missing is no valid comparison.
    """
    rng = np.random.default_rng(0)
    n = 1000
    baseline, candidate = (rng.random(n) < 0.50).astype(float), (rng.random(n) < 0.40).astype(float)
    judged = np.where((candidate == 0) & (rng.random(n) < 0.55), np.nan, candidate)
    kept = ~np.isnan(judged)
    dropped = compare(judged[kept], baseline[kept], BINARY)
    assert dropped.difference.low > 0  # the trap: surely better
    found = compare(judged, baseline, BINARY)
    assert found.difference.estimate == compare(candidate, baseline, BINARY).difference.estimate < 0
    assert found.difference.low < -0.05
    assert gate([Check.difference(found.evidence, 0.05, found.missing_candidate)]).outcome == "INVALID"
    assert gate([Check.difference(found.evidence, 0.05)]).outcome != "PASS"


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="binary statistics must be 0 or 1"):
        compare([0.5], [1.0], BINARY)
    with pytest.raises(ValueError, match="must be finite"):
        compare([np.inf], [1.0], GRADED)
    with pytest.raises(ValueError, match="at least one item"):
        compare([], [], BINARY)
    with pytest.raises(ValueError, match="the arms must have the same items"):
        compare([1.0], [1.0, 0.0], BINARY)
    for measure in (Measure("corpus", finish=ratio), Measure("mean", range=(0.0, np.inf))):
        with pytest.raises(ValueError, match="need the worst and best"):
            compare(np.full((30, 2), np.nan), rows(30, 1), measure)


# properties 10 and 12, on every kind of score

KINDS = ["binary", "repeats", "clusters", "graded", "corpus", "corpus clusters"]


def arms(kind: str, n: int, seed: int, shift: float) -> tuple[Floats, Floats, Measure, dict[str, Any]]:
    """A candidate and a baseline of some kind, with what `compare` needs for them."""
    rng = np.random.default_rng(seed)
    quality = np.clip(rng.random(n), 0.05, 0.95)
    better = np.clip(quality + shift, 0, 1)
    more: dict[str, Any] = {"clusters": np.arange(n) // 2} if "clusters" in kind else {}
    if kind.startswith("corpus"):
        total = rng.integers(1, 6, n)
        a, b = (np.column_stack([rng.binomial(total, p), total]).astype(float) for p in (better, quality))
        return a, b, RATIO, {**more, "draws": 300, "trials": 50}
    if kind == "graded":
        return 1.0 + rng.binomial(4, better).astype(float), 1.0 + rng.binomial(4, quality).astype(float), GRADED, {}
    shape = (n, 3, 1) if kind == "repeats" else (n, 1, 1)
    a, b = ((rng.random(shape) < p[:, None, None]).astype(float) for p in (better, quality))
    return a, b, BINARY, more


def verdict(candidate: Floats, baseline: Floats, measure: Measure, margin: float, **more: Any) -> str:
    found = compare(candidate, baseline, measure, **more)
    checks = [Check.difference(found.evidence, margin), Check.at_least(found.candidate, measure.range[0] + 0.4 * measure.width)]
    return gate(checks).outcome


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from(KINDS), st.integers(42, 90), st.integers(0, 999), st.floats(-0.3, 0.4), st.floats(0, 0.3), st.floats(0.01, 0.6))
def test_property_10_dropping_candidate_outputs_never_turns_into_pass(
    kind: str, n: int, seed: int, shift: float, margin: float, dropped: float
) -> None:
    """Not only up to the 2% that are allowed; and dropping more of them never helps either."""
    candidate, baseline, measure, more = arms(kind, n, seed, shift)
    margin *= measure.width
    rng = np.random.default_rng(seed)
    gone = rng.random(candidate.shape[: max(1, candidate.ndim - 1)]) < dropped
    some, all_of_them = candidate.copy(), candidate.copy()
    all_of_them[gone] = np.nan
    some[gone & (rng.random(gone.shape) < 0.5)] = np.nan
    found = [compare(arm, baseline, measure, **more).difference for arm in (candidate, some, all_of_them)]
    assert found[0].low >= found[1].low - 1e-12 >= found[2].low - 2e-12
    assert found[0].high <= found[1].high + 1e-12 <= found[2].high + 2e-12
    before, after = (verdict(arm, baseline, measure, margin, **more) for arm in (candidate, all_of_them))
    assert not (after == "PASS" and before != "PASS")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(KINDS), st.integers(42, 90), st.integers(0, 999), st.floats(-0.3, 0.4), st.sampled_from([0.0, 0.02]))
def test_property_12_swapping_mirrors_and_row_order_is_nothing(kind: str, n: int, seed: int, shift: float, gone: float) -> None:
    candidate, baseline, measure, more = arms(kind, n, seed, shift)
    rng = np.random.default_rng(seed)
    for arm in (candidate, baseline):
        arm[rng.random(arm.shape[: max(1, arm.ndim - 1)]) < gone] = np.nan
    ids = np.array([f"item-{i:04d}" for i in range(n)])
    here = compare(candidate, baseline, measure, ids=ids, **more)
    order = rng.permutation(n)
    moved = dict(more)
    if "clusters" in more:
        moved["clusters"] = more["clusters"][order]
    shuffled = compare(candidate[order], baseline[order], measure, ids=ids[order], **moved)
    assert (shuffled.difference, shuffled.p, shuffled.visible) == (here.difference, here.p, here.visible)
    assert shuffled.candidate.interval(0.9) == here.candidate.interval(0.9)
    swapped = compare(baseline, candidate, measure, ids=ids, **more)
    mirrored = swapped.difference.mirrored()
    assert mirrored.estimate == pytest.approx(here.difference.estimate, abs=1e-12)
    assert (mirrored.low, mirrored.high) == pytest.approx((here.difference.low, here.difference.high), abs=1e-12)
    assert (swapped.wins, swapped.losses, swapped.p) == (here.losses, here.wins, here.p)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sampled_from(KINDS), st.integers(1, 90), st.integers(0, 999), st.floats(0, 0.3), st.floats(0, 0.1))
def test_property_12_identical_runs_never_fail_and_are_never_adopted(kind: str, n: int, seed: int, margin: float, gain: float) -> None:
    candidate, _, measure, more = arms(kind, n, seed, 0.0)
    found = compare(candidate, candidate, measure, **more)
    checked = gate([Check.difference(found.evidence, margin * measure.width)])
    assert checked.outcome in ("PASS", "INCONCLUSIVE")
    assert decide([Contender(found.evidence, checked.outcome)], gain).outcome != "ADOPT"
    assert found.difference.low < 0 < found.difference.high
    assert (found.p, found.wins, found.losses) == (1.0, 0, 0)


def test_pooled_f1_counts_a_missing_output_as_the_worst_it_can_be() -> None:
    measure = Measure("corpus", finish=f1, worst=np.array([0.0, 0.0, 1.0]), best=np.array([1.0, 0.0, 0.0]))
    stats = np.tile([[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], (10, 1))
    gaps = stats.copy()
    gaps[0] = np.nan
    whole, missing = scores([stats, gaps], measure)
    assert missing.estimate < whole.estimate
    assert missing.low <= whole.low
    assert missing.high >= whole.high
