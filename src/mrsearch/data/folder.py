"""Questions and passages that lie in a folder, in FlashRAG's jsonl schema."""

from __future__ import annotations

import codecs
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mrsearch.config.data import FolderData, holds_out
from mrsearch.data.corpus import read_corpus
from mrsearch.data.golds import gold_answers
from mrsearch.data.registry import TRAIN
from mrsearch.data.strict_json import parse_json
from mrsearch.data.subsets import first_by_id, split_by_id
from mrsearch.unique_ids import refuse_repeated
from mrsearch.visible import is_blank

OWN_PASSAGES = ("supporting_ids", "answer_passage_ids", "retrieved_ids")
"""Fields of a support row that name passages which belong to the question, most important first."""


def read_folder_questions(data: FolderData, source: str) -> list[dict[str, Any]]:
    """Rows {id, question, golden_answers} of a benchmark; with `questions_per_benchmark`, the first by sha1 of the id.

    ValueError names the file when it is missing, and file and line when a row is malformed or its id is another's.
    """
    if holds_out(data, source):
        rows = _training_parts(data)[0]
    else:
        rows = _read_questions(_benchmark_file(data, source), f"benchmark {source!r}")
    return first_by_id(rows, data.questions_per_benchmark)


def question_files(data: FolderData, sources: Iterable[str]) -> dict[str, Path]:
    """The files that hold the questions of these sources, of "train" among them, each once and by its source."""
    files = {}
    for source in sources:
        if source == TRAIN or holds_out(data, source):
            files[TRAIN] = _training_file(data)
        else:
            files[source] = _benchmark_file(data, source)
    return files


def passage_files(data: FolderData, benchmarks: Sequence[str]) -> list[Path]:
    """The files that decide the passages: the corpus and, where only a part of it is kept, what chooses that."""
    files = [Path(data.path) / data.corpus]
    if data.passages is not None and data.support is not None:
        datasets = [*benchmarks, *([TRAIN] if data.train is not None else [])]
        files += [Path(data.path) / data.support, *question_files(data, datasets).values()]
    return files


def read_folder_training(data: FolderData) -> list[dict[str, Any]]:
    """Rows as of `read_folder_questions`: the training questions without those held out for validation, in the file's
    order; ValueError in the same way."""
    return _training_parts(data)[1]


def read_folder_passages(data: FolderData, benchmarks: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(id, title, text) of the corpus in its order; with `passages`, only the benchmarks' own and distractors by seed.

    ValueError when a file is missing, or when the questions' own passages alone are more than `passages`.
    """
    path = Path(data.path) / data.corpus
    if not path.is_file():
        raise ValueError(f"{path}: no such file; data.path and data.corpus say where the passages lie")
    if data.passages is None:
        return read_corpus(path)
    ids = _choose(data, benchmarks, [identifier for identifier, _, _ in read_corpus(path)])
    return (row for row in read_corpus(path) if row[0] in ids)


def _benchmark_file(data: FolderData, source: str) -> Path:
    return Path(data.path) / data.questions.format(benchmark=source)


def _training_file(data: FolderData) -> Path:
    if data.train is None:
        raise ValueError(f"data.train names no file of training questions below data.path ({data.path})")
    return Path(data.path) / data.train


def _training_parts(data: FolderData) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The training questions that are held out for validation, and the others."""
    path = _training_file(data)
    rows = _read_questions(path, "data.train")
    return ([], rows) if data.validation_share is None else split_by_id(rows, data.validation_share, str(path))


def _read_questions(path: Path, purpose: str) -> list[dict[str, Any]]:
    numbered = [(number, _question(row, f"{path}, line {number}")) for number, row in _read_jsonl(path, purpose)]
    refuse_repeated(((number, row["id"]) for number, row in numbered), str(path), "line")
    return [row for _, row in numbered]


def _choose(data: FolderData, benchmarks: Sequence[str], identifiers: list[str]) -> set[str]:
    """Ids of the passages to keep."""
    assert data.passages is not None
    required = _own_passages(data, benchmarks) if data.support else set()
    unknown = required.difference(identifiers)
    if unknown:
        raise ValueError(
            f"{data.support}: {len(unknown)} of the passages it names are not in {data.corpus}, "
            f"{min(unknown)!r} among them"
        )
    if len(required) > data.passages:
        raise ValueError(
            f"data.passages ({data.passages}) is smaller than the {len(required)} passages that the chosen questions "
            "need: raise it or lower data.questions_per_benchmark"
        )
    spare = [identifier for identifier in identifiers if identifier not in required]
    distractors = random.Random(data.seed).sample(spare, min(data.passages - len(required), len(spare)))
    return required.union(distractors)


def _own_passages(data: FolderData, benchmarks: Sequence[str]) -> set[str]:
    """Ids of the passages that belong to the benchmarks' questions and, where there are any, to the training questions,
    whose lines are named train."""
    questions = {
        (TRAIN if holds_out(data, source) else source, row["id"])
        for source in benchmarks
        for row in read_folder_questions(data, source)
    }
    if data.train is not None:
        questions |= {(TRAIN, row["id"]) for row in read_folder_training(data)}
    path = Path(data.path) / str(data.support)
    required: set[str] = set()
    for _, row in _read_jsonl(path, "data.support"):
        if (row.get("benchmark"), row.get("id")) in questions:
            required.update(str(identifier) for field in OWN_PASSAGES for identifier in row.get(field, ()))
    return required


def _question(row: Any, where: str) -> dict[str, Any]:
    try:
        identifier, question, golds = row["id"], row["question"], row["golden_answers"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{where}: a question needs the keys id, question and golden_answers; it has {row!r:.120}"
        ) from error
    if not (isinstance(identifier, str) and isinstance(question, str)):
        raise ValueError(f"{where}: id and question must be text")
    if is_blank(question):
        raise ValueError(f"{where}: nothing can be seen of the question {question!r:.80}: drop the row")
    return {"id": identifier, "question": question, "golden_answers": gold_answers(golds, where)}


def _read_jsonl(path: Path, purpose: str) -> Iterator[tuple[int, Any]]:
    """Line numbers and rows."""
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); {purpose} needs it") from error
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path}: holds no row; {purpose} needs at least one")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, parse_json(line, f"{path}, line {number}")
