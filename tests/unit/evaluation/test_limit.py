"""An evaluation of a part of the questions: nested, recorded as such, and never in the place of a larger one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evaluations import evaluated_study, make_inputs, run_evaluation

from mrsearch.agent.record_files import read_records
from mrsearch.config import Study

METHOD = {"direct": {"procedure": "direct"}}


@pytest.fixture(scope="module")
def study() -> Study:
    decoding = {"decoding": {"greedy": {}}, "concurrency": 3}
    return evaluated_study(5, methods=METHOD, report={"baseline": "direct"}, evaluation=decoding)


@pytest.fixture(scope="module")
def inputs(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(study, tmp_path_factory.mktemp("inputs"))


def evaluated(study: Study, inputs: Path, out: Path, limit: int | None) -> dict[str, bytes]:
    """What was recorded of each question of a benchmark."""
    folder = run_evaluation(study, inputs, out, "direct", limit=limit)
    assert json.loads((folder / "run.json").read_text()).get("limit") == limit
    counts = {len(list(read_records(folder / f"{name}.greedy.jsonl.zst"))) for name in study.benchmarks}
    assert counts == {min(limit or 5, 5)}
    records = read_records(folder / "two_hop.greedy.jsonl.zst")
    return {record.question.id: str(record.episodes).encode() for record in records}


def test_smaller_limits_ask_the_same_questions_and_get_the_same_answers(
    study: Study, inputs: Path, tmp_path: Path
) -> None:
    parts = [evaluated(study, inputs, tmp_path / str(limit), limit) for limit in (1, 3, 99, None)]
    assert [len(part) for part in parts] == [1, 3, 5, 5]
    assert parts[0].items() <= parts[1].items() <= parts[2].items() and parts[2] == parts[3]


def test_a_larger_evaluation_takes_the_place_of_a_smaller_one_and_never_the_other_way(
    study: Study, inputs: Path, tmp_path: Path
) -> None:
    for limit in (2, 3, None):
        evaluated(study, inputs, tmp_path, limit)
    before = {path: path.read_bytes() for path in (tmp_path / "eval").iterdir()}
    with pytest.raises(
        ValueError, match=r"eval: holds an evaluation of all questions, which limit \(3\) would replace"
    ):
        run_evaluation(study, inputs, tmp_path, "direct", limit=3)
    assert {path: path.read_bytes() for path in (tmp_path / "eval").iterdir()} == before
    evaluated(study, inputs, tmp_path / "few", 3)
    with pytest.raises(ValueError, match=r"holds an evaluation of 3 questions, which limit \(2\) would replace"):
        run_evaluation(study, inputs, tmp_path / "few", "direct", limit=2)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(study: Study, inputs: Path, tmp_path: Path, limit: int) -> None:
    with pytest.raises(ValueError, match=rf"limit \({limit}\): an evaluation asks at least 1 question"):
        run_evaluation(study, inputs, tmp_path, "direct", limit=limit)
    assert not (tmp_path / "eval").exists()


@pytest.mark.parametrize("record", ['{"limit": "2"}', '{"limit": null}', "{}", '{"limit": [1]}'])
def test_a_record_that_says_nothing_of_a_limit_counts_as_of_all_questions(
    study: Study, inputs: Path, tmp_path: Path, record: str
) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "run.json").write_text(record)
    with pytest.raises(ValueError, match=r"holds an evaluation of all questions, which limit \(3\) would replace"):
        run_evaluation(study, inputs, tmp_path, "direct", limit=3)
