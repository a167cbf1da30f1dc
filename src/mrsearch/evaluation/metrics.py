"""From the scores of every evaluation to two files: all scores, and tidy aggregates with intervals and tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mrsearch.config import Study
from mrsearch.config.layout import RecordKey, all_score_files
from mrsearch.evaluation import aggregates, provenance
from mrsearch.evaluation.aggregates import Cell
from mrsearch.evaluation.measures import measures
from mrsearch.evaluation.score_files import read_scores, write_table
from mrsearch.files import atomic_file


def write_metrics(study: Study, eval_dir: Path, scores_out: Path, metrics_out: Path) -> None:
    """Write `scores.parquet` and `metrics.parquet` from the scores that evaluations wrote; records are not read.

    scores: a row per model, method, seed, decoding, benchmark and question. metrics: a row per model, method, seed or
    "all", decoding, benchmark or "average", episode and metric, with value, interval and n. In memory at one time are
    one method's scores on one benchmark, whatever the study's size.

    Raises ValueError when a file is missing or was scored by other settings, or when methods did not answer the same
    questions.
    """
    paths = all_score_files(study, eval_dir)
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(paths)} files of scores are missing, the first is {missing[0]}: where "
            "records are there, `mrsearch records convert` makes scores of them; else run the evaluation again"
        )
    with atomic_file(scores_out) as draft, _ScoresWriter(draft) as writer:
        rows = list(aggregates.aggregate(study, cells(study, paths, writer.write)))
    schema = aggregates.SCHEMA.with_metadata({"origin": provenance.describe(study), "study": study.name})
    write_table(pa.Table.from_pylist(rows, schema=schema), metrics_out)


class _ScoresWriter:
    """One file of all scores, written as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _ScoresWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Append rows; the first decide the columns."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)


def cells(study: Study, paths: dict[RecordKey, Path], keep: Callable[[pa.Table], None]) -> Iterator[Cell]:
    """Every method on every benchmark, as `aggregate` expects them; `keep` gets the scores of each."""
    for model, decoding, benchmark in itertools.product(study.models, study.evaluation.decoding, study.benchmarks):
        questions = _SameQuestions(f"{model}, {decoding}, {benchmark}")
        for method in study.methods:
            tables = []
            for seed in study.seeds:
                key = (model, method, seed, decoding, benchmark)
                tables.append(read_scores(study, key, paths[key]))
                questions.check(f"{method}, seed {seed}", tables[-1]["question_id"].combine_chunks())
            keep(pa.concat_tables(tables))
            names, values_SQK = _measured(tables)
            yield Cell(model, method, decoding, benchmark, names, values_SQK)


def _measured(tables: list[pa.Table]) -> tuple[list[tuple[str, str]], aggregates.Array]:
    """(names, values [S, Q, K]) of a table per seed."""
    names, first_QK = measures(tables[0])
    values_SQK = np.empty((len(tables), *first_QK.shape))
    values_SQK[0] = first_QK
    for index, table in enumerate(tables[1:], 1):
        values_SQK[index] = measures(table)[1]
    return names, values_SQK


class _SameQuestions:
    """Makes sure that every method and seed answered the same questions."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._first: tuple[str, pa.Array] | None = None

    def check(self, name: str, ids: pa.Array) -> None:
        """ValueError where one is answered twice, or where they are not those of the first method and seed."""
        if self._first is None:
            if pc.count_distinct(ids).as_py() != len(ids):
                raise ValueError(f"{self._where}: {name} answers a question twice")
            self._first = name, ids
        first, expected = self._first
        if not ids.equals(expected):
            odd = sorted(set(expected.to_pylist()) ^ set(ids.to_pylist()))[:3]
            raise ValueError(
                f"{self._where}: {name} has {len(ids)} questions, {first} has {len(expected)}; they differ at {odd}"
            )
