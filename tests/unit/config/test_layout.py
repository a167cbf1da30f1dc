"""Where files lie: known in one place, and the same for rules, commands and reports."""

from __future__ import annotations

import re
from pathlib import Path

from support.project import ROOT

from mrsearch.config import Run, Study
from mrsearch.config.layout import Layout, StudyFolder, all_record_files, all_score_files

SPELLED = re.compile(
    r"""/\s*f?"(eval|models|benchmarks|tables|figures|viewer|runs|cache|logs|service|seed\{"""
    r"""|metrics\.parquet|scores\.parquet|study\.json|train\.jsonl|run\.json|groups\.jsonl\.gz|\{benchmark\})"""
    r"""|glob\("(eval|models|runs|benchmarks)/"""
)
"""A path below a study's folder, put together by hand."""


def test_only_the_layout_spells_where_files_of_a_study_lie():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "rules").glob("*.smk"), ROOT / "Snakefile"]
    spelling = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if path != ROOT / "src" / "mrsearch" / "config" / "layout.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if SPELLED.search(line)
    ]
    assert not spelling


def test_a_study_s_folder_and_the_layout_of_its_run_agree(small_study: Study):
    layout = Layout(Run.model_validate({"study": "small", "paths": {"results": "out"}}), small_study)
    folder = StudyFolder(Path("out/small"))
    place = ("tiny", "mr_search", 1)
    files = layout.evaluation_files(*place)
    assert files[-1] == folder.evaluation_record(*place) == Path("out/small/eval/tiny/mr_search/seed1/run.json")
    pairs = [(d, b) for b in small_study.benchmarks for d in small_study.evaluation.decoding]
    kinds = [kind(small_study, folder.evaluations) for kind in (all_record_files, all_score_files)]
    assert files[:-1] == [every[*place, *pair] for every in kinds for pair in pairs]
    assert files[:-1] == layout.record_files(*place) + layout.score_files(*place)
    assert layout.policy(*place) == folder.model(*place) == Path("out/small/models/tiny/mr_search/seed1/model")
    assert layout.policy("tiny", "direct", 1) == layout.base("tiny") == Path("out/small/models/tiny/base")
    assert folder.training_job(*place) == "models/tiny/mr_search/seed1"
    assert folder.timing(folder.evaluation_job(*place)) == Path("out/small/benchmarks/eval/tiny/mr_search/seed1.tsv")


def test_evaluations_are_found_again(tmp_path: Path):
    folder = StudyFolder(tmp_path)
    for place in (("b", "m", 10), ("a", "m", 2)):
        folder.records(*place).mkdir(parents=True)
    assert list(folder.evaluated()) == [("a", "m", 2), ("b", "m", 10)]
