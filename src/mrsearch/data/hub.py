"""Questions and passages of published data sets, read from their verified downloads."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from mrsearch.config.study import Study
from mrsearch.data.corpus import read_corpus
from mrsearch.data.overlap import plain
from mrsearch.data.registry import TRAIN, HeldOut, Row, questions_row, row

log = logging.getLogger(__name__)


def hub_questions(study: Study, dataset: str, downloads: Path) -> list[dict[str, Any]]:
    """Rows {id, question, golden_answers} of a benchmark or of "train": the registered split, whole.

    `downloads` holds one folder per registered download. With `data.drop_overlap`, training questions that a benchmark
    of the study asks as well are left out. ValueError where a file is missing or has another number of rows.
    """
    assert study.data.kind == "hub", study.data.kind
    found = _read(questions_row(study, dataset), downloads)
    if dataset != TRAIN or not study.data.drop_overlap:
        return found
    asked = {plain(other["question"]) for name in study.benchmarks for other in hub_questions(study, name, downloads)}
    kept = [raw for raw in found if plain(raw["question"]) not in asked]
    dropped = len(found) - len(kept)
    log.info("train: %d of %d questions are asked by a benchmark too and are left out", dropped, len(found))
    return kept


def hub_passages(study: Study, downloads: Path) -> Iterator[tuple[str, str, str]]:
    """(id, title, text) of the registered corpus, streamed; ValueError at its end where the number is another."""
    assert study.data.kind == "hub", study.data.kind
    corpus = row(study.data.corpus, "corpus")
    assert corpus.files is not None
    count = 0
    for file in corpus.files:
        for passage in read_corpus(_path(corpus, file.path, downloads)):
            count += 1
            yield passage
    if count != corpus.rows:
        raise ValueError(f"{corpus.name}: {count} passages, the registry says {corpus.rows}: the download is another")


def part(found: Sequence[dict[str, Any]], held_out: HeldOut, split: str | None) -> list[dict[str, Any]]:
    """The held-out rows (`split` test), or all others (train), in the order of the seeded permutation.

    The rule is that of the `datasets` library's train_test_split(test_size=fraction, seed=seed, shuffle=True). Rows get
    ids <split>_<position>, as MR-Search's released file has them.
    """
    import numpy as np

    order = np.random.default_rng(held_out.seed).permutation(len(found))
    count = math.ceil(len(found) * held_out.fraction)
    chosen = order[count:] if split == TRAIN else order[:count]
    return [{**found[place], "id": f"{split}_{number}"} for number, place in enumerate(chosen.tolist())]


def _read(entry: Row, downloads: Path) -> list[dict[str, Any]]:
    assert entry.files is not None
    found = []
    for file in entry.files:
        path = _path(entry, file.path, downloads)
        found += [_question(raw, f"{path}, row {number}") for number, raw in enumerate(_rows(path), 1)]
    wanted = entry.held_out.of if entry.held_out else entry.rows
    if len(found) != wanted:
        raise ValueError(f"{entry.name}: {len(found)} rows, the registry says {wanted}: the download is another")
    if entry.held_out:
        found = part(found, entry.held_out, entry.split)
    return _told_apart(found)


def _told_apart(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of several sources count their ids anew in each: the source's name goes before the id."""
    if len({raw["source"] for raw in found}) > 1:
        found = [{**raw, "id": f"{raw['source']}/{raw['id']}"} for raw in found]
    return found


def _rows(path: Path) -> Iterable[Any]:
    """The rows of a jsonl, json or parquet file."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        columns = [name for name in ("id", "question", "golden_answers", "data_source") if name in _columns(path)]
        return parquet.read_table(path, columns=columns).to_pylist()
    text = path.read_bytes()
    try:
        if text.lstrip()[:1] == b"[":
            whole: list[Any] = orjson.loads(text)
            return whole
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
            golds = [str(gold) for gold in raw["golden_answers"]]
            return {
                "id": str(raw["id"]),
                "question": str(raw["question"]),
                "golden_answers": golds,
                "source": raw.get("data_source"),
            }
        extra = raw["extra_info"]
        gold = extra["ground_truth"]
        return {"id": "", "question": str(extra["question"]), "golden_answers": [str(gold)], "source": None}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{where}: a question needs id, question and golden_answers, or extra_info with question and ground_truth; "
            f"it has {raw!r:.120}"
        ) from error


def _path(entry: Row, file: str, downloads: Path) -> Path:
    path = downloads / entry.folder / file
    if not path.is_file():
        raise ValueError(f"{path} is missing: run `mrsearch data download --row {entry.name}`")
    return path
