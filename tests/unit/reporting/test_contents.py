"""Which tables and figures a study has: one list, which writers, rules, captions and docs follow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.project import ROOT

from mrsearch.config import Run, Study, load_study
from mrsearch.reporting import contents
from mrsearch.reporting.figures.writer import write_figures
from mrsearch.reporting.tables.writer import write_tables

pytestmark = pytest.mark.slow

STUDIES = [*sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml")), "docs/guides/sweep.yaml"]


def test_the_small_study_s_list(small_study: Study):
    assert list(contents.tables(small_study)) == ["main", "f1", "episodes", "cost", "extra", "paired", "compute"]
    assert list(contents.figures(small_study)) == ["improvement", "episodes", "changes", "pareto", "training"]
    assert "scaling" in contents.tables(load_study(Run(study="scaling"), ROOT))
    assert list(contents.figures(load_study(Run(study="demo"), ROOT)))[-1] == contents.RETRIEVAL


def test_writers_make_what_is_listed(small_study: Study, measured: Path, make_train_logs, tmp_path: Path):
    metrics = measured / "metrics.parquet"
    write_tables(small_study, metrics, tmp_path / "tables")
    write_figures(small_study, metrics, make_train_logs(small_study, tmp_path / "models"), tmp_path / "figures")
    for made, items, kinds in (
        ("tables", contents.tables(small_study), contents.TABLE_KINDS),
        ("figures", contents.figures(small_study), contents.FIGURE_KINDS),
    ):
        listed = {f"{name}.{kind}" for name, item in contents.computed(items).items() for kind in (*kinds, *item.also)}
        assert {path.name for path in (tmp_path / made).iterdir()} == listed


@pytest.mark.parametrize("name", STUDIES)
def test_everything_listed_has_its_caption_and_its_place_in_the_docs(name: str):
    study = load_study(Run(study=name), ROOT)
    docs = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    for items in (contents.tables(study), contents.figures(study)):
        for item, described in items.items():
            assert (ROOT / "workflow" / "report" / described.caption).is_file()
            assert f"`{'paper_...' if item.startswith('paper_') else item}`" in docs


def test_every_caption_is_of_something_that_is_listed():
    studies = [load_study(Run(study=name), ROOT) for name in STUDIES]
    items = [item for study in studies for part in (contents.tables, contents.figures) for item in part(study).values()]
    captions = {path.name for path in (ROOT / "workflow" / "report").glob("*.rst")}
    assert captions - {item.caption for item in items} == {"workflow.rst"}


def test_rules_list_no_table_and_no_figure_themselves():
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk"))
    assert not re.findall(r"(?:_table)?\.rst|\.html|\.svg|Test-time", rules)
