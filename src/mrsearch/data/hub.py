"""Questions and passages of published data sets, read from their verified downloads."""

from __future__ import annotations

import codecs
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from mrsearch.config.hub_rows import PassageFields
from mrsearch.config.study import Study
from mrsearch.data.corpus import read_corpus
from mrsearch.data.declared import declared_passages, declared_questions
from mrsearch.data.golds import gold_answers
from mrsearch.data.registry import TRAIN, HeldOut, RegistryEntry, questions_row, study_row
from mrsearch.data.subsets import split_by_id
from mrsearch.files import file_sha256


def hub_questions(study: Study, dataset: str, downloads: Path) -> list[dict[str, Any]]:
    """Rows {id, question, golden_answers} of a benchmark or of "train": the row's split, whole, but for the training
    questions that `data.validation_share` holds out.

    `downloads` holds one folder per download. ValueError where a file is missing or has another number of rows.
    """
    assert study.data.kind == "hub", study.data.kind
    entry, share = questions_row(study, dataset), study.data.validation_share
    rows = _read(entry, downloads)
    if share is None or entry.split != TRAIN:
        return rows
    held_out, remaining = split_by_id(rows, share, entry.name)
    return remaining if dataset == TRAIN else held_out


def hub_passages(study: Study, downloads: Path) -> Iterator[tuple[str, str, str]]:
    """(id, title, text) of the corpus, streamed; ValueError at its end where the number is another."""
    assert study.data.kind == "hub", study.data.kind
    corpus = study_row(study, study.data.corpus, "corpus")
    count = 0
    for passage in _passages(corpus, _paths(corpus, downloads)):
        count += 1
        yield passage
    _check_count(corpus, count, corpus.rows, "passages")


def split_rows(rows: Sequence[dict[str, Any]], held_out: HeldOut, split: str | None) -> list[dict[str, Any]]:
    """The held-out rows (`split` test), or all others (train), in the order of the seeded permutation.

    The rule is that of the `datasets` library's train_test_split(test_size=fraction, seed=seed, shuffle=True). Rows get
    ids <split>_<position>, as MR-Search's released file has them.
    """
    import numpy as np

    order = np.random.default_rng(held_out.seed).permutation(len(rows))
    count = math.ceil(len(rows) * held_out.fraction)
    indices = order[count:] if split == TRAIN else order[:count]
    return [{**rows[index], "id": f"{split}_{number}"} for number, index in enumerate(indices.tolist())]


def _passages(corpus: RegistryEntry, paths: Sequence[Path]) -> Iterator[tuple[str, str, str]]:
    if corpus.fields is not None and (corpus.fields != PassageFields() or corpus.format != "jsonl"):
        return declared_passages(corpus, paths)
    return itertools.chain.from_iterable(map(read_corpus, paths))


def _read(entry: RegistryEntry, downloads: Path) -> list[dict[str, Any]]:
    paths = _paths(entry, downloads)
    if entry.declared:
        rows = declared_questions(entry, paths)
        _check_count(entry, len(rows), entry.rows, "rows")
        return rows
    rows = [_question(raw, f"{path}, row {number}") for path in paths for number, raw in enumerate(_rows(path), 1)]
    _check_count(entry, len(rows), entry.held_out.of if entry.held_out else entry.rows, "rows")
    if entry.held_out:
        rows = split_rows(rows, entry.held_out, entry.split)
    return _told_apart(rows)


def _check_count(entry: RegistryEntry, count: int, expected: int | None, unit: str) -> None:
    if entry.declared and expected not in (None, count):
        raise ValueError(f"data.rows.{entry.name}: {count} {unit}, its rows say {expected}: correct them or the files")
    if not entry.declared and count != expected:
        raise ValueError(f"{entry.name}: {count} {unit}, the registry says {expected}: the download is another")


def _told_apart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of several sources count their ids anew in each: the source's name goes before the id."""
    if len({raw["source"] for raw in rows}) > 1:
        rows = [{**raw, "id": f"{raw['source']}/{raw['id']}"} for raw in rows]
    return rows


def _rows(path: Path) -> Iterable[Any]:
    """The rows of a jsonl, json or parquet file."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        columns = [name for name in ("id", "question", "golden_answers", "data_source") if name in _columns(path)]
        return parquet.read_table(path, columns=columns).to_pylist()
    text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        if text.lstrip()[:1] == b"[":
            loaded: list[Any] = orjson.loads(text)
            return loaded
        return [orjson.loads(line) for line in text.splitlines() if line.strip()]
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def _columns(path: Path) -> list[str]:
    import pyarrow.parquet as parquet

    names: list[str] = parquet.read_schema(path).names
    return names


def _question(raw: Any, where: str) -> dict[str, Any]:
    """FlashRAG's row, or ASearcher's, whose question lies in `extra_info` and which has no id before it is split."""
    try:
        if "golden_answers" in raw:
            golds = gold_answers(raw["golden_answers"], where)
            return {
                "id": str(raw["id"]),
                "question": str(raw["question"]),
                "golden_answers": golds,
                "source": raw.get("data_source"),
            }
        extra = raw["extra_info"]
        golds = gold_answers([extra["ground_truth"]], where)
        return {"id": "", "question": str(extra["question"]), "golden_answers": golds, "source": None}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{where}: a question needs id, question and golden_answers, or extra_info with question and ground_truth; "
            f"it has {raw!r:.120}"
        ) from error


def _paths(entry: RegistryEntry, downloads: Path) -> list[Path]:
    """The files of a row; ValueError where one is missing, or is not what a study says of it.

    The registry's are verified when they arrive. What a study declares may lie there since another one, which said
    nothing of its size and checksum.
    """
    assert entry.files is not None
    paths = []
    for file in entry.files:
        path = downloads / entry.folder / file.path
        if not path.is_file():
            option = " --study STUDY" if entry.declared else ""
            raise ValueError(f"{path} is missing: run `mrsearch data download --row {entry.name}{option}`")
        if entry.declared and file.bytes not in (None, path.stat().st_size):
            raise ValueError(f"{path}: {path.stat().st_size:,} bytes, data.rows.{entry.name} says {file.bytes:,}")
        if entry.declared and file.sha256 is not None and (actual := file_sha256(path)) != file.sha256:
            raise ValueError(
                f"{path}: its sha256 is {actual}, data.rows.{entry.name} says {file.sha256}: correct that, or remove "
                "the folder to have it downloaded again"
            )
        paths.append(path)
    return paths
