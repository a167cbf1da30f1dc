"""Tidy rows with intervals, comparisons and tests, from per-question values."""

from __future__ import annotations

from collections.abc import Iterator
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
from mrsearch.evaluation.uncertainty import Array

RATES = ("em", "f1", "sub_em", "corrected", "corrupted", "unanswered", "kept", "stop_", "hit@")
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


def aggregate(study: Study, cells: list[Cell]) -> Iterator[dict[str, Any]]:
    """Rows of `metrics.parquet`: each seed, then all seeds; each benchmark, then their unweighted mean."""
    by_key = {(cell.model, cell.decoding, cell.method, cell.benchmark): cell for cell in cells}
    seeds: list[tuple[str, slice]] = [(str(seed), slice(index, index + 1)) for index, seed in enumerate(study.seeds)]
    for model in study.models:
        for decoding in study.evaluation.decoding:
            cells_of = {
                method: [by_key[model, decoding, method, benchmark] for benchmark in study.benchmarks]
                for method in study.methods
            }
            for label, of_seeds in [*seeds, ("all", slice(None))]:
                for method in study.methods:
                    keys = {"model": model, "method": method, "seed": label, "decoding": decoding}
                    count = {"seeds": len(study.seeds[of_seeds])}
                    for row in _estimates(study, method, cells_of[method], of_seeds):
                        yield {**keys, "reference": "", **row, **count}
                    for row in _comparisons(study, method, cells_of, of_seeds, label == "all"):
                        yield {**keys, "episode": HEADLINE, **row, **count}


def _estimates(study: Study, method: str, cells: list[Cell], of_seeds: slice) -> Iterator[dict[str, Any]]:
    """Every measure on every benchmark and on average."""
    rates_K = np.array([metric.startswith(RATES) for metric, _ in cells[0].names])
    by_benchmark = {}
    for cell in cells:
        values_SQK = cell.values_SQK[of_seeds]
        values_SQK = values_SQK if trained(study, method) else mean_over_seeds(values_SQK)
        by_benchmark[cell.benchmark] = statistics.estimate(values_SQK, rates_K, study.report.confidence)
    by_benchmark["average"] = statistics.average([by_benchmark[name] for name in averaged(study)])
    for benchmark, estimates in by_benchmark.items():
        ends = statistics.interval(estimates, study.report.confidence)
        columns = (array.tolist() for array in (estimates.values_K, *ends, estimates.questions_K))
        for (metric, episode), value, low, high, n in zip(cells[0].names, *columns, strict=True):
            numbers = {"value": value, "low": low, "high": high, "n": n}
            yield {"benchmark": benchmark, "episode": episode, "metric": metric, **numbers}


def _comparisons(
    study: Study, method: str, cells_of: dict[str, list[Cell]], of_seeds: slice, tests: bool
) -> Iterator[dict[str, Any]]:
    """What the method answers against each of its references, p-values where all seeds stand together."""
    scores = _compared(cells_of[method], of_seeds)
    for reference in references(study, method):
        reference_scores = _compared(cells_of[reference], of_seeds)
        for row in compare(study, scores, reference_scores, basis(study, method, reference), tests):
            yield {**row, "reference": reference}


def _compared(cells: list[Cell], of_seeds: slice) -> Scores:
    measures = [cells[0].names.index((metric, HEADLINE)) for metric in COMPARED]
    return {cell.benchmark: cell.values_SQK[of_seeds][..., measures] for cell in cells}
