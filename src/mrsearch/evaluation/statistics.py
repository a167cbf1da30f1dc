"""Means over questions and training seeds, with intervals that hold for questions and seeds that were not drawn.

Shapes: S seeds, Q questions of one benchmark, K measures. Where seeds say nothing about training (nothing was trained),
callers give the mean over seeds as one seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mrsearch.evaluation.uncertainty import Array, critical, tail

Counts = NDArray[np.int64]

PSEUDO = 2.0
"""Questions that are added, half of the answers right, where a variance is estimated: too few to matter among a
hundred, enough that agreement on every question is not taken for certainty (Agresti and Min, 2005)."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """K means with the two parts of their variance; several can be averaged into one."""

    values_K: Array
    """Means over seeds and questions."""
    below_K: Array
    """Variance by chance over questions, towards lower truths."""
    above_K: Array
    """The same, towards higher truths: it differs for shares near 0 and 1."""
    shared_K: Array
    """What the spread between seeds holds of that variance already: chance on single questions of single seeds."""
    seeds_SK: Array
    """Each seed's own mean."""
    least_K: Array
    """The smallest value that is possible."""
    most_K: Array
    """The largest."""
    questions_K: Counts
    """Questions behind each estimate."""

    @property
    def between_K(self) -> Array:
        """Variance by the spread between seeds; 0 where there is one seed."""
        seeds = len(self.seeds_SK)
        return self.seeds_SK.var(axis=0, ddof=1) / seeds if seeds > 1 else np.zeros_like(self.values_K)


def estimate(values_SQK: Array, rates_K: NDArray[np.bool_], confidence: float) -> Estimates:
    """Means of K measures of one benchmark; `rates_K` marks measures within [0, 1].

    The variance of a rate is that which Wilson's interval with as many independent answers implies at this confidence:
    exactly his where every score is 0 or 1 and there is one seed, n = Q where all questions score alike. ValueError for
    values that are not finite.
    """
    check_finite(values_SQK, "scores")
    _, questions, _ = values_SQK.shape
    by_question_QK = values_SQK.mean(axis=0)
    values_K = by_question_QK.mean(axis=0)
    variance_K = by_question_QK.var(axis=0)
    below_K = above_K = variance_K / max(questions - 1, 1)
    inside_K = np.clip(values_K, 0.0, 1.0)
    binary_K = inside_K * (1.0 - inside_K)
    answers_K = questions * (questions * binary_K + PSEUDO) / (questions * variance_K + PSEUDO)
    low_K, high_K = wilson(inside_K, answers_K, confidence)
    quantile = stats.norm.ppf((1.0 + confidence) / 2)
    return Estimates(
        values_K,
        np.where(rates_K, ((inside_K - low_K) / quantile) ** 2, below_K),
        np.where(rates_K, ((high_K - inside_K) / quantile) ** 2, above_K),
        shared_variance(values_SQK, values_SQK),
        values_SQK.mean(axis=1),
        np.where(rates_K, 0.0, -np.inf),
        np.where(rates_K, 1.0, np.inf),
        np.full(len(values_K), questions),
    )


def average(estimates: Sequence[Estimates]) -> Estimates:
    """The unweighted mean over benchmarks, whose questions are drawn independently: their variances add up."""
    count = len(estimates)
    return Estimates(
        np.mean([benchmark.values_K for benchmark in estimates], axis=0),
        np.sum([benchmark.below_K for benchmark in estimates], axis=0) / count**2,
        np.sum([benchmark.above_K for benchmark in estimates], axis=0) / count**2,
        np.sum([benchmark.shared_K for benchmark in estimates], axis=0) / count**2,
        np.mean([benchmark.seeds_SK for benchmark in estimates], axis=0),
        np.mean([benchmark.least_K for benchmark in estimates], axis=0),
        np.mean([benchmark.most_K for benchmark in estimates], axis=0),
        np.sum([benchmark.questions_K for benchmark in estimates], axis=0),
    )


def difference(estimates: Estimates, subtracted: Estimates) -> Estimates:
    """The first estimates minus the second, whose questions are others; seeds, as many on both sides, are the same."""
    return Estimates(
        estimates.values_K - subtracted.values_K,
        estimates.below_K + subtracted.above_K,
        estimates.above_K + subtracted.below_K,
        estimates.shared_K + subtracted.shared_K,
        estimates.seeds_SK - subtracted.seeds_SK,
        estimates.least_K - subtracted.most_K,
        estimates.most_K - subtracted.least_K,
        estimates.questions_K + subtracted.questions_K,
    )


