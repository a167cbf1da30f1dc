"""Intervals of means: they cover, they agree with known ones, and none is narrower than what was drawn allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mrsearch.evaluation import statistics, uncertainty

TRIALS = 1000
"""Simulated studies; they leave a standard error of 0.007."""


def intervals(*parts_SQK: np.ndarray, rates: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Of each measure, or of its mean over several benchmarks."""
    marks = [np.full(values.shape[-1], rates) for values in parts_SQK]
    parts = [statistics.estimate(values, mark, 0.95) for values, mark in zip(parts_SQK, marks, strict=True)]
    return statistics.interval(statistics.average(parts) if len(parts) > 1 else parts[0], 0.95)


def single(values_SQ: np.ndarray, rates: bool = True) -> tuple[float, float]:
    low, high = intervals(np.asarray(values_SQ, dtype=float)[..., None], rates=rates)
    return float(low[0]), float(high[0])


def covered(values_SQK: np.ndarray, truth: float) -> float:
    low, high = intervals(values_SQK)
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("freedom", [1, 2, 4, 9])
def test_tail_is_that_of_a_normal_plus_a_t(share: float, freedom: int):
    errors = np.array([0.5, 2.0, 5.0])
    found = uncertainty.tail(errors, np.full(3, share), freedom)
    grid = stats.t.ppf((np.arange(200_000) + 0.5) / 200_000, freedom)
    for error, value in zip(errors, found, strict=True):
        if share == 1.0:
            expected = 2 * stats.t.sf(error, freedom)
        else:
            inside = (error - np.sqrt(share) * grid) / np.sqrt(1 - share)
            expected = 2 * stats.norm.sf(inside).mean()
        assert value == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("freedom", [0, 1, 2, 4, 9])
def test_critical_values_have_their_tail(freedom: int):
    shares = np.linspace(0.0, 1.0, 23) if freedom else np.zeros(3)
    errors = uncertainty.critical(0.95, shares, freedom)
    np.testing.assert_allclose(uncertainty.tail(errors, shares, freedom), 0.05, atol=2e-4)


@pytest.mark.parametrize("chance", [0.01, 0.03, 0.4, 0.97, 0.99])
def test_interval_covers_over_questions(chance: float):
    """Near 0 and 1 as well, where a bootstrap has nothing to draw from."""
    rng = np.random.default_rng(1)
    assert 0.92 <= covered((rng.random((1, 120, TRIALS)) < chance).astype(float), chance) <= 0.99


def test_interval_of_a_mean_covers_near_one():
    rng = np.random.default_rng(1)
    parts = [(rng.random((1, size, TRIALS)) < chance).astype(float) for size, chance in ((30, 0.99), (400, 0.6))]
    low, high = intervals(*parts)
    assert 0.93 <= np.mean((low <= 0.795) & (high >= 0.795)) <= 0.98


def test_interval_covers_when_answers_of_a_question_agree_across_seeds():
    """A question that is hard is hard for every seed: treating seeds as further questions would be too narrow."""
    rng = np.random.default_rng(1)
    chance_QK = rng.beta(0.3, 0.3, size=(120, TRIALS))
    assert 0.93 <= covered((rng.random((3, 120, TRIALS)) < chance_QK).astype(float), 0.5) <= 0.99


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.04, 0.1])
def test_interval_covers_over_seeds(seeds: int, spread: float):
    """Seeds whose abilities differ: the truth is the mean over all seeds that could have been trained."""
    rng = np.random.default_rng(2)
    chance = rng.normal(0.5, spread, (seeds, 1, TRIALS)) + rng.normal(0.0, 0.2, (120, TRIALS))
    assert covered((rng.random(chance.shape) < np.clip(chance, 0, 1)).astype(float), 0.5) >= 0.93


def test_interval_of_counts_agrees_with_a_bootstrap():
    tokens_Q = np.random.default_rng(0).gamma(2.0, 50.0, size=300)
    theirs = stats.bootstrap((tokens_Q,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    low, high = single(tokens_Q[None], rates=False)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), rel=0.02)


@pytest.mark.parametrize(("right", "questions"), [(0, 100), (1, 100), (40, 100), (99, 100), (100, 100), (3, 7)])
def test_one_seed_of_right_and_wrong_has_wilsons_interval(right: int, questions: int):
    values_SQ = (np.arange(questions) < right).astype(float)[None]
    theirs = stats.binomtest(right, questions).proportion_ci(0.95, "wilson")
    assert single(values_SQ) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_all_right_in_all_seeds_counts_questions_not_answers():
    low, high = single(np.ones((2, 100)))
    assert high == 1.0
    assert low == pytest.approx(0.9630, abs=1e-4)


def test_mean_of_constant_benchmarks_is_as_sure_as_the_smallest_allows():
    """All right on 10 and on 10,000 questions: the mean may be half as far from 1 as the small benchmark."""
    low, high = intervals(np.ones((1, 10, 1)), np.ones((1, 10_000, 1)))
    alone, _ = single(np.ones((1, 10)))
    assert high[0] == 1.0
    assert 1 - low[0] == pytest.approx((1 - alone) / 2, rel=0.01)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_rates_have_an_interval_of_some_width(seeds: int):
    constant = [np.full((seeds, 20), value) for value in (0.0, 0.5, 1.0)]
    other_questions = np.zeros((seeds, 20))
    other_questions[np.arange(seeds), np.arange(seeds)] = 1.0  # each seed right once, on another question
    for values_SQ in [*constant, other_questions]:
        low, high = single(values_SQ)
        assert high - low > 0.05
        assert 0.0 <= low <= values_SQ.mean() <= high <= 1.0


def test_a_count_that_never_varied_has_no_interval():
    assert np.isnan(single(np.full((2, 30), 3.0), rates=False)).all()


def test_interval_over_seeds_is_never_narrower_than_over_questions():
    """Two seeds may agree by chance; that is no reason to believe that all trainings do."""
    right_Q = np.arange(100) % 2
    agreeing_SQ = np.stack([right_Q, 1 - right_Q]).astype(float)
    low, high = single(agreeing_SQ)
    assert high - low > 0.02


@given(st.integers(0, 2**32 - 1))
def test_estimates_do_not_depend_on_the_order_of_seeds(seed: int):
    values_SQK = np.random.default_rng(seed).random((3, 20, 2))
    np.testing.assert_allclose(intervals(values_SQK), intervals(values_SQK[::-1]), atol=1e-12)


def test_average_is_unweighted():
    parts = [
        statistics.estimate(values, np.array([True]), 0.95) for values in (np.ones((1, 2, 1)), np.zeros((1, 9, 1)))
    ]
    average = statistics.average(parts)
    assert (average.values_K[0], average.questions_K[0]) == (0.5, 11)


def test_average_of_independent_benchmarks_is_narrower():
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 2, size=(1, 100, 1)).astype(float) for _ in range(4)]
    widths = [float(np.diff(intervals(part), axis=0)[0, 0]) for part in parts]
    assert float(np.diff(intervals(*parts), axis=0)[0, 0]) == pytest.approx(np.mean(widths) / 2, rel=0.05)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(wrong: float):
    values_SQ = np.zeros((2, 5))
    values_SQ[1, 3] = wrong
    with pytest.raises(ValueError, match="1 of 10 scores are not finite"):
        single(values_SQ)
