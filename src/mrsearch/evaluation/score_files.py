"""The scores of one method, seed, benchmark and decoding: a parquet file, made once from the meta-episodes.

Metadata of the file say where it belongs and by which settings the rows were scored, so that a reader can tell without
looking at rows whether they are those that the study asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrsearch.agent.records import MetaEpisode
from mrsearch.config import Study
from mrsearch.config.layout import RecordKey
from mrsearch.evaluation.scores import score_row
from mrsearch.files import atomic_file

VERSION = 2
"""Of the columns and their meaning."""
KEY_TAGS = ("model", "method", "seed", "decoding", "benchmark")
TAGS = ("study", *KEY_TAGS)
METADATA = b"mrsearch"
TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), list: pa.list_(pa.float64())}
REMEDY = "make it from its records with `mrsearch records convert`, or evaluate again"


def write_scores(study: Study, key: RecordKey, records: Iterable[MetaEpisode], path: Path) -> int:
    """Score the records of one file and write their rows in the order of question ids; returns how many.

    ValueError where there is no record, or one is tagged with another place or carries no complete scores.
    """
    rows = sorted(_rows(study, key, records), key=lambda row: row["question_id"])
    if not rows:
        raise ValueError(f"{path}: there is no record to score: evaluate again")
    schema = pa.schema([(name, TYPES[type(value)]) for name, value in rows[0].items()])
    schema = schema.with_metadata({METADATA: json.dumps(_description(study, key))})
    write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return len(rows)


def read_scores(study: Study, key: RecordKey, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows that `write_scores` wrote, all columns or some; ValueError where the file is damaged, or was scored for
    another place or by other settings than the study's."""
    try:
        table = pq.read_table(path, columns=None if columns is None else list(columns), partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: is no whole file of scores ({error}): {REMEDY}") from error
    written = _written(table, path)
    differing = [name for name, value in _description(study, key).items() if written.get(name) != value]
    if differing:
        name, expected = differing[0], _description(study, key)[differing[0]]
        raise ValueError(f"{path}: {name} is {written.get(name)!r}, but the study asks for {expected!r}: {REMEDY}")
    if table.num_rows == 0:
        raise ValueError(f"{path}: holds no row: {REMEDY}")
    return table.replace_schema_metadata(None)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table whole, compressed."""
    with atomic_file(path) as draft:
        pq.write_table(table, draft, compression="zstd")


def _written(table: pa.Table, path: Path) -> dict[str, Any]:
    """What the file says of itself."""
    written = (table.schema.metadata or {}).get(METADATA)
    if written is None:
        raise ValueError(f"{path}: is no file of scores that an evaluation wrote: {REMEDY}")
    described: dict[str, Any] = json.loads(written)
    version = described.get("version")
    if version != VERSION:
        older = isinstance(version, int) and version < VERSION
        remedy = REMEDY if older else "use the program that wrote it"
        raise ValueError(f"{path}: is of version {version!r}, and this program reads {VERSION}: {remedy}")
    return described


def _description(study: Study, key: RecordKey) -> dict[str, Any]:
    """Where the rows belong, and every setting that they depend on."""
    return {"version": VERSION, **dict(zip(TAGS, (study.name, *key), strict=True)), **_settings(study, key)}


def _settings(study: Study, key: RecordKey) -> dict[str, Any]:
    """Arguments of `score_row`."""
    _, method, _, _, benchmark = key
    return {
        "episodes": study.methods[method].episodes,
        "topk": study.retrieval.topk,
        "yes_no_rule": study.benchmarks[benchmark].yes_no_rule,
        "answer": study.protocol.answer,
    }


def _rows(study: Study, key: RecordKey, records: Iterable[MetaEpisode]) -> Iterable[dict[str, Any]]:
    expected, settings = dict(zip(TAGS, (study.name, *key), strict=True)), _settings(study, key)
    for record in records:
        tags = {tag: record.tags.get(tag) for tag in TAGS}
        if tags != expected:
            raise ValueError(f"a record is tagged {tags}, but its place says {expected}: evaluate again")
        yield {**{tag: expected[tag] for tag in KEY_TAGS}, **score_row(record, **settings)}
