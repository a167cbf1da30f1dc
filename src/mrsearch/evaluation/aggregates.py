"""Tidy rows with intervals, comparisons and tests, from per-question values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mrsearch.config import Study
from mrsearch.evaluation import statistics
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.evaluation.comparisons import (
    COMPARED,
    Scores,
    averaged,
    basis,
    compare,
    mean_over_seeds,
    references,
    trained,
)
from mrsearch.evaluation.faithfulness import adaptivity_rows, support_pair, support_rows
from mrsearch.evaluation.pairs import Pair
from mrsearch.evaluation.scores import EVIDENCE
from mrsearch.evaluation.statistics import Estimates
from mrsearch.evaluation.uncertainty import Array

RATES = ("em", "f1", "sub_em", "corrected", "corrupted", "unanswered", "kept", "stop_", "hit@", *EVIDENCE)
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("method", pa.string()),
        ("seed", pa.string()),
        ("decoding", pa.string()),
        ("benchmark", pa.string()),
        ("episode", pa.string()),
        ("metric", pa.string()),
        ("reference", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("seeds", pa.int64()),
    ]
)
"""`episode` is "1".."N", "last_valid", "last", "best", "vote", "final" (what the method answers: the vote of parallel
samples, else the last valid answer) or "all" (the whole meta-episode); of `em_last_valid`, `em_vote` and `em_best` it
is the number of episodes that the choice is made from. `reference` names the method that a comparison refers to and is
empty otherwise; `n` counts questions."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one benchmark under one decoding: K measures of every question under every seed."""

    model: str
    method: str
    decoding: str
    benchmark: str
    names: list[tuple[str, str]]
    """(metric, episode) of each measure."""
    values_SQK: Array
    """Seeds in the study's order, questions in the order of their ids."""


@dataclass(frozen=True, slots=True)
class _CellSummary:
    """What is left of a cell: a few numbers of each measure, and the scores that comparisons need."""

    names: list[tuple[str, str]]
    estimates: dict[str, Estimates]
    """By label: each seed, and all of them."""
    compared: dict[str, Array]
    """Values [S, Q, K] of the metrics of COMPARED, by label."""
    support: dict[str, Pair]
    """Moments of what is supported, by label."""


def aggregate(study: Study, cells: Iterable[Cell]) -> Iterator[dict[str, Any]]:
    """Rows of `metrics.parquet`: each seed, then all seeds; each benchmark, then their unweighted mean.

    `cells` are every method on every benchmark, those of one model and decoding together, in the study's order of
    models, then of decodings; one is needed no more when the next one comes.
    """
    seeds: list[tuple[str, slice]] = [(str(seed), slice(index, index + 1)) for index, seed in enumerate(study.seeds)]
    labels = [*seeds, ("all", slice(None))]
    for (model, decoding), group in itertools.groupby(cells, key=lambda cell: (cell.model, cell.decoding)):
        summary_of = {(cell.method, cell.benchmark): _summary(study, cell, labels) for cell in group}
        of_method = {
            method: {benchmark: summary_of[method, benchmark] for benchmark in study.benchmarks}
            for method in study.methods
        }
        for label, of_seeds in labels:
            for method in study.methods:
                keys = {"model": model, "method": method, "seed": label, "decoding": decoding}
                count = {"seeds": len(study.seeds[of_seeds])}
                for row in _estimates(study, of_method[method], label):
                    yield {**keys, "reference": "", **row, **count}
                pairs = {name: summary.support[label] for name, summary in of_method[method].items()}
                for row in support_rows(study, pairs):
                    yield {**keys, "reference": "", **row, **count}
                for row in _comparisons(study, method, of_method, label):
                    yield {**keys, "episode": HEADLINE, **row, **count}


def _summary(study: Study, cell: Cell, labels: list[tuple[str, slice]]) -> _CellSummary:
    rates_K = np.array([metric.startswith(RATES) for metric, _ in cell.names])
    headline = [cell.names.index((metric, HEADLINE)) for metric in COMPARED]
    estimates, compared, support = {}, {}, {}
    for label, of_seeds in labels:
        values_SQK = cell.values_SQK[of_seeds]
        compared[label] = values_SQK[..., headline]
        values_SQK = values_SQK if trained(study, cell.method) else mean_over_seeds(values_SQK)
        estimates[label] = statistics.estimate(values_SQK, rates_K, study.report.confidence)
        support[label] = support_pair(cell.names, values_SQK)
    return _CellSummary(cell.names, estimates, compared, support)


def _estimates(study: Study, summary_of: dict[str, _CellSummary], label: str) -> Iterator[dict[str, Any]]:
    """Every measure on every benchmark and on average."""
    by_benchmark = {benchmark: summary.estimates[label] for benchmark, summary in summary_of.items()}
    by_benchmark["average"] = statistics.average([by_benchmark[name] for name in averaged(study)])
    names = next(iter(summary_of.values())).names
    for benchmark, estimates in by_benchmark.items():
        ends = statistics.interval(estimates, study.report.confidence)
        columns = (array.tolist() for array in (estimates.values_K, *ends, estimates.questions_K))
        for (metric, episode), value, low, high, n in zip(names, *columns, strict=True):
            numbers = {"value": value, "low": low, "high": high, "n": n}
            yield {"benchmark": benchmark, "episode": episode, "metric": metric, **numbers}
    yield from adaptivity_rows(study, names, by_benchmark)


def _comparisons(
    study: Study, method: str, of_method: dict[str, dict[str, _CellSummary]], label: str
) -> Iterator[dict[str, Any]]:
    """What the method answers against each of its references, p-values where all seeds stand together."""
    scores = _compared(of_method[method], label)
    for reference in references(study, method):
        reference_scores = _compared(of_method[reference], label)
        for row in compare(study, scores, reference_scores, basis(study, method, reference), label == "all"):
            yield {**row, "reference": reference}


def _compared(summary_of: dict[str, _CellSummary], label: str) -> Scores:
    return {benchmark: summary.compared[label] for benchmark, summary in summary_of.items()}
