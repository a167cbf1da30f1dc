"""Intervals cover, tests have their size, and hand-computed cases come out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsearch.evaluation import statistics


def make_interval(values_SQ: np.ndarray, rates: bool = False, samples: int = 300) -> tuple[float, float]:
    weights_RQ = statistics.question_weights(samples, values_SQ.shape[1], 0, "coverage")
    low, high = statistics.interval(statistics.resample(values_SQ[..., None], weights_RQ), 0.95, np.array([rates]))
    return float(low[0]), float(high[0])


def coverage(draw, truth: float, trials: int = 200) -> float:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(trials):
        low, high = make_interval(draw(rng), rates=True)
        inside += low <= truth <= high
    return inside / trials


def test_interval_covers_over_questions():
    """One seed: 0.95 nominal; 200 trials leave a standard error of 0.015."""
    found = coverage(lambda rng: (rng.random((1, 120)) < 0.4).astype(float), truth=0.4)
    assert 0.91 <= found <= 0.985


def test_interval_covers_when_answers_of_a_question_agree_across_seeds():
    """A question that is hard is hard for every seed: treating seeds as further questions would be too narrow."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        chance_Q = rng.beta(0.3, 0.3, size=120)
        return (rng.random((3, 120)) < chance_Q).astype(float)

    found = coverage(draw, truth=0.5)
    assert 0.91 <= found <= 0.99


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.1])
def test_interval_covers_over_seeds(spread: float):
    """Three seeds whose abilities differ: the truth is the mean over all seeds that could have been trained."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        ability_S1 = rng.normal(0.5, spread, size=(3, 1))
        return (rng.random((3, 120)) < np.clip(ability_S1 + rng.normal(0, 0.2, size=120), 0, 1)).astype(float)

    found = coverage(draw, truth=0.5)
    assert 0.91 <= found <= 0.999


def test_relative_improvement_covers():
    rng = np.random.default_rng(2)
    inside, trials = 0, 200
    for _ in range(trials):
        hard_Q = rng.normal(0, 0.15, size=150)
        ours_SQ, theirs_SQ = (
            (rng.random((1, 150)) < np.clip(mean + hard_Q, 0, 1)).astype(float) for mean in (0.6, 0.4)
        )
        value, low, high = improvement(ours_SQ, theirs_SQ)
        inside += low <= 0.5 <= high
        assert low <= value <= high
    assert 0.91 <= inside / trials <= 0.985


def improvement(ours_SQ: np.ndarray, theirs_SQ: np.ndarray) -> tuple[float, float, float]:
    weights_RQ = statistics.question_weights(400, ours_SQ.shape[1], 0, "x")
    ours, theirs = (statistics.resample(values[..., None], weights_RQ) for values in (ours_SQ, theirs_SQ))
    joint = ours
    if theirs.values_K[0] > 0:
        linear = statistics.linearised_ratio(ours_SQ, theirs_SQ, ours.values_K[0], theirs.values_K[0])
        joint = statistics.resample(linear, weights_RQ)
    return statistics.relative_improvement(ours, theirs, joint, 0.95)


def test_relative_improvement_by_hand():
    value, low, high = improvement(np.array([[1.0, 1, 1, 0]]), np.array([[1.0, 1, 0, 0]]))
    assert value == pytest.approx(0.5)
    assert low <= 0.5 <= high


def test_relative_improvement_over_nothing_is_undefined():
    assert all(np.isnan(improvement(np.ones((1, 5)), np.zeros((1, 5)))))


def test_a_copy_of_the_baseline_improves_by_exactly_nothing():
    same_SQ = np.random.default_rng(0).integers(0, 2, size=(3, 40)).astype(float)
    assert improvement(same_SQ, same_SQ) == pytest.approx((0.0, 0.0, 0.0))


def test_all_right_has_wilsons_interval():
    low, high = make_interval(np.ones((2, 100)), rates=True)
    assert high == 1.0
    assert low == pytest.approx(0.9630, abs=1e-4)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_estimates_do_not_depend_on_the_order_of_seeds(seed: int):
    values_SQK = np.random.default_rng(seed).random((3, 20, 2))
    weights_RQ = statistics.question_weights(50, 20, 0, "x")
    there = statistics.interval(statistics.resample(values_SQK, weights_RQ), 0.95)
    back = statistics.interval(statistics.resample(values_SQK[::-1], weights_RQ), 0.95)
    np.testing.assert_allclose(there, back, atol=1e-12)


def test_average_is_unweighted():
    few = statistics.resample(np.ones((1, 2, 1)), statistics.question_weights(10, 2, 0, "few"))
    many = statistics.resample(np.zeros((1, 200, 1)), statistics.question_weights(10, 200, 0, "many"))
    assert statistics.average([few, many]).values_K[0] == pytest.approx(0.5)


def test_average_of_independent_benchmarks_is_narrower():
    rng = np.random.default_rng(0)
    parts = []
    for name in "abcd":
        values_SQK = rng.integers(0, 2, size=(1, 100, 1)).astype(float)
        parts.append(statistics.resample(values_SQK, statistics.question_weights(500, 100, 0, name)))
    widths = [
        float(np.diff(statistics.interval(part, 0.95), axis=0)[0, 0]) for part in [*parts, statistics.average(parts)]
    ]
    assert widths[-1] == pytest.approx(np.mean(widths[:-1]) / 2, rel=0.15)


def test_sign_flip_by_hand():
    """Three questions, all better: of 8 sign patterns, two are as extreme."""
    assert statistics.sign_flip_test([np.array([1.0, 1.0, 1.0])], 10_000, 0) == pytest.approx(2 / 8)
    assert statistics.sign_flip_test([np.array([1.0, -1.0, 0.0])], 10_000, 0) == 1.0
    assert statistics.sign_flip_test([np.zeros(5)], 10_000, 0) == 1.0


def test_sign_flip_agrees_with_mcnemar():
    from scipy.stats import binomtest

    differences = np.array([1.0] * 18 + [-1.0] * 6 + [0.0] * 76)
    exact = binomtest(6, 24).pvalue
    assert statistics.sign_flip_test([differences], 20_000, 0) == pytest.approx(exact, abs=0.006)


def test_sign_flip_agrees_with_scipy():
    from scipy.stats import permutation_test

    differences = np.random.default_rng(4).normal(0.15, 1, size=150)
    theirs = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1)
    assert statistics.sign_flip_test([differences], 20_000, 0) == pytest.approx(theirs.pvalue, abs=0.01)


def test_sign_flip_does_not_depend_on_the_order_of_questions():
    differences = np.random.default_rng(0).normal(0.1, 1, size=60)
    assert statistics.sign_flip_test([differences], 2000, 0) == statistics.sign_flip_test([differences[::-1]], 2000, 0)


def test_sign_flip_has_its_size():
    rng = np.random.default_rng(3)
    rejected = sum(
        statistics.sign_flip_test([rng.integers(-1, 2, size=40).astype(float)], 400, 0) < 0.05 for _ in range(400)
    )
    assert rejected / 400 < 0.085


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
