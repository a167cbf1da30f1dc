"""What a study's report compares and shows."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mrsearch.config.base import Measured, Model, Name, Seed, SparseModel
from mrsearch.config.experiment import Experiment

SUMMARY_COLUMNS = ("average", "interval", "relative_improvement", "searches", "tokens")
"""Columns of a score table that are no benchmark: the mean, its interval, relative improvement, and two costs."""
HOP_COLUMNS = ("one_hop_searches", "multi_hop_searches", "adaptivity")
"""Searches per question of one fact and of several, and their difference."""
SUPPORT_COLUMNS = ("support", "right_support")
"""Shares of answers, and of right ones, that a passage which the agent read says."""
NAMED_COLUMNS = (*HOP_COLUMNS, *SUPPORT_COLUMNS)
"""Columns that a score table has only where a study names them."""


class ExternalRow(Model):
    """A row that this study did not measure."""

    label: Annotated[str, Field(min_length=1)]
    """How the row is called."""
    source: Annotated[str, Field(min_length=1)]
    """Where its values are from; stands below the table."""
    values: dict[Name, Measured]
    """Values as they are shown, scores in percent, by column: `{nq: 46.7, average: 40.1}`."""


class TableView(Model):
    """Rows and columns of a score table, in the order in which they are named."""

    methods: tuple[Name, ...] | None = None
    """Methods; null shows all. Significance is corrected over what the table shows."""
    columns: tuple[Name, ...] | None = None
    """Benchmarks, `average`, `interval`, `relative_improvement`, `searches` and `tokens`; null shows all these. Named
    alone: `one_hop_searches`, `multi_hop_searches` and `adaptivity` (their difference), which need benchmarks of both
    hops; `support` and `right_support`, shares of answers that a passage which the agent read says."""
    decodings: tuple[Name, ...] | None = None
    """Decodings; null shows all, `report.decoding` first."""
    bold: tuple[Name, ...] | None = None
    """Methods among which the best is bold and the second underlined; null takes those shown, an empty list none."""
    external: tuple[ExternalRow, ...] = ()
    """Rows of others, below a rule; they are neither marked nor tested."""

    @model_validator(mode="after")
    def _without_repetition(self) -> TableView:
        for key in ("methods", "columns", "decodings", "bold"):
            names = getattr(self, key) or ()
            if len(set(names)) != len(names):
                raise ValueError(f"{key} ({list(names)}) names something twice")
            if names == () and getattr(self, key) is not None and key != "bold":
                raise ValueError(f"{key} is empty: leave it out to show everything")
        return self


class Report(SparseModel):
    """What the report compares and how it states uncertainty."""

    idle_keys: ClassVar = ("experiment",)
    baseline: Name = "search_r1"
    """Method that relative improvement refers to."""
    decoding: Name = "greedy"
    """Decoding of the main table."""
    confidence: float = Field(0.95, gt=0.0, lt=1.0)
    """Coverage of the intervals."""
    seed: Seed = 0
    """Seed of the permutation tests over questions."""
    tables: dict[Literal["main", "f1"], TableView] = {}
    """What a score table shows; without an entry all methods, columns and decodings in the study's order. The files of
    numbers (.csv) hold everything all the same."""
    scaling: bool = False
    """Write the table and the figure of test-time scaling: EM by number of episodes and by tokens."""
    experiment: Experiment | None = None
    """The methods at every point of an experiment; the study's `experiment` writes it."""
