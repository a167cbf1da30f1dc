"""The tables of a study, from `metrics.parquet` alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mrsearch.config import Study
from mrsearch.config.report import NAMED_COLUMNS, SUMMARY_COLUMNS
from mrsearch.files import write_text
from mrsearch.reporting.contents import TIDY, WIDE, computed, tables
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.tables import cost as cost_table
from mrsearch.reporting.tables import episodes as episode_table
from mrsearch.reporting.tables import experiment, paired, paper, scaling, sweep
from mrsearch.reporting.tables import methods as method_tables
from mrsearch.reporting.tables.files import write_table
from mrsearch.reporting.tables.table import Table, to_csv
from mrsearch.reporting.tables.terminal import NARROWEST, to_text
from mrsearch.reporting.tables.view import view_of

Built = tuple[Table, Iterable[dict[str, Any]]]
"""A table for readers, and its rows for a file of numbers."""
BUILDERS: dict[str, Callable[[Metrics], Built]] = {
    "main": lambda metrics: _scores(metrics, "main"),
    "f1": lambda metrics: _scores(metrics, "f1"),
    "episodes": lambda metrics: (episode_table.episode_table(metrics), episode_table.episode_rows(metrics)),
    "cost": lambda metrics: (cost_table.cost_table(metrics), cost_table.cost_rows(metrics)),
    "extra": lambda metrics: (method_tables.extra_table(metrics), method_tables.extra_rows(metrics)),
    "paired": lambda metrics: (paired.paired_table(metrics), paired.paired_rows(metrics)),
    "experiment": lambda metrics: (experiment.experiment_table(metrics), experiment.experiment_rows(metrics)),
    "sweep": lambda metrics: (sweep.sweep_table(metrics), sweep.sweep_rows(metrics)),
    "scaling": lambda metrics: (scaling.scaling_table(metrics), scaling.scaling_rows(metrics)),
}
"""Those beside reported values come from `paper.table_beside`."""


def _scores(metrics: Metrics, name: str) -> Built:
    return method_tables.score_table(metrics, WIDE[name], name), method_tables.score_rows(metrics, WIDE[name], name)


def write_tables(study: Study, metrics: Path, out: Path) -> None:
    """Write the tables of `contents.tables` below `out`, but measured ones; the same metrics give the same bytes."""
    rows = Metrics(study, metrics)
    for name in computed(tables(study)):
        built = BUILDERS[name](rows) if name in BUILDERS else paper.table_beside(rows, name)
        write_table(*built, out)
    for name, metric in WIDE.items():
        write_text(out / f"{name}.{TIDY}", to_csv(method_tables.tidy_rows(rows, metric)))


def main_table_text(study: Study, metrics: Path, width: int = NARROWEST) -> str:
    """The main table for a terminal of `width` characters: means, improvement and costs, then the benchmarks."""
    rows = Metrics(study, metrics)
    columns = list(enumerate(view_of(rows, "main").columns, 1))
    summary = [index for index, column in columns if column in (*SUMMARY_COLUMNS, *NAMED_COLUMNS)]
    order = summary + [index for index, _ in columns if index not in summary]
    return to_text(method_tables.score_table(rows, "em", "main"), width, order)
