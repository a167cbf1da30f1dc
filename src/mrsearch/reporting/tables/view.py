"""Which rows and columns of a score table a study wants to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrsearch.config.report import HOP_COLUMNS, NAMED_COLUMNS, SUMMARY_COLUMNS, ExternalRow, TableView
from mrsearch.reporting.frame import Metrics, method_label
from mrsearch.reporting.tables.table import Mark, TableCell, mark_best, number

DIGITS = {"searches": 1, "tokens": 0, **dict.fromkeys(HOP_COLUMNS, 2)}
"""Digits behind the point in columns that are no scores, which have one."""


@dataclass(frozen=True, slots=True)
class View:
    """Rows and columns of one table, in order."""

    methods: list[str]
    columns: list[str]
    """Benchmarks and summary columns."""
    decodings: list[str]
    bold: list[str]
    """Methods among which the best is marked."""
    external: tuple[ExternalRow, ...]

    @property
    def scores(self) -> list[str]:
        """The columns that hold scores: benchmarks and the mean."""
        without_scores = (*SUMMARY_COLUMNS[1:], *NAMED_COLUMNS)
        return [column for column in self.columns if column not in without_scores]

    @property
    def sources(self) -> list[str]:
        """A note for each external row."""
        return [f"{row.label}: not measured here; {row.source}" for row in self.external]

    def marked(self, texts: Sequence[str]) -> list[Mark]:
        """Marks of one column's texts, a text per method."""
        return mark_best(
            [text if method in self.bold else "" for method, text in zip(self.methods, texts, strict=True)]
        )

    def mark_note(self, metrics: Metrics) -> str:
        """What bold and underlined mean in this table."""
        if not self.bold:
            return "The best is not marked."
        if set(self.methods) <= set(self.bold):
            return "Best in bold, second underlined."
        among = ", ".join(method_label(metrics.study, method) for method in self.bold)
        return f"Best in bold, second underlined, among {among}."

    def external_rows(self) -> list[list[TableCell]]:
        """The external rows' cells; empty where nothing is known."""
        return [[TableCell(row.label), *(self._cell(row, column) for column in self.columns)] for row in self.external]

    def _cell(self, row: ExternalRow, column: str) -> TableCell:
        if column not in row.values:
            return TableCell("")
        relative = column == "relative_improvement"
        text = number(row.values[column], digits=DIGITS.get(column, 1), sign=relative)
        return TableCell(f"{text} %" if relative else text)


def view_of(metrics: Metrics, table: str) -> View:
    """What `report.tables` says of the table, and everything where it says nothing."""
    view = next((view for name, view in metrics.study.report.tables.items() if name == table), TableView())
    methods = list(metrics.study.methods if view.methods is None else view.methods)
    return View(
        methods,
        list([*metrics.columns, *SUMMARY_COLUMNS[1:]] if view.columns is None else view.columns),
        list(metrics.decodings if view.decodings is None else view.decodings),
        list(methods if view.bold is None else view.bold),
        view.external,
    )
