"""Which differences of a table are marked: tests of one family, corrected together, and what they speak of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mrsearch.config import Study
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.evaluation.comparisons import Basis, basis, trained
from mrsearch.evaluation.significance import holm
from mrsearch.reporting.frame import Metrics, method_label

SIGNIFICANT = 0.05
SIGNS = {Basis.methods: "†", Basis.questions: "†", Basis.weights: "°"}
"""By what the test speaks of; ° is about the trained weights alone."""


class Comparison(NamedTuple):
    """One cell of a table: a method's score against a reference's."""

    model: str
    decoding: str
    method: str
    benchmark: str
    metric: str
    reference: str


class Significance(NamedTuple):
    """What a cell's mark rests on."""

    p: float
    corrected: float
    """Holm's correction over all tests of the table."""
    over_questions: float
    """The test over questions alone, which says nothing about other trainings."""
    sign: str
    """Empty where the corrected p-value is no sign of a difference."""


def tests(metrics: Metrics, comparisons: Iterable[Comparison]) -> dict[Comparison, Significance]:
    """The tests of all cells of one table; the mean counts among them."""
    listed = list(comparisons)
    p_values = [_p_value(metrics, comparison, "p") for comparison in listed]
    significances = {}
    for comparison, p, corrected in zip(listed, p_values, holm(p_values), strict=True):
        sign = SIGNS[basis(metrics.study, comparison.method, comparison.reference)] if corrected < SIGNIFICANT else ""
        significances[comparison] = Significance(p, corrected, _p_value(metrics, comparison, "p_questions"), sign)
    return significances


def against_baseline(metrics: Metrics, columns: Iterable[tuple[str, str]]) -> list[Comparison]:
    """Every method against the report's baseline, in each (benchmark, metric)."""
    study = metrics.study
    listed = list(columns)
    return [
        Comparison(model, decoding, method, benchmark, metric, study.report.baseline)
        for model in study.models
        for decoding in metrics.decodings
        for method in study.methods
        if method != study.report.baseline
        for benchmark, metric in listed
    ]


def seeds_note(study: Study) -> str:
    """What a caption adds where trained methods have one seed."""
    alone = len(study.seeds) == 1 and any(trained(study, method) for method in study.methods)
    return " (one seed: the spread between trainings was not measured)" if alone else ""


def interval_note(study: Study) -> str:
    """What the table's intervals hold for."""
    confidence = f"{study.report.confidence:.0%}"
    if not any(trained(study, method) for method in study.methods):
        return f"{confidence} intervals are over questions; nothing was trained."
    if len(study.seeds) == 1:
        return f"{confidence} intervals are over questions; one seed, so they say nothing about other trainings."
    return (
        f"{confidence} intervals hold for other questions and other trainings: chance over questions is normal, that "
        f"over {len(study.seeds)} seeds Student's t; of methods that nothing was trained for, over questions."
    )


def mark_notes(study: Study, comparisons: Iterable[Comparison], against: str) -> list[str]:
    """What the signs of a table mean."""
    listed = list(comparisons)
    kinds = {basis(study, comparison.method, comparison.reference) for comparison in listed}
    holds = f"differs from {against} at p < {SIGNIFICANT}, Holm over the {len(listed)} tests of this table"
    untrained = [name for name in study.methods if not trained(study, name)]
    labels = ", ".join(method_label(study, name) for name in untrained)
    notes = []
    if Basis.methods in kinds:
        notes.append(f"† {holds}: a test that holds for other questions and other trainings, as the intervals do.")
    if Basis.questions in kinds:
        notes.append(f"† {holds}: between methods that nothing was trained for ({labels}), sign flips over questions.")
    if Basis.weights in kinds:
        notes.append(
            f"° {holds}, for these weights only: sign flips over questions; one seed, other trainings unknown."
        )
    return notes


def _p_value(metrics: Metrics, comparison: Comparison, name: str) -> float:
    key = (comparison.model, comparison.decoding, comparison.method, comparison.benchmark)
    return metrics.at(*key, f"{comparison.metric}_{name}", HEADLINE, comparison.reference).value
