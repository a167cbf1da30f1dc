"""Results of version 1: their records come into today's form, and metrics can be made of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrsearch.agent.record_files import read_records
from mrsearch.cli import app
from mrsearch.config import Study, write_study
from mrsearch.config.layout import StudyFolder, all_record_files, all_score_files, old_record_file
from mrsearch.evaluation.conversion import convert_results
from mrsearch.evaluation.metrics import write_metrics


@pytest.fixture
def old(small_study: Study, make_records: Callable[..., Path], tmp_path: Path) -> StudyFolder:
    """Results with records of version 1 and without scores."""
    folder = StudyFolder(tmp_path / "small")
    write_study(small_study, folder.study)
    make_records(small_study, folder.evaluations, 4)
    for path in all_record_files(small_study, folder.evaluations).values():
        with gzip.open(old_record_file(path), "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(record)) + "\n" for record in read_records(path))
        path.unlink()
    for path in all_score_files(small_study, folder.evaluations).values():
        path.unlink()
    return folder


def test_old_results_are_converted_and_lose_nothing(
    small_study: Study, make_records: Callable[..., Path], old: StudyFolder, tmp_path: Path
):
    assert convert_results(old.root) == (48, 48)
    made = make_records(small_study, tmp_path / "made", 4)
    for files in (all_record_files, all_score_files):
        pairs = zip(files(small_study, old.evaluations).values(), files(small_study, made).values(), strict=True)
        assert all(converted.read_bytes() == path.read_bytes() for converted, path in pairs)
    assert not list(old.root.rglob("*.gz"))
    again = CliRunner().invoke(app, ["records", "convert", str(old.root)])
    assert again.output.splitlines()[-1].endswith(": 0 files of records converted, 0 files of scores written")
    write_metrics(small_study, old.evaluations, old.scores, old.metrics)


def test_a_damaged_old_file_stays(small_study: Study, old: StudyFolder):
    path = old_record_file(all_record_files(small_study, old.evaluations)["tiny", "mr_search", 1, "greedy", "two"])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"mr_search/seed1/two\.greedy\.jsonl\.gz: damaged after line"):
        convert_results(old.root)
    assert path.is_file()


def test_scores_follow_the_study_s_settings(small_study: Study, old: StudyFolder):
    convert_results(old.root)
    raw = small_study.model_dump()
    raw["benchmarks"]["two"]["yes_no_rule"] = True
    write_study(Study.model_validate(raw), old.study)
    assert convert_results(old.root) == (0, 16), "the scores of that benchmark, and no others"


def test_a_folder_without_a_study_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds no study\.json"):
        convert_results(tmp_path)
