"""FAISS's exact index on GPUs: float16 shards of the rows, one for each GPU.

Needs the packages of envs/retriever-gpu.in. FAISS's build without GPUs has none of the classes used here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrsearch.retrieval.indexes import shards
from mrsearch.retrieval.indexes.ranking import MOST_CANDIDATES, rescored_from

BLOCK_ROWS = 262_144
"""Rows that go to a GPU at once, as float32."""


def gpus(faiss: Any) -> int:
    """GPUs that this build of FAISS can use here; 0 for a build without them."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "GpuIndexFlatIP") else 0


class FaissGpuIndex:
    """Inner products with every row [N, D]; candidates are scored again from the vector file."""

    exact = True
    margin = 24

    def __init__(self, faiss: Any, rows_ND: np.ndarray, devices: int) -> None:
        """faiss: the module, of its build for GPUs; devices: how many of its GPUs, from the first on."""
        self._rows = rows_ND
        self.count = len(rows_ND)
        self._resources = [faiss.StandardGpuResources() for _ in range(devices)]  # the indexes do not keep them alive
        self._shards = [
            (start, self._shard(faiss, device, rows_ND[start:end]))
            for device, (start, end) in enumerate(shards.bounds(self.count, devices))
        ]

    def search(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best of all shards [Q, k]; -1 where there are fewer rows. ValueError above what FAISS returns."""
        if k > MOST_CANDIDATES:
            raise ValueError(f"k ({k}): FAISS on a GPU returns at most {MOST_CANDIDATES} candidates")
        queries, candidates = np.ascontiguousarray(queries_QD, dtype=np.float32), []
        for start, shard in self._shards:
            scores, positions = shard.search(queries, min(k, shard.ntotal))
            candidates.append((scores, positions + start))
        return shards.merged(candidates, k)

    def rescored(self, queries_QD: np.ndarray, positions_QK: np.ndarray) -> np.ndarray:
        return rescored_from(self._rows, queries_QD, positions_QK)

    def _shard(self, faiss: Any, device: int, rows_RD: np.ndarray) -> Any:
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        config.device = device
        shard = faiss.GpuIndexFlatIP(self._resources[device], rows_RD.shape[1], config)
        for start in range(0, len(rows_RD), BLOCK_ROWS):
            shard.add(rows_RD[start : start + BLOCK_ROWS].astype(np.float32))
        return shard
