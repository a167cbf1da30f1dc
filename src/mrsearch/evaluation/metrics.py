"""From records to two files: every question's scores, and tidy aggregates with intervals and tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrsearch.agent.records import StopReason, read_records
from mrsearch.config import Study
from mrsearch.config.layout import RecordKey, all_record_files
from mrsearch.evaluation import aggregates, provenance
from mrsearch.evaluation.aggregates import Cell
from mrsearch.evaluation.scores import CHOICES, COUNTS, SCORES, TRANSITIONS, score_row
from mrsearch.files import atomic_file

TAGS = ("study", "model", "method", "seed", "decoding", "benchmark")


def write_metrics(study: Study, eval_dir: Path, scores_out: Path, metrics_out: Path) -> None:
    """Write `scores.parquet` and `metrics.parquet`.

    scores: a row per model, method, seed, decoding, benchmark and question. metrics: a row per model, method, seed or
    "all", decoding, benchmark or "average", episode and metric, with value, interval and n.

    Raises ValueError when a file or a row is missing, or when methods did not answer the same questions.
    """
    paths = all_record_files(study, eval_dir)
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(paths)} record files are missing, the first is {missing[0]}: "
            "run the evaluation again"
        )
    rows: list[dict[str, Any]] = []
    cells: list[Cell] = []
    for model, decoding, benchmark in itertools.product(study.models, study.evaluation.decoding, study.benchmarks):
        read = {
            (method, seed): _read(study, key, paths[key])
            for method, seed in itertools.product(study.methods, study.seeds)
            for key in [(model, method, seed, decoding, benchmark)]
        }
        _check_same(read, f"{model}, {decoding}, {benchmark}")
        rows += itertools.chain.from_iterable(read.values())
        cells += [_cell([read[method, seed] for seed in study.seeds]) for method in study.methods]
    _write(pa.Table.from_pylist(rows), scores_out)
    schema = aggregates.SCHEMA.with_metadata({"origin": provenance.describe(study)})
    _write(pa.Table.from_pylist(list(aggregates.aggregate(study, cells)), schema=schema), metrics_out)


def _read(study: Study, key: RecordKey, path: Path) -> list[dict[str, Any]]:
    expected = dict(zip(TAGS, (study.name, *key), strict=True))
    episodes, yes_no_rule = study.methods[key[1]].episodes, study.benchmarks[key[4]].yes_no_rule
    rows = []
    for record in read_records(path):
        tags = {tag: record.tags.get(tag) for tag in TAGS}
        if tags != expected:
            raise ValueError(f"{path}: a record is tagged {tags}, but the file's place says {expected}")
        try:
            row = score_row(record, episodes, study.retrieval.topk, yes_no_rule, study.protocol.answer)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        rows.append({**{tag: expected[tag] for tag in TAGS[1:]}, **row})
    if not rows:
        raise ValueError(f"{path}: holds no record: evaluate it again")
    rows.sort(key=lambda row: row["question_id"])
    return rows


def _check_same(read: dict[tuple[str, int], list[dict[str, Any]]], where: str) -> None:
    questions = {
        f"{method}, seed {seed}": [row["question_id"] for row in rows] for (method, seed), rows in read.items()
    }
    (first, expected), *later = questions.items()
    if len(set(expected)) != len(expected):
        raise ValueError(f"{where}: {first} answers a question twice")
    for name, ids in later:
        if ids != expected:
            odd = sorted(set(expected) ^ set(ids))[:3]
            raise ValueError(
                f"{where}: {name} has {len(ids)} questions, {first} has {len(expected)}; they differ at {odd}"
            )


def _cell(of_method: list[list[dict[str, Any]]]) -> Cell:
    first = of_method[0][0]
    measured = [[list(_measures(row)) for row in rows] for rows in of_method]
    names = [name for name, _ in measured[0][0]]
    values_SQK = np.array([[[value for _, value in pairs] for pairs in rows] for rows in measured])
    return Cell(first["model"], first["method"], first["decoding"], first["benchmark"], names, values_SQK)


def _measures(row: dict[str, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    """((metric, episode), value) of one question."""
    for name in SCORES:
        yield from (((name, str(index)), value) for index, value in enumerate(row[name], 1))
        yield from (((name, choice), row[f"{name}_{choice}"]) for choice in CHOICES)
    for choice in ("last_valid", "vote", "best"):
        yield from (((f"em_{choice}", str(count)), value) for count, value in enumerate(row[f"em_{choice}_after"], 1))
    for name in TRANSITIONS:
        yield from (((name, str(index)), value) for index, value in enumerate(row[name], 2))
    for name in COUNTS:
        yield from (((name, str(index)), value) for index, value in enumerate(row[name], 1))
        yield (name, "all"), sum(row[name])
    for name in ("episodes_run", "total_tokens", "invalid_actions", "search_failures"):
        yield (name, "all"), float(row[name])
    yield from (((name, "all"), value) for name, value in row.items() if name.startswith("hit@"))
    yield from (((f"stop_{reason}", "all"), float(row["stop"] == reason)) for reason in StopReason)


def _write(table: pa.Table, path: Path) -> None:
    with atomic_file(path) as draft:
        pq.write_table(table, draft, compression="zstd")
