"""The numbers of a comparison: every method on the questions that all studies ask, and against its counterpart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mrsearch.config import Study
from mrsearch.evaluation import statistics
from mrsearch.evaluation.comparisons import Basis, Scores, averaged, compare, mean_over_seeds, trained
from mrsearch.evaluation.uncertainty import Array
from mrsearch.reporting.compare.sources import COMPARED, Source
from mrsearch.reporting.frame import Value, method_label


@dataclass(frozen=True)
class Contrast:
    """A method against another on the same questions."""

    reference: str
    basis: Basis
    difference: Value
    p: float


@dataclass
class Row:
    """One method of one study on one model, under one decoding."""

    source: Source
    model: str
    method: str
    decoding: str
    scores: Scores
    """[S, Q, 2] by benchmark, EM and F1."""
    seeds: tuple[int, ...]
    values: dict[str, Value] = field(default_factory=dict)
    """EM by benchmark, and "average"."""
    contrast: Contrast | None = None

    @property
    def label(self) -> str:
        """Study, method and, where its study has several, model."""
        model = f", {self.model}" if len(self.source.study.models) > 1 else ""
        return f"{self.source.label}: {method_label(self.source.study, self.method)}{model}"

    @property
    def is_trained(self) -> bool:
        return trained(self.source.study, self.method)


class StudyComparison:
    """Rows of several studies over the benchmarks, decodings and questions that all of them have."""

    def __init__(self, sources: list[Source], methods: Collection[str] = ()) -> None:
        self.sources = sources
        first = sources[0].study
        studies = [source.study for source in sources]
        shared = {name: row for name, row in first.benchmarks.items() if all(name in s.benchmarks for s in studies)}
        if not any(benchmark.average for benchmark in shared.values()):
            raise ValueError("none of the benchmarks that all studies ask stands in the mean (average: true)")
        self.joint: Study = first.model_copy(update={"benchmarks": shared})
        """The first study with the shared benchmarks: whose labels, mean and confidence hold."""
        decodings = [name for name in first.evaluation.decoding if all(name in s.evaluation.decoding for s in studies)]
        self.decodings = sorted(decodings, key=lambda name: name != first.report.decoding)
        self.questions = {name: self._shared_questions(name) for name in shared}
        self.rows = [row for decoding in self.decodings for source in sources for row in self._rows(source, decoding)]
        unknown = set(methods) - {row.method for row in self.rows}
        if unknown:
            choices = ", ".join(dict.fromkeys(row.method for row in self.rows))
            raise ValueError(f"--method {min(unknown)!r} is in none of the studies: known are {choices}")
        for row in self.rows:
            row.contrast = self._contrast(row)
        self.rows = [row for row in self.rows if not methods or row.method in methods]

    @property
    def columns(self) -> list[str]:
        """The shared benchmarks and, last, "average"."""
        return [*self.joint.benchmarks, "average"]

    def _shared_questions(self, benchmark: str) -> list[str]:
        ids = [set(s.scores.question_id[s.scores.benchmark == benchmark]) for s in self.sources]
        questions = sorted(set.intersection(*ids))
        if not questions:
            raise ValueError(f"benchmark {benchmark}: the studies have no question in common")
        return questions

    def _rows(self, source: Source, decoding: str) -> list[Row]:
        study = source.study
        scores = source.scores[source.scores.decoding == decoding].set_index(["model", "method"]).sort_index()
        rows = []
        for model in study.models:
            for method in study.methods:
                of_method = scores.loc[[(model, method)]]
                arrays = {name: self._array(of_method, name, study.seeds) for name in self.joint.benchmarks}
                row = Row(source, model, method, decoding, arrays, study.seeds)
                row.values = self._values(row)
                rows.append(row)
        return rows

    def _array(self, scores: pd.DataFrame, benchmark: str, seeds: tuple[int, ...]) -> Array:
        indexed = scores[scores.benchmark == benchmark].set_index(["seed", "question_id"])
        return np.stack([indexed.loc[seed].loc[self.questions[benchmark], COMPARED].to_numpy(float) for seed in seeds])

    def _values(self, row: Row) -> dict[str, Value]:
        confidence, rates = self.joint.report.confidence, np.array([True])
        estimates = {}
        for name, scores_SQK in row.scores.items():
            values_SQ1 = scores_SQK[..., :1]
            values_SQ1 = values_SQ1 if row.is_trained else mean_over_seeds(values_SQ1)
            estimates[name] = statistics.estimate(values_SQ1, rates, confidence)
        estimates["average"] = statistics.average([estimates[name] for name in averaged(self.joint)])
        values = {}
        for name, estimate in estimates.items():
            low_1, high_1 = statistics.interval(estimate, confidence)
            mean, low, high = float(estimate.values_K[0]), float(low_1[0]), float(high_1[0])
            values[name] = Value(mean, low, high, int(estimate.questions_K[0]), len(row.seeds))
        return values

    def _contrast(self, row: Row) -> Contrast | None:
        """Against the same method of the first study, or else against its baseline."""
        reference = self._reference(row)
        if reference is None:
            return None
        seeds = [seed for seed in row.seeds if seed in reference.seeds]
        scores, reference_scores = (_of_seeds(side, seeds) for side in (row, reference))
        basis = Basis.questions
        if row.is_trained or reference.is_trained:
            basis = Basis.methods if len(seeds) > 1 else Basis.weights
        rows = {
            compared["metric"]: compared
            for compared in compare(self.joint, scores, reference_scores, basis, tests=True)
            if compared["benchmark"] == "average"
        }
        difference = rows["em_difference"]
        numbers = (difference["value"], difference["low"], difference["high"], difference["n"])
        return Contrast(reference.label, basis, Value(*numbers, max(1, len(seeds))), rows["em_p"]["value"])

    def _reference(self, row: Row) -> Row | None:
        first = [entry for entry in self.rows if entry.source is self.sources[0] and entry.decoding == row.decoding]
        of_model = [entry for entry in first if entry.model == row.model] or first
        namesakes = [entry for entry in of_model if entry.method == row.method]
        if row.source is not self.sources[0] and namesakes:
            return namesakes[0]
        baseline = next(entry for entry in of_model if entry.method == self.joint.report.baseline)
        return None if baseline is row else baseline


def _of_seeds(row: Row, seeds: list[int]) -> Scores:
    """The scores of these seeds; where there are none in common, the mean over all, as one."""
    if not seeds:
        return {name: mean_over_seeds(scores_SQK) for name, scores_SQK in row.scores.items()}
    positions = [row.seeds.index(seed) for seed in seeds]
    return {name: scores_SQK[positions] for name, scores_SQK in row.scores.items()}
