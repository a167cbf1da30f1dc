"""The points of a study's sweeps and their scores, by point and by value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mrsearch.config import Study
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.reporting.frame import Metrics, Value

METRIC = "em"
Setting = int | float | str


@dataclass(frozen=True, slots=True)
class SweptMethod:
    """One method of a sweep on one model under one decoding."""

    method: str
    values: dict[str, Setting]
    mean: Value
    """Mean EM over all seeds, with its interval."""
    by_seed: list[float]
    """Mean EM of each seed."""


def sweeps(study: Study) -> dict[str, list[str]]:
    """The methods of each sweep by the name of the method that they were made from, in the study's order."""
    methods: dict[str, list[str]] = {}
    for name, method in study.methods.items():
        if method.sweep is not None:
            methods.setdefault(method.sweep.of, []).append(name)
    return methods


def points(metrics: Metrics, model: str, decoding: str, sweep: str) -> list[SweptMethod]:
    """The points of one sweep."""
    swept = []
    for method in sweeps(metrics.study)[sweep]:
        settings = metrics.study.methods[method].sweep
        assert settings is not None, "sweeps lists methods with a point alone"
        key = (model, decoding, method, "average", METRIC, HEADLINE)
        by_seed = [metrics.at(*key, seed=str(seed)).value for seed in metrics.study.seeds]
        swept.append(SweptMethod(method, dict(settings.values), metrics.at(*key), by_seed))
    return swept


def by_value(swept: list[SweptMethod]) -> Iterator[tuple[str, Setting, list[float]]]:
    """(key, value, scores of every point with that value and every seed): numbers in their order, others in the
    study's."""
    for key in dict.fromkeys(key for point in swept for key in point.values):
        values = list(dict.fromkeys(point.values[key] for point in swept if key in point.values))
        if not any(isinstance(value, str) for value in values):
            values = sorted(values)
        for value in values:
            yield key, value, [score for point in swept if point.values.get(key) == value for score in point.by_seed]
