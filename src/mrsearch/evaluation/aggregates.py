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

HEADLINE = "final"
"""Which answer comparisons are about: the one that the method gives."""
PERMUTATIONS = 10_000
COMPARED = ("em", "f1")
RATES = ("em", "f1", "sub_em", "corrected", "corrupted", "kept", "stop_", "hit@")
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

Numbers = tuple[float, float, float]
"""A value and the ends of its interval."""


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
                    place = {**place, "method": method}
                    yield from _estimates(study, of_method, chosen, weights, {**place, "reference": ""})
                    for reference in _references(study, method):
                        against = [by_place[model, decoding, reference, benchmark] for benchmark in study.benchmarks]
                        shared = {**place, "episode": HEADLINE, "reference": reference}
                        for metric in COMPARED:
                            pair = _Pair(study, metric, of_method, against, chosen, weights)
                            yield from pair.rows(shared)


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
            numbers = estimate.values_K[k], low_K[k], high_K[k]
            yield _row({**place, "episode": episode}, benchmark, metric, numbers, estimate)


class _Pair:
    """A method and its reference under one metric: difference and relative improvement of what they answer, and
    p-values where all seeds stand together."""

    def __init__(
        self, study: Study, metric: str, ours: list[Cell], theirs: list[Cell], chosen: slice, weights: dict[str, Any]
    ) -> None:
        self.study, self.metric, self.weights = study, metric, weights
        self.ours_SQ = {cell.benchmark: _measure(cell, metric)[chosen] for cell in ours}
        self.theirs_SQ = {cell.benchmark: _measure(cell, metric)[chosen] for cell in theirs}
        self.differences_SQ = {name: values - self.theirs_SQ[name] for name, values in self.ours_SQ.items()}

    def rows(self, shared: dict[str, str]) -> Iterator[dict[str, Any]]:
        for suffix, found in (("difference", self._differences()), ("relative", self._ratios())):
            for benchmark, numbers, estimate in found:
                yield _row(shared, benchmark, f"{self.metric}_{suffix}", numbers, estimate)
        if shared["seed"] == "all":
            yield from self._tests(shared)

    def _differences(self) -> Iterator[tuple[str, Numbers, Resampled]]:
        for benchmark, estimate in self._resampled(self.differences_SQ).items():
            low_K, high_K = statistics.interval(estimate, self.study.report.confidence)
            yield benchmark, (estimate.values_K[0], low_K[0], high_K[0]), estimate

    def _ratios(self) -> Iterator[tuple[str, Numbers, Resampled]]:
        ours, theirs = self._resampled(self.ours_SQ), self._resampled(self.theirs_SQ)
        for benchmark, method in ours.items():
            baseline = theirs[benchmark]
            means = float(method.values_K[0]), float(baseline.values_K[0])
            joint = baseline
            if means[1] > 0.0:
                parts = [benchmark] if benchmark in self.ours_SQ else _averaged(self.study)
                joint = statistics.average([self._linearised(name, *means) for name in parts])
            yield (
                benchmark,
                statistics.relative_improvement(method, baseline, joint, self.study.report.confidence),
                method,
            )

    def _tests(self, shared: dict[str, str]) -> Iterator[dict[str, Any]]:
        by_question = {name: values.mean(axis=0) for name, values in self.differences_SQ.items()}
        p_values = {name: self._p_value([values]) for name, values in by_question.items()}
        holm = statistics.holm(list(p_values.values()))
        for (name, p_value), corrected in zip(p_values.items(), holm, strict=True):
            yield self._test_row(shared, name, "p", p_value, by_question[name].size)
            yield self._test_row(shared, name, "p_holm", corrected, by_question[name].size)
        parts = [by_question[name] for name in _averaged(self.study)]
        yield self._test_row(shared, "average", "p", self._p_value(parts), sum(part.size for part in parts))

    def _p_value(self, differences: list[Array]) -> float:
        return statistics.sign_flip_test(differences, PERMUTATIONS, self.study.report.seed)

    def _test_row(self, shared: dict[str, str], benchmark: str, test: str, value: float, n: int) -> dict[str, Any]:
        nan, seeds = float("nan"), len(next(iter(self.ours_SQ.values())))
        row = {**shared, "benchmark": benchmark, "metric": f"{self.metric}_{test}", "value": value}
        return {**row, "low": nan, "high": nan, "n": n, "seeds": seeds}

    def _linearised(self, name: str, ours: float, theirs: float) -> Resampled:
        values_SQ1 = statistics.linearised_ratio(self.ours_SQ[name], self.theirs_SQ[name], ours, theirs)
        return statistics.resample(values_SQ1, self.weights[name])

    def _resampled(self, values_SQ: dict[str, Array]) -> dict[str, Resampled]:
        values_SQ1 = {name: values[..., None] for name, values in values_SQ.items()}
        return dict(_with_average(self.study, values_SQ1, self.weights))


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


def _row(shared: dict[str, str], benchmark: str, metric: str, numbers: Numbers, estimate: Resampled) -> dict[str, Any]:
    value, low, high = map(float, numbers)
    row = {**shared, "benchmark": benchmark, "metric": metric, "value": value, "low": low, "high": high}
    return {**row, "n": estimate.questions, "seeds": len(estimate.seeds_SK)}
