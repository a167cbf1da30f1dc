"""Reading questions from parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from mrsearch.agent.questions import read_questions
from mrsearch.agent.records import Question

ROWS = [
    {"id": "b", "question": "who ?", "golden_answers": ["Bla", "Å"], "data_source": "nq", "extra": 1},
    {"id": "a", "question": "what ?", "golden_answers": ["Köln"], "data_source": "popqa", "extra": 2},
]


def written(folder: Path, rows: list[dict]) -> Path:
    path = folder / "questions.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_questions_come_in_file_order(tmp_path):
    assert read_questions(written(tmp_path, ROWS)) == [
        Question("b", "who ?", ("Bla", "Å"), "nq"),
        Question("a", "what ?", ("Köln",), "popqa"),
    ]


def test_jsonl_of_flashrag_is_read_too(tmp_path):
    path = tmp_path / "nq.jsonl"
    path.write_text(
        '{"id": "b", "question": "who?", "golden_answers": ["Bla"]}\n{"question": "q", "golden_answers": ["a"]}\n'
    )
    assert read_questions(path) == [Question("b", "who?", ("Bla",), "nq"), Question("2", "q", ("a",), "nq")]
    path.write_text('{"id": "b", "question": "who?"}\n')
    with pytest.raises(ValueError, match=r"nq.jsonl, line 1: lacks golden_answers"):
        read_questions(path)
    path.write_text('["b"]\n')
    with pytest.raises(ValueError, match=r"nq.jsonl, line 1: is no object"):
        read_questions(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "a"}, "1 ids appear more than once, 'a' among them"),
        ({"golden_answers": []}, "question 'b' has no golden_answers"),
        ({"golden_answers": None}, "question 'b' has no golden_answers"),
        ({"question": " "}, "the row with id 'b' has no question text"),
        ({"question": None}, "the row with id 'b' has no question text"),
        ({"id": None}, "the row with id None"),
    ],
)
def test_broken_rows_are_named(tmp_path, change, message):
    path = written(tmp_path, [{**ROWS[0], **change}, ROWS[1]])
    with pytest.raises(ValueError, match=message) as caught:
        read_questions(path)
    assert str(path) in str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    rows = [{key: value for key, value in row.items() if key != "golden_answers"} for row in ROWS]
    with pytest.raises(ValueError, match="lacks the columns golden_answers"):
        read_questions(written(tmp_path, rows))
