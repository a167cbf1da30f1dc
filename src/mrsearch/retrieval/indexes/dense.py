"""Dense retrieval: an encoder and a vector index."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrsearch.config.retrieval import DenseRetriever
from mrsearch.retrieval.indexes import faiss_index
from mrsearch.retrieval.indexes.builder import encode_corpus, vector_dtype
from mrsearch.retrieval.indexes.encoder import ENCODER_FOLDER, TextEncoder, fit_or_load, load_encoder
from mrsearch.retrieval.indexes.manifest import built_from, read_manifest
from mrsearch.retrieval.indexes.passages import PassageStore
from mrsearch.retrieval.indexes.ranking import Ranking, VectorIndex, rank
from mrsearch.retrieval.indexes.torch_index import TorchIndex
from mrsearch.retrieval.indexes.vector_file import drop_journal, open_vectors

VECTORS = "vectors.faiss"
"""All passage vectors; FAISS opens the file as an exact index."""
EXACT = ("flat", "sq_fp16", "torch")


class DenseSearcher:
    """Encodes the queries of a batch together and ranks passages by inner product."""

    def __init__(self, encoder: TextEncoder, index: VectorIndex, rows_ND: np.ndarray) -> None:
        """rows_ND: the stored vectors."""
        self._rows = rows_ND
        self._encoder = encoder
        self._index = index

    def search(self, queries: list[str], topk: int) -> list[Ranking]:
        return rank(self._index, self._encoder.queries(queries), topk)

    @property
    def vectors(self) -> tuple[str, str]:
        """The encoder's fingerprint and the numbers' type: what decides a corpus's vectors."""
        return self._encoder.fingerprint, str(self._rows.dtype)

    def exact(self) -> DenseSearcher:
        """The same encoder and vectors, every vector scored."""
        return DenseSearcher(self._encoder, TorchIndex(self._rows), self._rows)


def build_dense(
    config: DenseRetriever, store: PassageStore, work: Path, download: Path | None = None
) -> tuple[dict[str, object], dict[str, str | None]]:
    """Encode the corpus and make the index in the folder `work`; returns facts for `index.json`, and the sha256 of the
    vectors' file by its name.

    Goes on where an earlier run in that folder stopped. download: folder of a `hub` encoder's files.
    """
    encoder = fit_or_load(config.encoder, ((passage.title, passage.text) for passage in store), download)
    sha256 = encode_corpus(config, store, encoder, work / VECTORS, built_from(config))
    if config.index not in EXACT:
        rows = open_vectors(work / VECTORS, len(store), encoder.dim, vector_dtype(config))
        faiss_index.build(config, rows, work)
    keep_encoder(encoder, config, work)
    drop_journal(work / VECTORS)
    facts: dict[str, object] = {"dim": encoder.dim, "dtype": vector_dtype(config), "encoder": encoder.fingerprint}
    return facts, {VECTORS: sha256}


def keep_encoder(encoder: TextEncoder, config: DenseRetriever, work: Path) -> None:
    """Put the encoder into the index's folder unless it lies on every machine anyway."""
    if config.encoder.kind in ("bow", "hub"):
        encoder.save(work / ENCODER_FOLDER)


def open_dense(name: str, config: DenseRetriever, store: PassageStore, folder: Path) -> DenseSearcher:
    """The searcher of a built index; ValueError if it does not fit corpus, configuration or encoder."""
    manifest = read_manifest(folder, name, config, store)
    encoder = load_encoder(config.encoder, folder)
    if encoder.fingerprint != manifest["encoder"] or encoder.dim != manifest["dim"]:
        raise ValueError(
            f"{folder}: was built with another encoder ({manifest['encoder']}) than the one at hand "
            f"({encoder.fingerprint}): build it again with `mrsearch index build`"
        )
    rows = open_vectors(folder / VECTORS, len(store), encoder.dim, vector_dtype(config))
    return DenseSearcher(encoder, open_vector_index(config, folder, rows), rows)


def open_vector_index(config: DenseRetriever, folder: Path, rows: np.ndarray) -> VectorIndex:
    """The index of a folder over its vectors [N, D]; ValueError if it does not hold N of them."""
    if config.index == "torch":
        return TorchIndex(rows, half=config.scan == "half")
    if config.index == "flat" and (index_on_gpus := faiss_index.open_on_gpus(rows)) is not None:
        return index_on_gpus
    if config.index in EXACT:
        return faiss_index.read_exact(folder / VECTORS, rows)
    index = faiss_index.read_approximate(config, folder, rows)
    if index.count != len(rows):
        raise ValueError(f"{folder}: {index.count} vectors do not fit {len(rows)} passages: build the index again")
    return index
