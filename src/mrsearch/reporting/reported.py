"""What papers reported: values with their sources, in paper.yaml beside this file."""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml
from pydantic import NonNegativeFloat, model_validator

from mrsearch.config import Study
from mrsearch.config.base import Model

PREFIX = "paper_"
"""Begins the names of tables beside reported values."""


class PaperSource(Model):
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

    sources: dict[str, PaperSource]
    """Papers by key."""
    tables: dict[str, ReportedTable]
    """Tables by the name of the file they become."""


@cache
def reported() -> Reported:
    """The reported values that the package carries."""
    text = resources.files("mrsearch.reporting").joinpath("paper.yaml").read_text(encoding="utf-8")
    return Reported.model_validate(yaml.safe_load(text))


def tables_for(study: Study) -> dict[str, str]:
    """Caption by name of every table that sets a model of the study beside reported values."""
    tables = reported().tables.items()
    return {PREFIX + name: table.caption for name, table in tables if not table.models.keys().isdisjoint(study.models)}
