"""A study's own numbers beside what papers reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrsearch.evaluation.choices import HEADLINE
from mrsearch.reporting.frame import Metrics, Value, benchmark_label, method_label, origin_note
from mrsearch.reporting.reported import PREFIX, ReportedTable, reported
from mrsearch.reporting.tables.table import Block, Table, TableCell, mark_best, number


def table_beside(metrics: Metrics, name: str) -> tuple[Table, list[dict[str, Any]]]:
    """One of `reported.tables_for` the study, with the study's own numbers and the difference."""
    table = reported().tables[name.removeprefix(PREFIX)]
    models = [model for model in metrics.study.models if model in table.models]
    return _table(metrics, name, table, models), [row for model in models for row in _data(metrics, table, model)]


def _table(metrics: Metrics, name: str, table: ReportedTable, models: list[str]) -> Table:
    columns = set(metrics.columns)
    header = ["Method", *(benchmark_label(metrics.study, c) if c in columns else c for c in table.columns)]
    blocks = [_block(metrics, table, model) for model in models]
    decoding = metrics.study.report.decoding
    notes = [
        f"EM (%) of the last valid answer, {decoding} decoding; below it the reported value and the difference. "
        "Methods without a row of ours were not run here. Best of ours in bold, second underlined.",
        f"‡ the reported value lies outside the {metrics.study.report.confidence:.0%} interval of ours.",
        *table.notes,
        *([f"Training questions here: {data.train}."] if (data := metrics.study.data).kind == "hub" else []),
        origin_note(metrics),
    ]
    return Table(name, table.caption, header, blocks, notes)


def _block(metrics: Metrics, table: ReportedTable, model: str) -> Block:
    block = Block(model)
    reported_rows = table.models[model]
    shared = [method for method in reported_rows if method in metrics.study.methods]
    shown = {column: [_estimate_text(metrics, model, method, column) for method in shared] for column in table.columns}
    marks = {column: mark_best(texts) for column, texts in shown.items()}
    for method, row in reported_rows.items():
        values = [TableCell(number(value)) for value in row.values]
        if method not in shared:
            block.rows.append([TableCell(f"{row.label} (reported)"), *values])
            continue
        index = shared.index(method)
        cells = [TableCell(shown[column][index], marks[column][index]) for column in table.columns]
        block.rows.append([TableCell(method_label(metrics.study, method)), *cells])
        block.rows.append([TableCell("\u2003reported"), *values])
        reported_values = zip(table.columns, row.values, strict=True)
        differences = [_difference(metrics, model, method, column, value) for column, value in reported_values]
        block.rows.append([TableCell("\u2003difference"), *differences])
    if shared:
        estimates = [_estimate(metrics, model, shared[0], column) for column in table.columns]
        block.closing.append(
            [TableCell("n"), *(TableCell("–" if value is None else str(value.n)) for value in estimates)]
        )
    return block


def _estimate(metrics: Metrics, model: str, method: str, column: str) -> Value | None:
    """Our EM; None where the study has no such cell, or its mean is over other benchmarks."""
    if column not in metrics.columns or (column == "average" and not _same_mean(metrics)):
        return None
    return metrics.at(model, metrics.study.report.decoding, method, column, "em", HEADLINE)


def _same_mean(metrics: Metrics) -> bool:
    averaged = {name for name, benchmark in metrics.study.benchmarks.items() if benchmark.average}
    return averaged == set(reported().tables["table1"].columns) - {"average"}


def _estimate_text(metrics: Metrics, model: str, method: str, column: str) -> str:
    value = _estimate(metrics, model, method, column)
    return "–" if value is None else number(value.value, 100)


def _difference(metrics: Metrics, model: str, method: str, column: str, reported_value: float) -> TableCell:
    """Ours minus theirs, in points, with a sign where theirs lies outside our interval."""
    estimate = _estimate(metrics, model, method, column)
    if estimate is None:
        return TableCell("–")
    outside = not 100 * estimate.low <= reported_value <= 100 * estimate.high
    return TableCell(number(100 * estimate.value - reported_value, sign=True), suffix="‡" if outside else "")


def _data(metrics: Metrics, table: ReportedTable, model: str) -> Iterator[dict[str, Any]]:
    for method, row in table.models[model].items():
        source = reported().sources[row.source or table.source].title
        for column, value in zip(table.columns, row.values, strict=True):
            estimate = _estimate(metrics, model, method, column) if method in metrics.study.methods else None
            keys = {"model": model, "method": method, "label": row.label, "benchmark": column}
            columns: dict[str, Any] = dict.fromkeys(("ours", "ours_low", "ours_high", "n", "difference"), "")
            if estimate is not None:
                columns = {
                    "ours": 100 * estimate.value,
                    "ours_low": 100 * estimate.low,
                    "ours_high": 100 * estimate.high,
                }
                columns |= {"n": estimate.n, "difference": 100 * estimate.value - value}
            yield {**keys, **columns, "reported": value, "source": source}
