"""Questions that a training set shares with the benchmarks it is tested on."""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mrsearch.config.layout import questions_file
from mrsearch.config.study import Study
from mrsearch.files import write_text

log = logging.getLogger(__name__)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def write_overlap(study: Study, questions: Path, out: Path) -> None:
    """Write {benchmark: {questions, shared, ids}} as JSON; `questions` holds train.parquet and <benchmark>.parquet."""
    import pyarrow.parquet as parquet

    def read(name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = parquet.read_table(
            questions_file(questions, name), columns=["id", "question"]
        ).to_pylist()
        return rows

    train_questions = {plain(row["question"]) for row in read("train")}
    report = {}
    for benchmark in study.benchmarks:
        benchmark_rows = read(benchmark)
        ids = [row["id"] for row in benchmark_rows if plain(row["question"]) in train_questions]
        report[benchmark] = {"questions": len(benchmark_rows), "shared": len(ids), "ids": ids}
    write_text(out, json.dumps(report, indent=2) + "\n")


def without_shared(rows: Sequence[dict[str, Any]], benchmark_rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The training rows whose question no row of a benchmark asks."""
    benchmark_questions = {plain(row["question"]) for row in benchmark_rows}
    remaining = [row for row in rows if plain(row["question"]) not in benchmark_questions]
    dropped = len(rows) - len(remaining)
    log.info("train: %d of %d questions are asked by a benchmark too and are left out", dropped, len(rows))
    return remaining


def plain(question: str) -> str:
    """What two questions have to share to count as the same: lower case, without ASCII punctuation and surplus white
    space.

    >>> plain(" Who  wrote 'Emma'?")
    'who wrote emma'
    """
    return " ".join(question.lower().translate(_PUNCTUATION).split())
