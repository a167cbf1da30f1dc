"""Reading `metrics.parquet`: the only numbers that tables and figures know."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mrsearch.config import Study

KEY = ["model", "decoding", "seed", "method", "benchmark", "metric", "episode", "reference"]


class Metrics:
    """The tidy rows of a study, looked up by what they measure."""

    def __init__(self, study: Study, path: Path) -> None:
        self.study = study
        self.frame = pd.read_parquet(path)
        if self.frame.empty:
            raise ValueError(f"{path}: holds no rows: make the metrics again")
        repeated = self.frame[self.frame.duplicated(KEY)]
        if len(repeated):
            raise ValueError(
                f"{path}: {len(repeated)} rows appear twice, the first is {repeated.iloc[0][KEY].tolist()}"
            )
        self._rows = self.frame.set_index(KEY).sort_index()
        self._path = path

    def row(
        self,
        model: str,
        decoding: str,
        method: str,
        benchmark: str,
        metric: str,
        episode: str,
        reference: str = "",
        seed: str = "all",
    ) -> pd.Series:
        """value, low, high, n and seeds of one cell; ValueError when the file lacks it."""
        key = (model, decoding, seed, method, benchmark, metric, episode, reference)
        try:
            return self._rows.loc[key]
        except KeyError:
            raise ValueError(
                f"{self._path}: no row for {dict(zip(KEY, key, strict=True))}: make the metrics again"
            ) from None

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
