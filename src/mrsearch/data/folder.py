"""Questions and passages that lie in a folder, in FlashRAG's jsonl schema."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from mrsearch.config.data import FolderData
from mrsearch.data.corpus import read_corpus

OWN_PASSAGES = ("supporting_ids", "answer_passage_ids", "retrieved_ids")
"""Fields of a support row that name passages which belong to the question, most important first."""


def read_folder_questions(data: FolderData, source: str) -> list[dict[str, Any]]:
    """Rows {id, question, golden_answers} of a benchmark; with `questions_per_benchmark`, the first by sha1 of the id.

    ValueError names the file when it is missing, and file and line when a row is malformed.
    """
    path = Path(data.path) / data.questions.format(benchmark=source)
    rows = [_question(row, f"{path}, line {number}") for number, row in _read_jsonl(path, f"benchmark {source!r}")]
    if data.questions_per_benchmark is None:
        return rows
    return sorted(rows, key=_hashed_id)[: data.questions_per_benchmark]


def read_folder_passages(data: FolderData, benchmarks: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(id, title, text) of the corpus in its order; with `passages`, only the benchmarks' own and distractors by seed.

    ValueError when a file is missing, or when the questions' own passages alone are more than `passages`.
    """
    path = Path(data.path) / data.corpus
    if not path.is_file():
        raise ValueError(f"{path}: no such file; data.path and data.corpus say where the passages lie")
    if data.passages is None:
        return read_corpus(path)
    kept = _choose(data, benchmarks, [identifier for identifier, _, _ in read_corpus(path)])
    return (row for row in read_corpus(path) if row[0] in kept)


def _choose(data: FolderData, benchmarks: Sequence[str], identifiers: list[str]) -> set[str]:
    """Ids of the passages to keep."""
    assert data.passages is not None
    own = _own_passages(data, benchmarks) if data.support else set()
    unknown = own.difference(identifiers)
    if unknown:
        raise ValueError(
            f"{data.support}: {len(unknown)} of the passages it names are not in {data.corpus}, "
            f"{min(unknown)!r} among them"
        )
    if len(own) > data.passages:
        raise ValueError(
            f"data.passages ({data.passages}) is smaller than the {len(own)} passages that the chosen questions need: "
            "raise it or lower data.questions_per_benchmark"
        )
    others = [identifier for identifier in identifiers if identifier not in own]
    distractors = random.Random(data.seed).sample(others, min(data.passages - len(own), len(others)))
    return own.union(distractors)


def _own_passages(data: FolderData, benchmarks: Sequence[str]) -> set[str]:
    asked = {(source, row["id"]) for source in benchmarks for row in read_folder_questions(data, source)}
    path = Path(data.path) / str(data.support)
    own: set[str] = set()
    for _, row in _read_jsonl(path, "data.support"):
        if (row.get("benchmark"), row.get("id")) in asked:
            own.update(str(identifier) for field in OWN_PASSAGES for identifier in row.get(field, ()))
    return own


def _question(row: Any, where: str) -> dict[str, Any]:
    try:
        identifier, question, golds = row["id"], row["question"], row["golden_answers"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{where}: a question needs the keys id, question and golden_answers; it has {row!r:.120}"
        ) from error
    if not (isinstance(identifier, str) and isinstance(question, str) and isinstance(golds, list)):
        raise ValueError(f"{where}: id and question must be text and golden_answers a list")
    return {"id": identifier, "question": question, "golden_answers": [str(gold) for gold in golds]}


def _hashed_id(row: dict[str, Any]) -> str:
    return hashlib.sha1(row["id"].encode(), usedforsecurity=False).hexdigest()


def _read_jsonl(path: Path, purpose: str) -> Iterator[tuple[int, Any]]:
    """Line numbers and rows."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); {purpose} needs it") from error
    for number, line in enumerate(lines, 1):
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
