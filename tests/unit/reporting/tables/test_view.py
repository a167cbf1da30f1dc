"""Which rows and columns of the main table a study shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrsearch.config import Study
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.tables.methods import score_rows, score_table
from mrsearch.reporting.tables.table import Mark, Table

OTHER = {"label": "Others' method", "source": "their table 1", "values": {"two": 41.25, "average": 40, "searches": 2}}


@pytest.fixture(scope="module")
def metrics(small_study: Study, make_records: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, study = tmp_path_factory.mktemp("metrics"), with_hops(small_study)
    write_metrics(study, make_records(study, folder / "eval"), folder / "s.parquet", folder / "m.parquet")
    return folder / "m.parquet"


def with_hops(study: Study) -> Study:
    raw = study.model_dump()
    raw["benchmarks"]["one"]["hops"], raw["benchmarks"]["two"]["hops"] = "one", "multi"
    return Study.model_validate(raw)


def seen(study: Study, metrics: Path, **view: Any) -> Table:
    raw = study.model_dump()
    raw["report"]["tables"] = {"main": view}
    return score_table(Metrics(Study.model_validate(raw), metrics), "em", "main")


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for block in table.blocks for row in block.rows]


def test_everything_is_shown_unless_the_study_says_otherwise(small_study: Study, metrics: Path):
    table = seen(small_study, metrics)
    assert table.header[:5] == ["Method", "One & only", "2 hops", "extra", "Avg"]
    assert texts(table) == texts(score_table(Metrics(small_study, metrics), "em", "main"))


def test_rows_and_columns_stand_as_the_study_names_them(small_study: Study, metrics: Path):
    whole = seen(small_study, metrics)
    columns = ("average", "two", "tokens")
    table = seen(small_study, metrics, methods=("mr_search", "direct"), columns=columns, decodings=("sampled",))
    assert table.header == ["Method", "Avg", "2 hops", "Tokens"]
    of_sampled = [[cell.text for cell in row] for row in whole.blocks[1].rows]
    assert texts(table) == [[row[index] for index in (0, 4, 2, 8)] for row in (of_sampled[3], of_sampled[0])]
    assert [cell.text for cell in table.blocks[0].closing[0]] == ["n", "24", "12", ""]
    assert any("Holm over the 4 tests" in note for note in table.notes)
    assert not any("Searches" in note for note in seen(small_study, metrics, columns=("two",)).notes)


def test_columns_that_only_a_name_brings_have_intervals_and_say_what_they_are(small_study: Study, metrics: Path):
    columns = ("one_hop_searches", "adaptivity", "right_support", "average")
    raw = with_hops(small_study).model_dump()
    raw["report"]["tables"] = {"main": {"columns": columns}}
    rows = Metrics(Study.model_validate(raw), metrics)
    table = score_table(rows, "em", "main")
    value, low, high, _, _ = rows.at("tiny", "greedy", "mr_search", "average", "adaptivity", "all")
    two, one = (rows.at("tiny", "greedy", "mr_search", name, "searches", "all").value for name in ("two", "one"))
    assert value == pytest.approx(two - one)
    assert table.header[2] == "Adaptivity (95% interval)"
    shown = texts(table)[3]
    assert shown[2] == f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
    assert shown[3].startswith("0.0 ["), "made-up records have no passages"
    assert any("several hops (2 hops) minus those on benchmarks of one (One & only)" in note for note in table.notes)
    (row,) = (
        row for row in score_rows(rows, "em", "main") if row["method"] == "mr_search" and "greedy" in row.values()
    )
    assert (row["adaptivity"], row["adaptivity_low"], row["right_support"]) == (value, low, 0.0)
    assert "support" not in row
    assert "adaptivity" not in next(score_rows(rows, "f1", "f1")), "only where the study names it"


def test_only_the_methods_that_may_be_are_bold(small_study: Study, metrics: Path):
    table = seen(small_study, metrics, bold=("direct", "search_r1"))
    marks = [[cell.mark for cell in row[1:]] for row in table.blocks[0].rows]
    assert any(mark is Mark.best for mark in marks[1])
    assert all(mark is Mark.none for row in marks[2:] for mark in row)
    assert "among Direct, Search-R1." in table.notes[0]
    assert all(cell.mark is Mark.none for row in seen(small_study, metrics, bold=()).blocks[0].rows for cell in row)


def test_rows_of_others_stand_below_with_their_source(small_study: Study, metrics: Path):
    table = seen(small_study, metrics, external=(OTHER,))
    shown = [cell.text for cell in table.blocks[0].closing[1]]
    assert shown == ["Others' method", "", "41.2", "", "40.0", "", "", "2.0", ""]
    assert "Others' method: not measured here; their table 1" in table.notes


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"methods": ("mr_serach",)}, r"report.tables.main.methods names 'mr_serach'.*mr_search"),
        ({"columns": ("three",)}, r"report.tables.main.columns names 'three'.*relative_improvement"),
        ({"decodings": ("beam",)}, r"report.tables.main.decodings names 'beam'"),
        ({"bold": ("nobody",)}, r"report.tables.main.bold names 'nobody'"),
        ({"methods": ("direct", "direct")}, "names something twice"),
        ({"columns": ()}, "leave it out to show everything"),
        ({"external": (OTHER | {"values": {"three": 1}},)}, r"Others' method\) has a value for 'three'"),
        ({"external": (OTHER | {"source": ""},)}, "source"),
    ],
)
def test_what_is_not_there_is_named(small_study: Study, metrics: Path, view: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        seen(small_study, metrics, **view)


def test_other_tables_have_no_view(small_study: Study):
    raw = small_study.model_dump()
    raw["report"]["tables"] = {"cost": {}}
    with pytest.raises(ValueError, match="'main' or 'f1'"):
        Study.model_validate(raw)
