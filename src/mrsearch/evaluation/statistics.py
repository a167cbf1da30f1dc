"""Intervals and paired tests over questions and training seeds.

Shapes: S seeds, Q questions of one benchmark, K measures, R resamples.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
FLIPS_AT_ONCE = 1000
"""Sign patterns in memory at the same time."""


@dataclass(frozen=True, slots=True)
class Resampled:
    """K estimates with what their intervals need; several can be averaged into one."""

    values_K: Array
    """The estimates: means over seeds and questions."""
    draws_RK: Array
    """The same means over resampled questions."""
    seeds_SK: Array
    """Each seed's own mean."""
    noise_K: Array
    """How much the seeds' means would differ in variance if seeds mattered only through chance on single questions."""
    questions: int
    """Clusters behind the estimate."""


def question_weights(samples: int, questions: int, seed: int, label: str) -> Array:
    """Bootstrap weights [R, Q], rows summing to 1; the same seed and label give the same weights.

    All methods of a benchmark share them, so that comparisons resample the same questions on both sides.
    """
    rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
    counts_RQ = rng.multinomial(questions, np.full(questions, 1.0 / questions), size=samples)
    return counts_RQ / questions


def resample(values_SQK: Array, weights_RQ: Array) -> Resampled:
    """Means of K measures; a question is resampled with all its seeds together."""
    seeds, questions, _ = values_SQK.shape
    by_question_QK = values_SQK.mean(axis=0)
    seeds_SK = values_SQK.mean(axis=1)
    values_K = by_question_QK.mean(axis=0)
    noise_K = np.zeros_like(values_K)
    if seeds > 1 and questions > 1:
        rest_SQK = values_SQK - seeds_SK[:, None] - by_question_QK[None] + values_K
        noise_K = (rest_SQK**2).sum(axis=(0, 1)) / ((seeds - 1) * (questions - 1)) / questions
    return Resampled(values_K, weights_RQ @ by_question_QK, seeds_SK, noise_K, questions)


def average(parts: Sequence[Resampled]) -> Resampled:
    """The unweighted mean over benchmarks, whose questions are resampled independently."""
    return Resampled(
        np.mean([part.values_K for part in parts], axis=0),
        np.mean([part.draws_RK for part in parts], axis=0),
        np.mean([part.seeds_SK for part in parts], axis=0),
        np.sum([part.noise_K for part in parts], axis=0) / len(parts) ** 2,
        sum(part.questions for part in parts),
    )


def interval(estimate: Resampled, confidence: float, rates_K: NDArray[np.bool_] | None = None) -> tuple[Array, Array]:
    """Percentile intervals (low [K], high [K]) over questions and, when there are several, over seeds.

    Seeds are few, so resampling them would give intervals that are far too narrow. Their spread beyond the chance of
    single questions (two-way analysis of variance) enters instead as a Student t term with S - 1 degrees of freedom.
    `rates_K` marks measures within [0, 1]: their intervals stay inside, and where every question scores the same 0 or
    1, so that there is nothing to resample, they are Wilson's with n = Q.
    """
    draws_RK = estimate.draws_RK + _seed_term(estimate.seeds_SK, estimate.noise_K, len(estimate.draws_RK))
    tails = [(1.0 - confidence) / 2, (1.0 + confidence) / 2]
    low_K, high_K = np.quantile(draws_RK, tails, axis=0)
    if rates_K is not None:
        low_K, high_K = np.where(rates_K, [np.clip(low_K, 0, 1), np.clip(high_K, 0, 1)], [low_K, high_K])
        for constant in (0.0, 1.0):
            same_K = rates_K & (np.abs(estimate.values_K - constant) < 1e-12)
            wilson = stats.binomtest(round(constant * estimate.questions), estimate.questions).proportion_ci(
                confidence, "wilson"
            )
            low_K[same_K], high_K[same_K] = wilson.low, wilson.high
    return low_K, high_K


def relative_improvement(
    method: Resampled, baseline: Resampled, joint: Resampled, confidence: float
) -> tuple[float, float, float]:
    """mean(method) / mean(baseline) - 1 with its interval, resampling the same questions and pairing the same seeds.

    The three arguments hold one measure each; `joint` is `resample` of the linearised ratio (see `linearised_ratio`).
    A baseline of 0 gives NaN; resamples in which only the baseline is 0 count as infinite.
    """
    if baseline.values_K[0] == 0.0:
        return float("nan"), float("nan"), float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        draws_R = method.draws_RK[:, 0] / baseline.draws_RK[:, 0] - 1.0
    draws_R = draws_R + _seed_term(joint.seeds_SK, joint.noise_K, len(draws_R))[:, 0]
    low, high = np.quantile(draws_R[~np.isnan(draws_R)], [(1 - confidence) / 2, (1 + confidence) / 2], method="higher")
    return float(method.values_K[0] / baseline.values_K[0] - 1.0), float(max(low, -1.0)), float(high)


def linearised_ratio(method_SQ: Array, baseline_SQ: Array, method_mean: float, baseline_mean: float) -> Array:
    """Each question's contribution [S, Q, 1] to the ratio of means, to first order (delta method)."""
    ratio = method_mean / baseline_mean
    return ((method_SQ - ratio * baseline_SQ) / baseline_mean)[..., None]


def sign_flip_test(differences: Sequence[Array], samples: int, seed: int) -> float:
    """Two-sided p-value of "the mean difference is 0": a permutation test that flips the sign of each question.

    `differences` holds, per benchmark, each question's difference (mean over seeds); the statistic is the unweighted
    mean over benchmarks. Few questions are enumerated, more are sampled, where the observed signs count as one sample.
    The test is over questions: it says nothing about seeds that were not trained.
    """
    weighted = np.concatenate([part / (part.size * len(differences)) for part in differences])
    weighted = np.sort(weighted[weighted != 0.0])
    observed = abs(weighted.sum()) - 1e-12
    if weighted.size < 30 and 2**weighted.size <= samples:
        numbers = np.arange(2**weighted.size)[:, None]
        flips = (numbers >> np.arange(weighted.size)) & 1
        return float(np.mean(np.abs((1 - 2 * flips) @ weighted) >= observed))
    rng = np.random.default_rng(seed)
    as_extreme = 0
    for first in range(0, samples, FLIPS_AT_ONCE):
        size = (min(FLIPS_AT_ONCE, samples - first), weighted.size)
        drawn = np.unpackbits(rng.integers(0, 256, (size[0], -(-size[1] // 8)), dtype=np.uint8), axis=1, count=size[1])
        as_extreme += int(np.sum(np.abs(weighted.sum() - 2 * (drawn @ weighted)) >= observed))
    return (as_extreme + 1) / (samples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(order))
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, p_values[place] * (len(order) - rank)))
        corrected[place] = largest
    return [float(value) for value in corrected]


def _seed_term(seeds_SK: Array, noise_K: Array, samples: int) -> Array:
    """Draws [R, K] of the seeds' contribution: evenly spaced quantiles of Student's t in a fixed random order."""
    seeds = len(seeds_SK)
    if seeds < 2:
        return np.zeros((samples, 1))
    spread_K = np.sqrt(np.maximum(seeds_SK.var(axis=0, ddof=1) - noise_K, 0.0) / seeds)
    grid_R = stats.t.ppf((np.arange(samples) + 0.5) / samples, seeds - 1)
    return np.random.default_rng(samples).permutation(grid_R)[:, None] * spread_K
