"""FAISS indexes: made, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrsearch.config.retrieval import DenseRetriever
from mrsearch.retrieval.indexes import faiss_gpu
from mrsearch.retrieval.indexes.faiss_gpu import FaissGpuIndex
from mrsearch.retrieval.indexes.ranking import rescored_from

FILE = "index.faiss"
"""An approximate index."""
BLAS_FROM_QUERIES = 8
TRAINING_ROWS_PER_CELL = 39
"""FAISS's own minimum for k-means."""
TRAINING_ROWS = 200_000
"""Rows that train a quantizer, at most; evenly spread over the corpus."""
BLOCK_ROWS = 65_536
HNSW_LINKS = 32


class FaissIndex:
    """An inner-product index of FAISS; vectors for the last scoring come from the vector file."""

    margin = 8

    def __init__(self, index: Any, rows_ND: np.ndarray, exact: bool, refine_factor: int = 1) -> None:
        self._index = index
        self._rows = rows_ND
        self.count: int = index.ntotal
        self.exact = exact
        self._factor = refine_factor

    def search(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k * self._factor, self.count)
        return self._index.search(np.ascontiguousarray(queries_QD, dtype=np.float32), k)

    def rescored(self, queries_QD: np.ndarray, positions_QK: np.ndarray) -> np.ndarray:
        return rescored_from(self._rows, queries_QD, positions_QK)


def build(config: DenseRetriever, rows_ND: np.ndarray, folder: Path) -> None:
    """Train and fill an approximate index over the rows and write it into the folder.

    The index is in memory while it is built (bytes per row: ivf_sq8 D + 8, pq_refine D / 4, hnsw 2 D + 300).
    """
    import faiss

    count, dim = rows_ND.shape
    index = _empty(faiss, config, count, dim)
    if not index.is_trained:
        step = max(1, count // TRAINING_ROWS)
        index.train(rows_ND[::step][:TRAINING_ROWS].astype(np.float32))
    for start in range(0, count, BLOCK_ROWS):
        index.add(rows_ND[start : start + BLOCK_ROWS].astype(np.float32))
    faiss.write_index(index, str(folder / FILE))


def _empty(faiss: Any, config: DenseRetriever, count: int, dim: int) -> Any:
    if config.index == "ivf_sq8":
        if count < TRAINING_ROWS_PER_CELL * config.nlist:
            raise ValueError(
                f"nlist ({config.nlist}) needs at least {TRAINING_ROWS_PER_CELL * config.nlist} passages to train, the "
                f"corpus has {count}: lower nlist, or use index: flat"
            )
        return faiss.index_factory(dim, f"IVF{config.nlist},SQ8", faiss.METRIC_INNER_PRODUCT)
    if config.index == "hnsw":
        return faiss.index_factory(dim, f"HNSW{HNSW_LINKS}_SQfp16", faiss.METRIC_INNER_PRODUCT)
    assert config.index == "pq_refine", config.index
    return faiss.index_factory(dim, f"PQ{dim // 2}x4fs", faiss.METRIC_INNER_PRODUCT)


def read_exact(path: Path, rows_ND: np.ndarray) -> FaissIndex:
    """The vector file as an exact index, memory-mapped: opening costs no time, pages come in on use and are shared."""
    return FaissIndex(_read(path), rows_ND, exact=True)


def open_on_gpus(rows_ND: np.ndarray) -> FaissGpuIndex | None:
    """The rows as an exact index on all GPUs; None where FAISS's build, or this machine, has none."""
    import faiss

    devices = faiss_gpu.gpus(faiss)
    return FaissGpuIndex(faiss, rows_ND, devices) if devices else None


def read_approximate(config: DenseRetriever, folder: Path, rows_ND: np.ndarray) -> FaissIndex:
    """The approximate index of a folder, with the configured effort per query."""
    index = _read(folder / FILE)
    if config.index == "ivf_sq8":
        index.nprobe = config.nprobe
    elif config.index == "hnsw":
        index.hnsw.efSearch = config.ef_search
    return FaissIndex(index, rows_ND, exact=False, refine_factor=config.refine_factor)


def _read(path: Path) -> Any:
    import faiss

    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise ValueError(f"{path}: not a readable FAISS index, build it again ({error})") from error
    # From this many queries on a flat scan goes through BLAS; FAISS's default waits for hundreds and is slow before.
    faiss.cvar.distance_compute_blas_threshold = BLAS_FROM_QUERIES * index.d
    return index
