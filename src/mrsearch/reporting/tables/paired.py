"""Methods against those that the study compares them with (`compare_with`), beside the table against the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrsearch.config import Study
from mrsearch.evaluation.choices import HEADLINE
from mrsearch.reporting.frame import Metrics, benchmark_label, method_label, origin_note
from mrsearch.reporting.tables import marks
from mrsearch.reporting.tables.marks import Comparison
from mrsearch.reporting.tables.methods import put, title
from mrsearch.reporting.tables.table import Block, Table, TableCell, number

METRIC = "em"


def pairs(study: Study) -> list[tuple[str, str]]:
    """(method, reference) wherever a method names one."""
    compared = [(name, method.compare_with) for name, method in study.methods.items()]
    return [(name, reference) for name, reference in compared if reference is not None and reference != name]


def paired_table(metrics: Metrics) -> Table:
    """Difference in EM by benchmark and on average, in points, with the mean's interval and relative improvement."""
    study = metrics.study
    coverage = f"({study.report.confidence:.0%} interval)"
    header = ["Comparison", *(benchmark_label(study, column) for column in metrics.columns)]
    header += [f"Avg {coverage}", f"Relative {coverage}"]
    tests = marks.tests(metrics, _comparisons(metrics))
    blocks = []
    for decoding in metrics.decodings:
        for model in study.models:
            block = Block(title(metrics, model, decoding), group=decoding)
            for method, reference in pairs(study):
                cells = [TableCell(f"{method_label(study, method)} against {method_label(study, reference)}")]
                for column in metrics.columns:
                    comparison = Comparison(model, decoding, method, column, METRIC, reference)
                    low, high = _shown(metrics, comparison, "difference", 1, 3)
                    shown = _shown(metrics, comparison, "difference", 0, 1)[0]
                    cells.append(TableCell(shown, suffix=tests[comparison].sign, hint=f"{low} to {high} points"))
                mean = Comparison(model, decoding, method, "average", METRIC, reference)
                cells.append(TableCell("[" + ", ".join(_shown(metrics, mean, "difference", 1, 3)) + "]"))
                value, low, high = _shown(metrics, mean, "relative", 0, 3)
                cells.append(TableCell(value if value == "–" else f"{value} % [{low}, {high}]"))
                block.rows.append(cells)
            blocks.append(block)
    notes = [
        "EM of the method's answer minus that of the other, in points, on the same questions and, where both were "
        "trained, with the same seeds.",
        marks.interval_note(study),
        *marks.mark_notes(study, tests, "the other"),
        origin_note(metrics),
    ]
    return Table("paired", f"Paired comparisons{marks.seeds_note(study)}", header, blocks, notes)


def paired_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """The table unrounded: a row per model, decoding, method and benchmark."""
    for comparison, test in marks.tests(metrics, _comparisons(metrics)).items():
        row: dict[str, Any] = {**comparison._asdict(), "compared_with": comparison.reference}
        del row["reference"]
        key = (comparison.model, comparison.decoding, comparison.method, comparison.benchmark)
        for name, suffix in (("difference", "difference"), ("relative_improvement", "relative")):
            value = metrics.at(*key, f"{comparison.metric}_{suffix}", HEADLINE, comparison.reference)
            put(row, name, value)
        row |= {"p": test.p, "p_holm": test.corrected, "p_questions": test.over_questions, "mark": test.sign}
        yield {**row, "n": value.n, "seeds": value.seeds}


def _comparisons(metrics: Metrics) -> list[Comparison]:
    study = metrics.study
    return [
        Comparison(model, decoding, method, column, METRIC, reference)
        for model in study.models
        for decoding in metrics.decodings
        for method, reference in pairs(study)
        for column in metrics.columns
    ]


def _shown(metrics: Metrics, comparison: Comparison, suffix: str, first: int, last: int) -> list[str]:
    """Value, low and high of a difference, those from `first` to before `last`, in points or percent."""
    key = (comparison.model, comparison.decoding, comparison.method, comparison.benchmark)
    value = metrics.at(*key, f"{comparison.metric}_{suffix}", HEADLINE, comparison.reference)
    return [number(end, 100, sign=True) for end in (value.value, value.low, value.high)[first:last]]
