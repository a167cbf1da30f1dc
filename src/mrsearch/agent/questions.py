"""Reading a table of questions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mrsearch.agent.records import Question

COLUMNS = ("id", "question", "golden_answers", "data_source")


def read_questions(path: Path) -> list[Question]:
    """The questions of a parquet file in file order; other columns are ignored.

    Raises ValueError naming the file and the offending column or id: a missing column, an id given twice, a question
    without text or without gold answers.
    """
    import pyarrow.parquet as parquet

    missing = [column for column in COLUMNS if column not in parquet.read_schema(path).names]
    if missing:
        raise ValueError(
            f"{path}: lacks the columns {', '.join(missing)}; a table of questions has {', '.join(COLUMNS)}"
        )
    rows = parquet.read_table(path, columns=list(COLUMNS)).to_pylist()
    repeated = [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{path}: {len(repeated)} ids appear more than once, {repeated[0]!r} among them: ids must be unique"
        )
    return [_question(row, path) for row in rows]


def _question(row: dict[str, object], path: Path) -> Question:
    name, text, golds = row["id"], row["question"], row["golden_answers"]
    if not isinstance(name, str) or not isinstance(text, str) or not text.strip():
        raise ValueError(f"{path}: the row with id {name!r} has no question text or an id that is not text")
    if not isinstance(golds, list) or not golds or not all(isinstance(gold, str) for gold in golds):
        raise ValueError(f"{path}: question {name!r} has no golden_answers ({golds!r}): drop it or give at least one")
    return Question(name, text, tuple(golds), str(row["data_source"] or ""))