def join(estimates: Sequence[Estimates]) -> Estimates:
    """The same estimates side by side."""
    return Estimates(
        *(
            np.concatenate([getattr(benchmark, field.name) for benchmark in estimates], axis=-1)
            for field in fields(Estimates)
        )
    )


def interval(estimates: Estimates, confidence: float) -> tuple[Array, Array]:
    """(low [K], high [K]) for questions and, when there are several seeds, for trainings that were not drawn.

    NaN where all questions and seeds gave the same count, which says nothing about how others would differ.
    """
    ends = []
    for sign, variance_K in ((-1.0, estimates.below_K), (1.0, estimates.above_K)):
        total_K, share_K = _combined(estimates, variance_K)
        width_K = critical(confidence, share_K, len(estimates.seeds_SK) - 1) * np.sqrt(total_K)
        ends.append(np.clip(estimates.values_K + sign * width_K, estimates.least_K, estimates.most_K))
    unknown_K = estimates.below_K + estimates.above_K + estimates.between_K == 0.0
    low_K, high_K = (np.where(unknown_K, np.nan, end_K) for end_K in ends)
    return low_K, high_K


def p_value(estimates: Estimates) -> Array:
    """Two-sided p-values [K] of "the truth is 0", from the model of `interval`: below 0.05 where the 95 % interval
    leaves 0 out."""
    variance_K = np.where(estimates.values_K > 0.0, estimates.below_K, estimates.above_K)
    total_K, share_K = _combined(estimates, variance_K)
    assert (total_K > 0.0).all(), "an estimate without variance has no p-value"
    return tail(estimates.values_K / np.sqrt(total_K), share_K, len(estimates.seeds_SK) - 1)


def wilson(rate_K: Array, answers_K: Array, confidence: float) -> tuple[Array, Array]:
    """Wilson's score interval (low [K], high [K]) of a rate among `answers_K` independent answers, any real number."""
    squared = stats.norm.ppf((1.0 + confidence) / 2) ** 2
    middle_K = (rate_K + squared / (2 * answers_K)) / (1.0 + squared / answers_K)
    half_K = np.sqrt(squared * rate_K * (1.0 - rate_K) / answers_K + (squared / (2 * answers_K)) ** 2)
    half_K = half_K / (1.0 + squared / answers_K)
    return np.minimum(middle_K - half_K, rate_K), np.maximum(middle_K + half_K, rate_K)


def shared_variance(ours_SQK: Array, theirs_SQK: Array) -> Array:
    """Covariance [K] of two means over S seeds by chance on single questions of single seeds (two-way analysis of
    variance); 0 where there is one seed or one question."""
    seeds, questions, measures = ours_SQK.shape
    if seeds == 1 or questions == 1:
        return np.zeros(measures)
    products_K = np.einsum("sqk,sqk->k", ours_SQK, theirs_SQK)
    by_question_K = np.einsum("qk,qk->k", ours_SQK.mean(axis=0), theirs_SQK.mean(axis=0))
    by_seed_K = np.einsum("sk,sk->k", ours_SQK.mean(axis=1), theirs_SQK.mean(axis=1))
    means_K = ours_SQK.mean(axis=(0, 1)) * theirs_SQK.mean(axis=(0, 1))
    rest_K = products_K - seeds * by_question_K - questions * by_seed_K + seeds * questions * means_K
    return np.asarray(rest_K / ((seeds - 1) * (questions - 1) * questions * seeds))


def check_finite(values: Array, label: str) -> None:
    """ValueError where a value is NaN or infinite."""
    wrong = int(np.size(values) - np.isfinite(values).sum())
    if wrong:
        raise ValueError(f"{wrong} of {np.size(values)} {label} are not finite numbers: evaluate these questions again")


def _combined(estimates: Estimates, variance_K: Array) -> tuple[Array, Array]:
    """The variance of K estimates and the seeds' share of it. What both parts hold counts once, and together they are
    never less than chance over questions alone, whatever few seeds happen to agree on."""
    between_K = estimates.between_K
    rest_K = np.maximum(variance_K - np.clip(estimates.shared_K, 0.0, between_K), 0.0)
    total_K = rest_K + between_K
    share_K = np.divide(between_K, total_K, out=np.zeros_like(total_K), where=total_K > 0.0)
    return total_K, share_K
