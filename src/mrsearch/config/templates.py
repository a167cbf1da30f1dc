"""A prompt's template, taken out of prompts that hold a question."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FIELD = "{question}"
SHOWN_TEMPLATES = 3
SHOWN_CHARACTERS = 160


def template_of(path: Path, column: str, question_column: str) -> str:
    """The one template of a training file's prompts, or the text of a text file, with {question} for the question.

    ValueError where the file or a column is missing, where a prompt does not hold its question, and where the prompts
    have several templates; the message shows them.
    """
    if not path.is_file():
        raise ValueError(f"wording.prompts ({path}) is no file: name a published training file or a text file")
    if path.suffix not in (".parquet", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        if FIELD not in text:
            raise ValueError(f"{path}: lacks {FIELD} where the question belongs")
        return text
    rows = _parquet(path, column, question_column) if path.suffix == ".parquet" else _jsonl(path)
    return common_template(_pairs(rows, column, question_column, path), str(path))


def common_template(pairs: Iterable[tuple[str, str]], where: str) -> str:
    """The template that all (prompt, question) pairs share; ValueError as `template_of`."""
    counts: Counter[str] = Counter()
    for number, (prompt, question) in enumerate(pairs, 1):
        counts[_without(prompt, question, f"{where}, row {number}")] += 1
    if not counts:
        raise ValueError(f"{where}: holds no prompt")
    if len(counts) > 1:
        shown = "\n".join(
            f"  {count} rows: {template[:SHOWN_CHARACTERS]!r}"
            for template, count in counts.most_common(SHOWN_TEMPLATES)
        )
        raise ValueError(
            f"{where}: {len(counts)} different templates stand in the prompts; keep the rows of one of them, or write "
            f"it to a text file with {FIELD} in it and name that:\n{shown}"
        )
    return next(iter(counts))


def _without(prompt: str, question: str, where: str) -> str:
    """The prompt with {question} for its question: the last place where it stands, a question mark behind it taken in.

    Short questions may stand in the instructions too; published prompts end with the question.
    """
    question = question.strip()
    start = prompt.rfind(question) if question else -1
    if start < 0:
        raise ValueError(f"{where}: the prompt does not hold its question {question[:SHOWN_CHARACTERS]!r}")
    end = start + len(question)
    if prompt[end : end + 1] == "?":
        end += 1
    return prompt[:start] + FIELD + prompt[end:]


def _pairs(rows: Iterable[Any], column: str, question_column: str, path: Path) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(rows, 1):
        missing = [name for name in (column, question_column) if name not in row]
        if missing:
            raise ValueError(f"{path}, row {number}: lacks the column {', '.join(missing)}; it has {', '.join(row)}")
        yield _user_text(row[column], f"{path}, row {number}"), str(row[question_column])


def _user_text(prompt: Any, where: str) -> str:
    """The words of the last user message, or the prompt itself where it is text."""
    if isinstance(prompt, str):
        return prompt
    users = [message["content"] for message in prompt if message.get("role") == "user"]
    if not users:
        raise ValueError(f"{where}: the prompt holds no user message: {prompt!r:.120}")
    return str(users[-1])


def _parquet(path: Path, *columns: str) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(path)
    names = file.schema_arrow.names
    for batch in file.iter_batches(columns=[column for column in columns if column in names]):
        yield from batch.to_pylist()


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
