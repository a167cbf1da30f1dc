"""Tidy rows with intervals, comparisons and tests, from per-question values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mrsearch.config import Study
from mrsearch.evaluation import statistics
from mrsearch.evaluation.statistics import Array, Resampled

HEADLINE = "last_valid"
PERMUTATIONS = 10_000
COMPARED = ("em", "f1")
RATES = ("em", "f1", "sub_em", "corrected", "corrupted", "kept", "stop_")
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
"""`episode` is "1".."N", "last_valid", "last", "best" or "all" (the whole meta-episode); `reference` names the method
that a comparison refers to and is empty otherwise; `n` counts questions."""


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
    by_place = {(cell.model, cell.decoding, cell.method, cell.benchmark): cell for cell in cells}
    weights = _weights(study, cells)
    seeds: list[tuple[str, slice]] = [(str(seed), slice(index, index + 1)) for index, seed in enumerate(study.seeds)]
    for model in study.models:
        for decoding in study.evaluation.decoding:
            for label, chosen in [*seeds, ("all", slice(None))]:
                place = {"model": model, "decoding": decoding, "seed": label}
                for method in study.methods:
                    of_method = [by_place[model, decoding, method, benchmark] for benchmark in study.benchmarks]
                    yield from _estimates(study, of_method, chosen, weights, place)
                    for reference in _references(study, method):
                        against = [by_place[model, decoding, reference, benchmark] for benchmark in study.benchmarks]
                        yield from _comparisons(study, of_method, against, chosen, weights, place)


def _weights(study: Study, cells: list[Cell]) -> dict[str, Any]:
    questions = {cell.benchmark: cell.values_SQK.shape[1] for cell in cells}
    report = study.report
    return {
        name: statistics.question_weights(report.bootstrap_samples, count, report.seed, name)
        for name, count in questions.items()
    }


def _references(study: Study, method: str) -> list[str]:
    """Whom `method` is compared with: the baseline, and its own rival where the study names one."""
    named = [study.report.baseline, study.methods[method].compare_with]
    return [name for name in dict.fromkeys(named) if name is not None and name != method]


def _estimates(
    study: Study, cells: list[Cell], chosen: slice, weights: dict[str, Any], place: dict[str, str]
) -> Iterator[dict[str, Any]]:
    names = cells[0].names
    rates_K = np.array([metric.startswith(RATES) for metric, _ in names])
    for benchmark, estimate in _with_average(study, {c.benchmark: c.values_SQK[chosen] for c in cells}, weights):
        low_K, high_K = statistics.interval(estimate, study.report.confidence, rates_K)
        for k, (metric, episode) in enumerate(names):
            yield {
                **place,
                **{
                    "method": cells[0].method,
                    "benchmark": benchmark,
                    "episode": episode,
                    "metric": metric,
                    "reference": "",
                },
                **{"value": float(estimate.values_K[k]), "low": float(low_K[k]), "high": float(high_K[k])},
                **{"n": estimate.questions, "seeds": len(estimate.seeds_SK)},
            }


def _comparisons(
    study: Study, cells: list[Cell], against: list[Cell], chosen: slice, weights: dict[str, Any], place: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Difference and relative improvement of the last valid answer, with p-values where all seeds stand together."""
    for metric in COMPARED:
        ours_SQ = {cell.benchmark: _measure(cell, metric)[chosen] for cell in cells}
        theirs_SQ = {cell.benchmark: _measure(cell, metric)[chosen] for cell in against}
        shared = {**place, "method": cells[0].method, "episode": HEADLINE, "reference": against[0].method}
        yield from _differences(study, metric, ours_SQ, theirs_SQ, weights, shared)
        yield from _ratios(study, metric, ours_SQ, theirs_SQ, weights, shared)
        if place["seed"] == "all":
            yield from _tests(study, metric, {name: ours_SQ[name] - theirs_SQ[name] for name in ours_SQ}, shared)


