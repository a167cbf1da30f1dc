"""The tables of a study, from `metrics.parquet` alone."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mrsearch.config import Study
from mrsearch.files import write_text
from mrsearch.reporting import cost_table, episode_table, method_tables, paper, scaling
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.html import to_html
from mrsearch.reporting.layout import Mark, Table, to_csv, to_latex, to_markdown

TERMINAL_WIDTH = 160


def write_tables(study: Study, metrics: Path, out: Path) -> None:
    """Write every table below `out` as CSV, Markdown, HTML and LaTeX; the same metrics give the same bytes.

    main (EM), f1, episodes and cost always; extra where a benchmark stands outside the mean; scaling
    where the study asks for it; those of `reported.tables_for` where a paper reported values for a model of the study.
    """
    rows = Metrics(study, metrics)
    written: list[tuple[Table, Iterable[dict[str, Any]]]] = [
        (method_tables.score_table(rows, "em", "main"), method_tables.score_rows(rows, "em")),
        (method_tables.score_table(rows, "f1", "f1"), method_tables.score_rows(rows, "f1")),
        (episode_table.episode_table(rows), episode_table.episode_rows(rows)),
        (cost_table.cost_table(rows), cost_table.cost_rows(rows)),
    ]
    if not all(benchmark.average for benchmark in study.benchmarks.values()):
        written.append((method_tables.extra_table(rows), method_tables.extra_rows(rows)))
    if study.report.scaling:
        written.append((scaling.scaling_table(rows), scaling.scaling_rows(rows)))
    written += paper.tables_beside(rows)
    for table, data in written:
        write_text(out / f"{table.name}.csv", to_csv(data))
        write_text(out / f"{table.name}.md", to_markdown(table))
        write_text(out / f"{table.name}.html", to_html(table))
        write_text(out / f"{table.name}.tex", to_latex(table))


def main_table_text(study: Study, metrics: Path) -> str:
    """The main table for a terminal, best in bold and second best underlined."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    table = method_tables.score_table(Metrics(study, metrics), "em", "main")
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system="standard", width=TERMINAL_WIDTH)
    style = {Mark.best: "bold", Mark.second: "underline", Mark.none: ""}
    for block in table.blocks:
        rich = RichTable(title=block.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for index, name in enumerate(table.header):
            header = name if index == 0 else name.replace(" ", "\n", 1)
            rich.add_column(header, justify="right" if index else "left", vertical="bottom")
        for row in block.rows:
            rich.add_row(*(Text.assemble((cell.text, style[cell.mark]), cell.suffix) for cell in row))
        rich.add_section()
        for row in block.closing:
            rich.add_row(*(cell.text for cell in row))
        console.print(rich)
    for note in table.notes:
        console.print(note, highlight=False, markup=False)
    return shown.getvalue()
