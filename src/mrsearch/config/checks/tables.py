"""Tables that a study arranges show what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrsearch.config.choices import choices
from mrsearch.config.hops import by_hops
from mrsearch.config.report import HOP_COLUMNS, NAMED_COLUMNS, SUMMARY_COLUMNS

if TYPE_CHECKING:
    from mrsearch.config.study import Study


def table_names_exist(study: Study) -> None:
    """Methods, columns and decodings that a table picks are there."""
    columns = _columns(study)
    defined = {
        "methods": list(study.methods),
        "bold": list(study.methods),
        "columns": columns,
        "decodings": list(study.evaluation.decoding),
    }
    for table, view in study.report.tables.items():
        for key, names in defined.items():
            for name in getattr(view, key) or ():
                if name not in names:
                    raise ValueError(f"report.tables.{table}.{key} names {name!r}: {choices(names)}")


def external_rows_fit_columns(study: Study) -> None:
    """Numbers from elsewhere stand below a column of the tables."""
    columns = _columns(study)
    for table, view in study.report.tables.items():
        for row in view.external:
            for name in row.values:
                if name not in columns:
                    entry = f"report.tables.{table}.external ({row.label})"
                    raise ValueError(f"{entry} has a value for {name!r}: {choices(columns)}")


def compared_hops_exist(study: Study) -> None:
    """Columns compare hops that some benchmark has."""
    lacking = [hops for hops, names in by_hops(study).items() if not names]
    for table, view in study.report.tables.items():
        compared = [column for column in view.columns or () if column in HOP_COLUMNS]
        if compared and lacking:
            raise ValueError(
                f"report.tables.{table}.columns names {compared[0]!r}, but no benchmark of the mean is known to have "
                f"hops: {lacking[0]}: say so at a benchmark, or leave the column out"
            )


def _columns(study: Study) -> list[str]:
    return [*study.benchmarks, *SUMMARY_COLUMNS, *NAMED_COLUMNS]


TABLES = (table_names_exist, external_rows_fit_columns, compared_hops_exist)
