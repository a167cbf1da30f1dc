"""Sign flips and Holm: hand-computed cases, other libraries' values, and the size of the test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from mrsearch.evaluation.significance import holm, sign_flip_test


def test_sign_flip_by_hand():
    """Three questions, all better: of 8 sign patterns, two are as extreme."""
    assert sign_flip_test([np.array([1.0, 1.0, 1.0])], 10_000, 0) == pytest.approx(2 / 8)
    assert sign_flip_test([np.array([1.0, -1.0, 0.0])], 10_000, 0) == 1.0
    assert sign_flip_test([np.zeros(5)], 10_000, 0) == 1.0


@pytest.mark.parametrize(("better", "worse"), [(18, 6), (20, 20), (15, 16), (700, 600), (40, 0)])
def test_one_size_of_differences_is_mcnemars_exact_test(better: int, worse: int):
    differences = np.array([1.0] * better + [-1.0] * worse + [0.0] * 76)
    exact = binomtest(worse, better + worse).pvalue
    assert sign_flip_test([differences], 20_000, 0) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("questions", [150, 3000])
def test_sign_flip_agrees_with_scipy(questions: int):
    """Sampled for some questions, from the normal distribution for thousands."""
    differences = np.random.default_rng(4).normal(2 / np.sqrt(questions), 1, size=questions)
    theirs = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=4_000, rng=1)
    assert sign_flip_test([differences], 20_000, 0) == pytest.approx(theirs.pvalue, abs=0.01)


def test_a_small_benchmark_among_large_ones_is_sampled():
    """Five questions of a small benchmark weigh more than thousands: their sum is not normal, and all five pointing one
    way have the p-value 2 / 2^5 unless the thousands say more."""
    rng = np.random.default_rng(0)
    few, many = np.ones(5), rng.normal(0, 1.0, 5000)
    theirs = permutation_test(
        (np.r_[few / 5, many / 5000],), np.sum, permutation_type="samples", n_resamples=4_000, rng=1
    )
    assert sign_flip_test([few, many], 10_000, 0) == pytest.approx(theirs.pvalue, abs=0.01)


def test_sign_flip_does_not_depend_on_the_order_of_questions():
    differences = np.random.default_rng(0).normal(0.1, 1, size=60)
    assert sign_flip_test([differences], 2000, 0) == sign_flip_test([differences[::-1]], 2000, 0)


def test_equal_sizes_are_equal_however_they_were_computed():
    """Means over three seeds are thirds with rounding errors."""
    thirds = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]] * 20).mean(axis=1)
    other = thirds * (1 + 1e-13)
    assert sign_flip_test([np.r_[thirds, -other[:40]]], 1000, 0) == sign_flip_test(
        [np.r_[thirds, -thirds[:40]]], 1000, 0
    )


def test_sign_flip_has_its_size():
    rng = np.random.default_rng(3)
    rejected = sum(sign_flip_test([rng.integers(-2, 3, size=40).astype(float)], 400, 0) < 0.05 for _ in range(400))
    assert rejected / 400 < 0.085


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
def test_differences_that_are_no_numbers_are_refused(wrong: float):
    with pytest.raises(ValueError, match="1 of 3 differences are not finite"):
        sign_flip_test([np.zeros(4), np.array([0.5, wrong, 0.0])], 100, 0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.5])
def test_holm_refuses_what_is_no_probability(wrong: float):
    with pytest.raises(ValueError, match="must lie within"):
        holm([0.2, wrong])
