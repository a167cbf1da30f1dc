"""A prompt's template, taken from a table of the published schema."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from mrsearch.config.templates import template_of


def table(path, prompts):
    rows = [
        {"question": question, "prompt": [{"role": "user", "content": f"{words} Question: {question}?\n"}]}
        for words, question in prompts
    ]
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_the_question_is_taken_out(tmp_path):
    path = table(tmp_path / "train.parquet", [("Answer it.", "who was it"), ("Answer it.", "where is it")])
    assert template_of(path, "prompt", "question") == "Answer it. Question: {question}\n"


def test_several_templates_are_shown(tmp_path):
    path = table(tmp_path / "train.parquet", [("Answer it.", "who was it"), ("Say it.", "where is it")])
    with pytest.raises(ValueError, match=r"2 different templates(.|\n)*Answer it(.|\n)*Say it"):
        template_of(path, "prompt", "question")


def test_a_missing_column_is_named(tmp_path):
    path = table(tmp_path / "train.parquet", [("Answer it.", "who was it")])
    with pytest.raises(ValueError, match="column asked"):
        template_of(path, "prompt", "asked")
