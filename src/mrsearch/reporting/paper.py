"""What papers reported, and a study's own numbers beside it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import NonNegativeFloat, model_validator

from mrsearch.config.base import Model
from mrsearch.reporting.frame import HEADLINE, Metrics, benchmark_label, method_label
from mrsearch.reporting.layout import Block, Table, TableCell, mark_best, number


class Source(Model):
    """Where values were read."""

    title: str
    """The paper."""
    transcription: str
    """Who transcribed it."""


class ReportedRow(Model):
    """One method's reported values."""

    label: str
    """How the paper calls the method."""
    values: tuple[NonNegativeFloat, ...]
    """EM in percent, one value a column."""
    source: str | None = None
    """Another source than the table's."""
    inconsistent: bool = False
    """Whether the reported mean contradicts the reported cells."""


class ReportedTable(Model):
    """One table of a paper."""

    caption: str
    """Title of the table that shows it."""
    source: str
    """Key in `sources`."""
    columns: tuple[str, ...]
    """Benchmarks; "average" is the unweighted mean."""
    notes: tuple[str, ...] = ()
    """What a reader must know about the values."""
    models: dict[str, dict[str, ReportedRow]]
    """Rows by model and method."""

    @model_validator(mode="after")
    def _rows_fit(self) -> ReportedTable:
        for model, rows in self.models.items():
            for method, row in rows.items():
                if len(row.values) != len(self.columns):
                    raise ValueError(f"{model}.{method} has {len(row.values)} values for {len(self.columns)} columns")
        return self


class Reported(Model):
    """The data file of reported values."""

    sources: dict[str, Source]
    """Papers by key."""
    tables: dict[str, ReportedTable]
    """Tables by the name of the file they become."""


@cache
def reported() -> Reported:
    """The reported values that the package carries."""
    text = resources.files("mrsearch.reporting").joinpath("paper.yaml").read_text(encoding="utf-8")
    return Reported.model_validate(yaml.safe_load(text))


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
        *table.notes,
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
        block.rows.append(
            [TableCell("\u2003difference"), *(TableCell(text) for text in _differences(rows, table, model, method))]
        )
    return block


def _ours(rows: Metrics, model: str, method: str, column: str) -> float | None:
    """Our EM in percent; None where the study has no such cell, or its mean is over other benchmarks."""
    if column not in rows.columns or (column == "average" and not _same_mean(rows)):
        return None
    return 100 * rows.at(model, rows.study.report.decoding, method, column, "em", HEADLINE).value


def _same_mean(rows: Metrics) -> bool:
    averaged = {name for name, benchmark in rows.study.benchmarks.items() if benchmark.average}
    return averaged == set(reported().tables["table1"].columns) - {"average"}


def _ours_text(rows: Metrics, model: str, method: str, column: str) -> str:
    value = _ours(rows, model, method, column)
    return "–" if value is None else number(value)


def _differences(rows: Metrics, table: ReportedTable, model: str, method: str) -> list[str]:
    texts = []
    for column, reported_value in zip(table.columns, table.models[model][method].values, strict=True):
        ours = _ours(rows, model, method, column)
        texts.append("–" if ours is None else number(ours - reported_value, sign=True))
    return texts


def _data(rows: Metrics, table: ReportedTable, model: str) -> Iterator[dict[str, Any]]:
    for method, row in table.models[model].items():
        source = reported().sources[row.source or table.source].title
        for column, value in zip(table.columns, row.values, strict=True):
            ours = _ours(rows, model, method, column) if method in rows.study.methods else None
            place = {"model": model, "method": method, "label": row.label, "benchmark": column}
            numbers = {"ours": "" if ours is None else ours, "reported": value, "source": source}
            yield {**place, **numbers, "difference": "" if ours is None else ours - value}
