"""Dense retrieval: an encoder and a vector index."""

from __future__ import annotations

import logging
from pathlib import Path

from mrsearch.config.retrieval import DenseRetriever
from mrsearch.retrieval import faiss_index
from mrsearch.retrieval.encoder import ENCODER_FOLDER, TextEncoder, fit_or_load, load_encoder
from mrsearch.retrieval.manifest import read_manifest
from mrsearch.retrieval.passages import PassageStore
from mrsearch.retrieval.ranking import Ranking, VectorIndex, rank

log = logging.getLogger(__name__)


class DenseSearcher:
    """Encodes the queries of a batch together and ranks passages by inner product."""

    def __init__(self, encoder: TextEncoder, index: VectorIndex) -> None:
        self._encoder = encoder
        self._index = index

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        return rank(self._index, self._encoder.queries(queries), topk)


def build_dense(config: DenseRetriever, store: PassageStore, part: Path) -> dict[str, object]:
    """Encode the corpus and write index and, if it was fitted, encoder into `part`; returns facts for `index.json`."""
    encoder = fit_or_load(config.encoder, ((passage.title, passage.text) for passage in store))
    index = faiss_index.create(config, encoder.dim)
    for start in range(0, len(store), config.shard_passages):
        shard = [store[position] for position in range(start, min(start + config.shard_passages, len(store)))]
        index.add(encoder.passages([passage.title for passage in shard], [passage.text for passage in shard]))
        log.info("encoded %d of %d passages", index.ntotal, len(store))
    faiss_index.write(index, part)
    if config.encoder.kind == "bow":
        encoder.save(part / ENCODER_FOLDER)
    return {"dim": encoder.dim}


def open_dense(name: str, config: DenseRetriever, store: PassageStore, folder: Path) -> DenseSearcher:
    """The searcher of a built index; ValueError if it does not fit corpus or configuration."""
    manifest = read_manifest(folder, name, config, store)
    index = faiss_index.read(config, folder)
    encoder = load_encoder(config.encoder, folder)
    if index.count != len(store) or encoder.dim != manifest["dim"]:
        raise ValueError(
            f"{folder}: {index.count} vectors of {manifest['dim']} numbers do not fit {len(store)} passages and an "
            f"encoder of {encoder.dim}: build it again with `mrsearch index build`"
        )
    return DenseSearcher(encoder, index)
