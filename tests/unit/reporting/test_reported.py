"""Reported values: consistent with themselves, and shown beside a study's own."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from mrsearch.config import Run, Study, load_study
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.evaluation.provenance import describe
from mrsearch.reporting.reported import reported, tables_for
from mrsearch.reporting.tables.writer import write_tables

pytestmark = pytest.mark.slow

TABLE1 = reported().tables["table1"]
CELLS = [(model, method) for model, rows in TABLE1.models.items() for method in rows]


@pytest.mark.parametrize(("model", "method"), CELLS)
def test_reported_means_are_the_means_of_their_cells(model: str, method: str):
    row = TABLE1.models[model][method]
    *cells, mean = row.values
    consistent = abs(sum(cells) / len(cells) - mean) < 0.06
    assert consistent != row.inconsistent


def test_tables_agree_where_they_repeat_each_other():
    first, third = TABLE1.models["qwen2.5-7b"], reported().tables["table3"].models["qwen2.5-7b"]
    for method in ("search_r1", "mr_search"):
        assert first[method].values[:7] == third[method].values[:7]


def test_every_source_is_known():
    for table in reported().tables.values():
        for rows in table.models.values():
            assert {row.source or table.source for row in rows.values()} <= set(reported().sources)


@pytest.mark.parametrize("table", ["table2", "table3"])
def test_the_ablations_stand_beside_their_reported_values(root: Path, table: str):
    study = load_study(Run(study="ablations"), root)
    elsewhere = {"research"}
    assert set(reported().tables[table].models["qwen2.5-7b"]) - elsewhere <= set(study.methods)


@pytest.fixture
def paper_study(small_study: Study) -> Study:
    raw = small_study.model_dump()
    raw["models"] = {"qwen2.5-3b": raw["models"]["tiny"], "qwen2.5-7b": raw["models"]["tiny"]}
    raw["benchmarks"] = {name: {} for name in TABLE1.columns if name != "average"}
    raw["benchmarks"]["asearcher"] = {"label": "ASearcher", "average": False}
    return Study.model_validate(raw)


def test_ours_beside_theirs(paper_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    folder = make_records(paper_study, tmp_path / "eval", 3)
    write_metrics(paper_study, folder, tmp_path / "s.parquet", tmp_path / "m.parquet")
    write_tables(paper_study, tmp_path / "m.parquet", tmp_path / "tables")
    with (tmp_path / "tables" / "paper_table1.csv").open(newline="") as file:
        rows = {(row["model"], row["method"], row["benchmark"]): row for row in csv.DictReader(file)}
    row = rows["qwen2.5-7b", "mr_search", "average"]
    assert float(row["reported"]) == 46.0
    assert float(row["difference"]) == pytest.approx(float(row["ours"]) - 46.0, abs=1e-3)
    assert rows["qwen2.5-3b", "pprm", "nq"]["ours"] == ""
    text = (tmp_path / "tables" / "paper_table1.md").read_text()
    for expected in ("PPRM (reported)", "difference", "reported average (30.4) is not the mean"):
        assert expected in text
    assert {path.stem for path in (tmp_path / "tables").glob("paper*.tex")} == set(tables_for(paper_study))
    assert float(row["ours_low"]) <= float(row["ours"]) <= float(row["ours_high"])
    outside = [
        float(row["reported"]) < float(row["ours_low"]) or float(row["reported"]) > float(row["ours_high"])
        for row in rows.values()
        if row["ours"]
    ]
    assert text.count("‡ |") == sum(outside) > 0
    assert "| n | 3 | 3 |" in text


def test_the_foot_names_split_and_revision_of_published_data(root: Path):
    foot = describe(load_study(Run(study="paper"), root))
    assert "corpus wiki-18 (PeterJinGo/wiki-18-corpus at 69c1c00ffe7c)" in foot
    assert "NQ test" in foot and "HotpotQA dev" in foot
    assert "(RUC-NLPIR/FlashRAG_datasets at 75bdaa372149)" in foot
    assert "not pinned" in foot.partition("ASearcher test")[2]


def test_a_study_of_other_models_has_no_reported_values(
    small_study: Study, make_records: Callable[..., Path], tmp_path: Path
):
    folder = make_records(small_study, tmp_path / "eval", 2)
    write_metrics(small_study, folder, tmp_path / "s.parquet", tmp_path / "m.parquet")
    write_tables(small_study, tmp_path / "m.parquet", tmp_path / "tables")
    assert not list((tmp_path / "tables").glob("paper*"))
    assert tables_for(small_study) == {}
