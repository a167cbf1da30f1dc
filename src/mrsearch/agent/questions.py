"""Reading files of questions."""

from __future__ import annotations

import codecs
from pathlib import Path

from mrsearch.agent.records import Question
from mrsearch.unique_ids import refuse_repeated
from mrsearch.visible import is_blank

COLUMNS = ("id", "question", "golden_answers", "data_source")


def read_questions(path: Path) -> list[Question]:
    """The questions of a parquet file, or of a jsonl file in FlashRAG's schema, in file order; other columns are
    ignored.

    Raises ValueError naming the file and the offending column, line or id: an empty file, a missing column, an id
    given twice, a question without text or without gold answers.
    """
    rows = _jsonl_rows(path) if path.suffix == ".jsonl" else _parquet_rows(path)
    if not rows:
        raise ValueError(f"{path}: holds no question: a file of questions needs at least one")
    questions = [_question(row, path) for row in rows]
    refuse_repeated(((n, question.id) for n, question in enumerate(questions, 1)), str(path), "question")
    return questions


def _parquet_rows(path: Path) -> list[dict[str, object]]:
    import pyarrow.parquet as parquet

    missing = [column for column in COLUMNS if column not in parquet.read_schema(path).names]
    if missing:
        raise ValueError(
            f"{path}: lacks the columns {', '.join(missing)}; a table of questions has {', '.join(COLUMNS)}"
        )
    rows: list[dict[str, object]] = parquet.read_table(path, columns=list(COLUMNS)).to_pylist()
    return rows


def _jsonl_rows(path: Path) -> list[dict[str, object]]:
    """Where a line has no `data_source` or `id`, the file's name and the line's number stand for them."""
    import orjson

    rows = []
    for number, line in enumerate(path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
        required = ("question", "golden_answers")
        if not isinstance(row, dict) or (missing := [key for key in required if key not in row]):
            lacks = "is no object" if not isinstance(row, dict) else f"lacks {', '.join(missing)}"
            raise ValueError(f"{path}, line {number}: {lacks}; a question has {', '.join(required)}")
        rows.append({"data_source": path.stem, "id": str(number), **row})
    return rows


def _question(row: dict[str, object], path: Path) -> Question:
    name, text, golds = row["id"], row["question"], row["golden_answers"]
    if not isinstance(name, str) or not isinstance(text, str) or is_blank(text):
        raise ValueError(f"{path}: the row with id {name!r} has no question text or an id that is not text")
    if (
        not isinstance(golds, list)
        or not golds
        or not all(isinstance(gold, str) and not is_blank(gold) for gold in golds)
    ):
        raise ValueError(f"{path}: question {name!r} has no golden_answers ({golds!r}): drop it or give at least one")
    return Question(name, text, tuple(golds), str(row["data_source"] or ""))
