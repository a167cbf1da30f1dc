"""A published exact index, taken over instead of encoding the corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mrsearch.config.study import Study
from mrsearch.files import publish_folder
from mrsearch.retrieval import faiss_index
from mrsearch.retrieval.builder import vector_dtype
from mrsearch.retrieval.dense import EXACT, VECTORS, keep_encoder
from mrsearch.retrieval.encoder import load_encoder
from mrsearch.retrieval.manifest import write_manifest
from mrsearch.retrieval.passages import PassageStore
from mrsearch.retrieval.progress import Meter
from mrsearch.retrieval.vector_file import VectorWriter, drop_journal, header, open_vectors

BLOCK_ROWS = 65_536
UNUSED = slice(16, 32)
"""Bytes of the header that FAISS writes and never reads; they differ between its versions."""


def import_index(
    study: Study, retriever_name: str, corpus: Path, parts: Sequence[Path], out: Path, encoder_files: Path | None = None
) -> None:
    """Make the FAISS IndexFlatIP that the parts hold, one after the other, the index of one dense retriever in `out`.

    Row i must be the vector of passage i. The parts are read block by block and written in the retriever's own
    precision: float16 for all but `flat`, so a 65 GB file of float32 never has to fit in memory, nor twice on disk. A
    killed import goes on where it stopped. encoder_files: folder of a `hub` encoder; None asks the hub. ValueError
    where the parts are not as many vectors of the encoder's dimension as the corpus has passages.
    """
    config = study.retrieval.retrievers[retriever_name]
    if config.kind != "dense":
        raise ValueError(f"retrieval.retrievers.{retriever_name}: a published index serves dense retrievers only")
    if config.encoder.kind == "bow":
        raise ValueError(
            f"retrieval.retrievers.{retriever_name}: a bow encoder is fitted on its corpus: build the index"
        )
    store, encoder = PassageStore(corpus), load_encoder(config.encoder, download=encoder_files)
    count, dim, dtype = len(store), encoder.dim, vector_dtype(config)
    _check(parts, count, dim)
    work = out.with_name(out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    plan = {"parts": [[str(part.absolute()), part.stat().st_size] for part in parts], "corpus_sha256": store.sha256}
    writer = VectorWriter(work / VECTORS, count, dim, dtype, plan)
    with Meter("taking over vectors", count, writer.done) as meter:
        for start, rows in _rows(parts, count, dim, writer.done):
            writer.write(start, rows)
            writer.commit(start + len(rows))
            meter.advance(len(rows))
    if config.index not in EXACT:
        faiss_index.build(config, open_vectors(work / VECTORS, count, dim, dtype), work)
    keep_encoder(encoder, config, work)
    drop_journal(work / VECTORS)
    facts = {"dim": dim, "dtype": dtype, "encoder": encoder.fingerprint}
    write_manifest(work, retriever_name, config, store, **facts)
    publish_folder(work, out)


def _check(parts: Sequence[Path], count: int, dim: int) -> None:
    wanted = header(count, dim, "float32")
    size, found = sum(part.stat().st_size for part in parts), _read(parts, 0, len(wanted))
    same = found[: UNUSED.start] == wanted[: UNUSED.start] and found[UNUSED.stop :] == wanted[UNUSED.stop :]
    if size != len(wanted) + 4 * count * dim or not same:
        names = ", ".join(part.name for part in parts)
        raise ValueError(f"{names}: {size} bytes do not hold {count} float32 vectors of {dim} as an IndexFlatIP")


def _rows(parts: Sequence[Path], count: int, dim: int, done: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of float32 rows from row `done` on, each with its first position."""
    skip = len(header(count, dim, "float32"))
    for start in range(done, count, BLOCK_ROWS):
        stop = min(count, start + BLOCK_ROWS)
        block = _read(parts, skip + 4 * dim * start, 4 * dim * (stop - start))
        rows = np.frombuffer(block, "<f4").reshape(-1, dim)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"vectors {start} to {stop - 1} hold numbers that are not finite: download the index again"
            )
        yield start, rows


def _read(parts: Sequence[Path], start: int, size: int) -> bytes:
    """Bytes start..start+size of the parts taken as one file."""
    pieces = []
    for part in parts:
        length = part.stat().st_size
        if start < length and size:
            with part.open("rb") as file:
                file.seek(start)
                pieces.append(file.read(min(size, length - start)))
            size -= len(pieces[-1])
            start = length
        start -= length
    return b"".join(pieces)
