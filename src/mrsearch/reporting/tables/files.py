"""The files of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mrsearch.files import write_text
from mrsearch.reporting.contents import TABLE_KINDS
from mrsearch.reporting.tables.html import to_html
from mrsearch.reporting.tables.latex import to_latex
from mrsearch.reporting.tables.table import Table, to_csv, to_markdown

RENDER: dict[str, Callable[[Table], str]] = {"html": to_html, "md": to_markdown, "tex": to_latex}


def write_table(table: Table, rows: Iterable[dict[str, Any]], out: Path) -> None:
    """Write <name>.<kind> below `out`: the table in each form, and its unrounded rows as CSV."""
    for kind in TABLE_KINDS:
        write_text(out / f"{table.name}.{kind}", to_csv(rows) if kind == "csv" else RENDER[kind](table))
