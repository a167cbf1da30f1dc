"""Whether an agent searches as its question needs, and whether its answers stand on what it read.

Adaptivity: searches on questions that need several facts minus those on questions that need one. Support: the share of
answers that a passage which was read says; answers that no passage says (yes, no) count on neither side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mrsearch.config import Study
from mrsearch.config.hops import by_hops
from mrsearch.config.report import HOP_COLUMNS, SUPPORT_COLUMNS
from mrsearch.evaluation import statistics
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.evaluation.comparisons import averaged
from mrsearch.evaluation.pairs import Pair, average_pair, join_pairs, pair, ratio
from mrsearch.evaluation.statistics import Estimates
from mrsearch.evaluation.uncertainty import Array

Names = Sequence[tuple[str, str]]
"""(metric, episode) of each measure."""
ALL = "all"
"""The whole meta-episode, in the place of an episode."""


def adaptivity_rows(study: Study, names: Names, by_benchmark: Mapping[str, Estimates]) -> Iterator[dict[str, Any]]:
    """Rows of `HOP_COLUMNS` on average, where the study has benchmarks of both hops: mean searches on either, each
    benchmark weighing alike, and their difference."""
    benchmarks = by_hops(study)
    if not all(benchmarks.values()):
        return
    few = statistics.average([by_benchmark[name] for name in benchmarks["one"]])
    many = statistics.average([by_benchmark[name] for name in benchmarks["multi"]])
    searches = names.index(("searches", ALL))
    for metric, estimates in zip(HOP_COLUMNS, (few, many, statistics.difference(many, few)), strict=True):
        low_K, high_K = statistics.interval(estimates, study.report.confidence)
        columns = (estimates.values_K, low_K, high_K, estimates.questions_K)
        value, low, high, n = (column[searches].item() for column in columns)
        numbers = {"value": value, "low": low, "high": high, "n": n}
        yield {"benchmark": "average", "episode": ALL, "metric": metric, **numbers}


def support_pair(names: Names, values_SQK: Array) -> Pair:
    """Moments of what is supported and of what could be, for `SUPPORT_COLUMNS`: all answers, and right ones. A
    meta-episode without an answer could have had one. Questions are those with such an answer under a seed."""
    supported_SQ, wordless_SQ, right_SQ = (
        values_SQK[..., names.index(name)] for name in (("supported", ALL), ("wordless", ALL), ("em", HEADLINE))
    )
    sayable_SQ = 1.0 - wordless_SQ
    supported_SQ = supported_SQ * sayable_SQ
    ours_SQK = np.stack([supported_SQ, supported_SQ * right_SQ], axis=-1)
    theirs_SQK = np.stack([sayable_SQ, sayable_SQ * right_SQ], axis=-1)
    counts_K = np.count_nonzero(theirs_SQK.sum(axis=0), axis=0)
    return replace(pair(ours_SQK, theirs_SQK), questions_K=counts_K)


def support_rows(study: Study, pairs: Mapping[str, Pair]) -> Iterator[dict[str, Any]]:
    """Rows of `SUPPORT_COLUMNS` for each benchmark and, each benchmark weighing alike, on average; NaN where no answer
    is counted."""
    by_benchmark = {**pairs, "average": average_pair([pairs[name] for name in averaged(study)])}
    joint = join_pairs(list(by_benchmark.values()))
    value_K, low_K, high_K = ratio(joint, study.report.confidence)
    # A share, whatever the normal approximation says of its neighbourhood.
    columns = (value_K, low_K, np.minimum(high_K, 1.0), joint.questions_K)
    keys = [(benchmark, metric) for benchmark in by_benchmark for metric in SUPPORT_COLUMNS]
    for (benchmark, metric), value, low, high, n in zip(keys, *(column.tolist() for column in columns), strict=True):
        numbers = {"value": value, "low": low, "high": high, "n": n}
        yield {"benchmark": benchmark, "episode": ALL, "metric": metric, **numbers}
