"""Tests over questions of methods that nothing was trained for, and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from mrsearch.evaluation.statistics import check_finite
from mrsearch.evaluation.uncertainty import Array

FLIPS_AT_ONCE = 1000
"""Sign patterns in memory at the same time."""
MANY = 1000
"""Differences of comparable size from which their flipped sum is normal to three digits of its tail."""
MANY_SIZES = 100
"""Distinct sizes of differences from which their sum may be taken for continuous."""


def sign_flip_test(differences: Sequence[Array], samples: int, seed: int) -> float:
    """Two-sided p-value of "the mean difference is 0": a permutation test that flips the sign of each question.

    `differences` holds, per benchmark, each question's difference (mean over seeds); the statistic is the unweighted
    mean over benchmarks. Few questions are enumerated, more are sampled, where the observed signs count as one sample;
    of thousands the sum is normal. The test is over questions: it says nothing about trainings. ValueError for
    differences that are not finite.
    """
    for benchmark in differences:
        check_finite(benchmark, "differences")
    weighted = np.concatenate([benchmark / (benchmark.size * len(differences)) for benchmark in differences])
    weighted = weighted[weighted != 0.0]
    if weighted.size == 0:
        return 1.0
    # Equal sizes are equal up to rounding errors, whatever they were computed from.
    weighted = np.sort(np.round(weighted / np.abs(weighted).max(), 9))
    observed = abs(weighted.sum()) - 1e-7
    if weighted.size < 30 and 2**weighted.size <= samples:
        numbers = np.arange(2**weighted.size)[:, None]
        flips = (numbers >> np.arange(weighted.size)) & 1
        return float(np.mean(np.abs((1 - 2 * flips) @ weighted) >= observed))
    sizes_N, counts_N = np.unique(np.abs(weighted), return_counts=True)
    if sizes_N.size == 1:
        # McNemar's exact test.
        negative = np.floor((weighted.size - observed) / 2)
        return float(min(1.0, 2.0 * stats.binom.cdf(negative, weighted.size, 0.5)))
    return _sampled(sizes_N, counts_N, observed, samples, seed)


def _sampled(sizes_N: Array, counts_N: NDArray[np.int64], observed: float, samples: int, seed: int) -> float:
    """The share of flips that are as extreme. Differences of one size are flipped together: how many of them are
    positive is binomial; the sum of many small ones is normal."""
    normal = _normal_sizes(sizes_N, counts_N)
    spread = np.sqrt((counts_N * sizes_N**2)[:normal].sum())
    sizes_N, counts_N = sizes_N[normal:], counts_N[normal:]
    if sizes_N.size == 0:
        return float(2.0 * special.ndtr(-observed / spread))
    rng = np.random.default_rng(seed)
    as_extreme = 0.0
    for first in range(0, samples, FLIPS_AT_ONCE):
        positive_RN = rng.binomial(counts_N, 0.5, (min(FLIPS_AT_ONCE, samples - first), counts_N.size))
        sums_R = (2 * positive_RN - counts_N) @ sizes_N
        if normal:
            tails_R = special.ndtr((sums_R - observed) / spread) + special.ndtr((-sums_R - observed) / spread)
            as_extreme += float(tails_R.sum())
        else:
            as_extreme += int(np.sum(np.abs(sums_R) >= observed))
    return (as_extreme + 1.0) / (samples + 1.0)


def _normal_sizes(sizes_N: Array, counts_N: NDArray[np.int64]) -> int:
    """How many of the sizes, the smallest first, are together so many that their flipped sum is normal."""
    squares_N, fourths_N = counts_N * sizes_N**2, counts_N * sizes_N**4
    enough_N = np.cumsum(squares_N) ** 2 > MANY * np.cumsum(fourths_N)
    enough_N &= np.arange(1, sizes_N.size + 1) >= MANY_SIZES
    return int(sizes_N.size - np.argmax(enough_N[::-1])) if enough_N.any() else 0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given. ValueError for a p-value that is no probability."""
    values = np.asarray(p_values, dtype=float)
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ValueError(
            f"p-values must lie within [0, 1], not {values[~((values >= 0.0) & (values <= 1.0))].tolist()}"
        )
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(order))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, values[index] * (len(order) - rank)))
        corrected[index] = largest
    return [float(value) for value in corrected]