def _differences(
    study: Study,
    metric: str,
    ours_SQ: dict[str, Array],
    theirs_SQ: dict[str, Array],
    weights: dict[str, Any],
    shared: dict[str, str],
) -> Iterator[dict[str, Any]]:
    differences = {name: (ours_SQ[name] - theirs_SQ[name])[..., None] for name in ours_SQ}
    for benchmark, estimate in _with_average(study, differences, weights):
        low, high = statistics.interval(estimate, study.report.confidence)
        yield _row(
            shared,
            benchmark,
            f"{metric}_difference",
            float(estimate.values_K[0]),
            float(low[0]),
            float(high[0]),
            estimate,
        )


def _ratios(
    study: Study,
    metric: str,
    ours_SQ: dict[str, Array],
    theirs_SQ: dict[str, Array],
    weights: dict[str, Any],
    shared: dict[str, str],
) -> Iterator[dict[str, Any]]:
    ours = dict(_with_average(study, {name: values[..., None] for name, values in ours_SQ.items()}, weights))
    theirs = dict(_with_average(study, {name: values[..., None] for name, values in theirs_SQ.items()}, weights))
    for benchmark, method in ours.items():
        baseline = theirs[benchmark]
        means = float(method.values_K[0]), float(baseline.values_K[0])
        parts = [benchmark] if benchmark in ours_SQ else _averaged(study)
        joint = baseline
        if means[1] > 0.0:
            linear = [statistics.linearised_ratio(ours_SQ[name], theirs_SQ[name], *means) for name in parts]
            joint = statistics.average(
                [statistics.resample(values, weights[name]) for name, values in zip(parts, linear, strict=True)]
            )
        value, low, high = statistics.relative_improvement(method, baseline, joint, study.report.confidence)
        yield _row(shared, benchmark, f"{metric}_relative", value, low, high, method)


def _tests(
    study: Study, metric: str, differences_SQ: dict[str, Array], shared: dict[str, str]
) -> Iterator[dict[str, Any]]:
    nan = float("nan")
    by_question = {name: values.mean(axis=0) for name, values in differences_SQ.items()}
    count = {name: values.size for name, values in by_question.items()}
    seeds = len(next(iter(differences_SQ.values())))
    p_values = {
        name: statistics.sign_flip_test([values], PERMUTATIONS, study.report.seed)
        for name, values in by_question.items()
    }
    holm = statistics.holm(list(p_values.values()))
    for (name, p_value), corrected in zip(p_values.items(), holm, strict=True):
        row = {**shared, "benchmark": name, "low": nan, "high": nan, "n": count[name], "seeds": seeds}
        yield {**row, "metric": f"{metric}_p", "value": p_value}
        yield {**row, "metric": f"{metric}_p_holm", "value": corrected}
    parts = _averaged(study)
    p_value = statistics.sign_flip_test([by_question[name] for name in parts], PERMUTATIONS, study.report.seed)
    row = {
        **shared,
        "benchmark": "average",
        "low": nan,
        "high": nan,
        "n": sum(count[name] for name in parts),
        "seeds": seeds,
    }
    yield {**row, "metric": f"{metric}_p", "value": p_value}


def _with_average(
    study: Study, values_SQK: dict[str, Array], weights: dict[str, Any]
) -> Iterator[tuple[str, Resampled]]:
    resampled = {name: statistics.resample(values, weights[name]) for name, values in values_SQK.items()}
    yield from resampled.items()
    yield "average", statistics.average([resampled[name] for name in _averaged(study)])


def _averaged(study: Study) -> list[str]:
    return [name for name, benchmark in study.benchmarks.items() if benchmark.average]


def _measure(cell: Cell, metric: str) -> Array:
    return cell.values_SQK[..., cell.names.index((metric, HEADLINE))]


def _row(
    shared: dict[str, str], benchmark: str, metric: str, value: float, low: float, high: float, estimate: Resampled
) -> dict[str, Any]:
    numbers = {"value": value, "low": low, "high": high, "n": estimate.questions, "seeds": len(estimate.seeds_SK)}
    return {**shared, "benchmark": benchmark, "metric": metric, **numbers}
