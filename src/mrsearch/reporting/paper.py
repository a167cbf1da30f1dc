"""A study's own numbers beside what papers reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrsearch.reporting.frame import HEADLINE, Metrics, Value, benchmark_label, method_label, origin_note
from mrsearch.reporting.layout import Block, Table, TableCell, mark_best, number
from mrsearch.reporting.reported import ReportedTable, reported


def tables_beside(rows: Metrics) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """Every reported table that shares a model with the study, with the study's own numbers and the difference."""
    for name, table in reported().tables.items():
        models = [model for model in rows.study.models if model in table.models]
        if models:
            data = [row for model in models for row in _data(rows, table, model)]
            yield _table(rows, name, table, models), data


def _table(rows: Metrics, name: str, table: ReportedTable, models: list[str]) -> Table:
    known = set(rows.columns)
    header = ["Method", *(benchmark_label(rows.study, c) if c in known else c for c in table.columns)]
    blocks = [_block(rows, table, model) for model in models]
    decoding = rows.study.report.decoding
    notes = [
        f"EM (%) of the last valid answer, {decoding} decoding; below it the reported value and the difference. "
        "Methods without a row of ours were not run here. Best of ours in bold, second underlined.",
        f"‡ the reported value lies outside the {rows.study.report.confidence:.0%} interval of ours.",
        *table.notes,
        *([f"Training questions here: {data.train}."] if (data := rows.study.data).kind == "hub" else []),
        origin_note(rows),
    ]
    return Table(f"paper_{name}", table.caption, header, blocks, notes)


def _block(rows: Metrics, table: ReportedTable, model: str) -> Block:
    block = Block(model)
    reported_rows = table.models[model]
    shared = [method for method in reported_rows if method in rows.study.methods]
    shown = {column: [_ours_text(rows, model, method, column) for method in shared] for column in table.columns}
    marks = {column: mark_best(texts) for column, texts in shown.items()}
    for method, row in reported_rows.items():
        values = [TableCell(number(value)) for value in row.values]
        if method not in shared:
            block.rows.append([TableCell(f"{row.label} (reported)"), *values])
            continue
        index = shared.index(method)
        ours = [TableCell(shown[column][index], marks[column][index]) for column in table.columns]
        block.rows.append([TableCell(method_label(rows.study, method)), *ours])
        block.rows.append([TableCell("\u2003reported"), *values])
        reported_values = zip(table.columns, row.values, strict=True)
        differences = [_difference(rows, model, method, column, value) for column, value in reported_values]
        block.rows.append([TableCell("\u2003difference"), *differences])
    if shared:
        found = [_ours(rows, model, shared[0], column) for column in table.columns]
        block.closing.append([TableCell("n"), *(TableCell("–" if value is None else str(value.n)) for value in found)])
    return block


def _ours(rows: Metrics, model: str, method: str, column: str) -> Value | None:
    """Our EM; None where the study has no such cell, or its mean is over other benchmarks."""
    if column not in rows.columns or (column == "average" and not _same_mean(rows)):
        return None
    return rows.at(model, rows.study.report.decoding, method, column, "em", HEADLINE)


def _same_mean(rows: Metrics) -> bool:
    averaged = {name for name, benchmark in rows.study.benchmarks.items() if benchmark.average}
    return averaged == set(reported().tables["table1"].columns) - {"average"}


def _ours_text(rows: Metrics, model: str, method: str, column: str) -> str:
    value = _ours(rows, model, method, column)
    return "–" if value is None else number(value.value, 100)


def _difference(rows: Metrics, model: str, method: str, column: str, reported_value: float) -> TableCell:
    """Ours minus theirs, in points, with a sign where theirs lies outside our interval."""
    ours = _ours(rows, model, method, column)
    if ours is None:
        return TableCell("–")
    outside = not 100 * ours.low <= reported_value <= 100 * ours.high
    return TableCell(number(100 * ours.value - reported_value, sign=True), suffix="‡" if outside else "")


def _data(rows: Metrics, table: ReportedTable, model: str) -> Iterator[dict[str, Any]]:
    for method, row in table.models[model].items():
        source = reported().sources[row.source or table.source].title
        for column, value in zip(table.columns, row.values, strict=True):
            found = _ours(rows, model, method, column) if method in rows.study.methods else None
            place = {"model": model, "method": method, "label": row.label, "benchmark": column}
            ours: dict[str, Any] = dict.fromkeys(("ours", "ours_low", "ours_high", "n", "difference"), "")
            if found is not None:
                ours = {"ours": 100 * found.value, "ours_low": 100 * found.low, "ours_high": 100 * found.high}
                ours |= {"n": found.n, "difference": 100 * found.value - value}
            yield {**place, **ours, "reported": value, "source": source}
