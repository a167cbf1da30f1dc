"""Files of scores that a report refuses: missing, damaged, misplaced, or of other settings."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.made_up import write_made_metrics

from mrsearch.agent.record_files import read_records
from mrsearch.config import Study
from mrsearch.config.layout import all_record_files, all_score_files
from mrsearch.evaluation.score_files import write_scores

KEY = ("tiny", "mr_search", 1, "greedy", "two")


def first_file(study: Study, made: Path) -> Path:
    return all_record_files(study, made)[KEY]


def scores_file(study: Study, made: Path) -> Path:
    return all_score_files(study, made)[KEY]


def test_a_missing_file_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    """Also where the records are there: those of an evaluation from before scores were written beside them."""
    scores_file(small_study, made).unlink()
    with pytest.raises(
        ValueError, match=r"1 of 48 files of scores are missing.*mr_search/seed1/two.greedy.*records convert"
    ):
        write_made_metrics(small_study, made, tmp_path)
    assert not list(tmp_path.glob("*.parquet*"))


def test_a_missing_question_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    records = list(read_records(first_file(small_study, made)))
    write_scores(small_study, KEY, records[1:], scores_file(small_study, made))
    with pytest.raises(ValueError, match=r"mr_search, seed 1 has 11 questions, direct, seed 0 has 12.*'two-0'"):
        write_made_metrics(small_study, made, tmp_path)
    assert not list(tmp_path.glob("*.parquet*"))


def test_a_question_that_is_answered_twice_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    key = ("tiny", "direct", 0, "greedy", "two")
    records = list(read_records(all_record_files(small_study, made)[key]))
    write_scores(small_study, key, [*records[1:], records[1]], all_score_files(small_study, made)[key])
    with pytest.raises(ValueError, match="direct, seed 0 answers a question twice"):
        write_made_metrics(small_study, made, tmp_path)


def test_a_misplaced_record_is_an_error(small_study: Study, made: Path):
    records = list(read_records(first_file(small_study, made)))
    records[3].tags["seed"] = 0
    with pytest.raises(ValueError, match="a record is tagged"):
        write_scores(small_study, KEY, records, scores_file(small_study, made))


def test_misplaced_scores_are_an_error(small_study: Study, made: Path, tmp_path: Path):
    seeds = (
        scores_file(small_study, made).parent.with_name(f"seed{seed}") / "two.greedy.scores.parquet" for seed in (0, 1)
    )
    shutil.copyfile(*seeds)
    with pytest.raises(ValueError, match=r"two.greedy.scores.parquet: seed is 0, but the study asks for 1"):
        write_made_metrics(small_study, made, tmp_path)


def test_scores_by_other_settings_are_an_error(small_study: Study, made: Path, tmp_path: Path):
    raw = small_study.model_dump()
    raw["benchmarks"]["two"]["yes_no_rule"] = True
    with pytest.raises(
        ValueError, match="yes_no_rule is False, but the study asks for True: make it from its records with"
    ):
        write_made_metrics(Study.model_validate(raw), made, tmp_path)


def test_records_without_scores_are_an_error(small_study: Study, made: Path):
    records = list(read_records(first_file(small_study, made)))
    del records[0].tags["scores"]
    with pytest.raises(ValueError, match="carries no complete scores"):
        write_scores(small_study, KEY, records, scores_file(small_study, made))


def test_no_record_is_an_error(small_study: Study, made: Path):
    with pytest.raises(ValueError, match="there is no record to score"):
        write_scores(small_study, KEY, [], scores_file(small_study, made))


@pytest.mark.parametrize("size", [0, 500])
def test_a_damaged_file_is_an_error(small_study: Study, made: Path, tmp_path: Path, size: int):
    os.truncate(scores_file(small_study, made), size)
    with pytest.raises(ValueError, match=r"two.greedy.scores.parquet: is no whole file of scores"):
        write_made_metrics(small_study, made, tmp_path)


def test_a_file_of_another_version_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    path = scores_file(small_study, made)
    table = pq.read_table(path)
    refused = [
        (None, "is no file of scores"),
        ({"mrsearch": '{"version": 99}'}, "is of version 99.*use the program that wrote it"),
        ({"mrsearch": '{"version": 1}'}, "is of version 1,.*mrsearch records convert"),
    ]
    for metadata, message in refused:
        pq.write_table(table.replace_schema_metadata(metadata), path)
        with pytest.raises(ValueError, match=message):
            write_made_metrics(small_study, made, tmp_path)
