"""Encoding a corpus into a vector file, in shards that survive a killed build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mrsearch.config.retrieval import DenseRetriever
from mrsearch.progress import Meter
from mrsearch.retrieval.indexes.encoder import TextEncoder
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.vector_file import VectorWriter

BLOCK_PASSAGES = 4096
"""Passages read and sorted by length together: bounds memory whatever the corpus."""


def encode_corpus(
    config: DenseRetriever, store: PassageStore, encoder: TextEncoder, path: Path, made_from: Any
) -> str | None:
    """Write the embedding of every passage to `path`; shards that an earlier run finished are not encoded again.
    Returns the sha256 of the file.

    Where there are several GPUs, all of them encode.
    """
    plan = {"made_from": made_from, "corpus_sha256": store.sha256, "encoder": encoder.fingerprint}
    writer = VectorWriter(path, len(store), encoder.dim, vector_dtype(config), plan)
    with Meter("encoding passages", len(store), writer.done) as meter, encoder.on_all_gpus():
        for start, end in _shards(writer.done, len(store), config.shard_passages):
            for block_start, block_end in _shards(start, end, BLOCK_PASSAGES):
                vectors = _encode(encoder, store, block_start, block_end)
                writer.write(block_start, vectors)
                meter.advance(len(vectors))
            writer.commit(end)
    return writer.sha256()


def vector_dtype(config: DenseRetriever) -> str:
    """float32 where full precision is asked for, float16 otherwise."""
    full = config.index == "flat" or (config.index == "torch" and config.scan == "float32")
    return "float32" if full else "float16"


def _shards(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges between start and end that stop at multiples of `size`."""
    while start < end:
        stop = min(end, (start // size + 1) * size)
        yield start, stop
        start = stop


def _encode(encoder: TextEncoder, store: PassageStore, start: int, end: int) -> np.ndarray:
    passages = store.read(start, end)
    vectors = encoder.passages([passage.title for passage in passages], [passage.text for passage in passages])
    if not np.isfinite(vectors).all():
        raise ValueError(f"the encoder gave numbers that are not finite for passages {start} to {end - 1}")
    return vectors
