"""Differences and ratios of two methods: one model behind interval, p-value and relative improvement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsearch.evaluation import statistics
from mrsearch.evaluation.pairs import average_pair, join_pairs, pair, relative_improvement

TRIALS = 1000


def improvement(ours_SQ: np.ndarray, theirs_SQ: np.ndarray) -> tuple[float, float, float]:
    both = pair(np.asarray(ours_SQ, float)[..., None], np.asarray(theirs_SQ, float)[..., None])
    value, low, high = (float(number[0]) for number in relative_improvement(both, 0.95))
    return value, low, high


def right(count: int, questions: int = 100) -> np.ndarray:
    return (np.arange(questions) < count).astype(float)[None]


def equal_methods(rng: np.random.Generator, seeds: int, spread: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores [S, Q, TRIALS] of two equally good methods on 4 benchmarks; their trainings differ by `spread`."""
    moves = rng.normal(0.0, spread, (2, seeds, 1, TRIALS))
    parts = []
    for _ in range(4):
        shared = rng.beta(1.2, 1, (60, TRIALS))
        alone = np.clip(shared + rng.normal(0, 0.1, (2, 60, TRIALS)), 0, 1)
        chances = np.clip(alone[:, None] + moves, 0, 1)
        scores = (rng.random(chances.shape) < chances).astype(float)
        parts.append((scores[0], scores[1]))
    return parts


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.04])
def test_marks_and_intervals_hold_for_methods(seeds: int, spread: float):
    """Equal methods are marked in at most 6 % of studies, on average and on single benchmarks, and intervals hold 0 in
    at least 93 %."""
    parts = [pair(*both) for both in equal_methods(np.random.default_rng(0), seeds, spread)]
    mean = average_pair(parts)
    for estimates in (mean.difference(), parts[0].difference()):
        low, high = statistics.interval(estimates, 0.95)
        assert np.mean(statistics.p_value(estimates) < 0.05) <= 0.06
        assert np.mean((low <= 0) & (high >= 0)) >= 0.93
    _, low, high = relative_improvement(mean, 0.95)
    assert np.mean((low <= 0) & (high >= 0)) >= 0.93


def test_eight_points_are_seen():
    """No test holds its size by marking nothing."""
    rng = np.random.default_rng(0)
    chances = np.array([0.58, 0.5])[:, None, None, None] + rng.normal(0, 0.2, (400, 200))
    scores = (rng.random((2, 5, 400, 200)) < np.clip(chances, 0, 1)).astype(float)
    assert np.mean(statistics.p_value(pair(*scores).difference()) < 0.05) > 0.8


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.02, 0.5, 0.97]))
@settings(deadline=None, max_examples=60)
def test_mark_interval_and_ratio_say_the_same(seed: int, seeds: int, chance: float):
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.1, (2, seeds, 1, 8))
    ours, theirs = (rng.random((2, seeds, 30, 8)) < chance + moves).astype(float)
    both = pair(ours, theirs)
    low, high = statistics.interval(both.difference(), 0.95)
    p = statistics.p_value(both.difference())
    _, below, above = relative_improvement(both, 0.95)
    plain = (np.abs(p - 0.05) > 1e-3) & (both.means_2K[1] > 0)
    np.testing.assert_array_equal((p < 0.05)[plain], ((low > 0) | (high < 0))[plain])
    better_or_worse = (below > 0) | (above < 0)
    assert (p[plain & better_or_worse] < 0.05).all()
    if seeds == 1:
        np.testing.assert_array_equal(better_or_worse[plain], (p < 0.05)[plain])


@pytest.mark.parametrize("reference", [0.3, 0.05])
def test_relative_improvement_covers(reference: float):
    rng = np.random.default_rng(2)
    hard = rng.normal(0, 0.5 * reference, size=(150, TRIALS))
    ours, theirs = (
        (rng.random((1, 150, TRIALS)) < np.clip(mean + np.clip(hard, -mean, mean), 0, 1)).astype(float)
        for mean in (1.5 * reference, reference)
    )
    value, low, high = relative_improvement(pair(ours, theirs), 0.95)
    defined = ~np.isnan(value)
    ratio = ours.mean() / theirs.mean() - 1
    assert 0.92 <= np.mean(((low <= ratio) & (ratio <= high))[defined]) <= 0.985
    assert (low[defined] <= value[defined]).all()
    assert (value[defined] <= high[defined]).all()


def test_relative_improvement_by_hand():
    value, low, high = improvement([[1, 1, 1, 0]], [[1, 1, 0, 0]])
    assert value == pytest.approx(0.5)
    assert low <= 0.5 <= high


def test_relative_improvement_over_nothing_is_undefined():
    assert all(np.isnan(improvement(np.ones((1, 5)), np.zeros((1, 5)))))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_nothing_right_against_one_right_leaves_everything_open(seeds: int):
    value, low, high = improvement(right(0).repeat(seeds, 0), right(1).repeat(seeds, 0))
    assert (value, low, high) == (-1.0, -1.0, np.inf)


@pytest.mark.parametrize("count", [100, 40])
def test_methods_that_always_agree_may_differ_elsewhere(count: int):
    """Agreement on 100 questions leaves room for a difference on some that were not asked."""
    value, low, high = improvement(right(count), right(count))
    assert value == pytest.approx(0.0)
    assert -0.1 < low < -0.01 < 0.01 < high < 0.1
    low, high = statistics.interval(pair(right(count)[..., None], right(count)[..., None]).difference(), 0.95)
    assert (low[0], high[0]) == pytest.approx((-0.0192, 0.0192), abs=1e-4), "Agresti and Min's interval"


def test_nothing_right_against_half_right_is_worse_for_certain():
    value, low, high = improvement(right(0), right(50))
    assert (value, low) == (-1.0, -1.0)
    assert -1.0 < high < -0.9


def test_pairs_stand_side_by_side():
    rng = np.random.default_rng(0)
    scores = (rng.random((2, 2, 3, 20, 2)) < 0.5).astype(float)
    apart = [pair(*both) for both in scores]
    joint = relative_improvement(join_pairs(apart), 0.95)
    for index, both in enumerate(apart):
        for one, other in zip(relative_improvement(both, 0.95), joint, strict=True):
            np.testing.assert_allclose(one, other[2 * index : 2 * index + 2])


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="1 of 100 scores are not finite"):
        improvement(right(3), np.where(np.arange(100) == 4, np.nan, 1.0)[None])
