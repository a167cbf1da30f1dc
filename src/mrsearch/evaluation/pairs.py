"""Two methods on the same questions with the same seeds: their difference and their ratio.

Both come from one model. The difference's interval leaves out 0 exactly where the p-value is below 1 minus the
confidence, and the relative improvement's leaves out 0 nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mrsearch.evaluation.statistics import PSEUDO, Counts, Estimates, check_finite, interval, shared_variance
from mrsearch.evaluation.uncertainty import Array

STEPS = 24
"""Ratios, evenly spaced by angle, among which the end of an interval is looked for."""
HALVINGS = 30
"""Of such a step: ends of intervals to ten digits."""


@dataclass(frozen=True, slots=True)
class Pair:
    """K measures within [0, 1] of two methods: second moments of their means, for the difference or any other
    combination."""

    means_2K: Array
    across_22K: Array
    """Covariance of the two means by chance over questions."""
    shared_22K: Array
    """What the spread between seeds holds of it."""
    seeds_2SK: Array
    """Each seed's own means."""
    questions_K: Counts
    """Questions behind each."""

    def combined(self, ours_K: Array, theirs_K: Array) -> Estimates:
        """ours_K times the method's mean plus theirs_K times the reference's."""
        factors_2K = np.stack([ours_K, theirs_K])
        across_K = np.einsum("ik,ijk,jk->k", factors_2K, self.across_22K, factors_2K)
        shared_K = np.einsum("ik,ijk,jk->k", factors_2K, self.shared_22K, factors_2K)
        seeds_SK = np.einsum("ik,isk->sk", factors_2K, self.seeds_2SK)
        values_K = np.einsum("ik,ik->k", factors_2K, self.means_2K)
        least_K = np.minimum(factors_2K, 0.0).sum(axis=0)
        most_K = np.maximum(factors_2K, 0.0).sum(axis=0)
        return Estimates(values_K, across_K, across_K, shared_K, seeds_SK, least_K, most_K, self.questions_K)

    def difference(self) -> Estimates:
        """The method's mean minus the reference's."""
        ones_K = np.ones(self.means_2K.shape[1])
        return self.combined(ones_K, -ones_K)


def pair(ours_SQK: Array, theirs_SQK: Array) -> Pair:
    """Moments of two methods' scores, which lie within [0, 1], on one benchmark.

    The covariance over questions counts PSEUDO questions more, spread over the four ways in which two answers can be
    right or wrong, so that methods which agree on every question have an interval too. ValueError for scores that are
    not finite.
    """
    for values_SQK in (ours_SQK, theirs_SQK):
        check_finite(values_SQK, "scores")
    _, questions, _ = ours_SQK.shape
    by_question_2QK = np.stack([ours_SQK.mean(axis=0), theirs_SQK.mean(axis=0)])
    count = questions + PSEUDO
    pseudo_22 = np.array([[PSEUDO / 2, PSEUDO / 4], [PSEUDO / 4, PSEUDO / 2]])
    products_22K = np.einsum("iqk,jqk->ijk", by_question_2QK, by_question_2QK) + pseudo_22[..., None]
    sums_2K = by_question_2QK.sum(axis=1) + PSEUDO / 2
    across_22K = (products_22K / count - sums_2K[:, None] * sums_2K / count**2) / count
    pair_SQK = (ours_SQK, theirs_SQK)
    shared_22K = np.stack(
        [np.stack([shared_variance(left_SQK, right_SQK) for right_SQK in pair_SQK]) for left_SQK in pair_SQK]
    )
    seeds_2SK = np.stack([values_SQK.mean(axis=1) for values_SQK in pair_SQK])
    return Pair(by_question_2QK.mean(axis=1), across_22K, shared_22K, seeds_2SK, np.full(len(sums_2K[0]), questions))


