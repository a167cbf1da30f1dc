"""Which tables and figures a study has: what rules declare, writers write, and captions and docs are about."""

from __future__ import annotations

from dataclasses import dataclass

from mrsearch.config import Study
from mrsearch.reporting.reported import tables_for
from mrsearch.reporting.sweeps import sweeps

TABLE_KINDS = ("html", "csv", "md", "tex")
"""Files of a table; the first stands in the report."""
FIGURE_KINDS = ("svg", "pdf", "png", "csv")
"""Files of a figure; the first stands in the report."""
WIDE = {"main": "em", "f1": "f1"}
"""Tables of a score with a column per benchmark."""
TIDY = "tidy.csv"
"""Beside a wide table's CSV: its numbers in a row per model, decoding, method and benchmark, with p-values."""


@dataclass(frozen=True, slots=True)
class Item:
    """One table or figure."""

    title: str
    """Its short name in the report."""
    caption: str
    """Its caption's file in workflow/report/."""
    also: tuple[str, ...] = ()
    """Further kinds of files that it alone has."""
    measured: bool = False
    """Made from measured times, which differ from run to run: by a rule of its own, from other files than metrics."""


COMPUTE = "compute"
RETRIEVAL = "retrieval"


def tables(study: Study) -> dict[str, Item]:
    """The study's tables by name, in the order of the report; files are called <name>.<kind>."""
    titles = {"main": "EM", "f1": "F1", "episodes": "By episode", "cost": "Cost"}
    if not all(benchmark.average for benchmark in study.benchmarks.values()):
        titles["extra"] = "Not in Avg"
    if study.report.scaling:
        titles["scaling"] = "Test-time scaling"
    if sweeps(study):
        titles["sweep"] = "Sweep"
    if study.report.experiment:
        titles["experiment"] = "Experiment"
    if any(method.compare_with is not None for method in study.methods.values()):
        titles["paired"] = "Paired comparisons"
    items = {name: Item(title, f"{name}_table.rst", (TIDY,) if name in WIDE else ()) for name, title in titles.items()}
    items |= {name: Item(title, "paper_table.rst") for name, title in tables_for(study).items()}
    return items | {COMPUTE: Item("Time and hardware", f"{COMPUTE}_table.rst", measured=True)}


def figures(study: Study) -> dict[str, Item]:
    """The study's figures by name, in the order of the report."""
    titles = {
        "improvement": "Relative improvement",
        "episodes": "EM by episode",
        "changes": "Corrected and corrupted",
        "pareto": "Accuracy against tokens",
        "training": "Training curves",
    }
    if study.report.scaling:
        titles["scaling"] = "Test-time scaling"
    if sweeps(study):
        titles["sweep"] = "Sweep"
    if study.report.experiment:
        titles["experiment"] = "Experiment"
    items = {name: Item(title, f"{name}.rst") for name, title in titles.items()}
    if study.retrieval.compared:
        items[RETRIEVAL] = Item("Retrieval: recall against latency", f"{RETRIEVAL}.rst", measured=True)
    return items


def computed(items: dict[str, Item]) -> dict[str, Item]:
    """Those that are made from metrics and logs, the same bytes in every run."""
    return {name: item for name, item in items.items() if not item.measured}
