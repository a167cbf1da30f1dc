"""FAISS indexes: made, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrsearch.config.retrieval import DenseRetriever

FILE = "index.faiss"


class FaissIndex:
    """An inner-product index of FAISS."""

    def __init__(self, index: Any, exact: bool, rounding: float) -> None:
        self._index = index
        self.count: int = index.ntotal
        self.exact = exact
        self.rounding = rounding

    def search(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return self._index.search(np.ascontiguousarray(queries_QD, dtype=np.float32), k)

    def vectors(self, positions: np.ndarray) -> np.ndarray:
        return self._index.reconstruct_batch(positions.astype(np.int64))


def create(config: DenseRetriever, dim: int) -> Any:
    """An empty FAISS index of the configured kind; `flat` and `sq_fp16` need no training."""
    import faiss

    if config.index == "flat":
        return faiss.IndexFlatIP(dim)
    if config.index == "sq_fp16":
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    raise ValueError(f"index ({config.index}) is not a FAISS index that can be built")


def write(index: Any, folder: Path) -> None:
    """Write `index.faiss` into the folder."""
    import faiss

    faiss.write_index(index, str(folder / FILE))


def read(config: DenseRetriever, folder: Path) -> FaissIndex:
    """Open `index.faiss`, memory-mapped where the kind allows it; ValueError if it is damaged."""
    import faiss

    tune_blas(faiss)
    try:
        index = faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise ValueError(f"{folder / FILE}: not a readable FAISS index, build it again ({error})") from error
    return FaissIndex(index, exact=config.index in ("flat", "sq_fp16"), rounding=1e-5)


def tune_blas(faiss: Any, queries: int = 4, dim: int = 384) -> None:
    """Scan with BLAS from a few queries on: FAISS 1.15 waits for hundreds, and is up to 14 times slower before."""
    faiss.cvar.distance_compute_blas_threshold = queries * dim