def average_pair(pairs: Sequence[Pair]) -> Pair:
    """The unweighted mean over benchmarks, whose questions are drawn independently."""
    return Pair(
        np.mean([pair.means_2K for pair in pairs], axis=0),
        np.sum([pair.across_22K for pair in pairs], axis=0) / len(pairs) ** 2,
        np.sum([pair.shared_22K for pair in pairs], axis=0) / len(pairs) ** 2,
        np.mean([pair.seeds_2SK for pair in pairs], axis=0),
        np.sum([pair.questions_K for pair in pairs], axis=0),
    )


def join_pairs(pairs: Sequence[Pair]) -> Pair:
    """The same pairs side by side."""
    return Pair(*(np.concatenate([getattr(pair, field.name) for pair in pairs], axis=-1) for field in fields(Pair)))


def relative_improvement(pair: Pair, confidence: float) -> tuple[Array, Array, Array]:
    """(method / reference - 1, low, high), each [K]: as `ratio`."""
    value_K, low_K, high_K = ratio(pair, confidence)
    return value_K - 1.0, low_K - 1.0, high_K - 1.0


def ratio(pair: Pair, confidence: float) -> tuple[Array, Array, Array]:
    """(method / reference, low, high), each [K]: from the smallest to the largest ratio for which the interval of
    method - ratio x reference holds 0 (Fieller's theorem).

    NaN where the reference is 0; without upper end where it cannot be told from 0.
    """
    ours_K, theirs_K = pair.means_2K
    defined_K = theirs_K > 0.0
    angle_K = np.arctan2(ours_K, theirs_K)
    # Ratios are tangents, so that a reference of 0 is an angle like any other.
    ends_K = np.concatenate([np.zeros_like(angle_K), np.full_like(angle_K, np.pi / 2)])
    edge_K = _edge(join_pairs([pair, pair]), confidence, np.tile(angle_K, 2), ends_K)
    ratio_K = np.where(edge_K == np.pi / 2, np.inf, np.tan(edge_K))
    values_K = np.divide(ours_K, theirs_K, out=np.full_like(ours_K, np.nan), where=defined_K)
    low_K, high_K = (np.where(defined_K, side_K, np.nan) for side_K in np.split(ratio_K, 2))
    return values_K, low_K, high_K


def _edge(pair: Pair, confidence: float, inside_K: Array, outside_K: Array) -> Array:
    """The angle nearest to `outside_K` that the data do not contradict; `inside_K` is that of the measured ratio.

    What is not contradicted may have gaps, where seeds pair well at some ratios and badly at others: these count as not
    contradicted. The angle of equal methods is looked at in any case.
    """

    def contradicted(way_K: Array) -> NDArray[np.bool_]:
        angle_K = inside_K + way_K * (outside_K - inside_K)
        low_K, high_K = interval(pair.combined(np.cos(angle_K), -np.sin(angle_K)), confidence)
        return (low_K > 0.0) | (high_K < 0.0)

    length_K = np.where(outside_K == inside_K, 1.0, outside_K - inside_K)
    equal_K = np.clip((np.pi / 4 - inside_K) / length_K, 0.0, 1.0)
    ways_TK = np.sort([*(np.full_like(inside_K, way) for way in np.linspace(0.0, 1.0, STEPS)), equal_K], axis=0)
    possible_TK = np.array([~contradicted(way_K) for way_K in ways_TK])
    possible_TK[0] = True
    last_K = len(ways_TK) - 1 - np.argmax(possible_TK[::-1], axis=0)
    columns_K = np.arange(len(inside_K))
    near_K = ways_TK[last_K, columns_K]
    far_K = ways_TK[np.minimum(last_K + 1, len(ways_TK) - 1), columns_K]
    for _ in range(HALVINGS):
        middle_K = (near_K + far_K) / 2
        wrong_K = contradicted(middle_K)
        near_K, far_K = np.where(wrong_K, near_K, middle_K), np.where(wrong_K, middle_K, far_K)
    return np.where(possible_TK[-1], outside_K, inside_K + near_K * (outside_K - inside_K))
