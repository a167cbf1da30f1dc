"""Reading `metrics.parquet`: the only numbers that tables and figures know."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from mrsearch.config import Study, digest

KEY = ["model", "decoding", "seed", "method", "benchmark", "metric", "episode", "reference"]


class Value(NamedTuple):
    """One estimate: value with its interval, questions and seeds behind it."""

    value: float
    low: float
    high: float
    n: int
    seeds: int


class Metrics:
    """The tidy rows of a study, looked up by what they measure."""

    def __init__(self, study: Study, path: Path) -> None:
        self.study = study
        self._path = path
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        name = metadata.get(b"study", study.name.encode()).decode()
        if name != study.name:
            raise ValueError(
                f"{path}: holds the metrics of study {name}, not of {study.name}: name the study that they belong to, "
                "or set several side by side with `mrsearch report compare`"
            )
        self.origin = metadata.get(b"origin", b"").decode()
        """Where the numbers come from: data and code revision."""
        frame: pd.DataFrame = table.to_pandas()
        keys = frame[KEY].itertuples(index=False, name=None)
        values = frame[list(Value._fields)].itertuples(index=False, name=None)
        self._values = {key: Value(*value) for key, value in zip(keys, values, strict=True)}
        if not self._values:
            raise ValueError(f"{path}: holds no rows: make the metrics again")
        if len(self._values) != len(frame):
            raise ValueError(f"{path}: {len(frame) - len(self._values)} rows appear twice: make the metrics again")

    def at(
        self,
        model: str,
        decoding: str,
        method: str,
        benchmark: str,
        metric: str,
        episode: str,
        reference: str = "",
        seed: str = "all",
    ) -> Value:
        """One estimate; ValueError when the file lacks it."""
        key = (model, decoding, seed, method, benchmark, metric, episode, reference)
        if key not in self._values:
            fields = dict(zip(KEY, key, strict=True))
            raise ValueError(f"{self._path}: no row for {fields}: make the metrics again")
        return self._values[key]

    def cells(self) -> Iterator[tuple[str, str, str, str]]:
        """(model, decoding, method, benchmark) of every cell, in the order of the tables."""
        return itertools.product(self.study.models, self.decodings, self.study.methods, self.columns)

    @property
    def columns(self) -> list[str]:
        """The benchmarks and, last, "average"."""
        return [*self.study.benchmarks, "average"]

    @property
    def decodings(self) -> list[str]:
        """The report's decoding first, then the others."""
        main = self.study.report.decoding
        return [main, *(name for name in self.study.evaluation.decoding if name != main)]


def method_label(study: Study, method: str) -> str:
    """How a reader knows the method."""
    return study.methods[method].label or method


def benchmark_label(study: Study, benchmark: str) -> str:
    """How a reader knows the benchmark; "average" is the unweighted mean."""
    if benchmark == "average":
        return "Avg"
    return study.benchmarks[benchmark].label or benchmark


def learned(study: Study) -> list[str]:
    """Methods whose policy was trained beyond a warm start: what improvement is about."""
    names = []
    for method in study.methods:
        owner = study.policy_of(method)
        if owner != "base" and study.training_stage(owner) != "warm_start":
            names.append(method)
    return names


def parallel(study: Study, method: str) -> bool:
    """Whether the method's episodes are independent samples, of which a vote decides."""
    return study.methods[method].context == "independent" and study.methods[method].episodes > 1


def origin_note(metrics: Metrics) -> str:
    """Last note of every table: study, seeds, protocol, data and code behind its numbers."""
    study = metrics.study
    seeds = ", ".join(map(str, study.seeds))
    changed = [f"{method_label(study, name)} ({', '.join(keys)})" for name, keys in _settings(study).items()]
    settings = f", with settings of their own {'; '.join(changed)}" if changed else ""
    return f"Study {study.name}, seeds {seeds}, protocol {digest(study.protocol)}{settings}, {metrics.origin}."


def _settings(study: Study) -> dict[str, list[str]]:
    """Dotted keys that a method has for itself, by method; the points of an experiment say theirs by their names."""
    settings = {}
    of_points = study.report.experiment.copies if study.report.experiment else ()
    for name, method in study.methods.items():
        if name in of_points:
            continue
        keys = [f"{group}.{key}" for group in ("training", "protocol", "warm_start") for key in getattr(method, group)]
        keys += [f"retrieval.use {method.retrieval.use}"] if method.retrieval else []
        if keys:
            settings[name] = keys
    return settings
