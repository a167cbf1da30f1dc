"""A method against a reference: difference, relative improvement and p-values, by benchmark and on average."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import numpy as np

from mrsearch.config import Study
from mrsearch.evaluation.pairs import average_pair, join_pairs, pair, relative_improvement
from mrsearch.evaluation.significance import sign_flip_test
from mrsearch.evaluation.statistics import Counts, interval, p_value
from mrsearch.evaluation.uncertainty import Array

COMPARED = ("em", "f1")
PERMUTATIONS = 10_000


class Basis(StrEnum):
    """What a comparison's p-value speaks of."""

    methods = "methods"
    """Trainings that were not run as well: questions and seeds are drawn by chance."""
    weights = "weights"
    """The trained weights alone: there is one seed, so nothing tells how far another would lie."""
    questions = "questions"
    """Methods that nothing was trained for: questions alone are drawn by chance."""


def trained(study: Study, method: str) -> bool:
    """Whether the method's policy differs from seed to seed."""
    return study.policy_of(method) != "base"


def basis(study: Study, method: str, reference: str) -> Basis:
    """What the p-value of this comparison speaks of."""
    if not (trained(study, method) or trained(study, reference)):
        return Basis.questions
    return Basis.methods if len(study.seeds) > 1 else Basis.weights


def references(study: Study, method: str) -> list[str]:
    """Whom `method` is compared with: the baseline, the method that the study names for it, and those that an
    experiment sets beside it."""
    experiment = study.report.experiment
    methods = [study.report.baseline, study.methods[method].compare_with]
    methods += experiment.compared_with(method) if experiment else []
    return [name for name in dict.fromkeys(methods) if name is not None and name != method]


def averaged(study: Study) -> list[str]:
    """Benchmarks of the unweighted mean."""
    return [name for name, benchmark in study.benchmarks.items() if benchmark.average]


Scores = dict[str, Array]
"""Scores [S, Q, K] of one method by benchmark, K metrics of COMPARED."""


def compare(
    study: Study, scores: Scores, reference_scores: Scores, speaks_of: Basis, tests: bool
) -> Iterator[dict[str, Any]]:
    """Rows with benchmark, metric, value, low, high and n: difference, relative improvement and, with `tests`, p-values
    (`p`, and `p_questions` over questions alone)."""
    if speaks_of is Basis.questions:
        scores, reference_scores = (
            {name: mean_over_seeds(values) for name, values in side.items()} for side in (scores, reference_scores)
        )
    by_benchmark = {name: pair(scores[name], reference_scores[name]) for name in scores}
    by_benchmark["average"] = average_pair([by_benchmark[name] for name in averaged(study)])
    columns = [(name, metric) for name in by_benchmark for metric in COMPARED]
    joint = join_pairs(list(by_benchmark.values()))
    counts_K = joint.questions_K
    difference = joint.difference()
    low_K, high_K = interval(difference, study.report.confidence)
    yield from _rows(columns, "difference", (difference.values_K, low_K, high_K), counts_K)
    yield from _rows(columns, "relative", relative_improvement(joint, study.report.confidence), counts_K)
    if tests:
        unknown_K = np.full(len(columns), np.nan)
        over_questions_K = _sign_flips(study, scores, reference_scores)
        p_K = p_value(difference) if speaks_of is Basis.methods else over_questions_K
        yield from _rows(columns, "p", (p_K, unknown_K, unknown_K), counts_K)
        yield from _rows(columns, "p_questions", (over_questions_K, unknown_K, unknown_K), counts_K)


def mean_over_seeds(values_SQK: Array) -> Array:
    """The mean [1, Q, K] as one seed: repeated answers of one policy tell of questions, not of trainings."""
    return values_SQK.mean(axis=0, keepdims=True)


def _sign_flips(study: Study, scores: Scores, reference_scores: Scores) -> Array:
    """p-values [K] over questions, in the order of `compare`."""
    differences = {name: (scores[name] - reference_scores[name]).mean(axis=0) for name in scores}
    groups = [[name] for name in differences] + [averaged(study)]
    return np.array(
        [
            sign_flip_test([differences[name][:, k] for name in group], PERMUTATIONS, study.report.seed)
            for group in groups
            for k in range(len(COMPARED))
        ]
    )


def _rows(
    columns: list[tuple[str, str]], suffix: str, numbers: tuple[Array, Array, Array], counts_K: Counts
) -> Iterator[dict[str, Any]]:
    for (benchmark, metric), value, low, high, n in zip(columns, *numbers, counts_K, strict=True):
        ends = {"value": float(value), "low": float(low), "high": float(high), "n": int(n)}
        yield {"benchmark": benchmark, "metric": f"{metric}_{suffix}", **ends}
