"""A published exact index, taken over instead of encoding the corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mrsearch.config.retrieval import DenseRetriever
from mrsearch.config.study import Study
from mrsearch.files import locked, publish_folder
from mrsearch.progress import Meter
from mrsearch.retrieval.indexes import faiss_index
from mrsearch.retrieval.indexes.builder import vector_dtype
from mrsearch.retrieval.indexes.dense import EXACT, VECTORS, keep_encoder
from mrsearch.retrieval.indexes.encoder import load_encoder
from mrsearch.retrieval.indexes.manifest import fits, write_manifest
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.vector_file import VectorWriter, drop_journal, header, open_vectors

log = logging.getLogger(__name__)

BLOCK_ROWS = 65_536
UNUSED = slice(16, 32)
"""Bytes of the header that FAISS writes and never reads; they differ between its versions."""


def import_index(
    study: Study,
    retriever_name: str,
    corpus: Path,
    shards: Sequence[Path],
    out: Path,
    encoder_files: Path | None = None,
) -> None:
    """Make the FAISS IndexFlatIP that the shards hold, one after the other, the index of one dense retriever in `out`.

    Row i must be the vector of passage i. The shards are read block by block and written in the retriever's own
    precision: float16 for all but `flat`, so a 65 GB file of float32 never has to fit in memory, nor twice on disk. A
    killed import goes on where it stopped. encoder_files: folder of a `hub` encoder; None asks the hub. ValueError
    where the shards are not as many vectors of the encoder's dimension as the corpus has passages.
    """
    config = study.retrieval.retrievers[retriever_name]
    if not isinstance(config, DenseRetriever):
        raise ValueError(f"retrieval.retrievers.{retriever_name}: a published index serves dense retrievers only")
    if config.encoder.kind == "bow":
        raise ValueError(
            f"retrieval.retrievers.{retriever_name}: a bow encoder is fitted on its corpus: build the index"
        )
    store, encoder = PassageStore(corpus), load_encoder(config.encoder, download=encoder_files)
    count, dim, dtype = len(store), encoder.dim, vector_dtype(config)
    _check(shards, count, dim)
    with locked(out.with_name(f".{out.name}.lock")) as waited:
        if waited and fits(out, retriever_name, config, store):
            return log.info("%s: another process has just made this index", out)
        work = out.with_name(out.name + ".work")
        work.mkdir(parents=True, exist_ok=True)
        plan = {
            "parts": [[str(shard.absolute()), shard.stat().st_size] for shard in shards],
            "corpus_sha256": store.sha256,
        }
        writer = VectorWriter(work / VECTORS, count, dim, dtype, plan)
        with Meter("taking over vectors", count, writer.done) as meter:
            for start, rows in _rows(shards, count, dim, writer.done):
                writer.write(start, rows)
                writer.commit(start + len(rows))
                meter.advance(len(rows))
        if config.index not in EXACT:
            faiss_index.build(config, open_vectors(work / VECTORS, count, dim, dtype), work)
        keep_encoder(encoder, config, work)
        drop_journal(work / VECTORS)
        facts = {"dim": dim, "dtype": dtype, "encoder": encoder.fingerprint}
        write_manifest(work, retriever_name, config, store, {VECTORS: writer.sha256()}, **facts)
        publish_folder(work, out)


def _check(shards: Sequence[Path], count: int, dim: int) -> None:
    expected = header(count, dim, "float32")
    size, head = sum(shard.stat().st_size for shard in shards), _read(shards, 0, len(expected))
    equal = head[: UNUSED.start] == expected[: UNUSED.start] and head[UNUSED.stop :] == expected[UNUSED.stop :]
    if size != len(expected) + 4 * count * dim or not equal:
        names = ", ".join(shard.name for shard in shards)
        raise ValueError(f"{names}: {size} bytes do not hold {count} float32 vectors of {dim} as an IndexFlatIP")


def _rows(shards: Sequence[Path], count: int, dim: int, done: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of float32 rows from row `done` on, each with its first position."""
    skip = len(header(count, dim, "float32"))
    for start in range(done, count, BLOCK_ROWS):
        stop = min(count, start + BLOCK_ROWS)
        block = _read(shards, skip + 4 * dim * start, 4 * dim * (stop - start))
        rows = np.frombuffer(block, "<f4").reshape(-1, dim)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"vectors {start} to {stop - 1} hold numbers that are not finite: download the index again"
            )
        yield start, rows


def _read(shards: Sequence[Path], start: int, size: int) -> bytes:
    """Bytes start..start+size of the parts taken as one file."""
    pieces = []
    for shard in shards:
        length = shard.stat().st_size
        if start < length and size:
            with shard.open("rb") as file:
                file.seek(start)
                pieces.append(file.read(min(size, length - start)))
            size -= len(pieces[-1])
            start = length
        start -= length
    return b"".join(pieces)
